"""A study's file: parts that are their commands, going on, bundles, checks, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from typer.testing import CliRunner, Result

from spinsim import api
from spinsim.api.study_files import COMMANDS, OF_THE_STUDY, part_commands
from spinsim.bundles.plan import read_study
from spinsim.cli import app
from spinsim.cli.signatures import parameters
from tests.studies.experiment_files import write_plugin, write_scenario

ROOT = Path(__file__).parents[2]
LONGER = {"length": {"name": "fixed", "tokens": 4}}
PARTS: dict[str, Any] = {
    "alone": {"command": "simulate"},
    "lengths": {"command": "sweep", "grid": {"policies.length.tokens": [1, 4]}},
    "longer": {
        "command": "compare",
        "title": "Longer proposals",
        "policies": {"longer": LONGER},
        "seeds": 2,
    },
}


def write_study(folder: Path, parts: dict[str, Any] = PARTS, **more: Any) -> Path:
    """A study of the small scenario, whose requests come from a file, and its files."""
    folder.mkdir(parents=True, exist_ok=True)
    requests = "".join(f"{0.01 * i},{16 + i % 3},{8 + i % 5}\n" for i in range(12))
    (folder / "requests.csv").write_text(f"arrival,prompt,output\n{requests}", encoding="utf-8")
    columns = {"arrival": "arrival", "prompt": "prompt", "output": "output"}
    workload = {
        "arrivals": {"process": "replay"},
        "source": {"format": "csv", "path": "requests.csv", "columns": columns},
    }
    write_scenario(folder, workload=workload)
    path = folder / "study.yaml"
    content = {"name": "mine", "scenario": "small.yaml", "metrics": ["goodput"], "parts": parts} | more
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def spinsim(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["study", *map(str, words), "--workers", "0"])


def manifest(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study; its file is ``here/study.yaml`` beside it."""
    folder = tmp_path_factory.mktemp("study")
    api.study(write_study(folder / "here"), folder / "out", workers=0)
    return folder / "out"


def test_parts_are_what_their_commands_leave(bundle: Path, tmp_path: Path) -> None:
    scenario = bundle.parent / "here" / "small.yaml"
    api.sweep(scenario, {"policies.length.tokens": [1, 4]}, metrics="goodput", workers=0, out=tmp_path / "s")
    api.simulate(scenario, out=tmp_path / "r")
    for alone, part in ((tmp_path / "s", "lengths"), (tmp_path / "r", "alone")):
        files = {path.relative_to(alone) for path in alone.rglob("*") if path.is_file()}
        found = {path.relative_to(bundle / part) for path in (bundle / part).rglob("*") if path.is_file()}
        assert {path for path in found if path.parts[0] != "figures"} == files
        for name in files:
            if name.name == "environment.json":
                continue
            said, wanted = (bundle / part / name).read_bytes(), (alone / name).read_bytes()
            ways = (f"{scenario.parent}/".encode(), b"../inputs/" if name.suffix == ".yaml" else b"inputs/")
            assert said == wanted.replace(*ways), name


def test_the_manifest_holds_every_file_and_what_it_was_made_of(bundle: Path) -> None:
    found = manifest(bundle)
    assert list(found["parts"]) == list(PARTS)
    assert found["parts"]["longer"]["seeds"] == [1, 2]
    assert found["parts"]["longer"]["title"] == "Longer proposals"
    assert found["environment"]["packages"]["numpy"]
    for name, record in found["parts"].items():
        files = {
            p.relative_to(bundle / name).as_posix(): p for p in (bundle / name).rglob("*") if p.is_file()
        }
        assert record["outputs"] == {k: sha256(p.read_bytes()).hexdigest() for k, p in files.items()}
        read = {one["name"]: one["sha256"] for one in record["inputs"]}
        here = bundle.parent / "here"
        assert read == {
            n: sha256((here / n).read_bytes()).hexdigest() for n in ("requests.csv", "small.yaml")
        }


def test_one_page_has_a_figure_of_each_part_and_leads_to_its_page(bundle: Path) -> None:
    page = (bundle / "report.html").read_text()
    for name in PARTS:
        section = page.split(f'<section id="{name}">')[1].split("</section>")[0]
        assert "<svg" in section
        assert f'href="{name}/report.html"' in section
        assert (bundle / name / "report.html").is_file()
    ids = [word.split('"')[0] for word in page.split(' id="')[1:]]
    assert len(ids) == len(set(ids))
    before = page
    assert api.report(bundle) == bundle / "report.html"
    assert (bundle / "report.html").read_text() == before


