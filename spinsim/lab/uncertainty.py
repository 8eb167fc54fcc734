"""What is not known about a prediction: how far another host and day are, how far the fit is, what a call
scatters, which text is written.

Three sources, by kind of operation, all factors on its time (logarithms throughout):

*day*    another process, day and host, drawn once per run; the host's hops and its handling as well. Without
         repeats in a profile it is what live runs on other hosts showed (:mod:`spinsim.lab.host_prior`, which
         states the estimator); repeats of the machine at hand update it. Student's t in each case, since few
         hosts and few repeats leave the spread itself uncertain. What was measured on GPUs says nothing of a
         CPU: there repeats count alone, and without them there is no factor.
*model*  the fit's error at shapes that were not measured, drawn once per run too: a cell keeps asking the
         same few shapes, so that errors held out point by point do not average out over its calls (ours).
         Of sheets it is how the cells of one host scatter.
*call*   the scatter of one execution, drawn for every call.

Where costs come from hardware sheets, *day* is the sheets' own error on a kind of GPU that they were not
fitted to. It holds as well for the share of a profile's operations that lie beyond what was measured, in
context or shape, since sheets answer for those.

And one of acceptance, where it is recorded: in bf16 and fp16 an output departs from the recorded one at some
token, and goes on with another text (:mod:`spinsim.acceptance.other_text`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot, log, sqrt

import numpy as np

from spinsim.costs.base import Predictor
from spinsim.costs.profiled.predictors import Operation, ProfiledPass, ProfilePredictor
from spinsim.costs.profiled.profile import Profile
from spinsim.drafters.costs import MixedPredictor
from spinsim.lab.host_prior import (
    NOTHING,
    Basis,
    Scale,
    deviations,
    host_scales,
    scatter_within,
    updated,
)
from spinsim.packings import usual_packing
from spinsim.scenario import NoiseSpec, NoisyOperation, NoisyPart, Scenario, TraceAcceptance

# profiled operation: what the engine calls it
KIND_OF: Mapping[str, NoisyOperation] = {
    "prefill": "prefill",
    "catch_up": "catch_up",
    "draft_step": "propose",
    "verify": "verify",
}
# operation that a profile's repeats have a factor of: what the noise of a run calls it
DAY_KIND_OF: Mapping[str, NoisyPart] = {**KIND_OF, "hop": "hop", "handling": "handling"}
ONE_SIGMA = 0.6827  # of a normal distribution lies within one standard deviation
QUARTILE = 0.6745  # standard deviations are half an interquartile range
MOST = 1.0  # a t of one degree of freedom has tails without end; a run in them would never be over
STREAM = 0x64617973  # draws of this module are those of no other

# Departures of live outputs from the recorded text, by token: 1,165 in 215,589 tokens of 26 cells with a
# fixed draft on two H100s (procedural family in bf16; 0.0032 to 0.0119 a cell, most where batches are small).
# The live runs that ship, of a later session, have 1,182 in 218,329: docs/make/other_text_rate.py
OTHER_TEXT = 0.0054

Deviations = dict[NoisyOperation, float]
PartDeviations = dict[NoisyPart, float]


@dataclass(frozen=True)
class Uncertainty:
    """Standard deviations of logarithms by kind; ``day`` is the scale of a t, ``shared`` what hosts have in
    common: a shift, of which a run has from nothing to twice as much.

    ``repeats`` of the machine and ``hosts`` behind its prior, by kind, are its degrees of freedom: repeats +
    hosts - 1. Neither: the scale is taken for known, and the factor is lognormal. ``other_text``: the rate of
    departures from the recorded text, by token. ``beyond``: the share of each kind's time that lies beyond
    what the profile measured. ``shift``: what a scenario states itself, of all runs.
    """

    day: PartDeviations
    repeats: dict[NoisyPart, int]
    model: PartDeviations
    call: Deviations
    other_text: float = 0.0
    hosts: dict[NoisyPart, int] = field(default_factory=dict)
    beyond: PartDeviations = field(default_factory=dict)
    shared: PartDeviations = field(default_factory=dict)
    shift: PartDeviations = field(default_factory=dict)

    def freedom(self, kind: NoisyPart) -> int:
        """Degrees of freedom of a kind's ``day``; 0 where its scale is known."""
        return self.repeats.get(kind, 0) + max(0, self.hosts.get(kind, 0) - 1)

    @property
    def nothing(self) -> bool:
        """Is every deviation 0, and the text the recorded one?"""
        scatters = (*self.day.values(), *self.shared.values(), *self.model.values(), *self.call.values())
        return not any(scatters) and not self.other_text

    def typical(self) -> NoiseSpec:
        """Day and model together, as if the day's scale were known, about what hosts share."""
        return self._noise({}, dict.fromkeys(self.shared, 1.0))

    def drawn(self, seed: int) -> NoiseSpec:
        """The noise of one run: a t variate is a normal one whose scale is sqrt(dof / chi-square(dof))."""
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, STREAM])))
        scale = {kind: sqrt(n / rng.chisquare(n)) for kind in self.day if (n := self.freedom(kind))}
        parts = dict(zip(self.shared, rng.uniform(0.0, 2.0, len(self.shared)).tolist(), strict=True))
        return self._noise(scale, parts)

    def _noise(self, scale: Mapping[NoisyPart, float], parts: Mapping[NoisyPart, float]) -> NoiseSpec:
        """``scale`` stretches the day's; ``parts``: how much of what hosts share."""
        kinds = dict.fromkeys((*self.day, *self.model))
        per_run: PartDeviations = {
            kind: min(
                hypot(scale.get(kind, 1.0) * self.day.get(kind, 0.0), self.model.get(kind, 0.0)),
                MOST,
            )
            for kind in kinds
        }
        return NoiseSpec(
            per_run_sd=per_run or 0.0,
            per_run_shift={
                kind: self.shift.get(kind, 0.0) + parts.get(kind, 0.0) * self.shared.get(kind, 0.0)
                for kind in dict.fromkeys((*self.shift, *self.shared))
            },
            per_call_sd=self.call or 0.0,
            other_text=self.other_text,
        )


