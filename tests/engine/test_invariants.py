"""What holds for every workload, policy and limit: conservation, order, determinism, blindness."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.engine.kv import KvPool, kv_pools
from spinsim.engine.processes import start
from spinsim.engine.records import CANCELLED, COMPLETED, REJECTED
from spinsim.scenario import KvSpec
from tests.engine.harness import Deployment, Finished, build, policies, requests, run

LENGTHS = st.lists(st.tuples(st.integers(1, 150), st.integers(1, 120)), min_size=1, max_size=24)
POLICIES = st.builds(
    lambda selector, length, depth, composition, switching, admission: policies(
        selector=selector,
        length={"name": "fixed", "tokens": length},
        pipeline={"name": "fixed", "micro_batches": depth},
        composition=composition,
        switching=switching,
        admission=admission,
    ),
    selector=st.sampled_from(
        ["fixed", "random", "round_robin", "spin", "ucb1", "exp3spec", "hedgespec", "thompson"]
    ),
    length=st.integers(1, 8),
    depth=st.integers(1, 4),
    composition=st.sampled_from(["round_robin", "balanced", "grouped"]),
    switching=st.sampled_from(["blocking", "overlapped"]),
    admission=st.sampled_from(["fcfs", "shortest_prompt"]),
)
DEPLOYMENTS = st.builds(
    lambda lengths, gap, patience, closed, **rest: Deployment(
        requests=requests(lengths, gap, patience), concurrency=3 if closed else None, **rest
    ),
    lengths=LENGTHS,
    gap=st.sampled_from([0.0, 0.003, 0.05]),
    patience=st.sampled_from([float("inf"), 0.2, 0.02]),
    closed=st.booleans(),
    policies=POLICIES,
    acceptance=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    batch_limit=st.integers(1, 8),
    reserve=st.sampled_from(["full", "grow"]),
    target_kv_tokens=st.sampled_from([256, 700, 100_000]),
    draft_kv_tokens=st.sampled_from([256, 600, 100_000]),
    one_gpu=st.booleans(),
    own_lanes=st.booleans(),
    slowdown=st.sampled_from([1.0, 1.7]),
    orchestrator_s=st.sampled_from([0.0, 0.0001]),
    seed=st.integers(0, 3),
)


def check(deployment: Deployment, done: Finished) -> None:
    records = done.records
    assert len(records.requests) == len(deployment.requests)
    by_request: dict[int, int] = {}
    rounds = records.rounds
    assert sum(rounds.size) == len(rounds.request)
    for request, committed in zip(rounds.request, rounds.committed, strict=True):
        by_request[request] = by_request.get(request, 0) + committed
    for request in deployment.requests:
        record = records.requests[request.id]
        if request.prompt_tokens + request.output_tokens > deployment.context_tokens:
            assert record.status == REJECTED
            continue
        assert record.status in (COMPLETED, CANCELLED)
        first = 1 if record.first_token_ns >= 0 else 0
        assert record.output_tokens == by_request.get(request.id, 0) + first
        assert record.accepted <= record.drafted
        moments = [record.arrival_ns]
        moments += [t for t in (record.admitted_ns, record.first_token_ns) if t >= 0]
        assert sorted([*moments, record.finished_ns]) == [*moments, record.finished_ns]
        if record.status == COMPLETED:
            assert record.output_tokens == request.output_tokens
            assert record.first_token_ns >= 0
    # Nobody keeps memory, and the engine and the world have forgotten everybody.
    pools = [done.engine.state.target_kv, *done.engine.caches.pools]
    assert all(pool.free_blocks == pool.blocks and pool.used_slots == 0 for pool in pools)
    assert not done.engine.state.sessions
    assert len(done.field.forgotten) == len(set(done.field.forgotten))
    # Operations: in order on each lane, never two at once, none lost.
    ops = records.operations
    free = dict.fromkeys(range(len(records.lanes)), 0)
    for lane, submitted, started, finished in zip(
        ops.lane, ops.submitted_ns, ops.started_ns, ops.finished_ns, strict=True
    ):
        assert submitted <= started <= finished
        assert started >= free[lane]
        free[lane] = finished
    for header in range(len(rounds.size)):
        assert (
            rounds.assigned_ns[header]
            <= rounds.drafted_ns[header]
            <= rounds.verify_started_ns[header]
            <= rounds.committed_ns[header]
        )


@settings(max_examples=150, deadline=None)
@given(DEPLOYMENTS)
def test_every_run_conserves_requests_tokens_and_memory(deployment: Deployment) -> None:
    check(deployment, run(deployment))


@settings(max_examples=25, deadline=None)
@given(DEPLOYMENTS)
def test_same_seed_same_records(deployment: Deployment) -> None:
    assert run(deployment).records == run(deployment).records


@settings(max_examples=25, deadline=None)
@given(DEPLOYMENTS)
def test_packings_commit_the_same_tokens(deployment: Deployment) -> None:
    deployment = replace(
        deployment, requests=[replace(r, patience_s=float("inf")) for r in deployment.requests]
    )
    committed = []
    for packing in ("padded", "decomposed", "ragged"):
        spec = deployment.policies.model_copy(update={"packing": policies(packing=packing).packing})
        rounds = run(replace(deployment, policies=spec)).records.rounds
        committed.append((rounds.request, rounds.position, rounds.draft, rounds.accepted, rounds.committed))
    assert committed[0] == committed[1]


def test_acceptance_does_not_depend_on_scheduling() -> None:
    """Whoever is at the same position with the same draft and length accepts the same."""
    seen: dict[tuple[int, int, int, int], int] = {}
    work = requests([(20 + i, 60 + 7 * i) for i in range(8)])
    for depth in (1, 2, 4):
        for composition in ("round_robin", "balanced", "grouped"):
            spec = policies(
                selector="round_robin",
                length={"name": "fixed", "tokens": 4},
                pipeline={"name": "fixed", "micro_batches": depth},
                composition=composition,
            )
            rounds = run(Deployment(work, policies=spec)).records.rounds
            rows = zip(
                rounds.request, rounds.position, rounds.draft, rounds.drafted, rounds.accepted, strict=True
            )
            for *key, accepted in rows:
                assert seen.setdefault(tuple(key), accepted) == accepted


def test_policies_cannot_see_the_output_length() -> None:
    """Until the shorter request ends, nobody can tell it from a longer one."""

    def decisions(output: int) -> list[tuple[int, ...]]:
        work = requests([(30, output), (40, 200)])
        spec = policies(selector="random", length={"name": "fixed", "tokens": 3})
        rounds = run(Deployment(work, policies=spec, acceptance=0.6)).records.rounds
        rows = zip(rounds.request, rounds.position, rounds.draft, rounds.drafted, strict=True)
        return list(rows)

    short, long = decisions(40), decisions(120)
    until = next(i for i, row in enumerate(short) if row[0] == 0 and row[1] >= 30)
    assert short[:until] == long[:until]
    assert until > 8


@pytest.mark.parametrize("reserve", ["full", "grow"])
def test_scarce_memory_delays_but_loses_nobody(reserve: str) -> None:
    work = requests([(100, 100)] * 12)
    done = run(Deployment(work, reserve=reserve, target_kv_tokens=512, policies=policies(selector="random")))
    check(Deployment(work), done)
    assert all(r.status == COMPLETED for r in done.records.requests.values())
    preempted = sum(r.preemptions for r in done.records.requests.values())
    assert (preempted > 0) == (reserve == "grow")


def test_micro_batches_without_memory_do_not_wake_each_other_for_ever() -> None:
    """Two that could not get room for a round once took turns at one instant, without end."""
    lengths = [(93, 35), (7, 5), (55, 102), (12, 101), (144, 32), (106, 16), (127, 69), (33, 78)]
    deployment = Deployment(
        requests(lengths, 0.003),
        concurrency=3,
        acceptance=0.0,
        batch_limit=5,
        reserve="grow",
        target_kv_tokens=256,
        slowdown=1.7,
        seed=2,
        policies=policies(
            selector="thompson",
            length={"name": "fixed", "tokens": 2},
            pipeline={"name": "fixed", "micro_batches": 3},
            composition="grouped",
            admission="shortest_prompt",
        ),
    )
    done = build(deployment)
    start(done.engine)
    for _ in range(100_000):  # a live-lock would never end, a test must
        if done.engine.done.triggered:
            break
        done.world.env.step()
    assert done.engine.done.triggered
    check(deployment, run(deployment))


@given(context=st.integers(9, 300), block=st.integers(1, 400), extra=st.integers(0, 64))
@settings(max_examples=40, deadline=None)
def test_a_cache_that_the_scenario_accepts_serves_the_longest_request(
    context: int, block: int, extra: int
) -> None:
    """The check of a scenario and the engine's pools count in the same blocks."""
    kv = KvSpec(reserve="grow", block_tokens=block)
    least = kv.least(context)
    assert kv.shortage(least, context) == ""
    assert kv.shortage(least - 1, context) != ""
    pool = KvPool(least + extra, context, reserve="grow", block_tokens=block, slots=1)
    slot = pool.acquire(1)
    assert pool.grow(slot, context)
    settings = build(Deployment([], context_tokens=context)).engine.settings
    short = replace(settings, reserve="grow", block_tokens=block, target_kv_tokens=least - 1)
    with pytest.raises(ValueError, match="hold no request"):
        kv_pools(short)
