"""Few requests, and costs that no interval has: said wherever figures are shown."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from spinsim import api
from spinsim.pages.run_terminal import print_summary
from spinsim.pages.search import rate_text
from spinsim.pages.study_parts import changed, changed_spread, shortcomings
from spinsim.pages.study_terminal import print_capacity, print_comparison, print_sweep
from spinsim.results.few import FEW, few_requests
from spinsim.studies.capacity import _few
from tests.studies.experiment_files import SCENARIO


def printed(show: Any, result: Any, width: int = 80) -> str:
    out = io.StringIO()
    show(result, Console(file=out, width=width))
    return out.getvalue()


def file(folder: Path, **changes: Any) -> Path:
    path = folder / "few.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, **changes}))
    return path


OPEN = {
    **SCENARIO["workload"],  # type: ignore[dict-item]
    "arrivals": {"process": "poisson", "rate_per_s": 20.0},
}


def test_a_run_of_few_requests_says_so(tmp_path: Path) -> None:
    few = api.simulate(file(tmp_path), out=tmp_path / "out").summary
    behind = few["window"]["completed"]
    assert 0 < behind < FEW
    said = f"{behind} requests stand behind these figures, of 12 sent"
    assert said in few_requests(few)
    assert said in printed(print_summary, few)
    assert said in (tmp_path / "out" / "report.html").read_text()
    enough = api.simulate(file(tmp_path, workload={**OPEN, "requests": 80})).summary
    assert few_requests(enough) == ""
    assert "stand behind" not in printed(print_summary, enough)


def test_a_capacity_judged_on_few_requests_has_no_interval(tmp_path: Path) -> None:
    slo = {"ttft_s": 1.0, "tpot_s": 0.012}
    # 120 requests from a trace, of which the warm-up leaves nine to judge
    trace = tmp_path / "trace.jsonl"
    rows = [{"timestamp": 100 * i, "input_length": 16, "output_length": 12} for i in range(120)]
    trace.write_text("\n".join(map(json.dumps, rows)))
    source = {"source": {"format": "mooncake", "path": str(trace)}, "arrivals": {"process": "replay"}}
    path = file(tmp_path, workload=source, metrics={"warmup_s": 11.05})
    found = api.capacity(path, slo=slo, seeds=2, tolerance=0.8, workers=0)
    assert found.result.rate is not None
    assert (found.result.rate.low, found.result.rate.high) == (None, None)
    assert any("no more than 9 requests were judged" in note for note in found.result.notes)
    assert "interval" not in rate_text(found.result.rate)
    shown = printed(print_capacity, found.result)
    assert "no more than 9 requests" in shown
    (row, *_) = found.result.rows
    assert row.summary is not None
    enough = {**row.summary, "slo": {**row.summary["slo"], "requests_judged": FEW}}
    assert _few([replace(row, summary=enough)]) == []


def test_experiments_of_short_runs_say_so(tmp_path: Path) -> None:
    swept = api.sweep(file(tmp_path), {"limits.batch": [2, 4]}, workers=0)
    (said,) = shortcomings(swept.result.rows)
    assert said.startswith("some runs rest on no more than ")
    assert " ".join(said.split()) in " ".join(printed(print_sweep, swept.result).split())


CONSTANT = {"costs": {"model": "constant", "verify_s": 0.01, "draft_step_s": 0.001, "prefill_s": 0.005}}


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        pytest.param(CONSTANT, False, id="given costs"),
        pytest.param(CONSTANT | {"noise": {"per_run_sd": 0.1}}, True, id="given noise"),
    ],
)
def test_intervals_without_costs_say_so(changes: dict[str, Any], known: bool, tmp_path: Path) -> None:
    done = api.simulate(file(tmp_path, **changes), intervals=2, out=tmp_path / "out").summary
    said = "osts are not in these intervals, but seeds alone"
    page = (tmp_path / "out" / "report.html").read_text()
    for text in (done["intervals"].get("note", ""), printed(print_summary, done), page):
        assert (said in text) is not known


NAMES = ["a rather long name for a policy that nobody else has", "b" * 40, "c", "d d d d", "e", "f", "g"]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_tables_cut_no_figure(width: int, tmp_path: Path) -> None:
    """Every cell of a comparison, and of a sweep over four axes, stands whole on one line."""
    slo = {"slo": {"ttft_s": 1.0, "tpot_s": 0.008}}
    policies = {name: {"selector": {"name": "random"}} for name in NAMES}
    compared = api.compare(file(tmp_path), policies, seeds=5, workers=0, set=slo).result
    text = printed(print_comparison, compared, width)
    for name, effects in compared.effects.items():
        if name != compared.baseline:
            assert all(changed(effect) in text for effect in effects), name
            assert changed_spread(effects[0]) in text
    assert any(changed(effect).endswith(" pp") for effect in compared.effects["c"])
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    grid = {
        "limits.batch": [2],
        "workload.arrivals.concurrency": [3],
        "limits.max_length": [8],
        "policies.selector": [{"name": "fixed", "draft": "large"}],
    }
    swept = api.sweep(file(tmp_path), grid, workers=0)
    text = printed(print_sweep, swept.result, width)
    goodput = swept.result.rows[0].summary
    assert goodput is not None
    assert f"{goodput['goodput_tokens_per_s']:.1f}" in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text


@pytest.mark.parametrize("width", [40, 80])
def test_a_run_of_large_numbers_cuts_none(width: int, tmp_path: Path) -> None:
    summary = api.simulate(file(tmp_path)).summary
    for row in summary["speculation"]["per_draft"].values():
        row.update(
            rounds=12_345_678_901, drafted=123_456_789_012, accepted=98_765_432_109, draft_time_s=12_345.6
        )
    text = printed(print_summary, summary, width)
    for figure in ("12,345,678,901", "123,456,789,012", "98,765,432,109", "12,346 s"):
        assert figure in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
