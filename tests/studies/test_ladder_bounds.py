"""Rounds of a step and bounds of comparisons, from plain summaries."""

from __future__ import annotations

from typing import Any

import pytest

from spinsim.studies.ladder.bounds import bounds
from spinsim.studies.ladder.rounds import round_of
from spinsim.studies.ladder.steps import BEST_SERIAL, DECOMPOSITION, PIPELINE, PLANNED, SELECTION, VANILLA


def test_a_round_is_told_from_a_summary() -> None:
    lane = {"busy_s": {"verify": 0.8, "propose": 0.0, "prefill": 0.5}}
    draft = {"busy_s": {"verify": 0.0, "propose": 0.1, "prefill": 0.0}}
    summary: dict[str, Any] = {
        "speculation": {"micro_batch_rounds": 100, "committed_by_verifications": 2000},
        "lanes": {"gpu0/target": lane, "gpu1/small": draft},
        "decode_tokens_per_s": 2000.0,
        "goodput_tokens_per_s": 1250.0,
    }
    took = round_of([summary], "decode_tokens_per_s")
    assert took == pytest.approx(
        {"tokens": 20, "ms": 10, "verify_ms": 8, "propose_ms": 1, "target_share": 0.8}
    )
    whole = round_of([summary], "goodput_tokens_per_s")
    assert whole is not None
    assert whole["target_share"] == pytest.approx(13 / 16)  # prompts count where their time does
    assert round_of([summary | {"decode_tokens_per_s": None}], "decode_tokens_per_s") is None


def step(name: str, rate: float, share: float, verify_ms: float = 8.0) -> dict[str, Any]:
    took = {"tokens": 20.0, "ms": verify_ms / share, "verify_ms": verify_ms, "propose_ms": 1.0}
    return {"name": name, "goodput_tokens_per_s": rate, "round": {**took, "target_share": share}}


def test_nothing_beats_a_target_that_always_works() -> None:
    found = bounds(
        [
            step(VANILLA, 1000, 0.9),
            step(SELECTION, 900, 0.6, verify_ms=12),
            step(DECOMPOSITION, 1000, 0.5),
            step(PIPELINE, 1200, 0.8),
            step(BEST_SERIAL, 1500, 0.75, verify_ms=6),
            step(PLANNED, 1600, 1.02),
        ]
    )
    by_pair = {(bound.step, bound.to): bound for bound in found}
    assert by_pair[PLANNED, VANILLA].reached == pytest.approx(1.6)
    assert by_pair[PLANNED, VANILLA].at_most == pytest.approx(2.0)  # the best serial plan's, overlapped
    assert by_pair[PLANNED, BEST_SERIAL].at_most == pytest.approx(1 / 0.75)
    assert by_pair[PIPELINE, DECOMPOSITION].at_most == pytest.approx(1.5)  # its own, less than 1 / 0.5
    assert by_pair[DECOMPOSITION, SELECTION].at_most == pytest.approx(20 / (20 - 12 + 6))
    assert all(bound.at_most >= bound.reached for bound in found)
    assert bounds([{"name": PLANNED, "goodput_tokens_per_s": None}]) == []
