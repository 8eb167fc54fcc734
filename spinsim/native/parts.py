"""What a run is made of, as the kernel is handed it, and what classes declare of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from spinsim.acceptance.cached import CachedField
from spinsim.acceptance.field import Offer
from spinsim.costs.base import Predictor
from spinsim.serving import Serving
from spinsim.workload.request import Workload


class TimeNoise(Protocol):
    """As :class:`spinsim.simulated.noise.Noise`."""

    hop: float
    handling: float

    def factor(self, kind: int) -> float: ...


@dataclass(frozen=True)
class Parts:
    """One run that has not begun. ``offers``: of drafts that may have less to propose than they are asked."""

    workload: Workload
    field: CachedField
    predictor: Predictor
    serving: Serving
    noise: TimeNoise | None
    offers: Mapping[int, Offer]


def declared(thing: object) -> str:
    """What a class says of itself by its attribute ``native``: the rule of the kernel that does the same.

    Empty where it says nothing. What is inherited does not count: a subclass may do something else.
    """
    return str(vars(type(thing)).get("native", ""))
