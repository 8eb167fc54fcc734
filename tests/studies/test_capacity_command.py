"""`spinsim capacity`, against the queue M/D/1."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spinsim import api
from tests.studies.experiment_commands import SERIAL, alone, done
from tests.studies.experiment_files import write_scenario


def waiting_within(limit: float, rate: float, service: float) -> float:
    """P(W <= limit) of the queue M/D/1 (Erlang 1909, as given by Tijms)."""
    load = rate * service
    terms = (
        (rate * (k * service - limit)) ** k / math.factorial(k) * math.exp(-rate * (k * service - limit))
        for k in range(int(limit / service) + 1)
    )
    return (1 - load) * sum(terms)


def test_capacity_agrees_with_the_queue_m_d_1(tmp_path: Path) -> None:
    """One request at a time, each 0.2 s: the first token comes when the waiting ends, and takes 0.1 s."""
    scenario = write_scenario(
        tmp_path,
        workload={
            "requests": 10,
            "arrivals": {"process": "poisson", "rate_per_s": 1.0},
            "prompt_tokens": {"distribution": "fixed", "value": 8},
            "output_tokens": {"distribution": "fixed", "value": 2},
        },
        **SERIAL,
    )
    summary = done(
        tmp_path / "out", "capacity", scenario, "--slo", "ttft_s=0.5", "--attainment", "0.8",
        "--duration", "400", "--seeds", "3", "--tolerance", "0.03",
    )  # fmt: skip
    low, high = 0.1, 5.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if waiting_within(0.4, middle, 0.2) >= 0.8 else (low, middle)
    found = summary["capacity_requests_per_s"]
    assert found["estimate"] == pytest.approx(low, rel=0.06)
    assert found["low"] <= found["estimate"] <= found["high"]
    assert found["high"] - found["low"] < 0.25 * low
    levels = [point["fitted"] for point in summary["curve"]]
    assert levels == sorted(levels, reverse=True)


def test_an_objective_that_no_queue_touches_ends_the_search_with_a_reason(tmp_path: Path) -> None:
    """TPOT does not grow with waiting: rates were doubled 24 times, each with twice as many requests."""
    arrivals = {"process": "poisson", "rate_per_s": 2.0}
    scenario = write_scenario(tmp_path, workload={**alone(2), "arrivals": arrivals}, **SERIAL)
    found = api.capacity(scenario, slo="tpot_s=9", duration_s=10, seeds=2, out=tmp_path / "out", workers=0)
    assert max(row.labels["rate"] for row in found.result.rows) <= 64
    assert any("and no objective counts it; state slo.ttft_s" in note for note in found.result.notes)


def test_an_interrupted_search_ends_as_an_undisturbed_one_and_keeps_what_it_replaces(tmp_path: Path) -> None:
    """Interrupted within a rate and within the curve, and gone on with each time."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    arrivals = {"process": "poisson", "rate_per_s": 2.0}
    scenario = write_scenario(tmp_path, workload={**alone(2), "arrivals": arrivals}, **SERIAL)

    def search(folder: Path, **options: Any) -> None:
        api.capacity(
            scenario,
            slo="ttft_s=0.5",
            duration_s=20,
            seeds=2,
            tolerance=0.2,
            out=folder,
            workers=0,
            **options,
        )

    def stopping(at: str) -> Callable[[str, float, float], None]:
        def progress(phase: str, done: float, total: float) -> None:
            if done == 1 and at in phase:
                raise KeyboardInterrupt

        return progress

    search(out, seed=1)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    with pytest.raises(KeyboardInterrupt):
        search(out, force=True, progress=stopping("4 requests/s"))
    with pytest.raises(KeyboardInterrupt):
        search(out, resume=True, progress=stopping("the curve"))
    kept = tmp_path / "out.earlier-results"
    assert {path.name: path.read_bytes() for path in kept.iterdir() if path.is_file()} == before
    search(out, resume=True)
    assert not kept.exists()
    search(whole)
    for name in ("summary.json", "capacity.parquet", "result.json", "manifest.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_replay_warms_up_with_the_same_requests_at_every_rate(tmp_path: Path) -> None:
    """One a second for 300 s, 0.2 s each: at 8 a second all have arrived before the warm-up was over."""
    stamps = [f"2024-05-10 00:{i // 60:02}:{i % 60:02}.000000,8,2" for i in range(300)]
    (tmp_path / "trace.csv").write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(stamps) + "\n"
    )
    scenario = write_scenario(
        tmp_path,
        workload={
            "source": {"format": "azure", "path": "trace.csv"},
            "arrivals": {"process": "replay"},
        },
        **SERIAL,
        metrics={"warmup_s": 50},
    )
    summary = done(
        tmp_path / "out", "capacity", scenario, "--slo", "ttft_s=0.5", "--seeds", "2", "--tolerance", "0.03"
    )
    assert summary["capacity_requests_per_s"]["estimate"] == pytest.approx(5.0, rel=0.06)


def test_a_capacity_out_of_reach_is_said_to_be(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path)
    arrivals = "workload.arrivals={process: poisson, rate_per_s: 5}"
    summary = done(
        tmp_path / "out", "capacity", scenario, "--set", arrivals, "--slo", "tpot_s=0.0001",
        "--duration", "1", "--seeds", "2",
    )  # fmt: skip
    assert summary["capacity_requests_per_s"] is None
    assert "no rate holds" in summary["notes"][0]
    # requests that are alone miss it, too: a lower rate would change nothing, and none is tried
    assert "served alone: 0 % of them meet the objectives" in summary["notes"][0]
    assert len(summary["curve"]) < 12
