"""The rate of decoding alone, against records made by hand and a simulation of constant costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from spinsim.engine.records import KINDS, Records
from spinsim.engine.world import NS
from spinsim.results.decoding import decode_tokens_per_s
from spinsim.results.metrics import Run, metric
from spinsim.results.summary import summarise
from spinsim.results.window import Window
from spinsim.simulated.simulation import simulate_scenario
from tests.validation.tiny_models import tiny_scenario


def rate(prefills: list[tuple[float, float]], rounds: list[tuple[float, float, int]], end_s: float) -> Any:
    """``prefills``: submitted and finished; ``rounds``: assigned, committed, tokens. All in seconds."""
    records = Records(lanes=(), drafts=())
    for submitted, finished in prefills:
        records.operations.kind.append(KINDS.index("prefill"))
        records.operations.submitted_ns.append(round(submitted * NS))
        records.operations.finished_ns.append(round(finished * NS))
    for assigned, committed, tokens in rounds:
        records.rounds.size.append(1)
        records.rounds.assigned_ns.append(round(assigned * NS))
        records.rounds.committed_ns.append(round(committed * NS))
        records.rounds.committed.append(tokens)
    window = Window(0, round(end_s * NS), "", "")
    return decode_tokens_per_s(Run(records, window, cast(Any, None), cast(Any, None)))


def test_prefill_takes_no_time_of_it() -> None:
    assert rate([(0, 2)], [(2, 3, 5), (3, 4, 5)], 4) == pytest.approx(5)
    assert rate([(0, 1), (1, 2), (3, 5)], [(2, 3, 5), (5, 6, 7)], 6) == pytest.approx(12 / 2)


def test_a_round_counts_by_its_share_beside_no_prefill() -> None:
    assert rate([(1, 2)], [(0, 4, 8)], 4) == pytest.approx(8 * 3 / 4 / 3)


def test_nothing_is_no_rate() -> None:
    assert rate([], [], 0) is None
    assert rate([(0, 1)], [], 1) is None
    assert rate([], [(0, 1, 3)], 2) == pytest.approx(1.5)


def test_it_stands_beside_goodput_in_a_summary(tmp_path: Path) -> None:
    """Constant costs, one request at a time: 1 s of prefill, then rounds of 0.5 s and two tokens each."""
    costs = {"model": "constant", "prefill_s": 1.0, "verify_s": 0.5}
    loaded = tiny_scenario(
        tmp_path,
        costs=costs,
        acceptance={"model": "constant", "probability": 1.0},
        policies={"selector": {"name": "fixed"}, "length": {"name": "fixed", "tokens": 1}},
        workload={
            "requests": 4,
            "arrivals": {"process": "closed", "concurrency": 1},
            "prompt_tokens": {"distribution": "fixed", "value": 8},
            "output_tokens": {"distribution": "fixed", "value": 9},
        },
    )
    records = simulate_scenario(loaded.scenario, loaded.base_dir).records
    summary = summarise(records, loaded.scenario, mode="simulated", acceptance_source="synthetic")
    assert summary["decode_tokens_per_s"] == pytest.approx(4)  # 8 tokens in 4 rounds of 0.5 s
    assert summary["goodput_tokens_per_s"] == pytest.approx(3)  # 9 in 3 s
    assert metric("decode_tokens_per_s").unit == "tokens/s"


def test_a_pass_that_has_prompts_beside_is_no_decoding_alone(tmp_path: Path) -> None:
    """``limits.prefill: merged``. Drafting takes no time here, so that a round is its pass."""
    loaded = tiny_scenario(
        tmp_path,
        costs={"model": "linear", "target": {"base_s": 0.5, "token_s": 0.1}, "drafts": {"a": {}, "b": {}}},
        acceptance={"model": "constant", "probability": 1.0},
        policies={"selector": {"name": "fixed"}, "length": {"name": "fixed", "tokens": 1}},
        workload={
            "requests": 2,
            "arrivals": {"process": "at_once"},
            "prompt_tokens": {"distribution": "fixed", "value": 24},
            "output_tokens": {"distribution": "fixed", "value": 41},
        },
        limits={
            "batch": 2,
            "context_tokens": 128,
            "prefill_chunk_tokens": 8,
            "max_length": 1,
            "prefill": "merged",
        },
    )
    records = simulate_scenario(loaded.scenario, loaded.base_dir).records
    summary = summarise(records, loaded.scenario, mode="simulated", acceptance_source="synthetic")
    passes = [index for index, kind in enumerate(records.operations.kind) if kind == KINDS.index("verify")]
    tokens, seconds, beside = 0, 0.0, 0
    for round_, operation in enumerate(passes):
        if records.operations.tokens[operation] > 2 * records.rounds.size[round_]:  # the prompts' tokens
            beside += 1
            continue
        tokens += sum(
            records.rounds.committed[row]
            for row in range(sum(records.rounds.size[:round_]), sum(records.rounds.size[: round_ + 1]))
        )
        seconds += 0.5 + 0.1 * records.operations.tokens[operation]
    assert beside > 0
    assert summary["decode_tokens_per_s"] == pytest.approx(tokens / seconds)
