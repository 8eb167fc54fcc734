"""How operations that run side by side on one device slow each other down. Pure.

The law (ours) follows one kernel after another. While a neighbour runs, each kernel of an operation is
delayed by a launch, and with the probability that the neighbour's kernel is at work by a share of what that
kernel takes: long kernels hold up short ones, and are hardly held up by them. What both move or multiply is
shared besides. So, over the neighbours j of an operation i,

    slow-down(i) = 1 + sum_j [ kernels(i) / seconds(i) * (launch_s + wait * busy(j) * kernel_s(j))
                               + share * busy(i) * busy(j) ]

with busy = work_s / seconds, kernel_s = work_s / kernels, and work_s the roofline's time without launches.
Three parameters a device. What runs is known by its shape, so that subsets, sizes and models that were never
measured together are predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from spinsim.costs.base import Packing


class Demand(NamedTuple):
    """An operation as its neighbours notice it.

    ``model``: its draft, -1 for the target. It takes ``seconds`` alone, of which ``work_s`` move bytes or
    multiply, in so many ``kernels`` one after the other.
    """

    model: int
    seconds: float
    kernels: float = 0.0
    work_s: float = 0.0

    @property
    def busy(self) -> float:
        """The share of its time in which it works the device."""
        return min(1.0, self.work_s / self.seconds) if self.seconds > 0 else 0.0


class Law(Protocol):
    """How much longer operations take beside each other."""

    def delay(self, own: Demand, other: Demand) -> float:
        """What ``other`` adds to the slow-down of ``own`` while both run (>= 0)."""
        ...

    def slowdowns(self, running: Sequence[Demand]) -> list[float]:
        """Factors (>= 1) on the time of each of the operations that run on one device."""
        ...


@dataclass(frozen=True, slots=True)
class KernelLaw:
    """The law above. ``launch_s`` in seconds a kernel and neighbour, ``wait`` and ``share`` without unit."""

    launch_s: float
    wait: float
    share: float

    def delay(self, own: Demand, other: Demand) -> float:
        """See :class:`Law`."""
        if own.seconds <= 0 or other.seconds <= 0:
            return 0.0
        busy = other.busy
        kernel_s = other.work_s / other.kernels if other.kernels else 0.0
        each = self.launch_s + self.wait * busy * kernel_s
        return own.kernels / own.seconds * each + self.share * own.busy * busy

    def slowdowns(self, running: Sequence[Demand]) -> list[float]:
        """See :class:`Law`."""
        return _summed(self, running)


@dataclass(frozen=True, slots=True)
class InTurn:
    """Each operation waits for its share of the device: together they take as long as one after the other."""

    def delay(self, own: Demand, other: Demand) -> float:
        """See :class:`Law`."""
        return 1.0

    def slowdowns(self, running: Sequence[Demand]) -> list[float]:
        """See :class:`Law`."""
        return _summed(self, running)


# Fitted to pairs of lanes on an H100 (profiles/one-gpu-h100.json: three drafts beside verifications of a 7B)
# and to up to five drafts side by side on an H200 (proposals of 4 tokens, 2 to 32 rows), together.
USUAL_LAW = KernelLaw(launch_s=1.3e-6, wait=0.72, share=0.21)


class Factors:
    """A factor for the target beside a draft, and for the draft: whatever they do, and however large.

    ``factor(draft, target_lane)`` gives them (>= 1); what several neighbours add is added up. ``among``: the
    law between drafts, which such factors say nothing of; without one, they are those of the drafts.
    """

    def __init__(self, factor: Callable[[int, bool], float], among: Law | None = None) -> None:
        self._factor = factor
        self._among = among
        self._known: dict[tuple[int, bool], float] = {}

    def delay(self, own: Demand, other: Demand) -> float:
        """See :class:`Law`."""
        if own.model >= 0 and other.model >= 0 and self._among is not None:
            return self._among.delay(own, other)
        # Only what runs is asked for: a profile need not have the rest.
        key = (max(own.model, other.model) if own.model < 0 else own.model, own.model < 0)
        factor = self._known.get(key)
        if factor is None:
            factor = self._known[key] = self._factor(*key)
        return factor - 1.0

    def slowdowns(self, running: Sequence[Demand]) -> list[float]:
        """See :class:`Law`."""
        return _summed(self, running)


class Loads(Protocol):
    """What operations ask of their device: (kernels, work_s) of each, in the arguments of a predictor."""

    def verify(self, packing: Packing) -> tuple[float, float]: ...

    def propose(self, draft: int, lengths: Sequence[int], contexts: Sequence[int]) -> tuple[float, float]: ...

    def catch_up(self, draft: int, tokens: Sequence[int], starts: Sequence[int]) -> tuple[float, float]: ...

    def prefill(self, tokens: Sequence[int], starts: Sequence[int]) -> tuple[float, float]: ...


class _NoLoads:
    """Where the law asks only who runs."""

    def verify(self, packing: Packing) -> tuple[float, float]:
        return 0.0, 0.0

    def propose(self, draft: int, lengths: Sequence[int], contexts: Sequence[int]) -> tuple[float, float]:
        return 0.0, 0.0

    def catch_up(self, draft: int, tokens: Sequence[int], starts: Sequence[int]) -> tuple[float, float]:
        return 0.0, 0.0

    def prefill(self, tokens: Sequence[int], starts: Sequence[int]) -> tuple[float, float]:
        return 0.0, 0.0


NO_LOADS: Loads = _NoLoads()


class Contention(NamedTuple):
    """How the lanes of one device slow each other down: a law, and what it has to know of operations."""

    law: Law
    loads: Loads = NO_LOADS


def _summed(law: Law, running: Sequence[Demand]) -> list[float]:
    return [
        1.0 + sum(law.delay(own, other) for j, other in enumerate(running) if j != i)
        for i, own in enumerate(running)
    ]


def side_by_side(law: Law, demands: Sequence[Demand]) -> list[float]:
    """When operations that begin together on lanes of their own end, in seconds from then."""
    left = [1.0] * len(demands)  # share of each that is still to be done
    ends = [0.0] * len(demands)
    going = [i for i, demand in enumerate(demands) if demand.seconds > 0]
    now = 0.0
    while going:
        slow = law.slowdowns([demands[i] for i in going])
        rest = [left[i] * demands[i].seconds * s for i, s in zip(going, slow, strict=True)]
        step = min(rest)
        now += step
        for i, s in zip(going, slow, strict=True):
            left[i] -= step / (demands[i].seconds * s)
        done = [i for i, r in zip(going, rest, strict=True) if r <= step]
        for i in done:
            ends[i] = now
        going = [i for i in going if i not in done]
    return ends
