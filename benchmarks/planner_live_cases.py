"""What ``benchmarks.planner_live`` serves: two workloads of one deployment, and the plans compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spinsim.scenario_file.variants import override
from spinsim.studies.ladder.steps import (
    ORACLE,
    PLANNED,
    SERIAL,
    VANILLA,
    FixedPlan,
    planned_steps,
    policies,
)

SCENARIO = Path(__file__).parents[1] / "scenarios" / "reasoning.yaml"  # the target, limits and K/V
JOINT = "joint"
TOKENS = 4  # a proposal of vanilla's and of joint's
SMALLEST = "tiny"
SHAPES = {**dict.fromkeys((SMALLEST, "code", "maths"), "llama-3-117m"), "large": "llama-3-1b"}

DIFFERING = {  # as in the map of docs/regimes.md: three kinds of requests, no draft is best for everybody
    "model": "logistic",
    "strength": {"tiny": 0.0, "code": -1.5, "maths": -1.5, "large": 1.3},
    "difficulty_sd": 0.7,
    "domains": {
        "code": {"affinity": {"code": 3.5}},
        "maths": {"affinity": {"maths": 3.5}, "difficulty": 0.3},
        "prose": {},
    },
}
ALIKE = {
    "model": "constant",
    "probability": {"tiny": 0.56, "code": 0.4, "maths": 0.4, "large": 0.72},
}


@dataclass(frozen=True)
class Case:
    """A workload, as overrides of the deployment's scenario."""

    name: str
    overrides: tuple[str, ...]


CASES = (
    Case(
        "differ",
        (
            override("acceptance", DIFFERING),
            override("workload.arrivals", {"process": "closed", "concurrency": 16}),
            "workload.requests=48",
            "workload.prompt_tokens={distribution: uniform, min: 64, max: 192}",
            "workload.output_tokens={distribution: lognormal, median: 384, sigma: 0.3, min: 128, max: 640}",
        ),
    ),
    Case(  # the lengths of answers are the scenario's, and every request is met within its answer
        "alike",
        (
            override("acceptance", ALIKE),
            override("workload.arrivals", {"process": "at_once"}),
            "workload.requests=48",
            "workload.mid_flight={distribution: uniform, min: 300, max: 380}",
        ),
    ),
)
DEPLOYED = (
    override("models.drafts", {draft: {"shape": shape} for draft, shape in SHAPES.items()}),
    override("placement.drafts", dict.fromkeys(SHAPES, "gpu0")),
    override("acceptance", ALIKE),
    override("policies.selector", {"name": "fixed", "draft": SMALLEST}),
    override("policies.pipeline", SERIAL),
    "limits.max_length=8",
)
SMALL_MODELS = (  # for a rehearsal on a CPU: the family as it was trained, few and short requests
    override(
        "models",
        {
            "target": {"shape": "llama-7b", "weights": "embedded:target", "dtype": "fp32"},
            "drafts": {
                draft: {"shape": "llama-68m", "weights": f"embedded:{draft}", "dtype": "fp32"}
                for draft in SHAPES
            },
        },
    ),
    "live.widen=false",
    "limits.context_tokens=1024",
    "limits.batch=8",
)
SHORT = {
    "differ": (
        override("workload.arrivals", {"process": "closed", "concurrency": 4}),
        "workload.requests=8",
        "workload.output_tokens={distribution: uniform, min: 24, max: 48}",
    ),
    "alike": (
        "workload.requests=6",
        "workload.prompt_tokens={distribution: uniform, min: 16, max: 64}",
        "workload.output_tokens={distribution: uniform, min: 100, max: 120}",
        "workload.mid_flight={distribution: uniform, min: 20, max: 30}",
    ),
}
PACKINGS = ("ragged", "padded", "decomposed")  # what the plans below execute


def joint() -> tuple[str, ...]:
    """``joint`` over ragged, serial rounds: a plan for the batch that decides no lengths."""
    return policies({"name": "joint"}, {"name": "fixed", "tokens": TOKENS}, "ragged", SERIAL)


def plans(fixed: Iterable[FixedPlan]) -> dict[str, Sequence[str]]:
    """What is compared, by name, as overrides: fixed plans by what they say of themselves. The oracle is
    simulated only."""
    vanilla = policies(
        {"name": "fixed", "draft": SMALLEST}, {"name": "fixed", "tokens": TOKENS}, "padded", SERIAL
    )
    planned = planned_steps()
    return {
        VANILLA: vanilla,
        **{str(plan): plan.overrides() for plan in fixed},
        JOINT: joint(),
        PLANNED: planned[PLANNED],
        ORACLE: planned[ORACLE],
    }
