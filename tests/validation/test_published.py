"""The public recording through our engine: speed-ups equal what the recording and the fit say by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from spinsim.costs.base import INTERPOLATED
from spinsim.costs.for_scenario import build_predictor
from spinsim.errors import InputError
from spinsim.operations import Packing
from spinsim.scenario_file import load
from spinsim.studies.published_speedups import main, speed_ups

SCENARIO = Path(__file__).parents[2] / "scenarios" / "specdecode-bench.yaml"
RECORDING = Path(os.environ.get("SPINSIM_DATA", "/nowhere")) / "specdecode_bench_llama31_8b_gsm8k.jsonl"
needs_data = pytest.mark.skipif(not RECORDING.is_file(), reason="SPINSIM_DATA has no recording")


def by_hand(batch: int, length: int) -> float:
    """Speed-up of EAGLE on the first two requests, from the published fit alone."""
    plain = drafted = 0.0
    for line in RECORDING.read_text().splitlines()[:2]:
        row = json.loads(line)
        lengths = row["acc_eagle"]["acc_len"]
        outputs = min(
            len(row["generated_token_ids"]),
            *(len(v["acc_len"]) for k, v in row.items() if k.startswith("acc_")),
        )
        prompt = len(row["prompt_token_ids"])
        for position in range(1, outputs):
            kv = batch * (prompt + position)
            plain += 5.886e-3 + 21.0e-6 * batch + 39.3e-9 * kv + 1.207e-3
        position = 1
        while position < outputs:
            kv = batch * (prompt + position)
            drafted += 2.135e-3 + 0.84e-6 * batch * length + 2.38e-9 * kv
            drafted += 5.886e-3 + 21.0e-6 * batch * (length + 1) + 39.3e-9 * (kv + batch * length) + 1.207e-3
            position += min(lengths[position] - 1, length) + 1
    return plain / drafted


@needs_data
@pytest.mark.parametrize(("batch", "length"), [(1, 3), (8, 5), (32, 1)])
def test_speed_ups_are_those_by_hand(batch: int, length: int) -> None:
    rows = speed_ups(SCENARIO, [batch], [length], ["workload.source.limit=2"])
    found = {row.draft: row.speed_up for row in rows}
    assert found["eagle"] == pytest.approx(by_hand(batch, length), rel=1e-4)


@needs_data
def test_the_command_prints_every_drafter_batch_and_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SCENARIO), "--set", "workload.source.limit=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 * 5 * 3


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.yaml")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_linear_costs() -> None:
    loaded = load(SCENARIO)
    predictor = build_predictor(loaded.scenario, loaded.base_dir)
    packing = Packing("ragged", 4, 500, 16, 2000, 16, 2000)
    seconds = 5.886e-3 + 16 * 21.0e-6 + 2000 * 39.3e-9 + 1.207e-3
    assert predictor.verify(packing) == (pytest.approx(seconds), INTERPOLATED)
    assert predictor.propose(0, [3, 3], [100, 200]).seconds == pytest.approx(
        2.135e-3 + 6 * 0.84e-6 + 300 * 2.38e-9
    )
    assert predictor.propose(1, [3, 3], [100, 200]).seconds == 0
    assert predictor.propose(0, [0, 0], [100, 200]).seconds == 0
    assert predictor.prefill([100], [0]).seconds == 0


@pytest.mark.parametrize("drafts", ["{eagle: {}}", "{eagle: {}, ngram: {}, third: {}}"])
def test_linear_costs_name_every_draft(drafts: str) -> None:
    loaded = load(SCENARIO, [f"costs.drafts={drafts}"])
    with pytest.raises(InputError, match="expected exactly: eagle, ngram") as caught:
        build_predictor(loaded.scenario, loaded.base_dir)
    assert caught.value.key == "costs.drafts"
