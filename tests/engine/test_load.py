"""What is recorded of load agrees with the requests' own moments, whatever the workload and the limits."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings

from spinsim.engine.records import REASONS, REJECTED
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
