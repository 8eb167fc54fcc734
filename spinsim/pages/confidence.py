"""How sure a run's numbers are: its intervals in words, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from spinsim.pages.run_terminal import NOTHING, heading, held, interval_head, other_hosts, percent, told
from spinsim.results.metrics import Metric, metric, value

_HOST = ("hop", "handling")  # whose noise is the host's
CORRELATED = "\N{DAGGER}"
Row = Mapping[str, Any]


def span_text(row: Row, metric: Metric) -> str:
    """``low to high``, or the side that is bounded; a dash where none is."""
    low, high = row["low"], row["high"]
    show = partial(told, metric)
    if low is None or high is None:
        return f"at least {show(low)}" if low is not None else f"at most {show(high)}" if high else NOTHING
    ends = show(low), show(high)
    unit = ends[1].rpartition(" ")[2]
    if ends[0] != ends[1] and ends[0].endswith(f" {unit}"):
        return f"{ends[0].removesuffix(f' {unit}')} to {ends[1]}"
    return f"{ends[0]} to {ends[1]}"


def headline_span(s: Mapping[str, Any], metric: Metric) -> str:
    """A metric's interval for the headline: the prediction's where there is one, else the run's own."""
    predicted = s.get("intervals", {}).get("metrics", {}).get(metric.path)
    own = s.get("within_run", {}).get("metrics", {}).get(metric.path)
    row = predicted or own
    if row is None:
        return ""
    if predicted:
        said = f"{held(s['intervals'])} of predicted runs"
    else:
        said = f"{percent(s['within_run']['level'])} within the run"
    mark = CORRELATED if row.get("correlated") else ""
    return f"{span_text(row, metric)}{mark}, {said}"


class Confidence(NamedTuple):
    """A table of intervals, or a sentence on why there is none; and what the page says below it."""

    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    correlated: bool = False  # is an interval marked, because even its longest batches move together?
    noise: str = ""  # behind predicted intervals, in words
    missing: str = ""


def confidence(s: Mapping[str, Any]) -> Confidence:
    """Every interval that the summary has."""
    own = s.get("within_run", {"metrics": {}, "note": "", "level": None})
    predicted = s.get("intervals", {}).get("metrics", {})
    if not own["metrics"] and not predicted:
        return Confidence(missing=own["note"])
    header, rows = ["", "this run"], []
    if own["metrics"]:
        header.append(f"{percent(own['level'])} within the run")
    if predicted:
        header.append(f"{interval_head(s['intervals'])}, predicted")
    for path in dict.fromkeys([*own["metrics"], *predicted]):
        known = metric(path)
        cells = [heading(known), told(known, value(s, known))]
        if own["metrics"]:
            row = own["metrics"].get(path)
            mark = CORRELATED if row and row["correlated"] else ""
            cells.append(span_text(row, known) + mark if row else NOTHING)
        if predicted:
            cells.append(span_text(predicted[path], known) if path in predicted else NOTHING)
        rows.append(cells)
    return Confidence(
        header,
        rows,
        correlated=any(row["correlated"] for row in own["metrics"].values()),
        noise=_drawn(s["intervals"]) if predicted else "",
    )


def _drawn(intervals: Mapping[str, Any]) -> str:
    """What predicted intervals are made of."""
    return "; ".join(filter(None, (_noise(intervals["noise"]), other_hosts(intervals))))


def _noise(noise: Mapping[str, Any]) -> str:
    """A scenario's noise in words."""
    run, call = noise.get("per_run_sd"), noise.get("per_call_sd")
    host = {kind: run.get(kind) for kind in _HOST} if isinstance(run, Mapping) else {}
    operations = (
        {kind: sd for kind, sd in run.items() if kind not in _HOST} if isinstance(run, Mapping) else run
    )
    parts = [_spread(operations, "a run"), _spread(call, "a call")]
    parts += [_spread(host.get(kind), f"a run of the host's {kind}") for kind in _HOST]
    known = [part for part in parts if part]
    said = "noise " + _listed(known) if known else "no noise of costs is known"
    rate = noise.get("other_text")
    if rate:
        return f"{said}; outputs go over to another text than the recorded with {100 * rate:.3g} % a token"
    return said if known else f"{said}: seeds alone"


def _spread(given: Any, what: str) -> str:
    """``1 % to 3 % a run``; empty where there is none."""
    spreads = [v for v in (given.values() if isinstance(given, Mapping) else [given]) if v]
    if not spreads:
        return ""
    low, high = percent(min(spreads)), percent(max(spreads))
    return f"{low if low == high else f'{low} to {high}'} {what}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