def test_called_again_it_keeps_what_is_done(bundle: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "out", bundle.parent / "here" / "study.yaml"
    shutil.copytree(bundle, out)
    made = {path: path.stat().st_mtime_ns for path in (out / "lengths").rglob("*")}
    done = spinsim(file, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary == json.loads((out / "summary.json").read_text())
    assert [part["state"] for part in summary["parts"].values()] == ["done"] * 3
    assert (summary["cells"], summary["failed"]) == (1 + 2 + 4, [])
    assert {path: path.stat().st_mtime_ns for path in (out / "lengths").rglob("*")} == made
    assert spinsim(file, "--out", out, "--only", "lengths", "--force", "-q").exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "lengths").rglob("*")} != made
    assert manifest(out)["parts"]["longer"] == manifest(bundle)["parts"]["longer"]


def stopping(at: str, count: int) -> Callable[[str, float, float], None]:
    """A progress that is interrupted when ``count`` cells of a phase are done."""

    def progress(phase: str, done: float, total: float) -> None:
        if phase == at and done == count:
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_study_goes_on_and_ends_the_same(bundle: Path, tmp_path: Path) -> None:
    file, out = bundle.parent / "here" / "study.yaml", tmp_path / "out"
    wanted = ("lengths", "longer")
    with pytest.raises(KeyboardInterrupt):
        api.study(file, out, only=wanted, workers=0, progress=stopping("longer: cells", 3))
    states = {name: record["state"] for name, record in manifest(out)["parts"].items()}
    assert states == {"lengths": "done", "longer": "begun"}
    page = (out / "report.html").read_text()
    for said in ("study of 3 parts, 1 finished", "Not finished", "not run"):
        assert said in page
    kept = {path: path.stat().st_mtime_ns for path in (out / "longer" / "cells").iterdir()}
    assert len(kept) == 3
    assert repr(api.study(file, out, only=wanted, workers=0)) == "Study(mine: 1 not run, 2 done)"
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # not simulated again
    ends = [[dict(manifest(folder)["parts"][name]["outputs"]) for name in wanted] for folder in (out, bundle)]
    for files in (files for end in ends for files in end):
        del files["environment.json"]
    assert ends[0] == ends[1]


def test_a_study_that_is_made_anew_keeps_the_old_one_until_it_is_made(bundle: Path, tmp_path: Path) -> None:
    file, out = bundle.parent / "here" / "study.yaml", tmp_path / "out"
    shutil.copytree(bundle, out)
    again = partial(api.study, file, out, workers=0, force=True)
    with pytest.raises(KeyboardInterrupt):
        again(progress=stopping("longer: cells", 1))
    kept = tmp_path / "out.earlier-results"
    assert manifest(kept) == manifest(bundle)
    with pytest.raises(KeyboardInterrupt):
        again(only="lengths", progress=stopping("lengths: cells", 1))
    assert (out / "lengths.earlier-results" / "summary.json").is_file()
    api.study(file, out, workers=0)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert not (out / "lengths.earlier-results").exists()


def test_an_interruption_counts_though_no_page_can_be_written(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path) -> Path:
        raise ImportError("half of a module")

    monkeypatch.setattr("spinsim.api.reports.of_study", broken)
    file, out = bundle.parent / "here" / "study.yaml", tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        api.study(file, out, only="longer", workers=0, progress=stopping("longer: cells", 1))
    assert json.loads((out / "summary.json").read_text())["parts"]["longer"]["state"] == "begun"


def test_a_bundle_is_checked_from_another_place(bundle: Path, tmp_path: Path) -> None:
    file, theirs = write_study(tmp_path / "elsewhere" / "deeper"), tmp_path / "theirs"
    shutil.copytree(bundle, theirs)
    found = api.check_study(file, theirs, workers=0)
    assert found.differences == ()
    assert found.compared == 26 + len(list(theirs.glob("*/figures/*.svg")))
    assert list(found.left_out) == ["*/environment.json"]
    done = spinsim(file, "--check", theirs, "--only", "lengths")
    assert done.exit_code == 0, done.output
    assert "the same, byte for byte: " in done.stdout

    summary = theirs / "lengths" / "summary.json"
    summary.write_text(summary.read_text().replace('"cells": 2', '"cells": 3'))
    requests = file.parent / "requests.csv"
    requests.write_text(requests.read_text().replace("0.05,", "0.06,", 1))
    done = spinsim(file, "--check", theirs, "--only", "lengths", "--out", tmp_path / "fresh")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert "lengths/summary.json: was changed later; its SHA-256 is not the manifest's" in lines
    assert "lengths: input requests.csv: is another file than the bundle's" in lines
    assert "lengths/summary.json: cells: 2 here, 3 in the bundle" in lines
    assert any(line.startswith("lengths/sweep.parquet: column ") for line in lines)


