"""Two stages whose costs do not depend on the batch: what m micro-batches can reach, and do."""

from __future__ import annotations

import numpy as np
import pytest

from tests.closed_forms.closed_scenarios import run, scenario

LENGTH = 4
ROUNDS = 400


def verifications_per_s(depth: int, draft_s: float, verify_s: float, overhead_s: float = 0.0) -> float:
    """With D to draft, V to verify: m / (D + V) while all m are under way, at most 1 / max(D, V)."""
    return min(depth / (draft_s + verify_s + 2 * overhead_s), 1.0 / max(draft_s, verify_s))


@pytest.mark.parametrize("acceptance", [1.0, 0.7])
@pytest.mark.parametrize(
    ("draft_s", "verify_s"), [(0.010, 0.010), (0.020, 0.010), (0.010, 0.020), (0.003, 0.010)]
)
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_micro_batches_reach_the_bound_and_never_exceed_it(
    depth: int, draft_s: float, verify_s: float, acceptance: float
) -> None:
    """Within 2 %: filling the pipeline costs one round of ROUNDS, 0.5 % at m = 2."""
    rows = 3
    whole = acceptance == 1.0
    simulated = run(
        scenario(
            {"process": "at_once"},
            requests=rows * depth,
            output=1 + ROUNDS * (LENGTH + 1),
            acceptance=(acceptance,),
            draft_step_s=(draft_s / LENGTH,),
            verify_s=verify_s,
            policies={
                "length": {"name": "fixed", "tokens": LENGTH},
                "pipeline": {"name": "fixed", "micro_batches": depth},
            },
            batch=rows * depth,
        )
    )
    records = simulated.records
    bound = verifications_per_s(depth, draft_s, verify_s)
    rounds = records.rounds
    committed_ns = np.asarray(rounds.committed_ns)
    # Requests that end leave their micro-batch smaller, and the last ones cannot fill the pipeline:
    # it is measured until the first has ended.
    until = min(record.finished_ns for record in records.by_arrival())
    done = int((committed_ns <= until).sum())
    assert done <= bound * until * 1e-9 + 1e-6
    assert done / (until * 1e-9) == pytest.approx(bound, rel=0.02)
    if whole:  # all end in the last round: tokens follow
        assert done == ROUNDS * depth - (depth - 1)
        tokens = sum(np.asarray(rounds.committed)[: done * rows])
        assert tokens / (until * 1e-9) == pytest.approx(bound * rows * (LENGTH + 1), rel=0.02)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_no_stage_is_ever_in_two_places(depth: int) -> None:
    """Busy time of a lane never exceeds the run; the slower stage is busy all but the ramp."""
    draft_s, verify_s = 0.012, 0.008
    simulated = run(
        scenario(
            {"process": "at_once"},
            requests=4 * depth,
            output=1001,
            acceptance=(1.0,),
            draft_step_s=(draft_s / LENGTH,),
            verify_s=verify_s,
            policies={
                "length": {"name": "fixed", "tokens": LENGTH},
                "pipeline": {"name": "fixed", "micro_batches": depth},
            },
            batch=4 * depth,
        )
    )
    operations = simulated.records.operations
    lane = np.asarray(operations.lane)
    started, finished = np.asarray(operations.started_ns), np.asarray(operations.finished_ns)
    for index in (0, 1):
        mine = np.flatnonzero(lane == index)
        order = mine[np.argsort(started[mine], kind="stable")]
        assert (started[order][1:] >= finished[order][:-1]).all()
    busy = (finished - started)[lane == 1].sum() / simulated.records.ended_ns
    expected = draft_s * verifications_per_s(depth, draft_s, verify_s)
    assert busy == pytest.approx(expected, rel=0.02)


def test_host_time_is_part_of_a_round() -> None:
    """Serial: each of the two operations waits for two hops and the orchestrator, so nothing overlaps."""
    hop, host, draft_s, verify_s = 0.0001, 0.0004, 0.008, 0.010
    simulated = run(
        scenario(
            {"process": "at_once"},
            requests=1,
            output=1 + 50 * (LENGTH + 1),
            acceptance=(1.0,),
            draft_step_s=(draft_s / LENGTH,),
            verify_s=verify_s,
            hop_s=hop,
            orchestrator_s=host,
            policies={"length": {"name": "fixed", "tokens": LENGTH}},
        )
    )
    submit = 2 * hop + host
    # Prefill is submitted once; the first round's catch-up, which takes no time here, costs the host
    # once more before the proposal.
    expected = submit + host + 50 * (draft_s + verify_s + 2 * submit)
    assert simulated.records.ended_ns * 1e-9 == pytest.approx(expected, abs=1e-9)
