"""A clock that is set where nothing is due: the same records as with an event for every end."""

from __future__ import annotations

from dataclasses import asdict, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.simulated.ahead import SteppingEnvironment
from tests.engine.harness import Deployment, policies, requests, run
from tests.engine.test_invariants import DEPLOYMENTS


@settings(max_examples=60, deadline=None)
@given(DEPLOYMENTS, st.sampled_from([0.0, 0.00007]), st.sampled_from([0.0, 0.1]))
def test_every_record_is_the_same_with_and_without(
    deployment: Deployment, handle_s: float, noise_sd: float
) -> None:
    deployment = replace(deployment, handle_s=handle_s, noise_sd=noise_sd)
    one, other = run(deployment), run(replace(deployment, ahead=False))
    assert asdict(one.records) == asdict(other.records)
    assert one.world.env.now == other.world.env.now
    assert one.world.label_s == other.world.label_s
    assert one.world.orchestrator_s == other.world.orchestrator_s


def test_a_lone_micro_batch_needs_no_event() -> None:
    deployment = Deployment(requests([(20, 60)]), policies=policies(pipeline="serial", selector="fixed"))
    stepped, waited = run(deployment), run(replace(deployment, ahead=False))
    rounds = len(stepped.records.rounds.size)
    assert rounds > 10
    numbers = [next(done.world.env._eid) for done in (stepped, waited)]
    assert numbers[1] - numbers[0] >= 2 * (rounds - 1)  # proposals and verifications, but for the beginning


def test_the_clock_is_not_set_past_what_is_due() -> None:
    env = SteppingEnvironment()
    env.timeout(5)
    assert env.step_to(4)
    assert not env.step_to(5)  # what is due now goes first
    assert not env.step_to(6)
    assert env.now == 4
