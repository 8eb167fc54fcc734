"""How many requests stand behind a run's figures, said where they are few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FEW = (
    30  # requests: with fewer, a share of 90 % is known to 11 percentage points at best (two standard errors)
)


def requests_behind(summary: Mapping[str, Any]) -> int:
    """Requests that latencies, and shares of requests, are taken over."""
    judged = (summary.get("slo") or {}).get("requests_judged")
    completed = summary["window"]["completed"]
    return int(completed if judged is None else min(judged, completed))


def few_requests(summary: Mapping[str, Any]) -> str:
    """``9 requests stand behind these figures; ...``; empty where they are not few, or none was sent."""
    behind = requests_behind(summary)
    if behind >= FEW or not summary["requests"]["submitted"]:
        return ""
    window = summary["window"]
    are = f"{behind} request{' stands' if behind == 1 else 's stand'} behind these figures"
    return (
        f"{are}, of {summary['requests']['submitted']:,} sent (window {window['start_s']:.3g} to "
        f"{window['end_s']:.3g} s); with fewer than {FEW}, percentiles and shares say little"
    )
