"""``kind: ngram``: prompt lookup over the request's own tokens (:mod:`spinsim.acceptance.prompt_lookup`).

With sizes 7 to 3, the earliest match and 20 tokens it reproduces the n-gram lengths that SpecDecode-Bench
recorded (``python -m spinsim.drafters.recorded``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from spinsim.acceptance.prompt_lookup import PromptLookup
from spinsim.drafters.host import HostDrafter, LookupCost, LookupKeys
from spinsim.drafters.registry import register
from spinsim.errors import InputError
from spinsim.scenario import Scenario
from spinsim.scenario.base import PositiveInt


class NgramKeys(LookupKeys):
    """Suffix sizes, and which of several matches counts."""

    max_size: PositiveInt = 7
    min_size: PositiveInt = 3
    match: Literal["earliest", "latest"] = "earliest"


@register("ngram")
class NgramDrafter(HostDrafter):
    """Prompt lookup over the request's own tokens."""

    Keys = NgramKeys
    # Within live runs of scenarios/ngram-and-models.yaml on an Intel Xeon that other work kept busy: 44 us,
    # and 5.8 us a row at 160 tokens of context. The share of the context is benchmarks/lookups.py's.
    usual_cost = LookupCost(base_s=44e-6, row_s=5.6e-6, token_s=1.5e-9)

    def check(self, scenario: Scenario, base_dir: Path) -> None:
        """Raises InputError where the smallest size is above the largest."""
        if self.keys.min_size > self.keys.max_size:
            raise InputError(
                f"{self.keys.min_size} is above max_size; at most {self.keys.max_size}",
                key=f"{self.key}.min_size",
            )

    def lookup(self) -> PromptLookup:
        """It keeps nothing of a request."""
        keys = self.keys
        return PromptLookup(keys.max_size, keys.min_size, keys.longest, latest=keys.match == "latest")
