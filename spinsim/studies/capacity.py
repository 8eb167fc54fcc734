"""``spinsim capacity``: the highest arrival rate at which enough requests meet their objectives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spinsim.errors import InputError
from spinsim.lab.cell import check_fits
from spinsim.lab.evaluate import Lab
from spinsim.lab.fingerprint import code_digest
from spinsim.lab.level_crossing import Curve, crossing, fit
from spinsim.lab.rows import Planned, Row, plan, rows_of
from spinsim.lab.statistics import Interval, mean_interval
from spinsim.results.few import FEW
from spinsim.results.metrics import metric, value
from spinsim.scenario import MOST_REQUESTS, AllAtOnce, ClosedLoop, Gamma, Poisson, Replay, Scenario
from spinsim.scenario_file import LoadedScenario, load, resolved_yaml
from spinsim.scenario_file.variants import override, seeds_from
from spinsim.workload.for_scenario import build_workload

FEWEST_REQUESTS = 50
CURVE = (0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5)  # rates of the curve, in capacities
MOST_DOUBLINGS = 24
ALONE = 0.02  # requests in the server in the mean, below which a lower rate changes next to nothing
OVERLOADED = 1.5  # mean wait by the time that requests come: then four times as many come as are served
SHORT_S = 60.0  # of traffic: the backlog of a shorter burst is gone before it hurts
_ATTAINMENT, _STAY = metric("attainment"), metric("mean_e2e")
_DECIDED = 0.9  # confidence at which a rate holds or fails; otherwise it gets more seeds


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """What to look for. ``attainment``: share of requests that must meet the objectives.

    Synthetic arrivals get as many requests as ``duration_s`` of traffic has at each rate; a recorded
    trace is replayed faster or slower as a whole. ``tolerance`` is the relative width at
    which the search stops. A rate is judged on ``seeds`` repetitions, and on up to four times as
    many where these do not decide.
    """

    scenario: Path
    attainment: float
    overrides: tuple[str, ...]
    duration_s: float | None
    tolerance: float
    seeds: int
    seed: int | None
    plugins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RatePoint:
    """Attainment at one arrival rate, by seed; ``fitted`` is the monotone fit over all rates."""

    rate: float
    attainments: tuple[float, ...]
    fitted: float

    @property
    def mean(self) -> float:
        return sum(self.attainments) / len(self.attainments)


@dataclass(frozen=True, slots=True)
class Capacity:
    """``rate``: requests/s where the fitted curve crosses the wanted attainment, with its interval.

    None where no rate that was tried held. ``objectives`` as in the scenario's slo.
    """

    scenario: str
    objectives: Mapping[str, float | None]
    attainment: float
    rate: Interval | None
    curve: tuple[RatePoint, ...]
    notes: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)
    scenarios: Mapping[str, str] = field(default_factory=dict, repr=False)  # resolved YAML by name


def parse_slo(text: str) -> list[str]:
    """``ttft_s=0.5,tpot_s=0.03`` as overrides. Raises InputError for what reads otherwise."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, amount = (piece.strip() for piece in part.partition("="))
        if not equals or name not in ("ttft_s", "tpot_s") or not _seconds(amount):
            raise InputError(
                f"{part!r} is no objective; write ttft_s=SECONDS,tpot_s=SECONDS, above 0",
                file=f"--slo {text}",
            )
        if name in found:
            raise InputError(f"{name} is given twice; once", file=f"--slo {text}")
        found[name] = f"slo.{name}={amount}"
    return list(found.values())


