"""The worked examples of docs/examples run as they are printed."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python( live)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
pytest.importorskip("pandas")


def run_page(name: str, folder: Path, *, live: bool) -> dict[str, Any]:
    """Execute a page's blocks in order, in a folder that has the project's scenarios."""
    os.symlink(ROOT / "scenarios", folder / "scenarios")
    names: dict[str, Any] = {"__name__": "example"}
    text = (ROOT / "docs" / "examples" / f"{name}.md").read_text(encoding="utf-8")
    blocks = [code for marked, code in BLOCK.findall(text) if live or not marked]
    assert blocks
    for code in blocks:
        exec(compile(code, f"{name}.md", "exec"), names)
    # what git does not ignore would lie about in the reader's clone
    assert {path.name for path in folder.iterdir()} <= {"scenarios", "results"}
    return names


def test_add_a_selector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frame = run_page("add-a-selector", tmp_path, live=False)["result"].frame
    assert set(frame.alternative) == {"quickstart", "explore, then commit", "one draft", "its length"}
    assert frame["mean"].notna().all()


@pytest.mark.slow
def test_tune_and_deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    names = run_page("tune-and-deploy", tmp_path, live=find_spec("transformers") is not None)
    assert names["predicted"].summary["requests"]["completed"] == 8
    assert len(names["tuning"].trials) == 12
    if "real" in names:
        assert names["real"].summary["requests"]["completed"] == 4


@pytest.mark.slow
@pytest.mark.skipif("SPINSIM_DATA" not in os.environ, reason="needs the public data at $SPINSIM_DATA")
def test_trace_capacity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_page("trace-capacity", tmp_path, live=False)
    rate = names["rate"]
    assert rate.low <= rate.estimate <= rate.high
    curve = names["found"].curve.groupby("rate").attainment.mean()
    assert curve.iloc[0] >= 0.9 > curve.iloc[-1]
