"""How far a ladder's comparisons could go if nothing but the measured verifications took time (ours)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spinsim.studies.ladder.steps import (
    BEST,
    BEST_SERIAL,
    DECOMPOSITION,
    PIPELINE,
    PLANNED,
    REPLICAS,
    SELECTION,
    SHARDED,
    VANILLA,
)

PLANS = (PLANNED, BEST, BEST_SERIAL)
PAIRED = {VANILLA: "ratio_to_vanilla", BEST_SERIAL: "ratio_to_best_serial"}

Steps = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Bound:
    """``step`` over ``to``: the ratio of their goodputs as ``reached``, and the most that the measured
    operations allow (``at_most``), by the argument in ``why``."""

    step: str
    to: str
    reached: float
    at_most: float
    why: str


def bounds(steps: Sequence[Mapping[str, Any]]) -> list[Bound]:
    """The comparisons of a ladder whose steps ran; ``steps`` as in its summary.

    The planner (or the fastest of :data:`PLANS` that ran) is held to the best of these: a rate over the share
    of time in which the target works is the rate with drafting, host and waits hidden behind verifications.
    Pipelining is held to the same of the step before, and of its own smaller verifications. Decomposition is
    held to the shortest serial verification of the ladder, in place of the padded one.
    """
    ran = {step["name"]: step for step in steps if step["goodput_tokens_per_s"] and step.get("round")}
    return [*_of_the_plan(ran), *_of_pipelining(ran), *_of_decomposition(ran)]


def _of_the_plan(ran: Steps) -> Iterator[Bound]:
    plans = [name for name in PLANS if name in ran]
    if not plans:
        return
    plan = PLANNED if PLANNED in ran else max(plans, key=lambda name: _rate(ran[name]))
    best = max(plans, key=lambda name: _overlapped(ran[name]))
    for to in (VANILLA, BEST_SERIAL, REPLICAS, SHARDED):
        if to in ran and to != plan:
            paired = ran[plan].get(PAIRED.get(to, ""))  # over the seeds that both have run
            reached = paired or _rate(ran[plan]) / _rate(ran[to])
            yield Bound(plan, to, reached, _overlapped(ran[best]) / _rate(ran[to]), _why(ran[best]))


def _of_pipelining(ran: Steps) -> Iterator[Bound]:
    if PIPELINE in ran and DECOMPOSITION in ran:
        least = min((ran[DECOMPOSITION], ran[PIPELINE]), key=_overlapped)
        before = _rate(ran[DECOMPOSITION])
        reached = _rate(ran[PIPELINE]) / before
        yield Bound(PIPELINE, DECOMPOSITION, reached, _overlapped(least) / before, _why(least))


def _of_decomposition(ran: Steps) -> Iterator[Bound]:
    if DECOMPOSITION in ran and SELECTION in ran:
        padded = ran[SELECTION]["round"]
        serial = [ran[name] for name in (BEST_SERIAL, DECOMPOSITION) if name in ran]
        quickest = min(serial, key=lambda step: float(step["round"]["verify_ms"]))
        least = min(float(quickest["round"]["verify_ms"]), padded["verify_ms"])
        at_most = padded["ms"] / (padded["ms"] - padded["verify_ms"] + least)
        why = f"verifications of {padded['verify_ms']:.1f} ms take the {least:.1f} ms of {quickest['name']}"
        yield Bound(DECOMPOSITION, SELECTION, _rate(ran[DECOMPOSITION]) / _rate(ran[SELECTION]), at_most, why)


def _rate(step: Mapping[str, Any]) -> float:
    return float(step["goodput_tokens_per_s"])


def _share(step: Mapping[str, Any]) -> float:
    """Of its time, in which the target works."""
    return min(1.0, float(step["round"]["target_share"]))


def _overlapped(step: Mapping[str, Any]) -> float:
    """Tokens per second if the target worked all the time."""
    return _rate(step) / _share(step)


def _why(step: Mapping[str, Any]) -> str:
    return (
        f"perfect overlap of {step['name']}'s operations, whose target works {_share(step):.0%} of the time"
    )
