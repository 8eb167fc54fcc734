"""A live run and a recording of its own models agree round by round, so that its choices can be judged."""

from __future__ import annotations

from pathlib import Path

from spinsim.pages.run import write_report
from spinsim.studies.run import run
from spinsim.studies.trace import trace
from tests.validation.tiny_models import tiny_scenario


def test_with_a_recording_the_regret_of_a_live_run_is_known(tmp_path: Path) -> None:
    trace(tiny_scenario(tmp_path), tmp_path / "t.npz")
    recorded = {"acceptance": {"model": "trace", "path": "t.npz"}}
    told = run(tiny_scenario(tmp_path, "recorded", **recorded), tmp_path / "out", report=write_report)[
        "regret"
    ]
    assert told["known"]
    assert told["agreement"] == 1.0
    page = " ".join((tmp_path / "out" / "report.html").read_text().split())
    assert "100.0 % of the rounds went as it says" in page


def test_without_one_it_is_not_and_the_page_says_so(tmp_path: Path) -> None:
    told = run(tiny_scenario(tmp_path), tmp_path / "out", report=write_report)["regret"]
    assert not told["known"]
    assert not (tmp_path / "out" / "regret.json").exists()
    assert "the drafts that were chosen" in (tmp_path / "out" / "report.html").read_text()
