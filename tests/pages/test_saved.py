"""`report` makes the page of any folder again, and opens a study's cell as a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from spinsim import api
from spinsim.errors import InputError
from spinsim.results.read import read_folder
from tests.pages.test_browser import compared, loaded, swept, tuned
from tests.pages.test_html import checked
from tests.studies.experiment_files import write_scenario

STUDIES = {"comparison": compared, "sweep": swept, "capacity": loaded, "tuning": tuned}


@pytest.mark.parametrize("kind", STUDIES)
def test_a_study_shows_its_scenario_and_comes_again_byte_for_byte(kind: str, tmp_path: Path) -> None:
    STUDIES[kind](tmp_path / "out")
    moved = tmp_path / "elsewhere"
    shutil.move(tmp_path / "out", moved)
    first = (moved / "report.html").read_bytes()
    (moved / "report.html").unlink()
    assert api.report(moved) == moved / "report.html"
    assert (moved / "report.html").read_bytes() == first
    text = " ".join(checked(first.decode()).text)
    assert "llama-7b on gpu0" in text  # in a few words
    assert "prefill_chunk_tokens: 512" in text  # and as resolved YAML


def test_a_ladder_comes_again_and_shows_its_scenario(tmp_path: Path) -> None:
    out = tmp_path / "ladder"
    api.ladder(write_scenario(tmp_path), seeds=1, steps=["vanilla", "sharded"], workers=0, out=out)
    first = (out / "report.html").read_bytes()
    assert api.report(out).read_bytes() == first
    text = " ".join(checked(first.decode()).text)
    summary = json.loads((out / "summary.json").read_text())
    for step in summary["steps"]:
        assert step["name"] in text
    assert "placement:" in text


def test_a_cell_opens_as_a_run_with_the_figures_of_its_study(tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    swept(out)
    key = json.loads((out / "manifest.json").read_text())["cells"][0]["key"]
    assert f'href="runs/{key}' not in (out / "report.html").read_text()
    path = api.report(out, cell=key[:6])
    assert path == out / "runs" / key / "report.html"
    summary = read_folder(path.parent).summary
    cell = json.loads((out / "cells" / f"{key}.json").read_text())["summary"]
    for name in ("goodput_tokens_per_s", "latency", "tokens", "lanes", "scenario", "seed"):
        assert summary[name] == cell[name]
    assert f'<a href="runs/{key}/report.html">{key[:8]}</a>' in (out / "report.html").read_text()
    for wrong in ("", "nothing"):  # several, none
        with pytest.raises(InputError, match="begin"):
            api.report(out, cell=wrong)
    with pytest.raises(InputError, match="holds no study"):
        api.report(path.parent, cell=key)


def test_a_study_that_is_not_finished_says_so(tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    swept(out)
    (out / "result.json").unlink()
    with pytest.raises(InputError, match="--resume finishes it"):
        api.report(out)


def test_a_track_for_each_request(tmp_path: Path) -> None:
    out = tmp_path / "out"
    api.simulate(write_scenario(tmp_path), out=out)
    assert not (out / "requests.timeline.json").exists()
    api.report(out, request_tracks=True)
    events = json.loads((out / "requests.timeline.json").read_text())["traceEvents"]
    run = read_folder(out)
    slices = [event for event in events if event["ph"] == "X"]
    for i, request in enumerate(run.requests["request"]):
        own = {event["name"]: event for event in slices if event["tid"] == request}
        decoding = own["decoding"]
        first, last = run.requests["first_token_s"][i], run.requests["finished_s"][i]
        assert decoding["ts"] == pytest.approx(1e6 * first, abs=1e-2)
        assert decoding["ts"] + decoding["dur"] == pytest.approx(1e6 * last, abs=1e-2)
    names = [event for event in events if event["name"] == "thread_name"]
    assert len(names) == len(run.requests["request"])
    rounds = [event for event in slices if "round" in event["args"]]
    assert len(rounds) == len(run.rounds["request"])


def test_a_tuning_shows_what_matters_and_every_full_trial(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    plan = {"only": ("length", "limits"), "trials": 6, "seeds": 1, "confirm": 1, "fresh": 2}
    done = api.tune(write_scenario(tmp_path), workers=0, out=tmp_path / "out", **plan)
    shares = done.result.importances
    assert set(shares) <= set(done.result.keys)
    assert sum(share for (share,) in shares.values()) == pytest.approx(1)
    text = (tmp_path / "out" / "report.html").read_text()
    assert "What matters" in text
    assert "Parameters side by side" in text
    drawn = text[text.index('aria-label="parallel"') :]
    lines = drawn[: drawn.index("</svg>")].count("stroke: var(--none)")
    full = [trial for trial in done.result.trials if trial.values]
    assert lines == len(full) - len(done.result.winners)
