"""What is not known about predicted costs: how far another day is, how far the fit is, what a call scatters.

Three sources, by kind of operation, all factors on its time (logarithms throughout):

*day*    another process or day, drawn once per run. Estimated from a profile's repeats; with few of them the
         spread is itself uncertain, so the factor is Student's t with as many degrees of freedom as repeats,
         as of a prediction interval for one further observation (Hahn & Meeker, Statistical Intervals, ch.
         4).
*model*  the fit's error at shapes that were not measured, drawn once per run too: a cell keeps asking the
same few
         shapes, so that errors held out point by point do not average out over its calls (ours).
*call*   the scatter of one execution, drawn for every call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from spinsim.costs.base import Predictor
from spinsim.costs.predictors import Operation, ProfiledPass, ProfilePredictor
from spinsim.costs.profile import Profile
from spinsim.scenario import NoiseSpec, NoisyOperation, Scenario

# profiled operation: what the engine calls it
KIND_OF: Mapping[str, NoisyOperation] = {
    "prefill": "prefill",
    "catch_up": "catch_up",
    "draft_step": "propose",
    "verify": "verify",
}
ONE_SIGMA = 0.6827  # of a normal distribution lies within one standard deviation
QUARTILE = 0.6745  # standard deviations are half an interquartile range
MOST = 1.0  # a t of one degree of freedom has tails without end; a run in them would never be over
STREAM = 0x64617973  # draws of this module are those of no other

Deviations = dict[NoisyOperation, float]


@dataclass(frozen=True)
class Uncertainty:
    """Standard deviations of logarithms by kind; ``day`` is the scale of a t with ``repeats`` degrees of
    freedom.

    ``repeats`` 0: the scale is taken for known, and the factor is lognormal.
    """

    day: Deviations
    repeats: int
    model: Deviations
    call: Deviations

    @property
    def nothing(self) -> bool:
        """Is every deviation 0?"""
        return not any(any(part.values()) for part in (self.day, self.model, self.call))

    def typical(self) -> NoiseSpec:
        """Day and model together, as if the day's scale were known."""
        return self._noise(dict.fromkeys(self.day, 1.0))

    def drawn(self, seed: int) -> NoiseSpec:
        """The noise of one run: a t variate is a normal one whose scale is sqrt(dof / chi-square(dof))."""
        if not self.repeats:
            return self.typical()
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, STREAM])))
        scales = np.sqrt(self.repeats / rng.chisquare(self.repeats, len(self.day)))
        return self._noise(dict(zip(self.day, scales.tolist(), strict=True)))

    def _noise(self, scale: Mapping[NoisyOperation, float]) -> NoiseSpec:
        kinds = dict.fromkeys((*self.day, *self.model))
        per_run: Deviations = {
            kind: min(
                sqrt((scale.get(kind, 1.0) * self.day.get(kind, 0.0)) ** 2 + self.model.get(kind, 0.0) ** 2),
                MOST,
            )
            for kind in kinds
        }
        return NoiseSpec(per_run_sd=per_run or 0.0, per_call_sd=self.call or 0.0)


def stated(noise: NoiseSpec) -> Uncertainty:
    """What a scenario's own ``noise`` says: known deviations."""
    return Uncertainty(_by_kind(noise.per_run_sd), 0, {}, _by_kind(noise.per_call_sd))


def _by_kind(given: float | Mapping[NoisyOperation, float]) -> Deviations:
    return dict(given) if isinstance(given, Mapping) else dict.fromkeys(KIND_OF.values(), given)


def profiled(profile: Profile, predictor: Predictor, scenario: Scenario) -> Uncertainty:
    """What a profile says about itself, and its fits about the operations that the scenario has."""
    day = {
        kind: day_scale(logs)
        for operation, kind in KIND_OF.items()
        if (logs := [np.log(r.factors[operation]) for r in profile.repeats if operation in r.factors])
    }
    call: Deviations = {}
    for operation, kind in KIND_OF.items():
        spreads = [
            point.spread_s / QUARTILE / point.seconds
            for point in profile.points
            if point.operation == operation
        ]
        if spreads:
            call[kind] = float(np.median(spreads))
    model = model_errors(predictor, scenario.policies.packing.name)
    return Uncertainty(day, len(profile.repeats) if day else 0, model, call)


def day_scale(logs: Sequence[float]) -> float:
    """Scale of the t (with n degrees of freedom) of one further day's factor, from n repeats' log factors.

    The profile is one such day itself, at 0: n + 1 observations z of one normal distribution. A further one
    is t-distributed about their mean m with scale s sqrt(1 + 1 / (n + 1)). A prediction is the profile's, so
    that the mean's distance from it counts as error: m^2 is added under the root (ours).
    """
    z = np.asarray([0.0, *logs])
    mean, variance = float(z.mean()), float(z.var(ddof=1))
    return sqrt(variance * (1 + 1 / len(z)) + mean**2)


def model_errors(predictor: Predictor, packing: str) -> Deviations:
    """By kind, one standard deviation of the logarithmic held-out errors of the operations that are used.

    That of the errors' body: the half width that holds 68 % of them. Nothing where costs are not from a
    profile, or an operation has too few points to leave one out.
    """
    if not isinstance(predictor, ProfilePredictor):
        return {}
    errors: dict[NoisyOperation, list[float]] = {}

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


__all__ = ["Uncertainty", "day_scale", "model_errors", "profiled", "stated"]
