"""Grids and policies from the command line, and what is refused with a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from spinsim.cli import app
from spinsim.costs.base import LABELS
from spinsim.costs.for_scenario import build_predictor
from spinsim.errors import InputError
from spinsim.results.metrics import metric, value
from spinsim.scenario_file import load
from spinsim.scenario_file.variants import axis, axis_of, grid, policy_overrides
from spinsim.serving import trusting
from spinsim.studies.sweep import read_sweep
from tests.studies.experiment_files import write_scenario


def test_axes_take_yaml_values_and_multiply() -> None:
    axes = [axis("limits.batch=2,4"), axis("policies.selector={name: greedy},{name: fixed, draft: tiny}")]
    cells = grid(axes)
    assert len(cells) == 4
    assert cells[1][0] == {"limits.batch": 2, "policies.selector": '{"name": "fixed", "draft": "tiny"}'}
    assert cells[1][1] == ["limits.batch=2", 'policies.selector={"name": "fixed", "draft": "tiny"}']


def test_labels_stand_for_several_settings() -> None:
    ladder = axis_of("ladder", {"vanilla": {"a.b": 1}, "spin": {"a.b": 2, "c": "x"}})
    assert [labels["ladder"] for labels, _ in grid([ladder])] == ["vanilla", "spin"]
    assert grid([ladder])[1][1] == ["a.b=2", 'c="x"']


def test_policies_replace_their_kind() -> None:
    assert policy_overrides("selector=spin,explore=0.2/length=fixed,tokens=3/switching=overlapped") == [
        'policies.selector={"name": "spin"}',
        "policies.selector.explore=0.2",
        'policies.length={"name": "fixed"}',
        "policies.length.tokens=3",
        "policies.switching=overlapped",
    ]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: axis("limits.batch"), "not an axis; write key.path=value,value"),
        (lambda: axis("limits.batch=2,2"), "2 is given twice"),
        (lambda: axis("limits.batch=[1"), "not valid YAML"),
        (lambda: grid([axis("a=1"), axis("a=2")]), "two axes are called 'a'"),
        (lambda: axis_of("a", 3), "a list of values, or a mapping"),
        (lambda: axis_of("a", {"x": 3}), "should be a mapping from keys to values"),
        (lambda: policy_overrides("selecter=spin"), "no kind of policy; write kind=name"),
        (lambda: policy_overrides("selector=spin,explore"), "no parameter; write parameter=value"),
        (lambda: policy_overrides("selector=spin/length=none/selector=joint"), "selector is given twice"),
        (lambda: policy_overrides("switching=blocking/switching=overlapped"), "switching is given twice"),
        (lambda: policy_overrides("length=fixed,tokens=3,tokens=4"), "length's tokens is given twice"),
        (lambda: value({"mode": "x"}, metric("mode")), "is no number"),
    ],
)
def test_what_reads_otherwise_is_refused(make: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()  # type: ignore[operator]


def test_a_sweep_file(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path)
    assert read_sweep(scenario) is None
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "scenario: small.yaml\ngrid:\n  limits.batch: [2, 4]\n  who:\n    a: {policies.length.tokens: 2}\n"
        "set: {workload.requests: 6}\nseeds: 2\nmetrics: [goodput]\n"
    )
    plan = read_sweep(path)
    assert plan is not None
    assert (plan.scenario, plan.seeds, plan.overrides) == (scenario, 2, ("workload.requests=6",))
    assert [axis.name for axis in plan.axes] == ["limits.batch", "who"]
    for text, line, said in (
        ("scenario: s.yaml\ngrid: {}\n", 2, "grid"),
        ("scenario: s.yaml\ngrid:\n  a: 3\n", 3, "a: not an axis"),
        ("scenario: s.yaml\ngrid: {a: [1]}\nseedz: 3\n", 3, "unknown key"),
        ("scenario: s.yaml\ngrid: {a: [1]}\nseeds: 0\n", 3, "seeds"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=said) as caught:
            read_sweep(path)
        assert caught.value.line == line, text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare", "S"], "nothing to compare with; give a second scenario, or --policy"),
        (["compare", "S", "S"], "is given twice; each alternative once"),
        (["compare", "S", "S", "--policy", "selector=greedy"], "takes one scenario"),
        (["compare", "S", "--policy", "selector=none"], "policies.selector"),
        (["compare", "S", "--policy", "selector=greedy", "--baseline", "x"], "is no alternative"),
        (["sweep", "S"], "nothing to vary"),
        (["sweep", "S", "--grid", "limits.batch=0,1"], "limits.batch"),
        (["sweep", "S", "--grid", "seed=1,2", "--seeds", "2"], "varies the seed itself"),
        (["sweep", "S", "--grid", "limits.batch=1,2", "--metric", "nothing"], "no number of a summary"),
        (["capacity", "S"], "no objectives"),
        (["capacity", "S", "--slo", "ttft=1"], "no objective; write ttft_s"),
        (["capacity", "S", "--slo", "ttft_s=1"], "closed has no arrival rate"),
        (["tune", "S", "--only", "selecter"], "nothing to tune"),
        (["tune", "S", "--only", "selector"], "the chosen policies declare no ranges"),
        (["tune", "S", "--range", "limits.batch=4:2"], "not a range"),
        (["tune", "S", "--choose", "greedy"], "not a choice"),
        (["tune", "S", "--require", "attainment=1"], "not a bound"),
        (["tune", "S", "--short", "0"], "--short"),
    ],
)
def test_bad_input_is_one_line_and_code_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    scenario = str(write_scenario(tmp_path))
    given = [scenario if a == "S" else a for a in arguments]
    given += ["--workers", "0", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.output


def test_live_policies_believe_in_something_where_the_profile_is_of_another_machine() -> None:
    quickstart = Path(__file__).parents[2] / "scenarios" / "quickstart.yaml"
    here = load(quickstart, [], "cpu")
    with pytest.raises(InputError, match="is not in the profile"):
        build_predictor(here.scenario, here.base_dir)
    believed = build_predictor(trusting(here.scenario), here.base_dir)
    assert believed.prefill([16], [0]).seconds > 0
    assert LABELS[believed.prefill([16], [0]).label] == "roofline"
