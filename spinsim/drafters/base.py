"""What every kind of drafter answers, and the parts that its answers are made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from spinsim.acceptance.known_text import Lookup as Lookup
from spinsim.costs.base import Estimate
from spinsim.costs.memory import Placed
from spinsim.errors import InputError
from spinsim.scenario import ConstantCosts, DrafterChoice, DraftSpec, LinearCosts, Scenario, Section

Home = Literal["device", "target", "host"]
HOST = "host"  # the device that results name for drafters in the host's memory


class DrafterCosts(Protocol):
    """What one drafter's operations cost. Arguments are those of :class:`spinsim.costs.base.Predictor`."""

    def propose(self, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate: ...

    def catch_up(self, tokens: Sequence[int], starts: Sequence[int]) -> Estimate: ...

    def load_of_proposal(self, lengths: Sequence[int], contexts: Sequence[int]) -> tuple[float, float]:
        """(kernels, work_s) that other lanes of its device notice; zeros on the host."""
        ...

    def load_of_catch_up(self, tokens: Sequence[int], starts: Sequence[int]) -> tuple[float, float]: ...


class Drafter:
    """A draft of a scenario. ``spec`` is what the file says, ``keys`` its kind's own keys, validated.

    A kind overrides what differs from a model on a device of its own:

    ``home``       ``device``: where ``placement.drafts`` says; ``target``: in the target's lane; ``host``.
    ``keeps_kv``   Has it a K/V pool, in which it catches up with a request before it first proposes?
    """

    kind: ClassVar[str] = ""  # set when it is registered
    Keys: ClassVar[type[Section]] = Section
    home: ClassVar[Home] = "device"
    keeps_kv: ClassVar[bool] = True

    def __init__(self, name: str, spec: DraftSpec | DrafterChoice, keys: Any) -> None:
        self.name, self.spec, self.keys = name, spec, keys

    @property
    def key(self) -> str:
        """Its key in the scenario."""
        return f"models.drafts.{self.name}"

    def device(self, scenario: Scenario) -> str:
        """The device that it runs on."""
        if self.home == "host":
            return HOST
        return scenario.placement.target[0] if self.home == "target" else scenario.placement.drafts[self.name]

    def check(self, scenario: Scenario, base_dir: Path) -> None:
        """Raises InputError for what its keys contradict elsewhere in the scenario."""

    def check_live(self, scenario: Scenario) -> None:
        """Raises InputError where a live run cannot have it."""

    def parameters(self, scenario: Scenario, base_dir: Path) -> int:
        """How large it is, for policies that want the smallest; 0: it is no model."""
        return 0

    def costs(self, scenario: Scenario, base_dir: Path | None) -> DrafterCosts | None:
        """What it costs by its own reckoning; None: the scenario's cost model knows it by its shape."""
        return None

    def placed(self, scenario: Scenario, base_dir: Path | None) -> Placed | None:
        """Weights and K/V beside those of models; None for none, and for models."""
        return None

    def lookup(self) -> Lookup | None:
        """What proposes out of token ids; None for kinds that do not. Proposals then are as many as asked."""
        return None

    @property
    def earlier(self) -> int:
        """Outputs of requests that ended before, from which a lookup learns."""
        return 0


def stated_step(scenario: Scenario, name: str) -> float | None:
    """``costs.draft_step_s`` of the draft, where the scenario states it by name."""
    costs = scenario.costs
    if isinstance(costs, ConstantCosts) and isinstance(costs.draft_step_s, dict):
        return costs.draft_step_s.get(name)
    return None


def stated_fit(scenario: Scenario, name: str) -> Any:
    """The LinearPass of the draft in ``costs.drafts``, or None."""
    costs = scenario.costs
    return costs.drafts.get(name) if isinstance(costs, LinearCosts) else None


def refuse_live(drafter: Drafter, why: str) -> InputError:
    """The error of a kind that no live run can have."""
    return InputError(f"{why}; simulate it, or leave the draft out of a live run", key=drafter.key)
