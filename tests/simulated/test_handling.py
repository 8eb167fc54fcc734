"""The host's handling of what ends, before what it leads to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spinsim.acceptance.field import AcceptanceField
from spinsim.engine.world import Lane
from spinsim.operations import Completed, Operation, Packing, Propose, Verify
from spinsim.simulated.noise import Noise
from spinsim.simulated.world import Acceptance, SimulatedWorld
from tests.policies.policy_world import Field, LinearCosts

MS = 1_000_000


def world(costs: LinearCosts, noise: Noise | None = None) -> SimulatedWorld:
    field: AcceptanceField = Field(lambda *_: 0.5)  # type: ignore[assignment]
    lanes = (Lane("a", ("a",)), Lane("b", ("b",)))
    return SimulatedWorld(lanes, costs, Acceptance(field), remote=[False], noise=noise)


def propose(steps: int) -> Operation:
    return Propose(0, [0], [0], [8], [steps])


def times(
    costs: LinearCosts, *turns: list[tuple[int, Operation]], noise: Noise | None = None
) -> list[list[tuple[int, int]]]:
    """(start, end) in ns of each turn's operations; a turn is submitted when the one before has ended."""
    made = world(costs, noise)
    found: list[list[tuple[int, int]]] = []

    def play() -> Iterator[object]:
        for turn in turns:
            events = [made.submit(lane, operation) for lane, operation in turn]
            found.append([])
            for event in events:
                done: Completed = yield event
                found[-1].append((done.started_ns, done.finished_ns))

    made.env.run(until=made.env.process(play()))
    return found


def test_the_end_of_an_operation_is_handled_once_before_what_it_leads_to() -> None:
    costs = LinearCosts(step_s=(1e-3,), host_s=1e-4, hop_s=5e-5, handling_s={"propose": 2e-3})
    alone, together = times(costs, [(1, propose(1))], [(1, propose(1)), (0, propose(1))])
    begun = 2 * 5e-5 + 1e-4
    assert alone == [(round(begun * 1e9), round(begun * 1e9) + MS)]  # nothing had ended
    ended = alone[0][1]
    first, second = (start - ended for start, _ in together)
    assert first == pytest.approx((begun + 2e-3) * 1e9)
    assert second == pytest.approx((begun + 2e-3 + 1e-4) * 1e9)  # submitted after it, and not handled again


@pytest.mark.parametrize(("searched", "later"), [(True, 4e-4), (False, 0.0)])
def test_a_plan_takes_the_host_time_where_it_was_searched_for(searched: bool, later: float) -> None:
    class Plans(LinearCosts):
        def planning_s(self, packing: Packing) -> float:
            return 4e-4

    costs = Plans(verify_s=1e-3, host_s=1e-4, hop_s=5e-5)
    field: AcceptanceField = Field(lambda *_: 0.5)  # type: ignore[assignment]
    lanes = (Lane("a", ("a",)),)
    made = SimulatedWorld(lanes, costs, Acceptance(field), remote=[False], searched=lambda: searched)
    plan = Packing("decomposed", 1, 16, 2, 16, 2, 16)
    event = made.submit(0, Verify([0], [0], [14], [0], [0], [1], plan, None))
    done = made.env.run(until=event)
    assert isinstance(done, Completed)
    assert done.started_ns == pytest.approx((2 * 5e-5 + 1e-4 + later) * 1e9)


@pytest.mark.parametrize(("hop", "handling"), [(2.0, 1.0), (1.0, 2.0), (2.0, 2.0)])
def test_a_slower_host_doubles_hops_or_all_that_the_orchestrator_does(hop: float, handling: float) -> None:
    noise = Noise((0.0,) * 4, (0.0,) * 4, seed=0)
    noise.hop, noise.handling = hop, handling
    costs = LinearCosts(step_s=(1e-3,), host_s=1e-4, hop_s=5e-5, handling_s={"propose": 2e-3})
    slower = LinearCosts(
        step_s=(1e-3,),
        host_s=handling * 1e-4,
        hop_s=hop * 5e-5,
        handling_s={"propose": handling * 2e-3},
    )
    turns = [(1, propose(1))], [(1, propose(1)), (0, propose(1))]
    assert times(costs, *turns, noise=noise) == times(slower, *turns)
    made, plain = world(costs, noise), world(costs)
    for one in (made, plain):
        one.submit(0, propose(1))
    assert made.orchestrator_s == handling * plain.orchestrator_s
