"""How far another host, day and process may be from a prediction: what live runs on other hosts showed.

``host_prior.json`` has, for each host that ran live, the deviation of its times from a prediction that it
had no part in, by kind: the mean over its cells of log(measured / predicted). ``python -m
benchmarks.estimates intervals`` makes it from docs/measurements. There are two bases. *profile*: another
host's profile predicted. *sheets*: hardware sheets did, whose numbers were fitted without that kind of GPU.

The estimator counts hosts, however many cells or operations each has. Deviations d_1 .. d_m of m hosts are
taken for draws of one normal distribution. A further host's deviation from their mean d is then Student's t
with m - 1 degrees of freedom and scale s sqrt(1 + 1/m), the prediction interval of Hahn & Meeker,
Statistical Intervals, ch. 4. A prediction is not shifted by d, which is of the ways of measuring that those
hosts had. So d is error as well, of a known direction: between nothing and twice as much, evenly, beside
the t (ours).

    scale = s sqrt(1 + 1/m),    freedom = m - 1,    shared = d

Repeats of a profile are the same of the machine at hand: :func:`~spinsim.lab.uncertainty.day_scale` of n
repeats is a scale q with n degrees of freedom. Both together are a scaled inverse chi-square prior with
freedom nu and its update (Gelman et al., Bayesian Data Analysis, section 2.6):

    scale^2 = (nu prior^2 + n q^2) / (nu + n),    freedom = nu + n,    shared^2 = nu d^2 / (nu + n)

so that without repeats it is the prior, and with many the machine's own.

Prefills took from 6 to 60 ms on those hosts. Those of 6 ms were off by 3 to 9 %, those of 60 ms by 2 %: what
they are off by is an amount of time more than a share of it (what waits on the host, and for neighbours). A
prefill that takes T shares of GPU time with verifications, whose deviations have a variance v^2, and an
amount:

    shared(T) = b / T,    scale(T)^2 = (v^2 + a^2 / T^2) (1 + 1/m)

with b by least squares over hosts, and a^2 by the mean square of what is left, less v^2 (ours). ``seconds``
says what prefills took, by host.

``within`` says how the cells of one host scatter about its deviation. Sheets are off by another amount at
each shape, and a cell keeps asking the same few. A profile says so itself, by errors held out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from math import sqrt
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

import numpy as np

from spinsim.scenario import NoisyPart

Basis = Literal["profile", "sheets"]
Deviations = Mapping[NoisyPart, Mapping[str, float]]  # by kind and host
FEWEST = 3  # hosts: fewer say nothing of their spread
SPEED: NoisyPart = "verify"  # whose deviations are those of a GPU's speed
NOTHING: Mapping[NoisyPart, float] = MappingProxyType({})
DATA = Path(__file__).with_name("host_prior.json")


class Scale(NamedTuple):
    """Of one logarithmic factor: a Student's t with ``freedom`` degrees and ``scale``, about what hosts have
    in common: ``shared`` in the mean, from nothing to twice as much."""

    scale: float
    freedom: int
    shared: float = 0.0


@cache
def deviations(basis: Basis) -> Deviations:
    """What ships of a basis."""
    if basis not in get_args(Basis):
        raise ValueError(f"no basis {basis!r}")
    found: Deviations = json.loads(DATA.read_text(encoding="utf-8"))["deviations"][basis]
    return found


@cache
def durations() -> Deviations:
    """By kind and host, the mean seconds of its live operations; of kinds whose durations differ by far."""
    found: Deviations = json.loads(DATA.read_text(encoding="utf-8"))["seconds"]
    return found


@cache
def scatter_within() -> Mapping[NoisyPart, float]:
    """By kind, the standard deviation of cells about their host's deviation from sheets."""
    found: Mapping[NoisyPart, float] = json.loads(DATA.read_text(encoding="utf-8"))["within"]["sheets"]
    return found


def host_scales(
    known: Deviations, without: str = "", seconds: Mapping[NoisyPart, float] = NOTHING
) -> dict[NoisyPart, Scale]:
    """By kind, of a further host; ``without``: a host that is left out, to be judged by the others.

    ``seconds`` that an operation of a kind takes in the mean, of kinds of which :func:`durations` knows what
    they took on those hosts.
    """
    kept = {
        kind: {host: deviation for host, deviation in by_host.items() if host != without}
        for kind, by_host in known.items()
    }
    kept = {kind: by_host for kind, by_host in kept.items() if len(by_host) >= FEWEST}
    found = {kind: host_scale(list(by_host.values())) for kind, by_host in kept.items()}
    for kind, taken in seconds.items():
        if kind in kept and SPEED in kept:
            speed = float(np.var(list(kept[SPEED].values()), ddof=1))
            found[kind] = scale_at(kept[kind], durations()[kind], taken, speed)
    return found


def host_scale(values: Sequence[float]) -> Scale:
    """The module's estimator, from one deviation a host. Raises ValueError for fewer than two."""
    if len(values) < 2:
        raise ValueError("one host has no spread")
    z = np.asarray(values)
    mean, variance = float(z.mean()), float(z.var(ddof=1))
    return Scale(sqrt(variance * (1 + 1 / len(z))), len(z) - 1, mean)


def scale_at(known: Mapping[str, float], took: Mapping[str, float], seconds: float, speed: float) -> Scale:
    """Of operations that take ``seconds``, by hosts' deviations and what operations ``took`` there.

    ``speed`` is the variance of the part that is a share of the time. Raises ValueError for fewer than two
    hosts.
    """
    count = len(known)
    if count < 2:
        raise ValueError("one host has no spread")
    z = np.array(list(known.values()))
    rate = 1 / np.array([took[host] for host in known])
    amount = float(z @ rate / (rate @ rate))
    left = float(np.square(z - amount * rate).sum()) * count / (count - 1)
    variance = max(0.0, left - count * speed) / float(rate @ rate)
    scale = sqrt((speed + variance / seconds**2) * (1 + 1 / count))
    return Scale(scale, count - 1, amount / seconds)


def updated(prior: Scale | None, own: Scale | None) -> Scale | None:
    """A prior with what a profile's repeats say of its own machine; None where there is neither."""
    if prior is None or own is None:
        return prior or own
    freedom = prior.freedom + own.freedom
    variance = (prior.freedom * prior.scale**2 + own.freedom * own.scale**2) / freedom
    return Scale(sqrt(variance), freedom, prior.shared * sqrt(prior.freedom / freedom))


__all__ = [
    "Basis",
    "Deviations",
    "Scale",
    "deviations",
    "durations",
    "host_scale",
    "host_scales",
    "scale_at",
    "scatter_within",
    "updated",
]
