"""Sweeps and ladders on the terminal: names stand whole, and the best is told where there is a choice."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from spinsim import api
from spinsim.lab.rows import Row
from spinsim.lab.statistics import Interval
from spinsim.pages.ladder_terminal import print_ladder
from spinsim.pages.stdout import stdout_console
from spinsim.pages.study_terminal import print_comparison, print_sweep
from spinsim.pages.sweep import best_and_worst, figures_of
from spinsim.results.metrics import metric
from spinsim.studies.ladder.result import Ladder, Step
from spinsim.studies.sweep import Sweep
from tests.studies.experiment_files import SCENARIO

GOODPUT = metric("goodput")


def printed(show: Any, result: Any, width: int) -> str:
    out = io.StringIO()
    show(result, Console(file=out, width=width))
    return out.getvalue()


def swept(*axes: str, **rates: float) -> Sweep:
    """A sweep of one seed. ``rates``: goodput by the values of ``axes``, joined by ``_``."""
    rows = []
    for key, rate in rates.items():
        labels = dict(zip(axes, key.split("_"), strict=True))
        rows.append(Row(labels, 0, key, {"goodput_tokens_per_s": rate}))
    return Sweep("s", axes, (GOODPUT,), tuple(rows))


def told(sweep: Sweep) -> list[tuple[str, str, str]]:
    return [(stat.label, stat.value, stat.detail) for stat in best_and_worst(sweep, sweep.rows)]


LOAD, TOKENS = "workload.arrivals.concurrency", "policies.length.tokens"


def test_the_best_choice_is_told_for_each_load() -> None:
    """What a server is given is no choice of its own: more clients always serve more tokens."""
    rates = {"a_2": 5.0, "a_4": 7.0, "b_2": 90.0, "b_4": 80.0}
    title = f"best {GOODPUT.title}: concurrency"
    assert told(swept(LOAD, TOKENS, **rates)) == [
        (f"{title} a", "7.000", "tokens 4"),
        (f"{title} b", "90.00", "tokens 2"),
    ]


def test_a_sweep_of_the_load_alone_has_no_best() -> None:
    assert told(swept(LOAD, a=5.0, b=7.0)) == []
    chosen = told(swept(TOKENS, a=5.0, b=7.0))
    assert [detail for _, _, detail in chosen] == ["tokens b", "tokens a"]


@pytest.mark.parametrize(
    ("lengths", "said"), [((2, 4), "Means over seeds"), ((2, 4, 6, 8), "Means over tokens and seeds")]
)
def test_bars_say_what_they_are_means_over(lengths: tuple[int, ...], said: str) -> None:
    """More lines than a figure holds become bars: one each combination, or else of means over the lengths."""
    rows = [
        Row({LOAD: load, TOKENS: tokens}, 0, f"{load} {tokens}", {"goodput_tokens_per_s": 1.0 + tokens})
        for load in "abcdefghij"
        for tokens in lengths
    ]
    figure = figures_of(Sweep("s", (LOAD, TOKENS), (GOODPUT,), tuple(rows)), rows)
    assert figure["metrics_text"].startswith(said)


@pytest.mark.parametrize("width", [80, 100])
def test_a_sweep_keeps_names_whole_and_fits(width: int, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, "slo": {"ttft_s": 1.0, "tpot_s": 0.1}}))
    grid = {LOAD: [2], "policies.selector": [{"name": "fixed", "draft": "large"}], TOKENS: [2, 4]}
    text = printed(print_sweep, api.sweep(path, grid, workers=0).result, width)
    assert "concurrency" in text
    assert "concurrency 2" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width


def test_many_alternatives_are_rows_beside_few_metrics(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(SCENARIO))
    policies = {f"choice {i}": {"selector": {"name": "random"}} for i in range(6)}
    for metrics, tables in ((["goodput", "acceptance_length"], 2), (["goodput"], 1)):
        result = api.compare(path, policies, seeds=2, workers=0, metrics=metrics).result
        text = printed(print_comparison, result, 80)
        assert text.count("acceptance length") == tables - 1  # not once for every three alternatives
        assert all(text.count(f"choice {i} ") == tables for i in range(6))


PLAN = "llama-3-1b, 4 tokens, decomposed, SPIN's micro-batches"


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_ladder_cuts_no_word_of_a_plan(width: int) -> None:
    one = Interval(1234.0, 1200.0, 1300.0, 0.95, 3)
    ratio = Interval(1.05, 1.0, 1.1, 0.95, 3)
    steps = tuple(Step(name, PLAN, 2, one, ratio, ratio, ratio) for name in ("vanilla", "best fixed serial"))
    text = printed(print_ladder, Ladder("s", (1,), steps, "replicas", (), ()), width)
    words = text.split()
    for word in PLAN.split():
        assert words.count(word) >= len(steps), word
    if width >= 80:
        table = text[: text.index("ratios:")]
        assert max(len(line.rstrip()) for line in table.splitlines()) <= width


@pytest.mark.parametrize(("oracle", "said"), [(5.0, True), (9.0, False)])
def test_a_ladder_says_where_its_oracle_is_no_bound(oracle: float, said: bool) -> None:
    rates = {"planned": 7.0, "sharded": 11.0, "oracle": oracle}
    steps = tuple(Step(name, PLAN, 2, Interval(rate, None, None, 0.95, 3)) for name, rate in rates.items())
    text = printed(print_ladder, Ladder("s", (1,), steps, None, (), ()), 100)
    assert ("below planned here, and no bound" in text) is said


def test_a_pipe_has_the_pages_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert stdout_console().width == 100
    monkeypatch.setenv("COLUMNS", "70")
    assert stdout_console().width == 70
