"""What it takes equal devices to sum or gather a tensor: a latency, and bytes over their link.

    seconds = latency_s + beyond two devices + volume / (efficiency * link bandwidth)

``volume``, for a tensor of S bytes over n devices:

``ring``      2 (n - 1) / n S. Reduce-scatter and all-gather in n - 1 steps each, as NCCL has it (Patarasuk
              and Yuan, JPDC 69(2), 2009). Each further device adds two steps of ``step_s``.
``two_shot``  2 (n - 1) / n S. The same in two steps: each device reads its part of all others' tensors and
              sums it, then every device reads the sums.
``one_shot``  n / 2 S. Each device reads all n tensors, its own among them, and sums them. How fast it asks
              for them bounds it, not the link.
``fused``     (n - 1) S. Each device reads the others' tensors in the kernel of the residual and the norm that
              follow. Its time is what that kernel then takes longer. Each further device adds
              :data:`FUSED_DEVICE_S`. Sums of other places go another way.

``latency_s`` and ``efficiency`` are measured on two devices. Over four H200s the fastest way of the sheet is
6 % off in the mean (-10 to +15 %) for 13 kB to 7 MB. Two-shot's volume is right there. The one-shot's volume
and the ring's step were set to what was seen there. NCCL reaches half as much again over four as over two,
which the law does not have: large tensors take up to a third less than it says, and two-shot takes less than
they do. ``fused`` is 5 % off over four for 10 to 330 kB. For more it takes longer than the law says, and
two-shot is faster. A gather is half of an all-reduce, (n - 1) parts and n - 1 steps. It was not measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

RING, ONE_SHOT, TWO_SHOT, FUSED = "ring", "one_shot", "two_shot", "fused"
# Over four H200s a sum of 10 to 40 kB in the kernel took 7.6 to 8.0 us, and over two 3.2 to 3.6
# (``python -m benchmarks.sharded_cells --gpus 4 --parts 2 4``).
FUSED_DEVICE_S = 2.2e-6


class Collective(NamedTuple):
    """One algorithm on one kind of device. ``latency_s``: of an all-reduce of nothing, on two devices.

    ``efficiency``: the share of the link's bandwidth (one direction) at which large tensors move.
    ``most_bytes``: larger tensors do not go this way.
    """

    algorithm: str
    latency_s: float
    efficiency: float
    most_bytes: float = math.inf

    def takes(self, size: float, normed: bool) -> bool:
        """Does a sum of so many bytes go this way? ``normed``: a residual and a norm follow."""
        return size <= self.most_bytes and (normed or self.algorithm != FUSED)


class Interconnect(NamedTuple):
    """What collectives cross: ``bandwidth`` in bytes/s, one direction.

    ``step_s``: of a ring, beyond its first two steps.
    """

    bandwidth: float
    step_s: float
    collectives: tuple[Collective, ...]

    def all_reduce_s(self, size: float, devices: int, *, normed: bool = False) -> float:
        """Until ``devices`` have the sum of their tensors of ``size`` bytes, by the fastest algorithm.

        ``normed``: a residual and a norm follow, whose own time is not counted.
        """
        if devices == 1:
            return 0.0
        return min(
            one.latency_s
            + _beyond_two(one.algorithm, devices, self.step_s)
            + VOLUME[one.algorithm](devices) * size / (one.efficiency * self.bandwidth)
            for one in self._taking(size, normed)
        )

    def all_gather_s(self, part: float, devices: int) -> float:
        """Seconds until all have every device's part of ``part`` bytes."""
        if devices == 1:
            return 0.0
        return min(
            max(0.0, one.latency_s + _ring_steps(one, devices - 1) * self.step_s)
            + (devices - 1) * part / (one.efficiency * self.bandwidth)
            for one in self._taking(0.0, normed=False)
        )

    def _taking(self, size: float, normed: bool) -> Sequence[Collective]:
        """The ways of such a sum; all of them where none is left."""
        return [one for one in self.collectives if one.takes(size, normed)] or self.collectives


VOLUME: Mapping[str, Callable[[int], float]] = MappingProxyType(
    {  # bytes that an all-reduce is charged for, for each byte of the tensor
        RING: lambda devices: 2 * (devices - 1) / devices,
        TWO_SHOT: lambda devices: 2 * (devices - 1) / devices,
        ONE_SHOT: lambda devices: devices / 2,
        FUSED: lambda devices: devices - 1.0,
    }
)


def _beyond_two(algorithm: str, devices: int, step_s: float) -> float:
    """Seconds that devices beyond the second add to an all-reduce of nothing."""
    each = {RING: 2 * step_s, FUSED: FUSED_DEVICE_S}.get(algorithm, 0.0)
    return (devices - 2) * each


def _ring_steps(collective: Collective, steps: int) -> int:
    """Steps beyond the two that ``latency_s`` holds; of a ring alone."""
    return steps - 2 if collective.algorithm == RING else 0


def fitted(
    algorithm: str, points: Sequence[tuple[float, float]], devices: int, bandwidth: float, step_s: float
) -> Collective:
    """The law through measured (bytes, seconds) of all-reduces over ``devices``, by relative least squares.

    Raises ValueError without points of two sizes.
    """
    # Fitting needs scipy: loaded only here, so that other costs start fast.
    import numpy as np
    from scipy.optimize import nnls

    largest = max((size for size, _ in points), default=0.0)
    if len({size for size, _ in points}) < 2:
        raise ValueError("a latency and a bandwidth need all-reduces of two sizes")
    matrix = np.array([[1.0 / seconds, size / largest / seconds] for size, seconds in points])
    # Columns of one scale: seconds are small.
    scale = matrix.max(axis=0)
    found, _ = nnls(matrix / scale, np.ones(len(points)))
    latency, whole = (float(value) for value in found / scale)
    moved = VOLUME[algorithm](devices) * largest
    return Collective(
        algorithm,
        max(0.0, latency - _beyond_two(algorithm, devices, step_s)),
        moved / (whole * bandwidth) if whole > 0 else 1.0,
        largest if algorithm == FUSED else math.inf,  # its kernel takes few tokens
    )
