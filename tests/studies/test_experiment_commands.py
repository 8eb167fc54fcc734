"""`spinsim sweep` and `spinsim compare`, against closed forms."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.studies.experiment_commands import LENGTHS, alone, done, spinsim, tokens_per_second
from tests.studies.experiment_files import write_plugin, write_scenario


def test_sweep_finds_the_closed_form(tmp_path: Path) -> None:
    scenario = write_scenario(
        tmp_path,
        workload=alone(400),
    )
    out = tmp_path / "out"
    summary = done(
        out,
        "sweep",
        scenario,
        "--grid",
        LENGTHS,
        "--seeds",
        "2",
        "--metric",
        "goodput",
    )
    assert (summary["cells"], summary["failed"]) == (6, [])
    table = pq.read_table(out / "sweep.parquet").to_pylist()
    assert [row["policies.length.tokens"] for row in table] == [1, 1, 4, 4, 8, 8]
    assert [row["seed"] for row in table] == [1, 2] * 3
    for row in table:
        expected = tokens_per_second(0.9, row["policies.length.tokens"], 0.01, 0.002)
        assert row["goodput_tokens_per_s"] == pytest.approx(expected, rel=0.08)
    shown = spinsim("sweep", scenario, "--grid", LENGTHS, "--seeds", "2", "--out", out, "--resume")
    assert shown.exit_code == 0, shown.output
    assert "goodput" in shown.stdout


def test_failed_cells_are_rows_and_exit_code_1(tmp_path: Path) -> None:
    scenario, plugin = write_scenario(tmp_path), write_plugin(tmp_path, "failing")
    out = tmp_path / "out"
    arguments = ["--grid", "seed=1,2,6", "--set", "policies.selector={name: failing}", "--plugin", plugin]
    result = spinsim("sweep", scenario, *arguments, "--out", out)
    assert result.exit_code == 1
    assert "1 of 3 cells failed, the first: ValueError: this seed is bad" in result.stderr
    table = pq.read_table(out / "sweep.parquet").to_pylist()
    assert [row["error"] is None for row in table] == [True, False, True]
    assert "this seed is bad" in (out / "report.html").read_text()


def test_compare_knows_better_worse_and_the_same(tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = done(
        out, "compare", write_scenario(tmp_path), "--seeds", "6",
        "--metric", "goodput", "--metric", "p50_tpot",
        "--policy", "longer:length=fixed,tokens=4",
        "--policy", "worse:selector=fixed,draft=none/length=none",
        "--policy", "packing=padded",
    )  # fmt: skip
    goodput, tpot = (summary["metrics"][name] for name in ("goodput_tokens_per_s", "latency.tpot_s.p50"))
    verdicts = {name: effect["verdict"] for name, effect in goodput.items()}
    assert verdicts == {"small": None, "longer": "better", "worse": "worse", "packing=padded": "the same"}
    assert (tpot["longer"]["verdict"], tpot["worse"]["verdict"]) == ("better", "worse")
    assert goodput["longer"]["relative"]["confidence"] == pytest.approx(1 - 0.05 / 3)
    table = pq.read_table(out / "comparison.parquet").to_pylist()
    by_seed = {(row["alternative"], row["seed"]): row for row in table}
    for seed in range(1, 7):  # common random numbers: the same requests for everyone
        assert by_seed["small", seed]["run.committed"] == by_seed["longer", seed]["run.committed"]


def test_compare_with_few_seeds_or_another_workload_says_so(tmp_path: Path) -> None:
    one = write_scenario(tmp_path)
    two = write_scenario(tmp_path, "other", limits={"batch": 2, "context_tokens": 256, "max_length": 8})
    text = two.read_text().replace("requests: 12", "requests: 10")
    two.write_text(text)
    summary = done(tmp_path / "out", "compare", one, two, "--seeds", "2")
    assert summary["metrics"]["goodput_tokens_per_s"]["other"]["verdict"] == "undecided"
    assert any("another workload" in note for note in summary["notes"])
    assert any("2 seeds allow no verdict" in note for note in summary["notes"])


def test_a_metric_of_some_cells_is_a_column(tmp_path: Path) -> None:
    scenario, out = write_scenario(tmp_path), tmp_path / "out"
    grid = "acceptance.probability={tiny: 0.6, large: 0.9}"
    path = "speculation.per_draft.none.rounds"  # there only where nobody speculates
    summary = done(
        out,
        "sweep",
        scenario,
        "--grid",
        "policies.selector.draft=large,none",
        "--grid",
        grid,
        "--metric",
        path,
    )
    assert summary["metrics"] == [path]
    found = {
        row["policies.selector.draft"]: row[path] for row in pq.read_table(out / "sweep.parquet").to_pylist()
    }
    assert found["large"] is None
    assert found["none"] > 0


def test_every_number_of_a_summary_is_expected(tmp_path: Path) -> None:
    """What may be asked for before a run is what there is after it."""
    from spinsim.results.expected_metrics import check_metrics
    from spinsim.results.metrics import flatten
    from spinsim.scenario_file import load
    from spinsim.studies.simulate import simulate

    loaded = load(write_scenario(tmp_path), ["slo={ttft_s: 1}", "policies.selector={name: random}"])
    numbers = [name for name, item in flatten(simulate(loaded, None)) if type(item) in (int, float)]
    assert len(numbers) > 80
    assert len(check_metrics(numbers, [loaded.scenario], "--metric")) == len(numbers)


def test_seeds_that_change_nothing_give_no_interval_and_no_verdict(tmp_path: Path) -> None:
    fixed = ("--set", "workload.prompt_tokens={distribution: fixed, value: 20}", "--set",
             "workload.output_tokens={distribution: fixed, value: 12}", "--set",
             "acceptance={model: constant, probability: 1.0}")  # fmt: skip
    summary = done(
        tmp_path / "out", "compare", write_scenario(tmp_path), "--seeds", "6", "--metric", "goodput", *fixed,
        "--policy", "longer:length=fixed,tokens=4",
    )  # fmt: skip
    (longer,) = (found["longer"] for found in summary["metrics"].values())
    assert longer["relative"]["estimate"] > 0
    assert (longer["relative"]["low"], longer["verdict"]) == (None, "undecided")
    assert any("same figures" in note for note in summary["notes"])
