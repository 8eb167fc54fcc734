"""All-reduces between the devices of a target, by what moves and how."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from spinsim.costs.collectives import FUSED, ONE_SHOT, RING, TWO_SHOT
from spinsim.costs.profiled.profile import Point
from spinsim.runner.base import Runner
from spinsim.runner.sharded.collectives import REPEATS
from spinsim.runner.sharded.leader import ShardedRunner

# The algorithm behind each way of a runner. Gloo, too, sums parts around a ring.
ALGORITHMS = MappingProxyType(
    {"nccl": RING, "gloo": RING, "one_shot": ONE_SHOT, "two_shot": TWO_SHOT, "in_one": FUSED}
)


def sum_points(runner: Runner, devices: int, hidden: int, most: int) -> Iterator[Point]:
    """Of hidden states of 1 to ``most`` tokens, in powers of two; none of a runner on one device."""
    if not isinstance(runner, ShardedRunner):
        return
    size = runner.dtype.itemsize
    tokens = 1
    while tokens <= most:
        for way, seconds in runner.sum_times(tokens).items():
            features = {"bytes": float(tokens * hidden * size), "devices": float(devices)}
            yield Point("all_reduce", seconds, 0.0, REPEATS, features, kind=ALGORITHMS[way])
        tokens *= 2
