"""Lanes in predicted time against a plain simulation of work that flows at changing rates."""

from __future__ import annotations

import simpy
from hypothesis import given
from hypothesis import strategies as st

from spinsim.operations import Completed
from spinsim.simulated.lanes import Contention, ExclusiveLane, SharedLane

Submission = tuple[int, int, int, int]  # lane, submitted, delay until ready, work
US = 1_000  # times are whole microseconds apart, so that a rounded nanosecond changes no order

submissions = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(0, 20), st.integers(0, 30)), max_size=14
).map(lambda rows: sorted((lane, at * US, delay * US, work * US) for lane, at, delay, work in rows))


def served(
    lanes: list[ExclusiveLane] | list[SharedLane],
    env: simpy.Environment,
    work: list[Submission],
    contention: list[Contention],
):
    """(start, end) by submission, as the lanes tell; ``contention`` by submission."""
    spans: dict[int, tuple[int, int]] = {}

    def submit(i: int, submission: Submission):
        lane, at, delay, duration = submission
        yield env.timeout(at)
        done: Completed = yield lanes[lane].submit(at, at + delay, duration, None, contention[i])
        assert env.now == done.finished_ns
        spans[i] = (done.started_ns, done.finished_ns)

    for i, submission in enumerate(work):
        env.process(submit(i, submission))
    env.run()
    return [spans[i] for i in range(len(work))]


def flowed(
    work: list[Submission], neighbours: list[list[int]], contention: list[Contention]
) -> list[tuple[float, float]]:
    """The same, by moving from one change to the next with every rate recomputed at each."""
    queues = [
        sorted((i for i, s in enumerate(work) if s[0] == lane), key=lambda i: work[i][1]) for lane in range(3)
    ]
    left = {i: float(s[3]) for i, s in enumerate(work)}
    start: dict[int, float] = {}
    end: dict[int, float] = {}
    now = 0.0
    while any(queues):
        heads = [queue[0] for queue in queues if queue]
        # Who is done makes room, then who is ready begins: at one moment, in this order.
        for i in heads:
            if i in start and left[i] <= 0.5:
                end[i] = now
                queues[work[i][0]].remove(i)
        for queue in queues:
            if queue and queue[0] not in start and work[queue[0]][1] + work[queue[0]][2] <= now:
                start[queue[0]] = now
        running = {work[q[0]][0]: q[0] for q in queues if q and q[0] in start}
        rate = {}
        for lane, i in running.items():
            beside = [contention[running[n]].others for n in neighbours[lane] if n in running]
            rate[lane] = 1 / max(contention[i].own, *beside) if beside else 1.0
        changes = [now + left[i] / rate[lane] for lane, i in running.items()]
        changes += [
            float(work[q[0]][1] + work[q[0]][2]) for q in queues if q and work[q[0]][1] + work[q[0]][2] > now
        ]
        if not changes:
            continue
        later = min(changes)
        for lane, i in running.items():
            left[i] -= (later - now) * rate[lane]
        now = later
    return [(start[i], end[i]) for i in range(len(work))]


factors = st.sampled_from([1.0, 1.5, 2.0])


@given(submissions, st.lists(st.builds(Contention, factors, factors), min_size=14, max_size=14))
def test_shared_lanes_slow_each_other_down_while_both_are_busy(
    work: list[Submission], contention: list[Contention]
) -> None:
    env = simpy.Environment()
    lanes = [SharedLane(env) for _ in range(3)]
    neighbours = [[1, 2], [0], [0]]  # a target over two devices, and drafts on each
    for lane, others in zip(lanes, neighbours, strict=True):
        lane.neighbours = [lanes[j] for j in others]
    spans = zip(served(lanes, env, work, contention), flowed(work, neighbours, contention), strict=True)
    for told, expected in spans:
        assert abs(told[0] - expected[0]) < 100
        assert abs(told[1] - expected[1]) < 100


@given(submissions)
def test_a_lane_of_its_own_is_a_queue(work: list[Submission]) -> None:
    env = simpy.Environment()
    lanes = [ExclusiveLane(env) for _ in range(3)]
    free = [0, 0, 0]
    spans = served(lanes, env, work, [Contention(2.0, 2.0)] * len(work))
    for (lane, at, delay, duration), (start, end) in zip(work, spans, strict=True):
        assert start == max(free[lane], at + delay)
        assert end == start + duration
        free[lane] = end
