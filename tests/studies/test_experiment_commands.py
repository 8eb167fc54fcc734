"""compare, sweep, capacity and tune as commands: answers that are known, folders, reports."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from spinsim.cli import app
from tests.studies.experiment_files import write_plugin, write_scenario

# one request at a time, and a tenth of a second for each token
SERIAL: dict[str, Any] = {
    "models": {"target": {"shape": "llama-7b"}},
    "devices": {"gpu0": {"hardware": "h200"}},
    "placement": {"target": ["gpu0"]},
    "costs": {"model": "constant", "prefill_s": 0.1, "verify_s": 0.1},
    "acceptance": {"model": "constant", "probability": 0.5},
    "policies": {"length": {"name": "none"}},
    "limits": {"batch": 1, "context_tokens": 64, "max_length": 1},
}
LENGTHS = "policies.length.tokens=1,4,8"
POISSON = ("--slo", "ttft_s=1", "--set", "workload.arrivals={process: poisson, rate_per_s: 5}")


def spinsim(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--workers", "0"])


def done(out: Path, *arguments: str | Path) -> dict[str, Any]:
    """Run a command; what it printed with --json, which is its summary.json."""
    result = spinsim(*arguments, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    summary: dict[str, Any] = json.loads(result.stdout)
    assert summary == json.loads((out / "summary.json").read_text())
    page = (out / "report.html").read_text()
    if arguments[0] != "tune":
        assert "; acceptance: synthetic." in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "nan" not in page.lower().replace("nan-", "").split("<body>")[1].split("<footer")[0].split()
    return summary


def tokens_per_second(accept: float, length: int, verify: float, step: float) -> float:
    """Of one request at constant acceptance and costs."""
    return (1 - accept ** (length + 1)) / (1 - accept) / (verify + length * step)


def alone(output: int) -> dict[str, Any]:
    """A workload of one request at a time."""
    return {
        "requests": 6,
        "arrivals": {"process": "closed", "concurrency": 1},
        "prompt_tokens": {"distribution": "fixed", "value": 16},
        "output_tokens": {"distribution": "fixed", "value": output},
    }


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


def waiting_within(limit: float, rate: float, service: float) -> float:
    """P(W <= limit) of the queue M/D/1 (Erlang 1909, as given by Tijms)."""
    load = rate * service
    terms = (
        (rate * (k * service - limit)) ** k / math.factorial(k) * math.exp(-rate * (k * service - limit))
        for k in range(int(limit / service) + 1)
    )
    return (1 - load) * sum(terms)


def test_capacity_agrees_with_the_queue_m_d_1(tmp_path: Path) -> None:
    """One request at a time, each 0.2 s: the first token comes when the waiting ends, and takes 0.1 s."""
    scenario = write_scenario(
        tmp_path,
        workload={
            "requests": 10,
            "arrivals": {"process": "poisson", "rate_per_s": 1.0},
            "prompt_tokens": {"distribution": "fixed", "value": 8},
            "output_tokens": {"distribution": "fixed", "value": 2},
        },
        **SERIAL,
    )
    summary = done(
        tmp_path / "out", "capacity", scenario, "--slo", "ttft_s=0.5", "--attainment", "0.8",
        "--duration", "400", "--seeds", "3", "--tolerance", "0.03",
    )  # fmt: skip
    low, high = 0.1, 5.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if waiting_within(0.4, middle, 0.2) >= 0.8 else (low, middle)
    found = summary["capacity_requests_per_s"]
    assert found["estimate"] == pytest.approx(low, rel=0.06)
    assert found["low"] <= found["estimate"] <= found["high"]
    assert found["high"] - found["low"] < 0.25 * low
    levels = [point["fitted"] for point in summary["curve"]]
    assert levels == sorted(levels, reverse=True)


def test_a_replay_warms_up_with_the_same_requests_at_every_rate(tmp_path: Path) -> None:
    """One a second for 300 s, 0.2 s each: at 8 a second all have arrived before the warm-up was over."""
    stamps = [f"2024-05-10 00:{i // 60:02}:{i % 60:02}.000000,8,2" for i in range(300)]
    (tmp_path / "trace.csv").write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(stamps) + "\n"
    )
    scenario = write_scenario(
        tmp_path,
        workload={
            "source": {"format": "azure", "path": "trace.csv"},
            "arrivals": {"process": "replay"},
        },
        **SERIAL,
        metrics={"warmup_s": 50},
    )
    summary = done(
        tmp_path / "out", "capacity", scenario, "--slo", "ttft_s=0.5", "--seeds", "2", "--tolerance", "0.03"
    )
    assert summary["capacity_requests_per_s"]["estimate"] == pytest.approx(5.0, rel=0.06)


def test_a_capacity_out_of_reach_is_said_to_be(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path)
    arrivals = "workload.arrivals={process: poisson, rate_per_s: 5}"
    summary = done(
        tmp_path / "out", "capacity", scenario, "--set", arrivals, "--slo", "tpot_s=0.0001",
        "--duration", "1", "--seeds", "2",
    )  # fmt: skip
    assert summary["capacity_requests_per_s"] is None
    assert "no rate holds" in summary["notes"][0]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    pytest.importorskip("optuna")
    folder = tmp_path_factory.mktemp("tune")
    out = folder / "out"
    summary = done(
        out, "tune", write_scenario(folder, workload=alone(200)), "--only", "length",
        "--choose", "selector=fixed,greedy",
        "--trials", "24", "--seeds", "2", "--fresh", "6",
    )  # fmt: skip
    return out, summary


def test_tune_finds_the_length_that_arithmetic_finds(tuned: tuple[Path, dict[str, Any]]) -> None:
    _, summary = tuned
    rates = {k: tokens_per_second(0.9, k, 0.01, 0.002) for k in range(1, 9)}
    best = summary["winners"]["best"]
    assert rates[best["parameters"]["policies.length.tokens"]] >= 0.97 * max(rates.values())
    gain = best["gain"]["goodput_tokens_per_s"]
    assert gain["verdict"] == "better"
    assert gain["relative"]["low"] > 0
    assert {trial["state"] for trial in summary["trials"]} >= {"complete", "stopped early"}
    assert summary["trials"][0]["parameters"]["policies.length.tokens"] == 1  # as written


def test_the_best_policy_is_a_scenario(tuned: tuple[Path, dict[str, Any]]) -> None:
    out, summary = tuned
    result = CliRunner().invoke(
        app, ["simulate", str(out / "best.yaml"), "--out", str(out.parent / "again"), "--json"]
    )
    assert result.exit_code == 0, result.output
    again = json.loads(result.stdout)
    table = pq.read_table(out / "trials.parquet").to_pylist()
    trial = summary["winners"]["best"]["trial"]
    (row,) = [r for r in table if r["trial"] == trial and r["workload"] == "tuning" and r["seed"] == 1]
    assert again["goodput_tokens_per_s"] == row["goodput_tokens_per_s"]


def test_a_tuning_that_was_killed_goes_on_the_same(
    tuned: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, summary = tuned
    copy = tmp_path / "killed"
    (copy / "cells").mkdir(parents=True)
    (copy / "manifest.json").write_bytes((out / "manifest.json").read_bytes())
    for i, path in enumerate(sorted((out / "cells").iterdir())):
        if i % 2:
            (copy / "cells" / path.name).write_bytes(path.read_bytes())
    again = done(
        copy, "tune", out.parent / "small.yaml", "--only", "length", "--choose", "selector=fixed,greedy",
        "--trials", "24", "--seeds", "2", "--fresh", "6", "--resume",
    )  # fmt: skip
    assert again == summary


def test_a_front_is_not_dominated_and_each_member_is_written(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    out = tmp_path / "out"
    summary = done(
        out, "tune", write_scenario(tmp_path), "--objective", "goodput", "--objective", "p99_tpot",
        "--only", "limits", "--range", "policies.length.tokens=1:8",
        "--trials", "12", "--seeds", "1", "--fresh", "5",
        "--require", "acceptance_length>=1.5",
    )  # fmt: skip
    trials = {trial["number"]: trial for trial in summary["trials"]}
    chosen = [trials[winner["trial"]] for winner in summary["winners"].values()]
    assert chosen
    for trial in trials.values():
        if trial["values"] and trial["feasible"]:
            for other in chosen:
                assert not (
                    trial["values"][0] > other["values"][0] and trial["values"][1] < other["values"][1]
                )
    assert sorted(path.stem for path in out.glob("front-*.yaml")) == sorted(summary["winners"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep", "--grid", LENGTHS, "--metric", "goodputt"], "--metric: no number of a summary is called"),
        (
            ["sweep", "--grid", LENGTHS, "--metric", "latency.ttft_s"],
            "--metric: 'latency.ttft_s' is no number",
        ),
        (["sweep", "--grid", LENGTHS, "--metric", "attainment"], "--metric: 'attainment' needs objectives"),
        (["sweep", "--grid", "nope=1"], "--grid nope=1: nope: unknown key; allowed: name, "),
        (
            ["sweep", "--grid", "limits.batch=2,four"],
            "--grid limits.batch=2,four: limits.batch: 'four' is not",
        ),
        (["compare", "--policy", "selector=nope"], "--policy selector=nope: policies.selector.name: 'nope'"),
        (["compare", "--policy", "a:selector=ucb1,x=2"], "--policy a: policies.selector.x: ucb1 has no"),
        (["compare", "--policy", "selector=random", "--metric", "speed"], "--metric: no number of a summary"),
        (
            ["tune", "--choose", "selector=nope"],
            "--choose selector=nope: 'nope' is no selector policy; allowed: ",
        ),
        (["tune", "--choose", "length=none,none"], "--choose length=none,none: 'none' is given twice"),
        (["tune", "--objective", "speed"], "--objective: no number of a summary is called 'speed'"),
        (["tune", "--require", "speed>=1"], "--require: no number of a summary is called 'speed'"),
        (["tune", "--range", "nope=1:2"], "--range nope: nope: unknown key"),
        (["tune", "--range", "limits.batch=1:inf"], "--range limits.batch=1:inf: not a range"),
        (["tune", "--holdout-set", "nope=1"], "--holdout-set nope=1: nope: unknown key"),
        (["tune", "--require", "attainment>=nan"], "--require attainment>=nan: not a bound"),
        (
            ["capacity", "--slo", "ttft_s=1"],
            "gamma or replay, such as --set 'workload.arrivals={process: poisson, rate_per_s: 1}'",
        ),
        (["capacity", "--slo", "ttft_s=nan"], "--slo ttft_s=nan: 'ttft_s=nan' is no objective"),
        (["capacity", *POISSON, "--duration", "nan"], "--duration: nan is not allowed"),
        (["capacity", *POISSON, "--duration", "1e12"], "--duration: 1e+12 s of traffic have 5e+12"),
        (["sweep", "--grid", "acceptance={model: trace, path: no.npz}"], "acceptance.path: "),
        (
            ["compare", "--policy", "length=none", "--set", "costs={model: profile, path: no.json}"],
            "costs.path: ",
        ),
        (["tune", "--set", "costs={model: profile, path: no.json}"], "costs.path: "),
        (["sweep", "--grid", "limits.batch=[2"], "--grid limits.batch=[2: not valid YAML"),
    ],
)
def test_a_mistyped_option_is_refused_before_any_cell_and_leaves_earlier_results(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    command, *options = arguments
    if command == "tune":
        pytest.importorskip("optuna")
    scenario, out = write_scenario(tmp_path), tmp_path / "out"
    kind = {"compare": "comparison", "tune": "tuning"}.get(command, command)
    (out / "cells").mkdir(parents=True)
    manifest = {"schema": "spinsim.experiment/1", "kind": kind}
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "cells" / "earlier.json").write_text("{}")
    refused = spinsim(command, scenario, *options, "--out", out, "--force")
    assert refused.exit_code == 2, refused.output
    assert refused.stdout == ""
    assert len(refused.stderr.splitlines()) == 1
    assert said in refused.stderr
    assert refused.stderr.startswith((said, f"{scenario}:", "--grid acceptance=", "--set costs="))
    assert [path.name for path in (out / "cells").iterdir()] == ["earlier.json"]


def test_a_search_where_every_trial_fails_says_so(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    scenario, plugin = write_scenario(tmp_path), write_plugin(tmp_path, "failing_always")
    options = ["--seed", "2", "--trials", "2", "--seeds", "1", "--fresh", "1", "--plugin", plugin]
    chosen = ["--set", "policies.selector={name: failing_always}", "--only", "length"]
    result = spinsim("tune", scenario, *options, *chosen, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "this seed is bad" in result.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["winners"] == {}
    assert "no trial ended: nothing was chosen" in summary["notes"]


@pytest.mark.parametrize("command", ["compare", "tune", "capacity"])
def test_what_does_not_fit_is_refused_before_any_cell(command: str, tmp_path: Path) -> None:
    options = {"compare": ["--policy", "selector=random"], "capacity": POISSON}.get(command, ())
    small = ["--set", "devices.gpu0.memory_gib=1", "--out", tmp_path / "out"]
    result = spinsim(command, write_scenario(tmp_path), *options, *small)
    assert result.exit_code == 2
    assert ": placement.target: gpu0 has 1.00 GiB" in result.stderr
    assert not (tmp_path / "out").exists()


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


@pytest.mark.parametrize("held", ["seeds", "rows", "other"])
def test_tuning_says_what_the_gain_was_measured_on(held: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    rows = "".join(f"2023-11-16 18:15:{i:02}.0000000,16,{8 + i % 9}\n" for i in range(24))
    (tmp_path / "rows.csv").write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}")
    source = {
        "requests": None,
        "arrivals": {"process": "replay"},
        "source": {"format": "azure", "path": str(tmp_path / "rows.csv")},
    }
    scenario = write_scenario(tmp_path, workload=alone(16) if held == "seeds" else source)
    other = ["--holdout-set", "workload.source.limit=9"] if held == "other" else []
    result = spinsim(
        "tune", scenario, "--only", "length", "--trials", "2", "--seeds", "1", "--confirm", "0",
        "--fresh", "2", *other, "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    wanted = {"seeds": "fresh seeds", "rows": "fresh seeds, last 12 rows"}
    said = wanted.get(held, "fresh seeds, workload of --holdout-set")
    assert summary["held_out"] == said
    assert f"on {said}" in " ".join(result.stdout.split())
    written = summary["winners"]["best"]["parameters"]["policies.length.tokens"] == 1
    note = "best does as the scenario as written does: nothing better was found"
    assert (note in summary["notes"]) == written


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
