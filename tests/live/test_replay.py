"""A replay that differs names the first decision that does; a damaged folder gets one line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from spinsim.cli import app
from spinsim.errors import InputError
from spinsim.scenario.yaml_places import parse
from spinsim.scenario_file.load import apply_overrides
from spinsim.studies.replay import replay
from spinsim.studies.run import run
from tests.validation.tiny_models import tiny_scenario


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A live run of tiny models, two drafts in turn."""
    folder = tmp_path_factory.mktemp("recorded")
    policies = {"selector": {"name": "round_robin"}, "length": {"name": "fixed", "tokens": 3}}
    run(tiny_scenario(folder, policies=policies), folder / "out")
    assert replay(folder / "out").difference == ""
    return folder / "out"


def changed(recorded: Path, to: Path, *overrides: str) -> Path:
    """A copy of the folder whose scenario.yaml says something else."""
    shutil.copytree(recorded, to)
    path = to / "scenario.yaml"
    document = apply_overrides(parse(path.read_text(), str(path)), overrides)
    path.write_text(yaml.safe_dump(_plain(document.data)))
    return to


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


CHANGES = {
    "another selector": (
        ["policies.selector={name: fixed, draft: b}"],
        r"round \d+, request \d+: draft a was recorded, b is decided now",
    ),
    "another length": (
        ["policies.length.tokens=2"],
        r"round 0, request \d+: proposed tokens 3 was recorded, 2 is decided now",
    ),
    "no drafts": (
        ["policies.length={name: none}", "policies.selector={name: fixed, draft: none}"],
        r"round 0, request \d+: draft \w was recorded, none is decided now",
    ),
    "another packing": (
        ["policies.packing={name: padded}"],
        "packing ragged was recorded, padded is decided now",
    ),
    "a smaller batch": (["limits.batch=1"], r"operation 0, request 0: prefill of 2 rows .* prefill of 1 row"),
    "smaller chunks": (
        ["limits.prefill_chunk_tokens=3"],
        r"operation 0, request 0: prefill of .* is decided now",
    ),
    "a deeper pipeline": (
        ["policies.pipeline={name: fixed, micro_batches: 2}"],
        r"(round|operation) \d+, request \d+|micro-batch 1",
    ),
    "another seed": (["seed=2"], r"(round|operation) \d+, request \d+"),
    "fewer requests": (["workload.requests=4"], r"(round|operation) \d+, request \d+"),
    "fewer clients": (["workload.arrivals.concurrency=2"], r"operation 1, request 1: prefill"),
    "impatient clients": (
        ["workload.patience_s={distribution: fixed, value: 0.000001}"],
        r"operation 1: prefill of .* was recorded, nothing is decided now",
    ),
    "another order": (
        ["policies.admission={name: shortest_prompt}", "limits.batch=2"],
        r"(round|operation) \d+, request \d+",
    ),
    "a short context": (["limits.context_tokens=12"], r"operation 0: prefill of .*, nothing is decided now"),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_changed_scenario_names_the_first_decision_that_differs(
    change: str, recorded: Path, tmp_path: Path
) -> None:
    overrides, says = CHANGES[change]
    folder = changed(recorded, tmp_path / "out", *overrides)
    result = CliRunner().invoke(app, ["replay", str(folder)])
    assert result.exit_code == 1, result.output
    (line,) = result.output.splitlines()
    assert "not the same run: " in line
    assert re.search(says, line), line
    assert "Error" not in line


@pytest.mark.parametrize(
    "name", ["inputs.parquet", "decisions.parquet", "rounds.parquet", "requests.parquet"]
)
@pytest.mark.parametrize("damage", ["missing", "cut", "other columns", "empty"])
def test_a_damaged_file_gets_one_line(name: str, damage: str, recorded: Path, tmp_path: Path) -> None:
    folder = changed(recorded, tmp_path / "out")
    path = folder / name
    if damage == "missing":
        path.unlink()
    elif damage == "other columns":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"something": [1]}), path)
    else:
        path.write_bytes(path.read_bytes()[: 40 if damage == "cut" else 0])
    with pytest.raises(InputError) as caught:
        replay(folder)
    assert str(path) in str(caught.value)
    result = CliRunner().invoke(app, ["replay", str(folder)])
    assert (result.exit_code, len(result.output.splitlines())) == (2, 1)


@pytest.mark.parametrize("name", ["summary.json", "scenario.yaml"])
def test_a_damaged_description_gets_one_line(name: str, recorded: Path, tmp_path: Path) -> None:
    folder = changed(recorded, tmp_path / "out")
    (folder / name).write_text("{")
    result = CliRunner().invoke(app, ["replay", str(folder)])
    assert (result.exit_code, len(result.output.splitlines())) == (2, 1)
