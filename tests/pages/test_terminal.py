"""The page on the terminal fits, and shows the numbers of the summary."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from rich.console import Console

from spinsim.engine.records import Records
from spinsim.live.cpu_waits import CpuWaits
from spinsim.pages.fidelity_terminal import print_profile
from spinsim.pages.run_terminal import duration, number, percent, print_summary
from spinsim.results.summary import summarise
from spinsim.scenario import Scenario


def printed(summary: dict, width: int = 140) -> str:
    out = io.StringIO()
    print_summary(summary, Console(file=out, width=width))
    return out.getvalue()


def test_one_page_of_a_hundred_columns(records: Records, scenario: Scenario) -> None:
    summary = summarise(records, scenario, mode="simulated", acceptance_source="synthetic")
    text = printed(summary)
    lines = text.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 100
    assert len(lines) <= 40
    for shown in (
        "plausible",
        number(summary["goodput_tokens_per_s"], 4),
        duration(summary["latency"]["tpot_s"]["p99"]),
        f"{summary['tokens']['drafted']:,}",
        percent(summary["devices"]["gpu0"]["busy_fraction"]),
        percent(summary["verification"]["padding_fraction"]),
        "75 % roofline",
        "1 rejected",
        "synthetic",
        summary["window"]["note"],
    ):
        assert shown in text
    for draft in summary["speculation"]["per_draft"]:
        assert draft in text


def test_eighty_columns_lose_nothing(records: Records, scenario: Scenario) -> None:
    summary = summarise(records, scenario, mode="simulated", acceptance_source="synthetic")
    text = printed(summary, width=80)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    for header in ("share", "rounds", "drafted", "accepted", "rate", "length", "drafting", "p99"):
        assert header in text
    assert duration(summary["speculation"]["per_draft"]["large"]["draft_time_s"]) in text


def test_eighty_columns_lose_no_figure_of_a_profile() -> None:
    """Names of models and operations filled the line, and errors read `20.…`."""
    names = ("family-target/fp32/cpu", "a-model-of-a-rather-long-name/bf16/h100")
    fits = [
        {
            "model": name,
            "operation": "verify",
            "part": "decomposed",
            "points": 118,
            "fit": "law of the longest row on stairs",
            "median_error": 0.2042,
            "p95_error": 1.4791,
        }
        for name in names
    ]
    found = SimpleNamespace(points=[])
    done = SimpleNamespace(
        fits=fits, profile=found, path="here.json", seconds=80.0, added=0, cpus=CpuWaits(), unrehearsed=()
    )
    out = io.StringIO()
    print_profile(done, Console(file=out, width=80))
    text = out.getvalue()
    assert "…" not in text
    for shown in ("118", "20.4 %", "147.9 %", "median"):
        assert shown in text


def test_large_numbers_keep_their_columns(records: Records, scenario: Scenario) -> None:
    summary = summarise(records, scenario, mode="simulated", acceptance_source="synthetic")
    for row in summary["speculation"]["per_draft"].values():
        row.update(rounds=12_345_678, drafted=123_456_789, accepted=98_765_432, draft_time_s=12_345.6)
    summary["tokens"].update(drafted=623_456_789, accepted=498_765_432)
    text = printed(summary)
    assert "623,456,789" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100


def test_a_run_that_was_stopped_before_it_did_anything(make_scenario: Callable[..., Scenario]) -> None:
    records = Records(lanes=(("target", ("gpu0",)),), drafts=("tiny",), interrupted="interrupted")
    text = printed(summarise(records, make_scenario(), mode="live", acceptance_source="models"))
    assert "partial results: interrupted" in text
    assert "nothing was predicted" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "\N{EN DASH}"),
        (0, "0"),
        (813.358, "813"),
        (98765.4, "98,765"),
        (2.5173, "2.52"),
        (0.01234, "0.0123"),
    ],
)
def test_numbers_have_three_digits(value: float | None, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "\N{EN DASH}"), (0, "0 s"), (83.21, "83.2 s"), (0.0123, "12.3 ms"), (2.5e-5, "25.0 us")],
)
def test_durations_choose_their_unit(value: float | None, shown: str) -> None:
    assert duration(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 %"), (0.0451, "4.5 %"), (0.34, "34 %"), (0.9974, "99.7 %"), (0.99999, "99.9 %"), (1, "100 %")],
)
def test_nearly_all_is_not_all(value: float, shown: str) -> None:
    assert percent(value) == shown
