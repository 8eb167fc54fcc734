"""Lanes in real time: each a queue of its own, none waiting for another's work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from spinsim.live.clock import Finished, LiveEnvironment
from spinsim.live.lanes import Job, LaneError, WorkerLane
from spinsim.operations import Completed

SOON = 10.0  # seconds that a test waits for what has to happen


@contextmanager
def lanes(count: int) -> Iterator[tuple[LiveEnvironment, list[WorkerLane]]]:
    env = LiveEnvironment()
    made = [WorkerLane(f"lane{i}", env) for i in range(count)]
    try:
        yield env, made
    finally:
        for lane in made:
            lane.close()


def next_end(env: LiveEnvironment) -> Finished:
    return env.completions.get(timeout=SOON)


def done(finished: Finished) -> Completed:
    assert finished.done is not None
    return finished.done


def test_a_lane_is_first_in_first_out() -> None:
    ran: list[int] = []
    with lanes(1) as (env, (lane,)):
        for number in range(20):
            lane.submit(Job(number, "append", lambda number=number: ran.append(number)))  # type: ignore[misc]
        ends = [next_end(env) for _ in range(20)]
    assert ran == list(range(20))
    assert [end.operation for end in ends] == ran
    for before, after in pairwise(ends):
        assert done(before).finished_ns <= done(after).started_ns


def test_no_lane_waits_for_what_another_executes() -> None:
    """One lane is held up; its neighbours begin, end and stamp what they were given all the same."""
    begun, release = threading.Event(), threading.Event()

    def held_up() -> bool:
        begun.set()
        return release.wait(SOON)

    with lanes(3) as (env, made):
        made[0].submit(Job(0, "held up", held_up))
        assert begun.wait(SOON)  # a thread may begin late
        made[0].submit(Job(1, "behind it", lambda: None))
        for number, lane in enumerate(made[1:], 2):
            lane.submit(Job(number, "free", lambda: None))
        assert {next_end(env).operation for _ in range(2)} == {2, 3}
        freed_ns = env.wall_ns()
        release.set()
        first, second = next_end(env), next_end(env)
    assert (first.operation, second.operation) == (0, 1)
    assert done(first).started_ns < freed_ns <= done(first).finished_ns
    assert done(second).started_ns >= done(first).finished_ns


def test_each_lane_stamps_its_own_end() -> None:
    """Not when somebody looks: the completion is fetched long after."""
    with lanes(2) as (env, made):
        ended = threading.Event()
        made[0].submit(Job(0, "first", lambda: None))
        first = next_end(env)
        made[1].submit(Job(1, "second", lambda: ended.set()))
        assert ended.wait(SOON)
        made[1].submit(Job(2, "third", lambda: None))
        second, third = next_end(env), next_end(env)
    assert first.stamp_ns == done(first).finished_ns
    assert done(first).finished_ns <= done(second).finished_ns <= done(third).started_ns


def test_a_failure_stays_in_its_lane() -> None:
    def fail() -> None:
        raise ValueError("no")

    with lanes(2) as (env, made):
        made[0].submit(Job(0, "fails", fail))
        failed = next_end(env)
        made[0].submit(Job(1, "goes on", lambda: 7))
        made[1].submit(Job(2, "never knew", lambda: 8))
        others = {end.operation: done(end).outcome for end in (next_end(env), next_end(env))}
    assert isinstance(failed.error, LaneError)
    assert "lane lane0: fails: ValueError: no" in str(failed.error)
    assert others == {1: 7, 2: 8}