def test_a_bundle_is_all_that_a_colleague_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent without the files it was made from, it is checked, simulated and gone on with; no path is told."""
    here, data = tmp_path / "ann's" / "paper", tmp_path / "public"
    write_study(here / "studies", PARTS | {"data": {"command": "simulate", "scenario": "data.yaml"}})
    own, small = here / "studies" / "requests.csv", here / "studies" / "small.yaml"
    data.mkdir()
    shutil.copy(own, data)
    own.rename(here / "requests.csv")
    text = small.read_text()
    small.write_text(text.replace("path: requests.csv", "path: ../requests.csv"))
    (here / "studies" / "data.yaml").write_text(text.replace("path: ", "path: $PUBLIC/"))
    monkeypatch.setenv("PUBLIC", str(data))
    done = spinsim(here / "studies" / "study.yaml", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output

    theirs = tmp_path / "bob" / "got"
    shutil.copytree(tmp_path / "out", theirs)
    shutil.rmtree(here)
    monkeypatch.setenv("PUBLIC", str(data.rename(tmp_path / "bob" / "data")))
    for path in theirs.rglob("*"):
        if path.is_file() and path.name not in ("environment.json", "manifest.json"):  # their command lines
            assert "ann's" not in unescape(path.read_bytes().decode(errors="ignore")), path
    assert not (theirs / "inputs" / "public").exists()
    file = theirs / manifest(theirs)["study"]["path"]
    assert file == theirs / "inputs" / "studies" / "study.yaml"
    done = spinsim(file, "--check", theirs)
    assert done.exit_code == 0, done.output
    for part in ("alone", "data"):
        told = json.loads((theirs / part / "summary.json").read_text())
        assert api.simulate(theirs / part / "scenario.yaml").summary["tokens"] == told["tokens"]
    key = next((theirs / "lengths" / "cells").iterdir()).stem
    assert api.report(theirs / "lengths", cell=key).is_file()
    (theirs / "lengths" / "report.html").unlink()
    assert spinsim(file, "--out", theirs, "-q").exit_code == 0
    (theirs / "inputs" / "requests.csv").write_text("arrival,prompt,output\n0,8,8\n")
    done = spinsim(file, "--check", theirs, "--only", "alone")
    assert "inputs/requests.csv: was changed later; its SHA-256 is not the manifest's" in done.stdout
    assert "was made with other files: requests.csv" in spinsim(file, "--out", theirs).stderr


def test_figures_are_files_too(bundle: Path) -> None:
    for part in PARTS:
        page = (bundle / part / "report.html").read_text()
        files = list((bundle / part / "figures").glob("*.svg"))
        assert len(files) == page.count("<figure>")
        for path in files:
            assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
            assert "var(" not in path.read_text()


def test_another_version_compares_figures_and_other_options_are_told(bundle: Path, tmp_path: Path) -> None:
    parts = {"lengths": {**PARTS["lengths"], "seed": 5}}
    file, theirs = write_study(tmp_path / "here", parts), tmp_path / "theirs"
    shutil.copytree(bundle, theirs)
    content = manifest(theirs)
    content["parts"]["lengths"]["asked"]["code"] = "another"
    (theirs / "manifest.json").write_text(json.dumps(content))
    found = api.check_study(file, theirs, workers=0)
    assert found.differences[0].startswith("code: the bundle was made by spinsim")
    assert "lengths: seed: 5 here, null in the bundle" in found.differences
    assert found.compared == 2  # the summary and the table


def test_a_part_that_fails_leaves_the_others(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "failing-part")
    bad = {"command": "sweep", "grid": {"seed": [1, 2]}, "plugins": [plugin.name]}
    bad["set"] = {"policies.selector": {"name": "failing-part"}}
    file = write_study(tmp_path, {"bad": bad, "lengths": PARTS["lengths"]})
    done = spinsim(file, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "1 of 4 cells failed, the first: bad: ValueError: this seed is bad" in done.stderr
    states = {name: record["state"] for name, record in manifest(tmp_path / "out")["parts"].items()}
    assert states == {"bad": "failed", "lengths": "done"}


def part(**keys: Any) -> dict[str, Any]:
    return {"parts": {"a": {"command": "compare", "policies": {"longer": LONGER}, **keys}}}


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ({"parts": {}}, 3, "parts: is empty; give at least one"),
        ({"part": {}}, 11, "part: unknown key; allowed: name, description, scenario, set"),
        ({"scenario": None}, 3, "parts.a.scenarios: missing; must be the path of a file, or a list of such"),
        ({"scenario": "no.yaml"}, 2, "no.yaml: no such file; give the path of a scenario's YAML"),
        (part(command="comapre"), 5, "parts.a.command: 'comapre' is no part; one of simulate, compare"),
        (part(metric="goodput"), 11, "parts.a.metric: unknown key of compare; allowed: command, title"),
        (part(out="x"), 11, "parts.a.out: unknown key of compare"),
        (part(seeds=0), 11, "parts.a.seeds: 0 is not allowed; must be a whole number of at least 1"),
        (part(seeds="two"), 11, "parts.a.seeds: 'two' is not allowed; must be a whole number"),
        (part(metrics=["goodputt"]), 11, "parts.a.metrics: no number of a summary"),
        (part(baseline="smal"), 11, "parts.a.baseline: 'smal' is no alternative; choose from small, longer"),
        (part(set={"limits.bach": 4}), 12, "parts.a.set.limits.bach: unknown key; allowed: "),
        (part(policies={"x": {"selector": {"name": "nobody"}}}), 7, "parts.a.policies.x: "),
        ({"set": {"limits.batch": 0}}, 12, "set.limits.batch: 0 is not allowed; must be"),
        (part(policies={}), 4, "parts.a: compare: nothing to compare with"),
        (
            {"parts": {"inputs": {"command": "simulate"}}},
            4,
            "parts.inputs: is the folder of what a study reads",
        ),
    ],
)
def test_bad_input_is_a_line_and_nothing_is_written(
    content: dict[str, Any], line: int, said: str, tmp_path: Path
) -> None:
    given = {"scenario": "small.yaml", "metrics": None, **part(), **content}
    file = write_study(tmp_path)
    plain = {"name": "mine"} | {key: value for key, value in given.items() if value is not None}
    file.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
    done = spinsim(file, "--out", tmp_path / "out")
    assert done.exit_code == 2, done.output
    assert f"{file}:{line}: " in done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_answers_another_question_is_not_replaced(bundle: Path, tmp_path: Path) -> None:
    changed = {**PARTS, "lengths": {**PARTS["lengths"], "seeds": 2}}
    file, out = write_study(tmp_path, changed), tmp_path / "out"
    shutil.copytree(bundle, out)
    done = spinsim(file, "--out", out)
    assert done.exit_code == 2
    assert "parts.lengths: " in done.stderr
    assert "was made with other options: seeds; --force makes it anew" in done.stderr
    assert manifest(out) == manifest(bundle)
    assert "no part 'lenghts'; one of alone, lengths or longer" in spinsim(file, "--only", "lenghts").stderr
    assert "holds no study; a folder that" in spinsim(file, "--check", tmp_path).stderr
    assert "of a scenario, not of a study" in spinsim(tmp_path / "small.yaml").stderr
    assert "no such file; give the path of a study's YAML" in spinsim(tmp_path / "no.yaml").stderr
    assert "holds something else" in spinsim(file, "--out", tmp_path).stderr


@pytest.mark.parametrize("shown", ["shipped", "in the docs"])
def test_studies_that_readers_begin_with_are_accepted(shown: str, tmp_path: Path) -> None:
    file = ROOT / "scenarios" / "studies" / "draft-selection.yaml"
    if shown == "in the docs":
        text = (ROOT / "docs" / "studies.md").read_text().split("```yaml\n")[1].split("```")[0]
        assert "../quickstart.yaml" in text
        file = tmp_path / "study.yaml"
        file.write_text(text.replace("..", str(ROOT / "scenarios")))
    commands = part_commands()
    plan = read_study(file, commands)
    for each in plan.parts:
        commands[each.command].check(**each.options)
    assert len(plan.parts) > 1


def test_a_part_s_options_are_its_command_s() -> None:
    for name, command in part_commands().items():
        assert set(command.keys) == set(parameters(getattr(api, name))) - set(OF_THE_STUDY)
    assert set(COMMANDS) == {"simulate", "compare", "sweep", "tune", "capacity", "ladder", "validate"}
