"""Records as an engine would leave them: a small pipeline of two micro-batches on two devices."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from spinsim.engine.records import CANCELLED, COMPLETED, KINDS, REJECTED, Records, RequestRecord
from spinsim.pages.run import write_report
from spinsim.results.folder import Additions, write_results
from spinsim.results.summary import summarise
from spinsim.scenario import Scenario

MS = 1_000_000
DRAFTS = ("tiny", "code", "large")
STEP_MS = (0.4, 0.4, 1.2)
ACCEPT = {"code": (0.35, 0.9, 0.8), "prose": (0.6, 0.4, 0.82), "": (0.5, 0.5, 0.7)}

SCENARIO = {
    "name": "plausible",
    "description": "Three drafts beside an 8B target; made by hand for the tests.",
    "seed": 7,
    "workload": {
        "requests": 60,
        "arrivals": {"process": "poisson", "rate_per_s": 25},
        "prompt_tokens": {"distribution": "fixed", "value": 96},
        "output_tokens": {"distribution": "fixed", "value": 40},
    },
    "models": {
        "target": {"shape": "llama-3-8b"},
        "drafts": {
            "tiny": {"shape": "llama-68m"},
            "code": {"shape": "llama-68m"},
            "large": {"shape": "llama-1.1b"},
        },
    },
    "devices": {"gpu0": {"hardware": "h200"}, "gpu1": {"hardware": "h200"}},
    "placement": {"target": ["gpu0"], "drafts": {"tiny": "gpu1", "code": "gpu1", "large": "gpu1"}},
    "costs": {"model": "constant", "verify_s": 0.01},
    "acceptance": {"model": "constant", "probability": 0.7},
    "policies": {"selector": {"name": "spin"}, "pipeline": {"name": "fixed", "micro_batches": 2}},
    "slo": {"ttft_s": 0.5, "tpot_s": 0.03},
    "metrics": {"warmup_s": 0.25},
}


def scenario_of(**changes: object) -> Scenario:
    return Scenario.model_validate({**SCENARIO, **changes})


class _Maker:
    """Two devices, one clock each; a round drafts on the second and verifies on the first."""

    def __init__(self, records: Records, rng: random.Random) -> None:
        self.records, self.rng = records, rng
        self.free = [0, 0]

    def operate(
        self, lane: int, kind: str, model: int, batch: int, rows: int, tokens: int, ready: int, ms: float
    ) -> tuple[int, int]:
        o = self.records.operations
        start = max(ready, self.free[lane])
        end = start + int(ms * MS * self.rng.uniform(0.95, 1.05))
        self.free[lane] = end
        row = (lane, KINDS.index(kind), model, batch, rows, tokens, ready, start, end)
        columns = (
            o.lane, o.kind, o.model, o.micro_batch, o.rows, o.tokens,
            o.submitted_ns, o.started_ns, o.finished_ns,
        )  # fmt: skip
        for column, value in zip(columns, row, strict=True):
            column.append(value)
        return start, end

    def prefill(self, record: RequestRecord) -> None:
        start, end = self.operate(0, "prefill", -1, -1, 1, record.prompt_tokens, record.arrival_ns, 6.0)
        record.admitted_ns, record.first_token_ns, record.output_tokens = start, end, 1

    def round(
        self, batch: list[tuple[RequestRecord, int]], m: int, last_draft: dict[int, int], now: int
    ) -> int:
        rng, r = self.rng, self.records.rounds
        drafts = [
            last_draft.get(q.request, rng.randrange(3)) if rng.random() < 0.8 else rng.randrange(-1, 3)
            for q, _ in batch
        ]
        drafted_at = now
        for j in sorted(set(drafts) - {-1}):
            rows = drafts.count(j)
            new = [
                q
                for (q, _), d in zip(batch, drafts, strict=True)
                if d == j and last_draft.get(q.request) != j
            ]
            if new:
                tokens = sum(q.prompt_tokens + q.output_tokens for q in new)
                self.operate(1, "catch_up", j, m, len(new), tokens, now, 1.0)
                for q in new:
                    q.catch_up_tokens += q.prompt_tokens + q.output_tokens
            _, drafted_at = self.operate(1, "propose", j, m, rows, 4, now, 4 * STEP_MS[j])
        begun, committed = self.operate(0, "verify", -1, m, len(batch), 5 * len(batch), drafted_at, 9.0)
        real_kv = sum(q.prompt_tokens + q.output_tokens for q, _ in batch)
        piece = max(q.prompt_tokens + q.output_tokens for q, _ in batch)
        header = (m, 2, len(batch), now, drafted_at, begun, committed)
        columns = (
            r.micro_batch, r.depth, r.size, r.assigned_ns, r.drafted_ns, r.verify_started_ns, r.committed_ns,
        )  # fmt: skip
        for column, value in zip(columns, header, strict=True):
            column.append(value)
        r.packing.append("padded")
        r.rows.append(len(batch))
        r.piece.append(piece)
        r.query_tokens.append(5 * len(batch))
        r.kv_tokens.append(piece * len(batch))
        r.real_query_tokens.append(sum(5 if d >= 0 else 1 for d in drafts))
        r.real_kv_tokens.append(real_kv)
        for (q, wanted), draft in zip(batch, drafts, strict=True):
            drafted = 4 if draft >= 0 else 0
            accepted = 0
            while accepted < drafted and rng.random() < ACCEPT[q.domain][draft]:
                accepted += 1
            kept = min(accepted + 1, wanted - q.output_tokens)
            row = (q.request, q.output_tokens, draft, drafted, accepted, kept, 0)
            columns = (r.request, r.position, r.draft, r.drafted, r.accepted, r.committed, r.catch_up_tokens)
            for column, value in zip(columns, row, strict=True):
                column.append(value)
            q.output_tokens += kept
            q.rounds += 1
            q.drafted += drafted
            q.accepted += accepted
            if draft >= 0:
                q.switches += last_draft.get(q.request, draft) != draft
                last_draft[q.request] = draft
            if q.output_tokens >= wanted:
                q.finished_ns, q.status = committed, COMPLETED
        return committed


def plausible_records(seed: int = 0, requests: int = 60, batch: int = 8) -> Records:
    """A seeded run in which one request is rejected, one cancelled, and one has a single token."""
    rng = random.Random(seed)
    records = Records(
        lanes=(("target", ("gpu0",)), ("drafts@gpu1", ("gpu1",))),
        drafts=DRAFTS,
        label_s={"measured": 0.0, "interpolated": 1.0, "roofline": 3.0, "constant": 0.0},
        orchestrator_s=0.02,
        idle_caused_s=0.01,
        kv_capacity_tokens={"target": 100_000},
    )
    arrival, waiting = 0, []
    for i in range(requests):
        arrival += int(rng.expovariate(25) * 1e9)
        domain = rng.choice(("code", "prose"))
        record = RequestRecord(i, f"row-{i}", domain, rng.randint(16, 200), arrival)
        records.requests[i] = record
        if i == 3:
            record.status, record.finished_ns = REJECTED, arrival
            continue
        if i == 5:
            record.status, record.finished_ns = CANCELLED, arrival + 20 * MS
            continue
        waiting.append((record, 1 if i == 4 else rng.randint(10, 60)))
    records.last_arrival_ns = arrival
    maker = _Maker(records, rng)
    last_draft: dict[int, int] = {}
    groups: list[list[tuple[RequestRecord, int]]] = [[], []]
    clock = [0, 0]
    while waiting or groups[0] or groups[1]:
        m = min((0, 1), key=lambda g: (clock[g], g))
        while waiting and len(groups[m]) < batch and waiting[0][0].arrival_ns <= clock[m]:
            record, wanted = waiting.pop(0)
            maker.prefill(record)
            if wanted == 1:
                record.finished_ns, record.status = record.first_token_ns, COMPLETED
            else:
                groups[m].append((record, wanted))
        if groups[m]:
            ready = max(clock[m], max(q.first_token_ns for q, _ in groups[m]))
            clock[m] = maker.round(groups[m], m, last_draft, ready)
            groups[m] = [(q, wanted) for q, wanted in groups[m] if q.output_tokens < wanted]
        elif groups[1 - m] and clock[1 - m] >= clock[m]:
            clock[m] = clock[1 - m] + 1
        elif waiting:
            clock[m] = max(clock[m] + 1, waiting[0][0].arrival_ns)
        else:
            clock[m] = clock[1 - m] + 1
    records.ended_ns = max(records.operations.finished_ns)
    return records


@pytest.fixture(scope="session")
def make_scenario() -> Callable[..., Scenario]:
    """The scenario of these tests, with top-level sections replaced."""
    return scenario_of


@pytest.fixture(scope="session")
def make_records() -> Callable[..., Records]:
    """:func:`plausible_records`."""
    return plausible_records


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    return scenario_of()


@pytest.fixture(scope="session")
def scenario_yaml() -> str:
    return yaml.safe_dump(SCENARIO, sort_keys=False)


@pytest.fixture(scope="session")
def records() -> Records:
    return plausible_records()


@pytest.fixture(scope="session")
def results(
    tmp_path_factory: pytest.TempPathFactory, records: Records, scenario: Scenario, scenario_yaml: str
) -> Path:
    """A complete results folder of the plausible run."""
    out = tmp_path_factory.mktemp("results") / "run"
    summary = summarise(records, scenario, mode="simulated", acceptance_source="synthetic")
    write_results(out, records, summary, scenario_yaml, Additions(report=write_report))
    return out