def stated(scenario: Scenario) -> Uncertainty:
    """What a scenario's own ``noise`` says of times: known deviations, and shifts that all runs have."""
    run, call = scenario.noise.per_run_sd, scenario.noise.per_call_sd
    day: PartDeviations = dict(run) if isinstance(run, Mapping) else dict.fromkeys(KIND_OF.values(), run)
    calls: Deviations = dict(call) if isinstance(call, Mapping) else dict.fromkeys(KIND_OF.values(), call)
    shift: PartDeviations = dict(scenario.noise.per_run_shift)
    return Uncertainty(day, {}, {}, calls, other_text_rate(scenario), shift=shift)


def other_text_rate(scenario: Scenario) -> float:
    """How often an output departs from its recording: not in fp32, and sampling is drawn by the seed.

    What the scenario says; else what was measured for one family of models, whatever the recording is of.
    """
    if scenario.noise.other_text is not None:
        return scenario.noise.other_text
    recorded = isinstance(scenario.acceptance, TraceAcceptance) and scenario.sampling.greedy
    return OTHER_TEXT if recorded and scenario.models.target.dtype != "fp32" else 0.0


def profiled(
    profile: Profile,
    predictor: Predictor,
    scenario: Scenario,
    *,
    beyond: Mapping[NoisyPart, float] | None = None,
    seconds: Mapping[NoisyPart, float] = NOTHING,
    without_host: str = "",
) -> Uncertainty:
    """What a profile says about itself, its fits about the operations that the scenario has, and other hosts.

    ``beyond``: by kind the share of its time for which sheets answer. ``seconds``: by kind what an operation
    takes, as of :func:`~spinsim.lab.host_prior.host_scales`. ``without_host``: one of the hosts behind the
    prior that is left out, to be judged by the others.
    """
    again = _again(profile)
    repeats = {kind: len(logs) for kind, logs in again.items()}
    own = {kind: Scale(day_scale(logs), len(logs)) for kind, logs in again.items()}
    prior = _hosts("profile", scenario, without_host, seconds)
    shares = dict(beyond or {})
    sheets = _hosts("sheets", scenario, without_host) if shares else {}
    day = _days(own, prior, sheets, shares)
    return Uncertainty(
        day={kind: scale.scale for kind, scale in day.items()},
        repeats=repeats,
        model=model_errors(predictor, usual_packing(scenario.policies.packing.name)),
        call=_scatter_of_calls(profile),
        other_text=other_text_rate(scenario),
        hosts={k: 1 + scale.freedom - repeats.get(k, 0) for k, scale in day.items() if k in prior},
        beyond=shares,
        shared={kind: scale.shared for kind, scale in day.items() if scale.shared},
    )


def _again(profile: Profile) -> dict[NoisyPart, list[float]]:
    """By kind the log factors of what was measured again."""
    return {
        kind: logs
        for operation, kind in DAY_KIND_OF.items()
        if (logs := [log(r.factors[operation]) for r in profile.repeats if operation in r.factors])
    }


