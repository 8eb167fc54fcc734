"""What a profile says of the host: handling an end, and from one thread to another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinsim.costs.profiled.host import AFTER_WORK, handling_of, hop_of, planning_of, wake_of
from spinsim.costs.profiled.profile import SCHEMA, Point, Profile
from tests.costs.cost_cases import measured


def test_handling_is_a_line_over_rows_of_the_scenarios_selector() -> None:
    def point(kind: str, policy: str, rows: float, seconds: float) -> Point:
        return Point("handling", seconds, 0.0, 5, {"rows": rows}, kind=kind, policy=policy)

    points = [
        point("verify", "fixed", 1, 1e-4),
        point("verify", "fixed", 9, 9e-4),
        point("verify", "spin", 1, 3e-4),
        point("propose", "fixed", 4, 5e-5),
    ]
    made = Profile(SCHEMA, "h200", "", True, {}, {}, {}, tuple(points))
    assert handling_of(made, "fixed").lines == {
        "verify": (pytest.approx(0, abs=1e-12), pytest.approx(1e-4)),
        "propose": (pytest.approx(0, abs=5e-5), pytest.approx(0, abs=2e-5)),
    }
    assert sum(handling_of(made, "spin").lines["verify"]) == pytest.approx(3e-4)
    assert handling_of(made, "another") == handling_of(made, "fixed")  # the first one in the file
    assert handling_of(replace(made, points=()), "fixed") == ({}, 0.0)


def test_every_operation_that_an_end_leads_to_takes_the_host_its_time() -> None:
    """Profiles that say how many followed; where it was always one, nothing is known of a second."""

    def point(rows: float, operations: float) -> Point:
        features = {"rows": rows, "operations": operations}
        seconds = 1e-4 + 1e-5 * rows + 8e-5 * operations
        return Point("handling", seconds, 0.0, 9, features, kind="verify", policy="spin")

    points = [point(rows, operations) for rows in (4, 32) for operations in (1, 3, 5)]
    lone = Point("handling", 1.4e-4, 0.0, 9, {"rows": 8.0, "operations": 1.0}, kind="propose", policy="spin")
    made = Profile(SCHEMA, "h200", "", True, {}, {}, {}, (*points, lone))
    found = handling_of(made, "spin")
    assert found.submit_s == pytest.approx(8e-5)
    assert found.lines["verify"] == (pytest.approx(1e-4), pytest.approx(1e-5))
    fixed, each = found.lines["propose"]
    assert fixed + 8 * each == pytest.approx(6e-5)
    alone = replace(made, points=(points[0], points[3], lone))
    assert handling_of(alone, "spin").submit_s == 0.0


def test_a_hop_is_what_handling_leaves_of_a_handover() -> None:
    """Without handovers it is the hop that was measured alone, as in older profiles."""
    alone = measured()
    assert hop_of(alone) == pytest.approx(np.median([point.seconds for point in alone.of("hop")]))

    def handover(rows: int, handled_s: float, hop_s: float, count: int) -> Point:
        features = {"rows": float(rows), "handled_s": handled_s}
        seconds = handled_s + 2 * hop_s
        return Point("handover", seconds, 0.0, count, features, kind="verify", policy="fixed")

    seen = (handover(1, 1e-4, 4e-5, 9), handover(8, 2e-4, 8e-5, 40), handover(32, 3e-4, 9e-5, 20))
    assert hop_of(replace(alone, points=(*alone.points, *seen))) == pytest.approx(8e-5)
    early = (handover(8, 5e-4, -1e-4, 3),)  # the worker began before the rest was handled
    assert hop_of(replace(alone, points=(*alone.points, *early))) == 0


def test_each_operation_that_follows_waits_for_those_before_it() -> None:
    """Two hops of 60 us, and 50 us for each further operation; told by rows and by selector."""
    alone = measured()
    others = tuple(point for point in alone.points if point.operation not in ("handling", "handover"))

    def end(rows: float, policy: str, followed: dict[int, int]) -> tuple[Point, ...]:
        count, total = sum(followed.values()), sum(n * times for n, times in followed.items())
        gap = 120e-6 + 50e-6 * (total / count - 1)
        features = {"rows": rows, "handled_s": 3e-4}
        told = {"kind": "verify", "policy": policy}
        return (
            Point("handover", 3e-4 + gap, 0.0, count, features, **told),
            *(
                Point("handling", 3e-4, 0.0, times, {"rows": rows, "operations": float(n)}, **told)
                for n, times in followed.items()
            ),
        )

    seen = (
        *end(1.0, "fixed", {1: 40}),
        *end(32.0, "fixed", {1: 20, 3: 10}),
        *end(32.0, "spin", {2: 5, 5: 9}),
    )
    profile = replace(alone, points=(*others, *seen))
    assert wake_of(profile) == pytest.approx(50e-6)
    assert hop_of(profile) == pytest.approx(60e-6)
    assert wake_of(replace(alone, points=(*others, *end(32.0, "fixed", {1: 20})))) == 0


def test_a_plan_takes_as_long_as_there_are_piece_lengths_to_try() -> None:
    """By the root of its K/V tokens. Plans that were made back to back take longer in a run."""

    def plan(kv_tokens: float, **features: float) -> Point:
        seconds = 1e-4 + 2e-6 * kv_tokens**0.5
        features = {"rows": 8.0, "kv_tokens": kv_tokens, **features}
        return Point("planning", seconds, 0.0, 19, features, packing="decomposed")

    def found(points: list[Point]) -> tuple[float, float] | None:
        return planning_of(Profile(SCHEMA, "h200", "", True, {}, {}, {}, tuple(points)), "decomposed")

    sizes = (144.0, 2304.0, 73728.0, 294912.0)
    assert found([plan(kv, after_s=6e-3) for kv in sizes]) == (pytest.approx(1e-4), pytest.approx(2e-6))
    slower = found([plan(kv) for kv in sizes])
    assert slower == (pytest.approx(1e-4 * AFTER_WORK), pytest.approx(2e-6 * AFTER_WORK))
    assert found([]) is None
