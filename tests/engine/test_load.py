"""What is recorded of load agrees with the requests' own moments, whatever the workload and the limits."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings

from spinsim.engine.records import COMPLETED, REASONS, REJECTED
from tests.engine.harness import Deployment, policies, requests, run
from tests.engine.test_invariants import DEPLOYMENTS


@settings(max_examples=60, deadline=None)
@given(DEPLOYMENTS)
def test_whoever_arrived_is_served_waits_or_has_ended(deployment: Deployment) -> None:
    records = run(deployment).records
    load = records.load
    assert all(before < after for before, after in pairwise(load.at_ns))
    served = [record for record in records.requests.values() if record.status != REJECTED]
    arrived = np.sort([record.arrival_ns for record in served])
    ended = np.sort([record.finished_ns for record in served])
    for at, admitted, waiting, reason, kv in zip(
        load.at_ns, load.admitted, load.waiting, load.reason, load.kv_tokens, strict=True
    ):
        # the row holds what is so at the end of its moment
        inside = np.searchsorted(arrived, at, side="right") - np.searchsorted(ended, at, side="right")
        assert admitted + waiting == inside
        assert 0 <= admitted <= deployment.batch_limit
        assert (reason > 0) == (waiting > 0)
        assert (kv > 0) == (admitted > 0)
        assert kv <= deployment.target_kv_tokens
    if served:
        assert (load.admitted[-1], load.waiting[-1], load.kv_tokens[-1]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [({"batch_limit": 2}, "batch limit"), ({"target_kv_tokens": 512, "context_tokens": 256}, "memory")],
)
def test_the_reason_of_waiting_is_the_limit_that_was_met(limits: dict[str, int], reason: str) -> None:
    deployment = replace(
        Deployment(requests([(100, 100)] * 8), policies=policies(selector="random")), **limits
    )
    load = run(deployment).records.load
    assert {REASONS[code] for code in load.reason} == {"", reason}
    assert max(load.admitted) == 2


def test_preempted_requests_wait_again() -> None:
    work = requests([(100, 100)] * 12)
    done = run(Deployment(work, reserve="grow", target_kv_tokens=512, policies=policies(selector="random")))
    load = done.records.load
    assert sum(r.preemptions for r in done.records.requests.values()) > 0
    assert load.at_ns[0] == 0, "all have arrived"
    assert any(after > before for before, after in pairwise(load.waiting)), "somebody waits again"


def test_whoever_gives_up_holds_up_nobody() -> None:
    """Behind a large request that waits for memory, a small one waits until the large one's client leaves."""
    served, large, small = requests([(100, 120), (200, 20), (20, 20)])
    work = [served, replace(large, patience_s=0.05), small]
    done = run(Deployment(work, reserve="grow", target_kv_tokens=256)).records.requests
    assert done[1].finished_ns == done[2].admitted_ns == 50_000_000 < done[0].finished_ns


def test_a_client_whose_requests_are_rejected_sends_on() -> None:
    """Each rejection sent the next request from within: beyond some 300 in a row, Python gave up."""
    work = requests([(300, 1)] * 2000 + [(20, 20)] + [(300, 1)] * 2000)
    done = run(Deployment(work, concurrency=1)).records.requests
    rejected = [REJECTED] * 2000
    assert [record.status for record in done.values()] == [*rejected, COMPLETED, *rejected]
