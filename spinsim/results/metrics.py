"""The registry of metrics: the numbers of a summary that people compare, each described in one place.

The terminal, the pages of runs and validations, the tables of compare and sweep, the intervals of a
prediction and the measures of a validation all read this registry. To add a metric, decorate one function
with :func:`register`; a plugin may do it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from spinsim.errors import InputError

if TYPE_CHECKING:
    from spinsim.engine.records import Records
    from spinsim.results.columns import RequestColumns
    from spinsim.results.speculation import RoundRows
    from spinsim.results.window import Window

Unit = Literal["", "s", "share", "tokens/s", "requests/s", "currency"]
Place = Literal["tiles", "tables", "intervals"]
EVERYWHERE: tuple[Place, ...] = ("tiles", "tables", "intervals")
OPTIONAL = {  # sections of a summary that only some scenarios have, and what it takes
    "slo": "objectives; set slo in the scenario",
    "cost": "prices; give every device of the scenario a price_per_hour",
}


@dataclass(frozen=True, slots=True)
class Run:
    """What a metric is computed from: everything that was recorded, and the part that the window holds."""

    records: Records
    window: Window
    requests: RequestColumns
    rounds: RoundRows
    price_per_hour: float | None = None  # of all devices together, where the scenario says it


Compute = Callable[[Run], float | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """How one number of a summary is called, shown and judged.

    ``path`` is its dotted place in summary.json, ``name`` a short name for options, ``label`` its name in
    words. ``lower`` says that less is better. ``unit`` is that of the summary: seconds are shown in tables
    as milliseconds, shares in percent. ``shown`` lists where it appears without being asked for: on the
    first lines of a run and a validation (``tiles``), as a column of compare and sweep (``tables``), and
    with an interval and an error of prediction (``intervals``). ``detail`` is the small print of its tile,
    a format string over the summary.
    """

    path: str
    lower: bool
    name: str = ""
    label: str = ""
    unit: Unit = ""
    shown: tuple[Place, ...] = ()
    definition: str = ""
    detail: str = ""

    @property
    def title(self) -> str:
        """Label and unit, for tables and axes."""
        unit = {"s": "ms", "share": "", "currency": ""}.get(self.unit, self.unit)
        return f"{self.label}, {unit}" if unit else self.label

    @property
    def scale(self) -> float:
        """What a value is multiplied by to be in the title's unit."""
        return 1e3 if self.unit == "s" else 1.0

    @property
    def section(self) -> str:
        """The optional section of the summary that it belongs to; empty where every summary has it."""
        first = self.path.partition(".")[0]
        return first if first in OPTIONAL else ""

    @property
    def measure(self) -> str:
        """Its key in the cells of a validation: ``latency.ttft_s.p50`` is ``ttft_p50_s`` there."""
        section, *rest = self.path.split(".")
        if section == "latency" and len(rest) == 2:
            return f"{rest[0].removesuffix('_s')}_{rest[1]}_s"
        return rest[-1] if rest else section


_METRICS: dict[str, Metric] = {}  # by name, in the order of pages and tables
_COMPUTED: dict[str, Compute] = {}  # by name; the sections of the summary hold the others already


def register(
    name: str,
    *,
    label: str,
    definition: str,
    path: str = "",
    unit: Unit = "",
    lower: bool = False,
    shown: Sequence[Place] = EVERYWHERE,
    detail: str = "",
) -> Callable[[Compute], Compute]:
    """Register the decorated function as a metric; summaries then hold its value at ``path``.

    ``path`` is ``name`` at the top of the summary unless it is given. The function gets a :class:`Run`, which
    may be one in which nothing happened, and returns a finite number, or None where there was nothing to
    measure. The other parameters are explained at :class:`Metric`. Raises ValueError for a name, a path or
    a measure that is taken.
    """

    def decorate(compute: Compute) -> Compute:
        _add(Metric(path or name, lower, name, label, unit, tuple(shown), definition, detail))
        _COMPUTED[name] = compute
        return compute

    return decorate


def _add(new: Metric) -> None:
    for known in _METRICS.values():
        if new.name == known.name or new.path == known.path or new.measure == known.measure:
            raise ValueError(f"a metric {known.name!r} with the path {known.path!r} is registered already")
    _METRICS[new.name] = new


def forget(name: str) -> None:
    """Remove a metric that :func:`register` added. Raises KeyError for an unknown name."""
    del _METRICS[name], _COMPUTED[name]


def names() -> list[str]:
    """The short names of all metrics."""
    return list(_METRICS)


def shown_in(place: Place) -> list[Metric]:
    """The metrics that appear in one kind of place."""
    return [known for known in _METRICS.values() if place in known.shown]


def definitions() -> dict[str, str]:
    """What the registered metrics mean, by their key in the summary."""
    return {m.path.rpartition(".")[2]: m.definition for m in _METRICS.values() if m.definition}


def add_computed(summary: dict[str, Any], run: Run) -> None:
    """Put the value of every registered function into the summary, at its metric's path.

    A metric of an optional section that the summary does not have is left out.

    Raises ValueError where the summary has that path already, or for a value that is not finite.
    """
    for name, compute in _COMPUTED.items():
        optional = _METRICS[name].section
        if optional and optional not in summary:
            continue
        *sections, key = _METRICS[name].path.split(".")
        here = summary
        for section in sections:
            here = here.setdefault(section, {})
        found = compute(run)
        if key in here:
            raise ValueError(f"metric {name!r}: the summary has {_METRICS[name].path!r} already")
        if found is not None and not math.isfinite(found):
            raise ValueError(f"metric {name!r} is {found}; a metric is finite, or None")
        here[key] = found


