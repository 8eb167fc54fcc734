"""How much of a recorded n-gram drafter a replay of its proposals gives back::

    python -m spinsim.drafters.recorded $SPINSIM_DATA/specdecode_bench_llama31_8b_gsm8k.jsonl ...

Reads recordings of SpecDecode-Bench. ``--draft`` is what they call the drafter (``acc_<draft>``), ``--kind``
and ``--set`` say which drafter is replayed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spinsim.acceptance.known_text import EVERYTHING, Text, replay
from spinsim.acceptance.specdecode_bench import load_specdecode_bench
from spinsim.drafters.base import Drafter
from spinsim.drafters.for_scenario import drafter_of
from spinsim.errors import InputError
from spinsim.recording import Trace
from spinsim.scenario import DrafterChoice


@dataclass(frozen=True)
class Agreement:
    """Of ``positions``, the replay's run is longer than the recorded at ``more``, shorter at ``fewer``."""

    positions: int
    more: int
    fewer: int

    @property
    def alike(self) -> int:
        """Positions with the recorded run."""
        return self.positions - self.more - self.fewer

    @property
    def share(self) -> float:
        """``alike`` over ``positions``."""
        return self.alike / self.positions if self.positions else 1.0


def agreement(trace: Trace, draft: str, drafter: Drafter) -> Agreement:
    """Replayed runs beside those that the trace has of ``draft``, at every position where a round may start.

    Raises InputError where the trace keeps no token ids, or does not know the draft.
    """
    if trace.prompts is None or trace.outputs is None or draft not in trace.drafts:
        raise InputError(
            f"no token ids, or no draft {draft!r}; one of {', '.join(trace.drafts)}", key="--draft"
        )
    lookup = drafter.lookup()
    if lookup is None:
        raise InputError(f"{drafter.kind} proposes out of no token ids; ngram or suffix", key="--kind")
    recorded = trace.drafts[draft].rows
    positions = more = fewer = 0
    for request in range(len(trace.keys)):
        text = Text.of(trace.prompts.row(request), trace.outputs.row(request))
        said = recorded.row(request)[: len(text.output)].tolist()
        made = replay(lookup, text, len(said), EVERYTHING, request).runs
        lookup.ended(request, text.output)
        for was, now in zip(said[1:], made[1:], strict=True):  # position 0 is prefill's
            positions += 1
            more += now > was
            fewer += now < was
    return Agreement(positions, more, fewer)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--draft", default="ngram")
    parser.add_argument("--kind", default="ngram")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    keys: dict[str, Any] = {k: yaml.safe_load(v) for k, _, v in (each.partition("=") for each in given.set)}
    try:
        drafter = drafter_of(given.draft, DrafterChoice(kind=given.kind, **keys))
        for path in given.files:
            found = agreement(load_specdecode_bench(path), given.draft, drafter)
            print(
                f"{path.name}: {found.alike:,} of {found.positions:,} positions as recorded, "
                f"{100 * found.share:.2f} %; longer at {found.more:,}, shorter at {found.fewer:,}"
            )
    except InputError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
