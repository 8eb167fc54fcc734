"""The commands of ``spinsim models``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spinsim.cli.program import family as app

run = CliRunner().invoke


def test_list_names_every_member(tmp_path: Path) -> None:
    result = run(app, ["list", "--family", str(tmp_path)], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert all(
        name in result.output for name in ("target", "tiny", "code", "maths", "small", "large", "missing")
    )


def test_torch_is_not_imported_by_help() -> None:
    code = "import sys, spinsim.cli.models; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_widen_and_inspect(llama: Callable[..., Any], tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path / "small")
    wide = tmp_path / "wide.json"
    shape = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "intermediate_size": 96,
        "vocab_size": 128,
    }
    wide.write_text(json.dumps(shape))
    out = tmp_path / "out"
    result = run(app, ["widen", str(tmp_path / "small"), str(wide), "--out", str(out), "--dtype", "fp32"])
    assert result.exit_code == 0, result.output
    result = run(app, ["inspect", str(out)])
    report = json.loads(result.output)
    assert report["cost_stand_in"] is True
    assert report["config"]["used_vocab_size"] == 90
    assert report["provenance"]["shape"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["inspect", "nowhere"], "no config.json under nowhere"),
        (
            ["widen", "nowhere", "llama-7b", "--out", "x", "--dtype", "int4"],
            "unknown dtype 'int4'; allowed: bf16",
        ),
        (["evaluate", "--step-ms", "tiny=nan"], "--step-ms: nan ms is not allowed; above 0"),
        (["evaluate", "--device", "tpu"], "'tpu' is no device; allowed: cpu, cuda, cuda:1, ..."),
        (["evaluate", "--device", "cuda:99"], "'cuda:99' is not on this machine"),
        (["train", "--tiny", "--out", f"{__file__}/x"], "is a file; allowed: an empty or new folder"),
        (["train", "--tiny", "--out", "x", "--device", "tpu"], "'tpu' is no device"),
        (["evaluate", "--step-ms", "huge=1"], "--step-ms: 'huge' is no draft; drafts: tiny"),
        (
            ["evaluate", "--family", "nowhere", "--requests", "1"],
            "no weights of family member 'target' under nowhere",
        ),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        app(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1
