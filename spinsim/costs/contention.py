"""How operations that run side by side on one device slow each other down. Pure.

The law (ours) follows one kernel after another. Between its kernels an operation waits for launches, and
launches queue at the device's front end: every neighbour lengthens those gaps, the more the busier it is.
Besides, a kernel may have to wait for the neighbour's that is at work. It runs beside short kernels, which
leave room on the device; of longer ones it waits for a part, for one whole kernel at most, and for half of
what a kernel takes beyond ``LONG_S``: it arrives while that one is at work. Over the neighbours j of an
operation i,

    slow-down(i) = 1 + sum_j [ (1 - busy(i)) * (gap + crowd * busy(j))
                               + kernels(i) / seconds(i) * busy(j)
                                 * min(kernel_s(j), (kernel_s(j) + LONG_S) / 2,
                                       wait * max(0, kernel_s(j) - short_s)) ]

with busy = work_s / seconds, kernel_s = work_s / kernels, and work_s the roofline's time without launches.
Four parameters a device. What runs is known by its shape, so that subsets, sizes and models that were never
measured together are predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from spinsim.operations import Packing

# A 7B's prefills have kernels of 12 to 24 us in the mean, and those of an 8B at 2 thousand tokens of 100. A
# kernel of a small draft's proposal waited 8, 15 and 50 us for them, on H100s and H200s.
LONG_S = 15e-6


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
    """The law above. ``gap``, ``crowd`` and ``wait`` without unit, ``short_s`` in seconds a kernel."""

    native: ClassVar[str] = "kernels"

    gap: float
    crowd: float
    short_s: float
    wait: float

    def delay(self, own: Demand, other: Demand) -> float:
        """See :class:`Law`."""
        if own.seconds <= 0 or other.seconds <= 0:
            return 0.0
        busy = other.busy
        kernel_s = other.work_s / other.kernels if other.kernels else 0.0
        whole = min(kernel_s, (kernel_s + LONG_S) / 2)
        waits_s = min(whole, self.wait * max(0.0, kernel_s - self.short_s))
        gaps = (1.0 - own.busy) * (self.gap + self.crowd * busy)
        return gaps + own.kernels / own.seconds * busy * waits_s

    def slowdowns(self, running: Sequence[Demand]) -> list[float]:
        """See :class:`Law`."""
        return _summed(self, running)


@dataclass(frozen=True, slots=True)
class InTurn:
    """Each operation waits for its share of the device: together they take as long as one after the other."""

    native: ClassVar[str] = "in turn"

    def delay(self, own: Demand, other: Demand) -> float:
        """See :class:`Law`."""
        return 1.0

    def slowdowns(self, running: Sequence[Demand]) -> list[float]:
        """See :class:`Law`."""
        return _summed(self, running)


# Fitted to lanes kept busy on an H200: a 7B's verification and five drafts' proposals of 4 tokens, 2 and 16
# rows, all pairs and every third larger subset. docs/live.md has its errors on what was left out.
USUAL_LAW = KernelLaw(gap=0.13, crowd=1.03, short_s=6.2e-6, wait=2.2)


class Factors:
    """A factor for the target beside a draft, and for the draft: whatever they do, and however large.

    ``factor(draft, target_lane)`` gives them (>= 1); what several neighbours add is added up. ``among``: the
    law between drafts, which such factors say nothing of; without one, they are those of the drafts.
    """

    native = "factors"

    def __init__(self, factor: Callable[[int, bool], float], among: Law | None = None) -> None:
        self.factor = factor
        self.among = among
        self._known: dict[tuple[int, bool], float] = {}

    def delay(self, own: Demand, other: Demand) -> float:
        """See :class:`Law`."""
        if own.model >= 0 and other.model >= 0 and self.among is not None:
            return self.among.delay(own, other)
        # Only what runs is asked for: a profile need not have the rest.
        key = (max(own.model, other.model) if own.model < 0 else own.model, own.model < 0)
        factor = self._known.get(key)
        if factor is None:
            factor = self._known[key] = self.factor(*key)
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

    native = "none"

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
