"""What others build on stays as it was: names, options, files, and the bytes of a seed.

``results.json`` and ``interface.json`` hold it; ``python -m tests.contract`` writes them anew. New names may
appear beside the old ones. Numbers of a run may not change at all.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract import interface, results

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def held(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    """Places where ``after`` lacks or changes what ``before`` has. Additions are no loss."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            place
            for key, value in before.items()
            for place in (lost(value, after[key], f"{path}/{key}") if key in after else [f"{path}/{key}"])
        ]
    if isinstance(before, list) and isinstance(after, list):
        return [f"{path}: {each}" for each in before if each not in after]
    return [] if before == after else [f"{path}: {before} became {after}"]


@pytest.mark.parametrize("name", list(results.RUNS))
def test_a_seed_gives_what_it_gave(name: str, tmp_path: Path) -> None:
    found = json.loads(json.dumps(results.run_results(results.simulate(name, tmp_path / name))))
    assert lost(held("results")["runs"][name], found) == []


def test_a_sweep_gives_what_it_gave(tmp_path: Path) -> None:
    found = json.loads(json.dumps(results.sweep_results(tmp_path / "sweep")))
    before = held("results")["sweep"]
    assert set(before[0]) <= set(found[0])
    for was, now in zip(before[1:], found[1:], strict=True):
        columns = dict(zip(found[0], now, strict=True))
        for column, value in zip(before[0], was, strict=True):
            # text is prose, or names the code that ran; the host's time is measured
            if not isinstance(value, str) and column not in results.MEASURED:
                assert repr(columns[column]) == repr(value), column  # nan where nothing was


def test_a_live_run_replays_to_its_own_decisions() -> None:
    assert results.replayed() == held("results")["replay"]
    assert held("results")["replay"]["difference"] == ""


@pytest.mark.parametrize("part", ["options", "api", "plugins", "scenario", "formats"])
def test_nothing_is_lost(part: str) -> None:
    found = {
        "options": interface.options,
        "api": interface.signatures,
        "plugins": interface.plugin_names,
        "scenario": lambda: interface.schema_keys(interface.api.schema()),
        "formats": interface.formats,
    }[part]()
    assert lost(held("interface")[part], json.loads(json.dumps(found))) == []


def test_folders_keep_their_files_columns_and_keys(tmp_path: Path) -> None:
    found = json.loads(json.dumps(interface.folders(tmp_path)))
    assert lost(held("interface")["folders"], found) == []


def test_modules_that_documents_run_exist() -> None:
    """Every ``python -m spinsim...`` in README, docs, scenarios, benchmarks and the Makefile imports."""
    texts = [ROOT / "README.md", ROOT / "Makefile", *(ROOT / "docs").rglob("*.md")]
    texts += [*(ROOT / "scenarios").rglob("*.yaml"), *(ROOT / "benchmarks").iterdir()]
    named = {
        module
        for path in texts
        if path.is_file()
        for module in re.findall(r"-m (spinsim(?:\.\w+)*)", path.read_text(encoding="utf-8"))
    }
    for module in named:
        assert importlib.util.find_spec(module) is not None, module


BAD = {
    "seed: many": "seed",
    "limits: {batch: 0}": "limits.batch",
    "limits: {batchs: 4}": "limits.batchs",
    "policies: {selector: {name: fxed}}": "policies.selector.name",
    "workload: {requests: -1}": "workload.requests",
    "costs: {model: guess}": "costs.model",
    "devices: {gpu0: {hardware: h1000}}": "devices.gpu0.hardware",
}


@pytest.mark.parametrize("text", list(BAD))
def test_errors_name_file_line_and_key_with_exit_code_2(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    base = (ROOT / "scenarios" / "specialists.yaml").read_text(encoding="utf-8")
    section = text.split(":")[0]
    kept, skipping = [], False
    for line in base.split("\n"):
        if line and not line[0].isspace():
            skipping = line.startswith(f"{section}:")
        if not skipping:
            kept.append(line)
    path.write_text("\n".join([*kept, text, ""]), encoding="utf-8")
    line = len(kept) + 1
    done = subprocess.run(
        [sys.executable, "-m", "spinsim", "simulate", str(path)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2
    assert f"bad.yaml:{line}: {BAD[text]}" in done.stderr, done.stderr
