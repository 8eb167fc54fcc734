"""What the pages of comparisons, sweeps, capacities and searches have in common."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from spinsim.costs.base import LABELS
from spinsim.lab.rows import Row, failures
from spinsim.lab.statistics import Interval
from spinsim.pages import shell
from spinsim.pages.run_terminal import NOTHING, lost_rows, number, percent
from spinsim.results.few import FEW, requests_behind
from spinsim.results.metrics import Metric
from spinsim.studies.compare import Effect

_LATENCIES = ("latency.tpot_s.", "latency.e2e_s.", "latency.ttft_s.")


def is_share(metric: Metric) -> bool:
    """Is it one of those that are told in percent?"""
    return metric.unit == "share"


def shown(metric: Metric, amount: float | None) -> str:
    """A value in its title's unit; a share in percent."""
    if is_share(metric):
        return percent(None if amount is None or amount != amount else amount)
    return number(None if amount is None or amount != amount else amount * metric.scale, 4)


def spread(interval: Interval, metric: Metric) -> str:
    """``low to high``; a dash for none."""
    if interval.low is None or interval.high is None:
        return NOTHING
    return f"{shown(metric, interval.low)} to {shown(metric, interval.high)}"


def signed(share: Interval | float | None) -> str:
    """A relative difference, or the estimate of an interval, in percent."""
    share = share.estimate if isinstance(share, Interval) else share
    return NOTHING if share is None or share != share else f"{round(100 * share, 1) + 0.0:+.1f} %"


def signed_spread(interval: Interval | None) -> str:
    """Its interval."""
    if interval is None or interval.low is None:
        return NOTHING
    return f"{signed(interval.low)} to {signed(interval.high)}"


def changed(effect: Effect) -> str:
    """An effect's difference to the baseline: in percent of it, of a share in percentage points."""
    return _points(effect.difference) if is_share(effect.metric) else signed(effect.relative)


def changed_spread(effect: Effect) -> str:
    """Its interval."""
    if not is_share(effect.metric):
        return signed_spread(effect.relative)
    found = effect.difference
    if found is None or found.low is None:
        return NOTHING
    return f"{_points(found.low)} to {_points(found.high)}"


def _points(share: Interval | float | None) -> str:
    text = signed(share)
    return text if text == NOTHING else text.replace(" %", " pp")


def head(kicker: str, title: str, lede: str) -> str:
    """The top of an experiment's shell."""
    return (
        f'<header><p class="kicker">{escape(kicker)}</p><h1>{escape(title)}</h1>'
        f'<p class="lede">{escape(lede)}</p></header>'
    )


def provenance(rows: Sequence[Row]) -> str:
    """What stands behind the figures: labels of costs, their mean shares of the time, and of acceptance."""
    found = [row.summary for row in rows if row.summary is not None]
    if not found:
        return ""
    shares = {label: sum(s["costs"].get(label) or 0.0 for s in found) / len(found) for label in LABELS}
    costs = ", ".join(f"{percent(share)} {label}" for label, share in shares.items() if share)
    acceptance = ", ".join(sorted({s["acceptance"]["source"] for s in found}))
    return f"costs: {costs or 'nothing was predicted'}; acceptance: {acceptance}"


def shortcomings(rows: Sequence[Row]) -> list[str]:
    """What makes less of the figures than they seem: rows that a source lost, runs of few requests."""
    found = [row.summary for row in rows if row.summary is not None]
    if not found:
        return []
    lost = next((text for s in found if (text := lost_rows(s))), "")
    said = [f"workload: {lost}"] if lost else []
    behind = min(requests_behind(s) for s in found)
    few = f"some runs rest on no more than {behind} requests; with fewer than {FEW}, shares say little"
    return [*said, few] if behind < FEW else said


def provenance_note(rows: Sequence[Row]) -> str:
    """:func:`provenance` and :func:`shortcomings` for a shell."""
    said = provenance(rows)
    return "".join(f'<p class="note">{escape(text)}.</p>' for text in (said, *shortcomings(rows)) if text)


def failed_section(rows: Sequence[Row]) -> str:
    """What failed, if anything did."""
    failed = failures(rows)
    if not failed:
        return ""
    lines = [
        [escape(", ".join(f"{k} {v}" for k, v in f["labels"].items())), str(f["seed"]),
         f'<td class="text">{escape(f["error"])}</td>']
        for f in failed[:50]
    ]  # fmt: skip
    text = f'<p class="partial">{len(failed)} of {len(rows)} cells failed and are left out above.</p>'
    return shell.section("Failed", text, shell.table(["cell", "seed", "<th></th>"], lines))


def trade_off_of(metrics: Sequence[Metric]) -> tuple[int, int] | None:
    """Places of a latency and of the first metric, to draw one against the other; None where either
    is missing. TPOT is preferred, and its median."""
    if not metrics or metrics[0].path.startswith("latency."):
        return None
    for kind in _LATENCIES:
        for i, metric in enumerate(metrics):
            if metric.path.startswith(kind):
                return i, 0
    return None
