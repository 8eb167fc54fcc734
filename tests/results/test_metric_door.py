"""A metric in one registered function: it then appears wherever metrics do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from spinsim import api
from spinsim.errors import InputError
from spinsim.pages.fidelity_terminal import print_validation
from spinsim.pages.run_terminal import print_summary
from spinsim.pages.study_terminal import print_comparison
from spinsim.pages.validation import validation_report
from spinsim.results.columns import ratio
from spinsim.results.metrics import EVERYWHERE, Run, forget, metric, names, register, shown_in
from spinsim.studies.validation.agreement import overall
from spinsim.studies.validation.plan import plan
from spinsim.studies.validation.validate import Options, validate
from tests.studies.experiment_files import write_scenario
from tests.validation.tiny_models import tiny_scenario

PATH = "speculation.wasted_per_verification"


@pytest.fixture
def wasted() -> Iterator[str]:
    """A second tenant beside the built-in metrics, registered by one function."""

    @register(
        "wasted",
        path=PATH,
        label="wasted drafts",
        definition="drafted tokens that the target rejected, per verification",
        lower=True,
    )
    def wasted_per_verification(run: Run) -> float | None:
        rejected = int(run.rounds.drafted.sum()) - int(run.rounds.accepted.sum())
        return ratio(rejected, int((run.rounds.draft >= 0).sum()))

    yield "wasted"
    forget("wasted")


def console() -> Console:
    return Console(width=160, record=True, file=open("/dev/null", "w"))


def test_it_appears_in_a_run(wasted: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    api.simulate(write_scenario(tmp_path), out=out, intervals=2)
    summary = json.loads((out / "summary.json").read_text())
    spec, tokens = summary["speculation"], summary["tokens"]
    expected = (tokens["drafted"] - tokens["accepted"]) / spec["verifications"]
    assert spec["wasted_per_verification"] == pytest.approx(expected)
    assert expected > 0
    assert PATH in summary["intervals"]["metrics"]
    assert summary["definitions"]["wasted_per_verification"].startswith("drafted tokens")
    page = (out / "report.html").read_text()
    assert page.count("wasted drafts") >= 2  # a tile, and a row of intervals
    terminal = console()
    print_summary(summary, terminal)
    assert terminal.export_text().count("wasted drafts") == 2  # the first lines, and the intervals


def test_other_keys_stay_where_they_are(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = write_scenario(tmp_path)
    before = api.simulate(path).summary
    request.getfixturevalue("wasted")
    after = api.simulate(path).summary
    assert after["speculation"].pop("wasted_per_verification") is not None
    del after["definitions"]["wasted_per_verification"]
    assert json.dumps(after) == json.dumps(before)


def test_it_is_a_column_of_compare_and_can_be_asked_for(wasted: str, tmp_path: Path) -> None:
    path = write_scenario(tmp_path)
    policies = ["length=fixed,tokens=2", "length=fixed,tokens=4"]
    done = api.compare(path, policies, seeds=2, workers=0, out=tmp_path / "out")
    assert "wasted drafts" in (tmp_path / "out" / "report.html").read_text()
    asked = api.compare(path, policies, seeds=2, workers=0, metrics=["wasted"])
    for shown in (done, asked):
        terminal = console()
        print_comparison(shown.result, terminal)
        assert "wasted" in terminal.export_text()  # a narrow column breaks its name


def test_it_is_a_measure_of_a_validation(wasted: str, tmp_path: Path) -> None:
    cells = plan([tiny_scenario(tmp_path).path], [], [], None)
    done = validate(cells, tmp_path / "out", Options(repetitions=1, intervals=2))
    (cell,) = done["cells"]
    measure = cell["metrics"]["wasted_per_verification"]
    assert len(measure["repetitions"]) == 1
    assert overall(done["cells"])["errors"]["wasted_per_verification"]["cells"] == 1
    assert "wasted drafts: simulated over live" in validation_report(done)
    terminal = console()
    print_validation(done, tmp_path, terminal)
    assert "wasted" in terminal.export_text()  # a narrow column breaks its name


def test_every_built_in_metric_is_in_a_summary(tmp_path: Path) -> None:
    priced = {f"devices.gpu{i}.price_per_hour": 2 for i in (0, 1)}
    summary = api.simulate(write_scenario(tmp_path), set={"slo": {"ttft_s": 1.0}, **priced}).summary
    for name in names():
        here = summary
        for part in metric(name).path.split("."):
            here = here[part]
        assert here is None or isinstance(here, int | float), name


def test_names_and_paths_belong_to_one_metric(wasted: str) -> None:
    for name, path in ((wasted, "elsewhere"), ("other", PATH), ("goodput", "")):
        with pytest.raises(ValueError, match="is registered already"):
            register(name, path=path, label="x", definition="x")(lambda run: 0.0)
    assert names().count(wasted) == 1
    assert all(metric(wasted) in shown_in(place) for place in EVERYWHERE)


def test_what_a_metric_may_not_do(tmp_path: Path) -> None:
    path = write_scenario(tmp_path)
    for place, found, said in (
        ("duration_s", 1.0, "has 'duration_s' already"),
        ("mine", float("nan"), "a metric is finite"),
    ):
        register("mine", path=place, label="x", definition="x")(lambda run, found=found: found)
        try:
            with pytest.raises(ValueError, match=said):
                api.simulate(path)
        finally:
            forget("mine")
    with pytest.raises(InputError, match="no number of a summary is called 'mine'"):
        api.compare(
            path, ["length=fixed,tokens=2", "length=fixed,tokens=4"], metrics=["mine"], seeds=2, workers=0
        )
