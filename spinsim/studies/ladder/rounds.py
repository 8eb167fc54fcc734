"""What a round of a step takes, and of what: the same from a simulated run and from a live one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

Summary = Mapping[str, Any]


def round_of(summaries: Sequence[Summary], metric: str) -> dict[str, float] | None:
    """Means over a step's runs, at the rate that ``metric`` names; None where nothing was verified.

    ``tokens``: committed by a round of one micro-batch. ``ms``: from one round to the next, of all
    micro-batches together. ``verify_ms``, ``propose_ms``: of its operations; proposals of drafts that work
    side by side add up. ``target_share``: of its time, in which the target's lane works. Prompts count where
    the metric counts their time.
    """
    found = [_of(summary, metric) for summary in summaries]
    known = [one for one in found if one is not None]
    return {name: fmean(one[name] for one in known) for name in known[0]} if known else None


def _of(summary: Summary, metric: str) -> dict[str, float] | None:
    speculation, rate = summary["speculation"], summary[metric]
    rounds, committed = speculation["micro_batch_rounds"], speculation["committed_by_verifications"]
    if not rate or not committed:
        return None
    busy = [lane["busy_s"] for lane in summary["lanes"].values()]
    verify, propose = (1e3 * sum(lane[kind] for lane in busy) / rounds for kind in ("verify", "propose"))
    prefill = 1e3 * sum(lane["prefill"] for lane in busy) / rounds
    tokens = committed / rounds
    ms = 1e3 * tokens / rate
    works = verify if metric == "decode_tokens_per_s" else verify + prefill
    return {
        "tokens": tokens,
        "ms": ms,
        "verify_ms": verify,
        "propose_ms": propose,
        "target_share": works / ms,
    }
