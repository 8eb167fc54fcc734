"""SPIN's pipelining (arXiv 2503.15921): more micro-batches, until throughput degrades."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, log1p
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from spinsim.policies.base import PolicyContext, Tunable
from spinsim.policies.pipeline.evidence import Evidence
from spinsim.policies.registry import PIPELINES

ORDER = (0, 1, 1, 0)  # whose turn: the depth held, and its neighbour. A linear trend cancels out.
PATIENCE = 2  # blocks in a row that differ from what was held mean a change, not chance
REST = 4  # a depth is held for so many blocks for each that was compared in vain, whatever the load does


@PIPELINES.register("spin")
class SpinPipeline:
    """Climbs from depth to neighbouring depth while committed tokens per second grow.

    The paper's: the count is increased, and stops where throughput would degrade. Ours: how that is told
    from noise, and from trends that are not the depth's, such as a selector that learns. The held depth A and
    its neighbour B take turns in blocks of windows A B B A; ln(rate of B / rate of A) is one paired
    observation. B is taken when the mean exceeds ``gain`` and is surely positive, and refused when it is
    surely below ``gain``; either errs with probability ``error`` at most, however often it is asked (a
    sequential t-test, :class:`Evidence`). After ``blocks`` blocks without an answer A stays. The way up comes
    first, the way down where that brought nothing; then the depth is held. A window is ``window_rounds``
    rounds of each micro-batch; a round of each after a change of depth is not counted, nor is the first block
    of all. The climb begins anew when the load changes: when the mean number of active requests (or, while a
    depth is held, the throughput) is off by more than ``load_change`` for two blocks in a row. For each block
    compared in vain four are held, so that a restless load cannot make it explore for ever.
    """

    @dataclass(frozen=True)
    class Params:
        max: Annotated[int, Ge(1), Le(64), Tunable(2, 12)] = 8
        start: Annotated[int, Ge(1), Le(64)] = 1
        window_rounds: Annotated[int, Ge(1), Tunable(2, 32, log=True)] = 4
        gain: Annotated[float, Ge(0), Le(0.5), Tunable(0, 0.1)] = 0.03
        error: Annotated[float, Gt(0), Lt(0.5), Tunable(0.01, 0.2, log=True)] = 0.1
        blocks: Annotated[int, Ge(3), Tunable(4, 64, log=True)] = 24
        load_change: Annotated[float, Gt(0), Le(1), Tunable(0.1, 1)] = 0.3

    def __init__(self, params: Params, context: PolicyContext) -> None:
        self._params = params
        self._max = min(params.max, context.batch_limit)
        self._held = self._depth = min(params.start, self._max)
        self._rival: int | None = None  # compared with ``_held``; None: nothing is
        self._step = 1
        self._climbed = False  # was ``_held`` reached by this climb?
        self._evidence = Evidence()
        self._spent = 0  # blocks of this climb that brought nothing
        self._rest = 0  # blocks to hold before the next climb
        self._again = False  # the load has changed since the last climb
        self._strange = 0  # blocks in a row that differ from the reference
        self._reference = _Total()  # how it was at the held depth
        self._warm = False
        self._skip = 0  # rounds not to be counted
        self._window = _Total()
        self._block = (_Total(), _Total())  # of the held depth, and of the rival
        self._turn = 0  # place in ORDER

    @property
    def max_depth(self) -> int:
        return self._max

    def depth(self) -> int:
        return self._depth

    def observe(self, now_ns: int, committed: int, active: int) -> None:
        window = self._window
        if active == 0:
            window.restart(-1)  # idle until nobody knows when: the next commit begins a new window
        elif self._skip > 0:
            self._skip -= 1
            window.restart(now_ns)
        elif window.since_ns < 0:
            window.restart(now_ns)  # when the first round began is not known
        else:
            window.round(now_ns, committed, active)
            if window.rounds >= self._params.window_rounds * self._depth and window.elapsed_ns > 0:
                self._end_window(now_ns)

    def _end_window(self, now_ns: int) -> None:
        self._block[ORDER[self._turn]].include(self._window)
        self._window.restart(now_ns)
        self._turn = (self._turn + 1) % len(ORDER)
        if self._turn == 0:
            held, rival = self._block
            self._block = (_Total(), _Total())
            self._judge(held, rival)
        depth = self._held if self._rival is None or ORDER[self._turn] == 0 else self._rival
        if depth != self._depth:
            self._skip = max(depth, self._depth)
            self._depth = depth

    def _judge(self, held: _Total, rival: _Total) -> None:
        """What a block says: the load changed, a depth is better, or nothing yet."""
        load = (held.load + rival.load) / (held.rounds + rival.rounds)
        limit = max(1, min(self._max, round(load)))  # a micro-batch holds at least one request
        if not self._warm:
            self._warm = True
            self._begin(min(self._held, limit), limit)
            return
        comparing = self._rival is not None
        if comparing:
            self._spent += 1
        else:
            self._rest = max(0, self._rest - 1)
            held.include(rival)  # both were the held depth
        moved = self._moved(held, load)
        self._strange = self._strange + 1 if moved else 0
        if self._strange >= PATIENCE or max(self._held, self._rival or 1) > limit:
            self._hold(min(self._held, limit))
            self._reference = _Total()
            self._again = True
        elif comparing and not moved:
            self._reference.include(held)
            self._evidence.add(log(rival.rate / held.rate))
            self._decide(limit)
        elif self._reference.rounds == 0:
            self._reference.include(held)
        if self._again and self._rest == 0:
            self._begin(self._held, limit)

    def _moved(self, held: _Total, load: float) -> bool:
        """Is this block unlike the reference?"""
        known, change = self._reference, self._params.load_change
        if known.rounds == 0:
            return False
        usual = known.load / known.rounds
        if abs(load - usual) > change * usual:
            return True
        return self._rival is None and abs(held.rate - known.rate) > change * known.rate

    def _decide(self, limit: int) -> None:
        params, evidence = self._params, self._evidence
        assert self._rival is not None
        least = log1p(params.gain)
        if evidence.mean > least and evidence.above(0.0, params.error):
            self._spent = 0
            self._begin(self._rival, limit, self._step, climbed=True)
        elif evidence.below(least, params.error) or evidence.count >= params.blocks:
            if self._step > 0 and not self._climbed and self._held > 1:
                self._begin(self._held, limit, -1)
            else:
                self._hold(self._held)

    def _begin(self, depth: int, limit: int, step: int = 1, *, climbed: bool = False) -> None:
        """Compare ``depth`` with the next in the direction of ``step``; hold it where there is none."""
        self._evidence = Evidence()
        self._reference = _Total()
        self._again = False
        self._climbed = climbed
        self._step = -1 if depth >= limit and not climbed else step
        rival = depth + self._step
        if 1 <= rival <= limit:
            self._held, self._rival = depth, rival
        else:
            self._hold(depth)

    def _hold(self, depth: int) -> None:
        """Compare nothing, at least as long as keeps comparisons in vain a small share of the time."""
        self._rest += REST * self._spent
        self._spent = 0
        self._evidence = Evidence()
        self._strange = 0
        self._held, self._rival = depth, None


class _Total:
    """Tokens, rounds, time and load, of a window under way or of several."""

    __slots__ = ("elapsed_ns", "load", "rounds", "since_ns", "tokens")

    def __init__(self) -> None:
        self.restart(-1)

    def restart(self, now_ns: int) -> None:
        """From ``now_ns`` on, or (-1) from a moment yet to come."""
        self.since_ns = now_ns
        self.elapsed_ns = self.tokens = self.rounds = self.load = 0

    def round(self, now_ns: int, committed: int, active: int) -> None:
        """One more commit."""
        self.elapsed_ns = now_ns - self.since_ns
        self.tokens += committed
        self.rounds += 1
        self.load += active

    def include(self, other: _Total) -> None:
        """Add another's figures."""
        self.elapsed_ns += other.elapsed_ns
        self.tokens += other.tokens
        self.rounds += other.rounds
        self.load += other.load

    @property
    def rate(self) -> float:
        """Tokens per nanosecond; never 0."""
        return max(self.tokens, 1) / self.elapsed_ns
