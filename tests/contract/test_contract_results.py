"""The same scenario and seed give the same numbers as when ``results.json`` was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.kept import REWRITE, golden, lost
from tests.contract.results import RUNS, replayed, run_results, simulate, sweep_results

pytest.importorskip("pandas")  # tables of the API are frames

GOLDEN = golden("results")


@pytest.mark.parametrize("name", RUNS)
def test_a_scenario_gives_what_it_gave(name: str, tmp_path: Path) -> None:
    """The summary leaf by leaf, and the values of every column of every table."""
    found = run_results(simulate(name, tmp_path / "out"))
    assert lost(GOLDEN["runs"][name], found) == [], REWRITE


def test_a_sweep_gives_what_it_gave(tmp_path: Path) -> None:
    """``validate-cpu.yaml``: three policies at two loads, from a profile."""
    promised, found = GOLDEN["sweep"], sweep_results(tmp_path / "out")
    assert len(found) == len(promised) == 7
    for was, now in zip(promised, found, strict=True):
        before = dict(zip(promised[0], was, strict=True))
        assert lost(before, dict(zip(found[0], now, strict=True))) == []


def test_a_recorded_live_run_is_replayed() -> None:
    """Bit for bit: two micro-batches on one CPU, drafts chosen by SPIN's selector."""
    assert replayed() == GOLDEN["replay"], REWRITE
    assert GOLDEN["replay"]["difference"] == ""


def test_a_difference_is_seen() -> None:
    """This test's own means: numbers that moved, and keys that went, are found."""
    promised = {"a": {"b": 1.0, "c": ["x", "y"]}}
    assert lost(promised, {"a": {"b": 1.0, "c": ["y", "x", "z"], "d": 2}, "e": 3}) == []
    assert lost(promised, {"a": {"b": 1.1, "c": ["x"]}}) == ["a > b: was 1.0, is 1.1", "a > c > y: gone"]
    assert lost(promised, {}) == ["a: gone"]