def _seconds(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def capacity(wanted: CapacityPlan, lab: Lab) -> Capacity:
    """Search, then draw the curve around what was found.

    1. From the scenario's own rate, double or halve until one rate holds and the other fails.
    2. Halve that interval (geometrically) until it is within the tolerance. A rate holds or fails when
       the interval of its mean attainment is on one side of the wanted one; else it gets
       more seeds, and in the end its mean decides.
    3. The capacity is where a monotone fit to all points crosses, with a bootstrap interval over seeds:
       the search spends the simulations, its single decisions do not make the answer.

    Raises InputError for a scenario without objectives or without a rate to vary.
    """
    loaded = load(wanted.scenario, wanted.overrides)
    check_fits(loaded)
    scenario = loaded.scenario
    if scenario.slo is None:
        raise InputError("no objectives; give --slo ttft_s=SECONDS,tpot_s=SECONDS", key="slo")
    if not 0 < wanted.attainment < 1:
        raise InputError(f"{wanted.attainment} is not allowed; between 0 and 1", key="--attainment")
    if not 0 < wanted.tolerance < 1:
        raise InputError(f"{wanted.tolerance} is not allowed; between 0 and 1", key="--tolerance")
    search = _Search(wanted, loaded, lab)
    lab.store.write_manifest("capacity", _manifest(wanted, search))
    bounded, notes = search.run()
    rates = sorted(search.values)
    curve = Curve(rates, [search.values[rate] for rate in rates])
    fitted = fit(curve)
    found = crossing(curve, wanted.attainment) if bounded else None
    points = [
        RatePoint(rate, tuple(found_), level)
        for rate, found_, level in zip(rates, curve.values, fitted, strict=True)
    ]
    few = _few(search.rows)
    if few and found is not None:
        found = replace(found, low=None, high=None)
    return Capacity(
        scenario.name,
        scenario.slo.model_dump(),
        wanted.attainment,
        found,
        tuple(points),
        (*notes, *few, *_behind(search.rows, found.estimate if found else None)),
        tuple(search.rows),
        {scenario.name: resolved_yaml(loaded)},
    )


def _few(rows: Sequence[Row]) -> list[str]:
    """Said where few requests were judged, by no more than which no interval can be trusted."""
    judged = [row.summary["slo"]["requests_judged"] for row in rows if row.summary is not None]
    if not judged or min(judged) >= FEW:
        return []
    return [
        f"no more than {min(judged)} requests were judged at some rate, too few for an interval; give "
        f"{FEW} or more: a longer workload, or a shorter metrics.warmup_s"
    ]


def _behind(rows: Sequence[Row], rate: float | None) -> Iterator[str]:
    """How much traffic the figure is made of, where it is little."""
    tried = {
        row.labels["rate"]: row.summary["requests"]["submitted"] for row in rows if row.summary is not None
    }
    if rate is None or not tried:
        return
    nearest = min(tried, key=lambda other: abs(other - rate))
    seconds = tried[nearest] / nearest
    if seconds < SHORT_S - 1:  # whole requests: a minute's traffic is a minute, nearly
        yield (
            f"{tried[nearest]:,} requests a run are {seconds:.0f} s of traffic at that rate: a burst, "
            "which a longer run may not hold"
        )


class _Search:
    """Rates tried so far; ``values[rate]`` holds the attainment of each seed."""

    def __init__(self, wanted: CapacityPlan, loaded: LoadedScenario, lab: Lab) -> None:
        self.wanted, self.lab = wanted, lab
        self.key, self.start, self.unit = _rate_of(loaded)
        self.first = loaded.scenario.seed if wanted.seed is None else wanted.seed
        self.duration = _duration(wanted, loaded.scenario, self.start)
        self.warmup_s = loaded.scenario.metrics.warmup_s
        self.values: dict[float, list[float]] = {}
        self.rows: list[Row] = []
        self.failed = 0

    def run(self) -> tuple[bool, list[str]]:
        """Was the capacity enclosed? And what there is to say."""
        low, high = self._bracket()
        if low is None:
            return False, [self._none_holds(high)]
        if high is None:
            return False, [f"every rate holds, up to {low:.4g} requests/s", *self._piled_up(low)]
        while high / low > 1 + self.wanted.tolerance:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self._holds(middle) else (low, middle)
        tried = sorted(self.values)
        found = crossing(Curve(tried, [self.values[rate] for rate in tried]), self.wanted.attainment)
        at = found.estimate if found is not None else low
        self._measure([at * factor for factor in CURVE], self.wanted.seeds)
        return True, [f"{self.failed} simulations failed and are left out"] if self.failed else []

    def _bracket(self) -> tuple[float | None, float | None]:
        rate = self.start
        if self._holds(rate):
            for _ in range(MOST_DOUBLINGS):
                if not self._holds(2 * rate):
                    return rate, 2 * rate
                rate *= 2
                if self._piled_up(rate):  # and yet within the objectives, as any higher rate is
                    break
            return rate, None
        for _ in range(MOST_DOUBLINGS):
            if self._in_server(rate) < ALONE:
                break
            if self._holds(rate / 2):
                return rate / 2, rate
            rate /= 2
        return None, rate

    def _in_server(self, rate: float) -> float:
        """Requests that are in the server at a time, by Little's law."""
        stays = [s for s in (value(run, _STAY) for run in self._summaries(rate)) if s is not None]
        return rate * sum(stays) / len(stays) if stays else math.inf

    def _none_holds(self, rate: float | None) -> str:
        """What to say where the lowest rate that was tried fails, too."""
        assert rate is not None
        said = f"no rate holds, down to {rate:.4g} requests/s"
        if self._in_server(rate) >= ALONE:
            return said
        share = sum(self.values[rate]) / len(self.values[rate])
        return f"{said}, where requests are served alone: {100 * share:.0f} % of them meet the objectives"

    def _summaries(self, rate: float) -> list[Mapping[str, Any]]:
        return [row.summary for row in self.rows if row.labels["rate"] == rate and row.summary is not None]

    def _piled_up(self, rate: float) -> list[str]:
        """What to say of a rate so far beyond what is served that a higher one only adds to the queue."""
        runs = self._summaries(rate)
        waiting = sum(run["latency"]["queue_s"]["mean"] or 0.0 for run in runs) / len(runs)
        lasting = sum(run["duration_s"] for run in runs) / len(runs)
        if waiting < OVERLOADED * lasting:
            return []
        return [
            f"at that rate requests wait {waiting:.3g} s in the mean, in {lasting:.3g} s of traffic, and no "
            "objective counts it; state slo.ttft_s"
        ]

    def _holds(self, rate: float) -> bool:
        """Does the rate hold? As many seeds as it takes, within four times the usual."""
        target = self.wanted.attainment
        count = self.wanted.seeds
        while True:
            self._measure([rate], count)
            found = mean_interval(self.values[rate], _DECIDED)
            if found.low is not None and found.high is not None:
                if found.low >= target:
                    return True
                if found.high < target:
                    return False
            if count >= 4 * self.wanted.seeds:
                return found.estimate >= target
            count = min(2 * count, 4 * self.wanted.seeds)

    def _measure(self, rates: Sequence[float], seeds: int) -> None:
        planned = [self._plan(rate, seed) for rate in rates for seed in seeds_from(self.first, seeds)]
        rows = rows_of(planned, self.lab.evaluate((p.cell for p in planned), _phase(rates)))
        known = {(row.labels["rate"], row.seed) for row in self.rows}
        self.rows += [row for row in rows if (row.labels["rate"], row.seed) not in known]
        for rate in rates:
            of_rate = [row for row in rows if row.labels["rate"] == rate]
            attained = [value(row.summary, _ATTAINMENT) for row in of_rate if row.summary is not None]
            good = [share for share in attained if share is not None]
            self.failed += len(of_rate) - len(attained)
            if not good:
                reason = next((row.error for row in of_rate if row.error), "no request was judged")
                raise RuntimeError(f"no simulation at {rate:.4g} requests/s gave an attainment: {reason}")
            self.values[rate] = good

    def _plan(self, rate: float, seed: int) -> Planned:
        sets = [override(self.key, rate / self.unit), f"seed={seed}"]
        if self.duration is not None:
            requests = max(FEWEST_REQUESTS, round(rate * self.duration))
            _check_requests(requests, self.duration)
            sets.append(f"workload.requests={requests}")
        elif self.warmup_s:  # the same requests warm up, however fast the trace is replayed
            sets.append(override("metrics.warmup_s", self.warmup_s * self.start / rate))
        return plan(
            self.wanted.scenario, [*self.wanted.overrides, *sets], {"rate": rate}, self.wanted.plugins
        )


def _phase(rates: Sequence[float]) -> str:
    return f"{rates[0]:.4g} requests/s" if len(rates) == 1 else "the curve"


def _rate_of(loaded: LoadedScenario) -> tuple[str, float, float]:
    """The key that sets the rate, the scenario's own rate, and requests/s per unit of the key."""
    arrivals = loaded.scenario.workload.arrivals
    if isinstance(arrivals, Poisson | Gamma):
        return "workload.arrivals.rate_per_s", arrivals.rate_per_s, 1.0
    if isinstance(arrivals, Replay):
        requests = build_workload(loaded.scenario, loaded.base_dir).requests
        last = requests[-1].arrival_s * arrivals.rate_scale
        if last <= 0:
            raise loaded.places.error(
                "workload.arrivals", "the trace has no rate to scale; one with arrival times"
            )
        return (
            "workload.arrivals.rate_scale",
            arrivals.rate_scale * len(requests) / last,
            len(requests) / last,
        )
    assert isinstance(arrivals, ClosedLoop | AllAtOnce)
    raise loaded.places.error(
        "workload.arrivals.process",
        f"{arrivals.process} has no arrival rate; poisson, gamma or replay, such as "
        "--set 'workload.arrivals={process: poisson, rate_per_s: 1}'",
    )


def _duration(wanted: CapacityPlan, scenario: Scenario, rate: float) -> float | None:
    """Seconds of traffic at each rate, the warm-up included; None for a replay, which is as long as it is."""
    warmup_s = scenario.metrics.warmup_s
    if isinstance(scenario.workload.arrivals, Replay):
        if wanted.duration_s is not None:
            raise InputError("a replay is as long as its trace; leave it out", key="--duration")
        return None
    if wanted.duration_s is not None:
        if not 0 < wanted.duration_s < math.inf:
            raise InputError(f"{wanted.duration_s} is not allowed; above 0", key="--duration")
        if wanted.duration_s <= warmup_s:
            raise InputError(
                f"{wanted.duration_s:g} s leave nothing after the warm-up; above {warmup_s:g}",
                key="--duration",
            )
        _check_requests(rate * wanted.duration_s, wanted.duration_s)
        return wanted.duration_s
    return warmup_s + max(60.0, (scenario.workload.requests or 0) / rate)


def _check_requests(requests: float, duration_s: float) -> None:
    if requests > MOST_REQUESTS:
        raise InputError(
            f"{duration_s:g} s of traffic have {requests:.2g} requests; at most {MOST_REQUESTS:,}",
            key="--duration",
        )


def _manifest(wanted: CapacityPlan, search: _Search) -> dict[str, Any]:
    return {
        "scenario": wanted.scenario.name,
        "overrides": list(wanted.overrides),
        "attainment": wanted.attainment,
        "tolerance": wanted.tolerance,
        "duration_s": search.duration,
        "seed": search.first,
        "code": code_digest(),
    }