def _days(
    own: Mapping[NoisyPart, Scale],
    prior: Mapping[NoisyPart, Scale],
    sheets: Mapping[NoisyPart, Scale],
    shares: Mapping[NoisyPart, float],
) -> dict[NoisyPart, Scale]:
    """By kind: other hosts' ``prior`` with the machine's ``own`` repeats, and the ``sheets``' where these
    answer for a share of the time."""
    day: dict[NoisyPart, Scale] = {
        kind: scale
        for kind in dict.fromkeys((*own, *prior))
        if (scale := updated(prior.get(kind), own.get(kind))) is not None
    }
    for kind, share in shares.items():  # in this order: draws follow it
        if kind in sheets:
            day[kind] = _mixed(day.get(kind), sheets[kind], scatter_within().get(kind, 0.0), share)
    return day


def _scatter_of_calls(profile: Profile) -> Deviations:
    """By kind, the median standard deviation of a point's repetitions."""
    found: Deviations = {}
    for operation, kind in KIND_OF.items():
        spreads = [p.spread_s / QUARTILE / p.seconds for p in profile.points if p.operation == operation]
        if spreads:
            found[kind] = float(np.median(spreads))
    return found


def on_sheets(scenario: Scenario, *, without_host: str = "") -> Uncertainty:
    """What live runs showed of sheets that were not fitted to their kind of GPU; nothing of a CPU's."""
    day = _hosts("sheets", scenario, without_host)
    return Uncertainty(
        day={kind: scale.scale for kind, scale in day.items()},
        repeats={},
        model={kind: scatter for kind, scatter in scatter_within().items() if kind in day},
        call={},
        other_text=other_text_rate(scenario),
        hosts={kind: scale.freedom + 1 for kind, scale in day.items()},
        shared={kind: scale.shared for kind, scale in day.items()},
    )


def _hosts(
    basis: Basis, scenario: Scenario, without: str, seconds: Mapping[NoisyPart, float] = NOTHING
) -> dict[NoisyPart, Scale]:
    on_cpu = any(device.on_cpu for device in scenario.devices.values())
    return {} if on_cpu else host_scales(deviations(basis), without, seconds)


def _mixed(own: Scale | None, sheets: Scale, scatter: float, share: float) -> Scale:
    """Of a kind of which sheets price a share: the mixture's variance, with the fewer degrees of freedom.

    ``scatter``: of cells about their host's deviation.
    """
    if own is None:
        own = Scale(0.0, sheets.freedom)
    scale = sqrt((1 - share) * own.scale**2 + share * (sheets.scale**2 + scatter**2))
    shared = (1 - share) * own.shared + share * sheets.shared
    return Scale(scale, min(own.freedom, sheets.freedom), shared)


def day_scale(logs: Sequence[float]) -> float:
    """Scale of the t (with n degrees of freedom) of one further day's factor, from n repeats' log factors.

    The profile is one such day itself, at 0: n + 1 observations z of one normal distribution. A further one
    is t-distributed about their mean m with scale s sqrt(1 + 1 / (n + 1)). A prediction is the profile's, so
    that the mean's distance from it counts as error: m^2 is added under the root (ours).
    """
    z = np.asarray([0.0, *logs])
    mean, variance = float(z.mean()), float(z.var(ddof=1))
    return sqrt(variance * (1 + 1 / len(z)) + mean**2)


def model_errors(predictor: Predictor, packing: str) -> PartDeviations:
    """By kind, one standard deviation of the logarithmic held-out errors of the operations that are used.

    That of the errors' body: the half width that holds 68 % of them. Nothing where costs are not from a
    profile, or an operation has too few points to leave one out.
    """
    if isinstance(predictor, MixedPredictor):
        predictor = predictor.models
    if not isinstance(predictor, ProfilePredictor):
        return {}
    errors: dict[NoisyPart, list[float]] = {}

    def add(operations: Mapping[Operation, ProfiledPass]) -> None:
        for (operation, part), fitted in operations.items():
            held = fitted.chosen.held_out.get(fitted.chosen.fit.name)
            if held is not None and (operation != "verify" or part == packing):
                errors.setdefault(KIND_OF[operation], []).extend(held.errors)

    add({key: fitted for key, fitted in predictor.target.items() if key[0] in ("prefill", "verify")})
    for draft in predictor.drafts:
        add({key: fitted for key, fitted in draft.items() if key[0] in ("catch_up", "draft_step")})
    return {kind: _body(found) for kind, found in errors.items()}


def _body(errors: Iterable[float]) -> float:
    # A fit that says nothing or less has no logarithm; it is as wrong as can be.
    logs = np.abs(np.log1p(np.maximum(np.asarray(list(errors)), -0.99)))
    return float(np.quantile(logs, ONE_SIGMA))


__all__ = [
    "Uncertainty",
    "day_scale",
    "model_errors",
    "on_sheets",
    "other_text_rate",
    "profiled",
    "stated",
]
