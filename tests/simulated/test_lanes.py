"""Lanes in predicted time against a plain simulation of work that flows at changing rates."""

from __future__ import annotations

import simpy
from hypothesis import given
from hypothesis import strategies as st

from spinsim.costs.contention import Demand, Factors, KernelLaw, Law
from spinsim.operations import Completed
from spinsim.simulated.lanes import ExclusiveLane, SharedDevice, SharedLane

Submission = tuple[int, int, int, int]  # lane, submitted, delay until ready, work
US = 1_000  # times are whole microseconds apart, so that a rounded nanosecond changes no order

submissions = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(0, 20), st.integers(0, 30)), max_size=14
).map(lambda rows: sorted((lane, at * US, delay * US, work * US) for lane, at, delay, work in rows))


def served(
    lanes: list[ExclusiveLane] | list[SharedLane],
    env: simpy.Environment,
    work: list[Submission],
    demands: list[Demand],
):
    """(start, end) by submission, as the lanes tell; ``demands`` by submission."""
    spans: dict[int, tuple[int, int]] = {}

    def submit(i: int, submission: Submission):
        lane, at, delay, duration = submission
        yield env.timeout(at)
        done: Completed = yield lanes[lane].submit(at, at + delay, duration, None, lambda: demands[i])
        assert env.now == done.finished_ns
        spans[i] = (done.started_ns, done.finished_ns)

    for i, submission in enumerate(work):
        env.process(submit(i, submission))
    env.run()
    return [spans[i] for i in range(len(work))]


def flowed(
    work: list[Submission], devices: list[list[int]], law: Law, demands: list[Demand]
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
        rate = dict.fromkeys(running, 1.0)
        for lanes in devices:
            here = [lane for lane in lanes if lane in running]
            slow = law.slowdowns([demands[running[lane]] for lane in here])
            for lane, factor in zip(here, slow, strict=True):
                rate[lane] = min(rate[lane], 1 / factor)
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


LAYOUTS = {  # lanes of each device
    "a target over two devices, and a draft on each": [[0, 1], [0, 2]],
    "a target and two drafts on one device": [[0, 1, 2]],
    "drafts away from the target": [[0], [1, 2]],
}
KERNELS = KernelLaw(gap=0.2, crowd=1.0, short_s=5e-6, wait=2.0)
FACTORS = Factors(lambda draft, target_lane: 1.5 if target_lane else 2.0 + draft)


def demand_of(submission: Submission, kind: int) -> Demand:
    """Long kernels that are at work for most of the time, or short ones that mostly launch."""
    lane, _, _, work = submission
    seconds = work * 1e-9
    kernels, busy = [(1 + work // 10_000, 0.9), (1 + work // 2_000, 0.2)][kind]
    return Demand(lane - 1, seconds, kernels, busy * seconds)


@given(
    submissions,
    st.lists(st.integers(0, 1), min_size=14, max_size=14),
    st.sampled_from(list(LAYOUTS)),
    st.sampled_from([KERNELS, FACTORS]),
)
def test_lanes_slow_each_other_down_while_they_are_busy(
    work: list[Submission], kinds: list[int], layout: str, law: Law
) -> None:
    env = simpy.Environment()
    devices = [SharedDevice(law) for _ in LAYOUTS[layout]]
    lanes = []
    for number in range(3):
        mine = [device for device, here in zip(devices, LAYOUTS[layout], strict=True) if number in here]
        lanes.append(SharedLane(env, mine))
        for device in mine:
            device.lanes.append(lanes[-1])
    demands = [demand_of(one, kind) for one, kind in zip(work, kinds, strict=False)]
    told = served(lanes, env, work, demands)
    expected = flowed(work, LAYOUTS[layout], law, demands)
    for (start, end), (expected_start, expected_end) in zip(told, expected, strict=True):
        assert abs(start - expected_start) < 200
        assert abs(end - expected_end) < 200


@given(submissions)
def test_a_lane_of_its_own_is_a_queue(work: list[Submission]) -> None:
    env = simpy.Environment()
    lanes = [ExclusiveLane(env) for _ in range(3)]
    free = [0, 0, 0]
    spans = served(lanes, env, work, [Demand(0, 1.0)] * len(work))
    for (lane, at, delay, duration), (start, end) in zip(work, spans, strict=True):
        assert start == max(free[lane], at + delay)
        assert end == start + duration
        free[lane] = end
