"""What scripts, plugins and readers of files rely on is as it was when ``interface.json`` was written."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spinsim import api
from spinsim.cli import app
from tests.contract import interface
from tests.contract.kept import REWRITE, golden, lost
from tests.contract.results import ROOT

GOLDEN = golden("interface")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAM = re.compile(r"python3? -m ((?:spinsim|benchmarks)[\w.]*)")
IMPORT = re.compile(r"^ *from (spinsim[\w.]*) import ([\w, ]+)$", re.MULTILINE)
# `python -m` paths that pages and docstrings have named
PROGRAMS = {
    "spinsim",
    "spinsim.studies.published_speedups",
    "spinsim.runner.selfcheck",
    "spinsim.family.widen_check",
    "benchmarks",
    "benchmarks.agreement",
    "benchmarks.host",
    "benchmarks.kernels",
    "benchmarks.on_gpus",
}


def named_programs() -> set[str]:
    """Every ``python -m`` path in prose, scripts and docstrings."""
    files = [
        path
        for folder in ("docs", "benchmarks", "spinsim", "scenarios")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".md", ".py", ".yaml", ".sh")
    ]
    files += [ROOT / "README.md", ROOT / "Makefile"]
    texts = (path.read_text(encoding="utf-8") for path in files)
    return {name.rstrip(".") for text in texts for name in PROGRAM.findall(text)}


def test_options_have_their_names_types_and_defaults() -> None:
    assert lost(GOLDEN["options"], interface.options()) == [], REWRITE


def test_api_has_its_parameters_and_defaults() -> None:
    """Positional parameters in their places, too."""
    found = interface.signatures()
    assert lost(GOLDEN["api"], found) == [], REWRITE
    for name, was in GOLDEN["api"].items():
        if not hasattr(getattr(api, name, None), "__mro__"):
            placed = [each for each in was if not each.startswith("*")]
            assert found[name][: len(placed)] == placed, name


def test_plugins_find_what_they_import() -> None:
    assert lost(GOLDEN["plugins"], interface.plugin_names()) == [], REWRITE


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_imports_of_a_page_work(page: Path) -> None:
    for module, names in IMPORT.findall(page.read_text(encoding="utf-8")):
        for name in names.split(","):
            assert hasattr(importlib.import_module(module), name.strip()), f"{page}: {module} {name}"


@pytest.mark.parametrize("name", sorted(PROGRAMS | named_programs()))
def test_a_program_that_was_named_is_there(name: str) -> None:
    """``python -m NAME``: it is imported, and its file has something to run."""
    if name.startswith(("spinsim.live", "spinsim.family", "spinsim.runner", "benchmarks.")):
        pytest.importorskip("transformers")
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):
        assert (Path(next(iter(module.__path__))) / "__main__.py").is_file()
    else:
        assert 'if __name__ == "__main__":' in Path(str(module.__file__)).read_text(encoding="utf-8")


def test_scenario_may_say_what_it_might() -> None:
    schema = api.schema()
    assert lost(GOLDEN["scenario"], interface.schema_keys(schema)) == [], REWRITE
    printed = CliRunner().invoke(app, ["schema"])
    shipped = (ROOT / "docs" / "scenario.schema.json").read_text(encoding="utf-8")
    assert json.loads(printed.stdout) == json.loads(shipped) == schema, "out of date: make schema"


def test_folders_have_their_files_keys_and_columns(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    assert lost(GOLDEN["folders"], interface.folders(tmp_path)) == [], REWRITE


def test_shipped_profiles_and_recording_have_their_keys() -> None:
    assert lost(GOLDEN["formats"], interface.formats()) == [], REWRITE


@pytest.mark.parametrize(
    ("scenario", "profile"),
    [
        ("family-cpu", "family-cpu-cpu"),
        ("family-gpu", "family-gpu-h100"),
        ("one-gpu", "one-gpu-h100"),
        ("two-gpus", "two-gpus-h100-x2"),
    ],
)
def test_shipped_profiles_are_read(scenario: str, profile: str) -> None:
    """Next to all that is predicted is measured or interpolated: the profile was understood."""
    costs = {"model": "profile", "path": f"../profiles/{profile}.json", "allow_roofline": True}
    done = api.simulate(ROOT / "scenarios" / f"{scenario}.yaml", set={"costs": costs, "workload.requests": 2})
    assert done.summary["requests"]["completed"] == 2
    assert done.summary["costs"]["measured"] + done.summary["costs"]["interpolated"] > 0.9
