"""How far a ladder's comparisons could go if nothing but the measured verifications took time (ours)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    A plan is held to the best of :data:`PLANS`: its rate over the share of time in which its target works is
    its rate with drafting, host and waits hidden behind verifications. Pipelining is held to the same of the
    step before. Decomposition is held to the shortest verification that any of these steps had, in place of
    the padded one.
    """
    ran = {step["name"]: step for step in steps if step["goodput_tokens_per_s"] and step.get("round")}
    found = []
    if PLANNED in ran:
        best = max((name for name in PLANS if name in ran), key=lambda name: _overlapped(ran[name]))
        why = f"perfect overlap of {best}'s operations: target works {_share(ran[best])} of the time"
        for to in (VANILLA, BEST_SERIAL, REPLICAS, SHARDED):
            if to in ran:
                found.append(_bound(ran, PLANNED, to, _overlapped(ran[best]) / _rate(ran[to]), why))
    if PIPELINE in ran and DECOMPOSITION in ran:
        before = ran[DECOMPOSITION]
        why = f"perfect overlap of {DECOMPOSITION}'s operations: target works {_share(before)} of the time"
        found.append(_bound(ran, PIPELINE, DECOMPOSITION, 1 / before["round"]["target_share"], why))
    if DECOMPOSITION in ran and SELECTION in ran:
        padded = ran[SELECTION]["round"]
        quickest = min(
            (name for name in (*PLANS, DECOMPOSITION) if name in ran), key=lambda n: _verify(ran[n])
        )
        least = _verify(ran[quickest])
        at_most = padded["ms"] / (padded["ms"] - padded["verify_ms"] + min(least, padded["verify_ms"]))
        why = f"verifications of {padded['verify_ms']:.1f} ms as short as those of {quickest}, {least:.1f} ms"
        found.append(_bound(ran, DECOMPOSITION, SELECTION, at_most, why))
    return found


def _bound(ran: Mapping[str, Any], step: str, to: str, at_most: float, why: str) -> Bound:
    return Bound(step, to, _rate(ran[step]) / _rate(ran[to]), at_most, why)


def _rate(step: Mapping[str, Any]) -> float:
    return float(step["goodput_tokens_per_s"])


def _overlapped(step: Mapping[str, Any]) -> float:
    """Tokens per second if the target verified all the time."""
    return _rate(step) / float(step["round"]["target_share"])


def _verify(step: Mapping[str, Any]) -> float:
    return float(step["round"]["verify_ms"])


def _share(step: Mapping[str, Any]) -> str:
    return f"{step['round']['target_share']:.0%}"
