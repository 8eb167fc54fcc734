"""The cells of targets over several GPUs: every one is a scenario, and its tables say what was found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import sharded_again
from benchmarks.sharded_deployments import PARTS, QUICK, Part, Size, loaded, written
from benchmarks.sharded_tables import shown
from spinsim.drafters.memory import kv_capacity


@pytest.mark.parametrize(
    ("gpus", "part"),
    [(gpus, part) for gpus, parts in PARTS.items() for part in parts],
    ids=lambda value: value.name if isinstance(value, Part) else str(value),
)
def test_every_cell_fits_its_gpus(gpus: int, part: Part, tmp_path: Path) -> None:
    path = written(part, tmp_path, "h100")
    for size in (Size(), QUICK):
        scenarios = [
            loaded(path, part, size, cell).scenario for cell in ((), *list(part.cells.values())[-2:])
        ]
        for scenario in scenarios:
            used = {*scenario.placement.target, *scenario.placement.drafts.values()}
            assert used == set(scenario.devices)
            assert len(used) * part.copies <= gpus
            capacity = kv_capacity(scenario, tmp_path)
            assert capacity["target"] >= scenario.limits.batch * scenario.limits.context_tokens


def test_a_rehearsal_is_small_enough_for_cpu_ranks(tmp_path: Path) -> None:
    path = written(PARTS[4][0], tmp_path, "cpu")
    scenario = loaded(path, PARTS[4][0], QUICK).scenario
    assert len(scenario.placement.target) == 4
    assert {device.hardware for device in scenario.devices.values()} == {"cpu"}


def test_tables_hold_predictions_against_medians_and_copies_against_one(tmp_path: Path) -> None:
    def row(cell: str, goodput: float, **more: object) -> dict[str, object]:
        return {"cell": cell, "goodput_tokens_per_s": goodput, "tpot_p50_s": 0.01, **more}

    told = [("ladder: vanilla", 110.0), ("ladder: best fixed", 150.0)]
    data = {
        "part": "a copy on each",
        "copies": 2,
        "floors": [{"model": "m", "devices": 2, "rows": 8, "seconds": 0.012, "floor_s": 0.01, "ratio": 1.2}],
        "plans": {"best fixed": {"plan": "small, 4 tokens, ragged"}},
        "told": [row(*one, costs="sheet") for one in told],
        "runs": [row("ladder: vanilla", value) for value in (90.0, 100.0, 110.0)]
        + [row("ladder: best fixed", 200.0)],
        "left_out": ["8 clients: no time"],
    }
    (tmp_path / "part.json").write_text(json.dumps(data))
    text = shown(tmp_path)
    assert "verification of  8 x 5, m over 2:  12.000 ms, floor  10.000 ms, 1.20 times" in text
    assert "by sheet +10.0 % / +0.0 %" in text
    assert "best fixed: 200 tokens/s = 400 of 2 copies, 2.00 of vanilla" in text
    assert "17.5 % off in the mean of 2 cells, worst -25.0 %; 1 of 1 pairs ordered alike" in text
    assert "left out: 8 clients: no time" in text


def test_what_ran_is_predicted_anew_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    """By today's sheet: within 3 % of two H200s, two micro-batches beside drafts on both among them."""
    file = Path(__file__).parents[2] / "docs" / "measurements" / "h200-x2-13b-all-cells.json"
    cells = ["1 clients, serial", "8 clients, two micro-batches"]
    assert sharded_again.main([str(file), "--hardware", "h200", "--apart", "--cells", *cells]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == cells
    assert float(lines[2].split("goodput ")[1].split(" %")[0]) < 3
