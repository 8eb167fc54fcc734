"""The benchmarks of given acceptance run whole on a CPU; what they time is nobody's business here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import field, long_contexts, long_soak
from benchmarks.long_context_cells import FULL, OVER, QUICK, SECTIONS, figures
from spinsim.engine.records import Records
from spinsim.errors import InputError
from spinsim.scenario_file import load
from spinsim.serving import lay_out
from spinsim.simulated.simulation import simulate_scenario
from tests.validation.tiny_models import tiny_scenario

SHORT = ["--quick", "--device", "cpu", "--contexts", "24", "--sections", "pipelining"]


def test_both_modes_decide_alike_on_recorded_requests(tmp_path: Path) -> None:
    few = [
        *field.QUICK,
        "limits.max_length=4",
        "workload.requests=4",
        "workload.arrivals={process: closed, concurrency: 2}",
    ]
    found = field.compared(tiny_scenario(tmp_path).path, few, "cpu", repetitions=1)
    assert found["requests"] == 4
    assert found["alike"] == 1
    assert found["ratios"].keys() == {"run", "round", "prefill", "catch_up", "propose", "verify"}
    assert "100 % of pairs decided alike" in field.shown("greedy", found)


def test_cells_are_foretold_measured_and_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "long.json"
    assert long_contexts.main([*SHORT, "--out", str(out)]) == 0
    data = json.loads(out.read_text())
    assert [row["cell"] for row in data["predicted"]] == list(SECTIONS["pipelining"])
    assert [row["cell"] for row in data["runs"]] == list(SECTIONS["pipelining"])
    assert all(row["completed"] == QUICK.rows and row["stretch_s"] > 0 for row in data["runs"])
    assert "two micro-batches over serial" in capsys.readouterr().out
    assert long_contexts.main([*SHORT, "--out", str(out)]) == 0
    again = json.loads(out.read_text())
    assert again["runs"] == data["runs"]
    assert len(again["sessions"]) == 2
    with pytest.raises(InputError, match="another --out"):
        long_contexts.main([*SHORT, "--out", str(out), "--kv-tokens", "2000"])


def test_without_time_nothing_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "long.json"
    long_contexts.main([*SHORT, "--out", str(out), "--seconds", "0"])
    assert json.loads(out.read_text())["runs"] == []
    assert capsys.readouterr().out.count("left out") == 2


@pytest.mark.parametrize("gpus", [1, 2])
def test_cells_differ_in_what_their_section_is_about(tmp_path: Path, gpus: int) -> None:
    path = long_contexts.write_scenario(tmp_path, FULL, "h200", gpus, {"model": "roofline"})
    for section, cells in SECTIONS.items():
        scenarios = {cell: load(path, overrides).scenario for cell, overrides in cells.items()}
        assert {pair for pairs in OVER.get(section, ()) for pair in pairs} <= scenarios.keys()
        drafts = {s.policies.selector.model_dump_json() for s in scenarios.values()}
        assert len(drafts) == 1
    lanes = {len(lay_out(load(path, c).scenario).lanes) for c in SECTIONS["lanes"].values()}
    assert lanes == {2, 4}
    assert load(path).scenario.live.acceptance == "field"


def test_the_stretch_is_that_in_which_all_decode(tmp_path: Path) -> None:
    path = long_contexts.write_scenario(tmp_path, QUICK, "cpu", 1, {"model": "roofline"})
    loaded = long_contexts.cell_of(path, QUICK, 24, SECTIONS["decomposition"]["ragged"])
    records = simulate_scenario(loaded.scenario, loaded.base_dir).records
    found = figures(records)
    sizes = [size for size in records.rounds.size if size == QUICK.rows]
    # serial rounds of all rows, one after the other
    assert found["rows_per_s"] == pytest.approx(QUICK.rows / found["round_s"], rel=0.1)
    assert found["stretch_s"] <= found["run_s"]
    assert sizes
    assert found["tokens_per_s"] < found["decode_tokens_per_s"]


def test_an_empty_run_has_no_stretch() -> None:
    found = figures(Records(lanes=(), drafts=()))
    assert found["stretch_s"] == 0
    assert "rows_per_s" not in found


def test_a_soak_loses_and_leaks_nothing(tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    assert long_soak.main(["--requests", "24", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["lost"] == found["slots_held"] == found["blocks_held"] == 0
    assert found["preemptions"] > 0
    assert not long_soak.passed(found | {"blocks_held": 1})
    assert not long_soak.passed(found | {"preemptions": 0})