_LOWER = ("latency.", "verification.padding_fraction", "host.", "requests.cancelled", "requests.rejected")
_SHARES = ("attainment", "acceptance_rate", "_fraction")


def metric(name: str) -> Metric:
    """A metric by its short name (``goodput``, ``p99_tpot``, ...) or by a summary's dotted path.

    A path that nobody registered is called by its path, and judged by its section.
    """
    if name in _METRICS:
        return _METRICS[name]
    for known in _METRICS.values():
        if known.path == name:
            return known
    return Metric(name, name.startswith(_LOWER), label=name, unit="share" if name.endswith(_SHARES) else "")


def usual_metrics(sections: Collection[str]) -> list[Metric]:
    """What a comparison shows unless asked for something else.

    ``sections`` are the optional ones that its summaries have, such as ``slo``.
    """
    return [known for known in shown_in("tables") if not known.section or known.section in sections]


def value(summary: Mapping[str, Any], metric: Metric) -> float | None:
    """The metric in a summary; None where there was nothing to measure.

    Names are checked before anything runs (:func:`spinsim.results.expected_metrics.check_metrics`): a number
    that is missing belongs to what did not happen. Raises InputError for what is no number.
    """
    here: Any = summary
    for part in metric.path.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return None
        here = here[part]
    if here is None or (isinstance(here, int | float) and not isinstance(here, bool)):
        return here
    raise InputError(f"{metric.path!r} is no number; give a dotted path to a number", key="metric")


def flatten(summary: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value of a summary with its dotted path; lists stay lists."""
    for key, item in summary.items():
        if isinstance(item, Mapping):
            yield from flatten(item, f"{prefix}{key}.")
        elif not isinstance(item, Sequence) or isinstance(item, str) or _numbers(item):
            yield f"{prefix}{key}", item


def _numbers(items: Sequence[Any]) -> bool:
    return all(isinstance(item, int | float) for item in items)


# The sections of the summary compute these, several from the same sums; so they have no function here.


def _latency(name: str, label: str, point: str, shown: tuple[Place, ...]) -> Metric:
    path = f"latency.{name}_s.{point}"
    detail = f"p99 {{latency[{name}_s][p99]:duration}}"
    return Metric(path, True, f"{point}_{name}", f"{label} {point}", "s", shown, detail=detail)


def _built_in() -> Iterator[Metric]:
    yield Metric(
        "goodput_tokens_per_s",
        False,
        "goodput",
        "goodput",
        "tokens/s",
        EVERYWHERE,
        "tokens.committed / duration_s; first tokens (from prefill) count, "
        "nothing past the end of an output does",
        "{tokens[committed]:,} tokens committed in {duration_s:duration}",
    )
    yield Metric(
        "slo.attainment",
        False,
        "attainment",
        "SLO attainment",
        "share",
        ("tiles", "tables"),
        detail="{slo[requests_met]:,} of {slo[requests_judged]:,} requests",
    )
    yield Metric(
        "slo.goodput_requests_per_s",
        False,
        "slo_goodput",
        "goodput within SLO",
        "requests/s",
        ("tables",),
        "requests that met every objective of slo / duration_s",
    )
    for name, label in (("ttft", "TTFT"), ("tpot", "TPOT"), ("e2e", "E2E")):
        yield _latency(name, label, "mean", ())
        yield _latency(name, label, "p50", EVERYWHERE)
        yield _latency(name, label, "p90", ())
        yield _latency(name, label, "p99", ("intervals",) if name == "e2e" else ("tables", "intervals"))
    yield Metric(
        "speculation.acceptance_length",
        False,
        "acceptance_length",
        "acceptance length",
        shown=EVERYWHERE,
        definition="tokens committed per verification of a proposal, the target's own included",
        detail="{speculation[committed_by_verifications]:,} tokens in "
        "{speculation[verifications]:,} verifications",
    )
    yield Metric(
        "speculation.acceptance_rate",
        False,
        "acceptance_rate",
        "acceptance rate",
        "share",
        definition="accepted / drafted",
    )
    yield Metric("verification.padding_fraction", True, "padding", "padding", "share")


for _metric in _built_in():
    _add(_metric)


@register(
    "cost",
    path="cost.per_million_output_tokens",
    label="cost per million output tokens",
    definition="price of all devices for duration_s / tokens.committed, times a million; "
    "in the currency of price_per_hour, devices paid for whether busy or not",
    unit="currency",
    lower=True,
    shown=("tiles", "tables"),
    detail="{cost[price_per_hour]:,.2f} an hour for all devices",
)
def cost_per_million_output_tokens(run: Run) -> float | None:
    """What a million committed tokens cost, the devices being rented for as long as the window lasts."""
    firsts = run.requests.first_token
    inside = (firsts >= run.window.start_ns / 1e9) & (firsts <= run.window.end_ns / 1e9)
    tokens = int(run.rounds.committed.sum()) + int(inside.sum())
    if run.price_per_hour is None or not tokens:
        return None
    return run.price_per_hour * run.window.seconds / 3600 / tokens * 1e6
