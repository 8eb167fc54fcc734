"""The steps of the ladder, as overrides of a scenario."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from spinsim.scenario import AllAtOnce, ClosedLoop, Replay, Scenario
from spinsim.scenario_file.variants import override

AUTOREGRESSIVE, VANILLA, SELECTION = "autoregressive", "vanilla", "+ selection"
DECOMPOSITION, PIPELINE = "+ decomposition", "+ pipeline"
BEST_SERIAL, BEST, REPLICAS, SHARDED = "best fixed serial", "best fixed", "replicas", "sharded"
PLANNED, ORACLE = "planned", "oracle"
ORDER = (
    AUTOREGRESSIVE, VANILLA, SELECTION, DECOMPOSITION, PIPELINE, BEST_SERIAL, BEST, REPLICAS, SHARDED,
    PLANNED, ORACLE,
)  # fmt: skip

PACKINGS = ("ragged", "decomposed", "padded")
COMPOSITIONS = ("balanced", "round_robin")
SERIAL: dict[str, Any] = {"name": "serial"}
WRITTEN = re.compile(r"(?:no draft|(\S+), (\d+) tokens?), (\w+)(?:, (\d+) micro-batches \((\w+)\))?")


@dataclass(frozen=True, slots=True)
class FixedPlan:
    """A plan that never changes; ``draft`` None decodes without one."""

    draft: str | None
    length: int
    packing: str
    depth: int = 1
    composition: str = "round_robin"

    def overrides(self) -> tuple[str, ...]:
        """The plan as a scenario's policies."""
        drafting = {"name": "fixed", "tokens": self.length} if self.draft else {"name": "none"}
        pipeline = {"name": "fixed", "micro_batches": self.depth} if self.depth > 1 else SERIAL
        return policies(
            {"name": "fixed", "draft": self.draft or "none"},
            drafting,
            self.packing,
            pipeline,
            self.composition,
        )

    @classmethod
    def read(cls, text: str) -> FixedPlan:
        """The plan that has been written so. Raises ValueError for any other text."""
        found = WRITTEN.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no fixed plan")
        draft, length, packing, depth, composition = found.groups()
        plan = cls(draft, int(length or 0), packing)
        return replace(plan, depth=int(depth), composition=composition) if depth else plan

    def __str__(self) -> str:
        tokens = "1 token" if self.length == 1 else f"{self.length} tokens"
        drafting = f"{self.draft}, {tokens}" if self.draft else "no draft"
        batches = f", {self.depth} micro-batches ({self.composition})" if self.depth > 1 else ""
        return f"{drafting}, {self.packing}{batches}"


def policies(
    selector: dict[str, Any],
    length: dict[str, Any],
    packing: str,
    pipeline: dict[str, Any],
    composition: str = "round_robin",
    switching: str = "blocking",
) -> tuple[str, ...]:
    """Overrides for every decision, so that nothing of the scenario's own policies is left."""
    return (
        override("policies.selector", selector),
        override("policies.length", length),
        override("policies.packing", {"name": packing}),
        override("policies.pipeline", pipeline),
        override("policies.composition", {"name": composition}),
        override("policies.switching", switching),
        override("policies.allow_none", False),
    )


def paper_steps(scenario: Scenario, smallest: str, tokens: int) -> dict[str, tuple[str, ...]]:
    """The paper's ladder, each step on top of the one before (SPIN, arXiv 2503.15921, section VI).

    ``vanilla`` is our reading of its baseline: the ``smallest`` draft for everyone, ``tokens`` a proposal,
    padded, serial. Selection is SPIN's, with a prior from earlier requests; its switching overlaps.
    """
    fixed, length = {"name": "fixed", "draft": smallest}, {"name": "fixed", "tokens": tokens}
    spin = {"name": "spin", "explore": 0.1, "share": "prior", "prior_weight": 2}
    return {
        AUTOREGRESSIVE: FixedPlan(None, 0, "ragged").overrides(),
        VANILLA: policies(fixed, length, "padded", SERIAL),
        SELECTION: policies(spin, length, "padded", SERIAL, switching="overlapped"),
        DECOMPOSITION: policies(spin, length, "decomposed", SERIAL, switching="overlapped"),
        PIPELINE: policies(spin, length, "decomposed", {"name": "spin"}, switching="overlapped"),
    }


def planned_steps() -> dict[str, tuple[str, ...]]:
    """The planner, and the bound of what it could do if it knew every acceptance."""
    follows = {"name": "planned"}
    return {
        name: policies({"name": selector}, follows, "planned", follows, "planned")
        for name, selector in ((PLANNED, "planned"), (ORACLE, "planned_oracle"))
    }


def gpus(scenario: Scenario) -> list[str]:
    """The devices that some model runs on, the target's first."""
    used = [*scenario.placement.target, *scenario.placement.drafts.values()]
    return list(dict.fromkeys(used))


def replica(scenario: Scenario, copies: int) -> tuple[str, ...]:
    """One of ``copies``: target and drafts on its share of the devices, with its part of the traffic.

    Its devices are the target's first ones, as many as each copy gets; drafts are spread over them in turn.
    Every copy has the same limits and reservation of K/V, and a part of the clients (rounded up), of the
    requests and of the batch.
    """
    home = list(scenario.placement.target)[: max(1, len(gpus(scenario)) // copies)]
    given = [
        override("devices", {name: scenario.devices[name].model_dump(mode="json") for name in home}),
        *sharded(scenario, home),
        override("limits.batch", -(-scenario.limits.batch // copies)),
    ]
    if scenario.workload.requests is not None:
        given.append(override("workload.requests", max(1, scenario.workload.requests // copies)))
    arrivals = scenario.workload.arrivals
    if isinstance(arrivals, ClosedLoop):
        given.append(override("workload.arrivals.concurrency", -(-arrivals.concurrency // copies)))
    elif isinstance(arrivals, Replay):
        given.append(override("workload.arrivals.rate_scale", arrivals.rate_scale / copies))
    elif not isinstance(arrivals, AllAtOnce):
        given.append(override("workload.arrivals.rate_per_s", arrivals.rate_per_s / copies))
    return tuple(given)


def sharded(scenario: Scenario, devices: Sequence[str]) -> tuple[str, ...]:
    """The target over all devices; drafts beside it, spread over them in turn."""
    placed = {draft: devices[at % len(devices)] for at, draft in enumerate(scenario.models.drafts)}
    return override("placement.target", list(devices)), override("placement.drafts", placed)
