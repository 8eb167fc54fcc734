"""The kernel leaves the Python engine's records, says what it does not cover, and can be missing."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.native import HERE, digest, drawn, played
from spinsim.costs.profiled.host import wake_of
from spinsim.costs.profiled.laws import RowLaw
from spinsim.costs.profiled.predictors import fit_operations
from spinsim.costs.profiled.profile import Point, read_profile, write_profile
from spinsim.errors import InputError
from spinsim.native import compiled, layout
from spinsim.native.parts import declared
from spinsim.policies.registry import SELECTORS
from spinsim.policies.selectors.spin import Spin
from spinsim.scenario import Scenario
from spinsim.simulated.simulation import simulate_scenario

AS_PROFILED = Path(__file__).parents[2] / "docs/measurements/as-profiled/2026-11-28-h100-1-profile.json"
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def small(**sections: Any) -> Scenario:
    """A fixed draft on a roofline, with what ``sections`` replace."""
    scenario = {
        "name": "small",
        "seed": 3,
        "workload": {
            "requests": 12,
            "arrivals": {"process": "at_once"},
            "prompt_tokens": {"distribution": "fixed", "value": 40},
            "output_tokens": {"distribution": "fixed", "value": 30},
        },
        "models": {"target": {"shape": "llama-3-8b"}, "drafts": {"a": {"shape": "llama-3-1b"}}},
        "devices": {"gpu0": {"hardware": "h200"}, "gpu1": {"hardware": "h200"}},
        "placement": {"target": ["gpu0"], "drafts": {"a": "gpu1"}},
        "costs": {"model": "roofline"},
        "acceptance": {"model": "logistic", "strength": {"a": 1.0}},
    }
    return Scenario.model_validate(scenario | sections)


def both(scenario: Scenario) -> tuple[Any, Any]:
    """The records by either engine."""
    return tuple(simulate_scenario(scenario, HERE, engine=engine).records for engine in ("native", "python"))  # type: ignore[return-value]


@needs_compiler
@pytest.mark.parametrize("first", range(0, 80, 8))
def test_drawn_scenarios_leave_the_same_records(first: int) -> None:
    for number in range(first, first + 8):
        assert played(number, "native") == played(number, "python"), drawn(number)


@needs_compiler
def test_a_verification_with_prompts_in_it_tells_no_time_of_its_own() -> None:
    """The planner learns from a verification's time; it took the whole pass for it in C."""
    assert played(90210, "native") == played(90210, "python")


@needs_compiler
def test_views_that_a_policy_keeps_are_always_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """In C, those of other micro-batches were of their last rounds; the planner reads what drafts hold."""

    class Keeps(SELECTORS._classes["fixed"]):  # type: ignore[misc, name-defined]
        def assign(self, batch: Any) -> list[int]:
            kept = self.__dict__.setdefault("kept", {})
            kept.update({view.id: view for view in batch})
            held = sum(view.cached[0] for view in kept.values())
            return [0 if held % 3 else -1 for _ in batch] if held else [0] * len(batch)

        def forget(self, request: int) -> None:
            self.__dict__.get("kept", {}).pop(request, None)

    monkeypatch.setitem(SELECTORS._classes, "fixed", Keeps)
    native, python = both(small(policies={"pipeline": {"name": "fixed", "micro_batches": 3}}))
    assert {0, -1} <= set(native.rounds.draft)
    assert digest(native) == digest(python)


@needs_compiler
def test_preempted_requests_are_the_same() -> None:
    scenario = small(
        workload={
            "requests": 12,
            "arrivals": {"process": "at_once"},
            "prompt_tokens": {"distribution": "fixed", "value": 20},
            "output_tokens": {"distribution": "fixed", "value": 100},
        },
        kv={"reserve": "grow", "target_tokens": 256, "draft_tokens": 256},
        limits={"context_tokens": 128},
        policies={"pipeline": {"name": "fixed", "micro_batches": 2}},
    )
    native, python = both(scenario)
    assert sum(request.preemptions for request in native.requests.values()) > 3
    assert digest(native) == digest(python)


def by_profile(path: Path) -> Scenario:
    """Long prompts that come and go, on one H100 that a profile is of."""
    return small(
        workload={
            "requests": 12,
            "arrivals": {"process": "closed", "concurrency": 3},
            "prompt_tokens": {"distribution": "uniform", "min": 2000, "max": 20000},
            "output_tokens": {"distribution": "fixed", "value": 20},
        },
        devices={"gpu0": {"hardware": "h100"}},
        placement={"target": ["gpu0"], "drafts": {"a": "gpu0"}},
        costs={"model": "profile", "path": str(path), "allow_roofline": True},
        limits={"context_tokens": 26_000, "batch": 3},
    )


@needs_compiler
def test_contexts_of_few_rows_are_waited_for_alike() -> None:
    """By a profile whose law of verifications says so."""
    fitted = fit_operations(read_profile(AS_PROFILED), "llama-3-8b/bf16/h100")
    assert fitted["verify", "ragged"].chosen.fit.name == RowLaw.name
    native, python = both(by_profile(AS_PROFILED))
    assert digest(native) == digest(python)


@needs_compiler
def test_threads_that_wait_for_each_other_are_alike(tmp_path: Path) -> None:
    """By a profile that says how many operations followed."""
    profile = read_profile(AS_PROFILED)
    handed_over = [
        Point("handover", seconds, 0.0, 9, {"rows": rows, "handled_s": 2e-4}, kind="verify", policy="fixed")
        for rows, seconds in ((1.0, 3e-4), (9.0, 5e-4))
    ]
    handled = [
        Point("handling", 2e-4, 0.0, 9, {"rows": rows, "operations": n}, kind="verify", policy="fixed")
        for rows, n in ((1.0, 1.0), (9.0, 3.0))
    ]
    others = [point for point in profile.points if point.operation not in ("handover", "handling")]
    told = replace(profile, points=(*others, *handed_over, *handled))
    assert wake_of(told) == pytest.approx(1e-4)
    write_profile(told, tmp_path / "told.json")
    native, python = both(by_profile(tmp_path / "told.json"))
    assert digest(native) == digest(python)


@needs_compiler
def test_clients_whose_requests_are_rejected_send_on_alike() -> None:
    """Each rejection sent the next request from within, and the kernel left runs of many to Python."""
    scenario = small(
        workload={
            "requests": 3000,
            "arrivals": {"process": "closed", "concurrency": 2},
            "prompt_tokens": {"distribution": "empirical", "values": [20, 200], "weights": [1, 500]},
            "output_tokens": {"distribution": "fixed", "value": 10},
        },
        limits={"context_tokens": 128},
    )
    native, python = both(scenario)
    assert 0 < sum(request.status == "completed" for request in native.requests.values()) < 30
    assert digest(native) == digest(python)


@needs_compiler
def test_whoever_gives_up_in_the_waiting_room_lets_others_in_alike() -> None:
    scenario = small(
        workload={
            "requests": 40,
            "arrivals": {"process": "at_once"},
            "prompt_tokens": {"distribution": "empirical", "values": [20, 100]},
            "output_tokens": {"distribution": "fixed", "value": 20},
            "patience_s": {"distribution": "uniform", "min": 0.01, "max": 0.3},
        },
        kv={"reserve": "grow", "target_tokens": 160},
        limits={"context_tokens": 128},
    )
    native, python = both(scenario)
    given_up = {r.finished_ns for r in native.requests.values() if r.admitted_ns < 0}
    assert given_up & {r.admitted_ns for r in native.requests.values()}, "somebody was let in for them"
    assert digest(native) == digest(python)


@needs_compiler
def test_a_run_of_many_blocks_is_handed_over_whole() -> None:
    scenario = small(
        workload={
            "requests": 120,
            "arrivals": {"process": "closed", "concurrency": 2},
            "prompt_tokens": {"distribution": "fixed", "value": 20},
            "output_tokens": {"distribution": "fixed", "value": 100},
        },
        limits={"batch": 1},
        policies={"selector": {"name": "fixed", "draft": "none"}, "length": {"name": "none"}},
    )
    native, python = both(scenario)
    assert len(native.rounds.size) > 10_000
    assert digest(native) == digest(python)


@needs_compiler
def test_what_is_not_covered_is_said_and_played_in_python() -> None:
    scenario = small(kv={"prefix_cache": True}, policies={"length": {"name": "adaedl"}})
    with pytest.raises(InputError, match=r"kv\.prefix_cache.*entropy.*auto or python"):
        simulate_scenario(scenario, HERE, engine="native")
    assert len(simulate_scenario(scenario, HERE).records.requests) == 12


def test_another_name_is_refused() -> None:
    with pytest.raises(InputError, match="auto, python, native"):
        simulate_scenario(small(), HERE, engine="fast")


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    compiled.library.cache_clear()
    yield
    compiled.library.cache_clear()


@pytest.mark.usefixtures("without_compiler")
def test_without_a_compiler_python_plays() -> None:
    assert len(simulate_scenario(small(), HERE).records.requests) == 12
    with pytest.raises(InputError, match="compiler"):
        simulate_scenario(small(), HERE, engine="native")


@needs_compiler
def test_a_compiler_that_fails_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("SPINSIM_CACHE", str(tmp_path))
    compiled.library.cache_clear()
    try:
        assert compiled.library() is None
    finally:
        monkeypatch.undo()
        compiled.library.cache_clear()


@needs_compiler
def test_both_languages_declare_the_same_fields() -> None:
    kernel = compiled.library()
    assert kernel is not None
    assert [kernel.layout(i) for i in range(len(layout.SIZES))] == [
        ctypes.sizeof(size) for size in layout.SIZES
    ]


def test_what_a_class_inherits_it_does_not_declare() -> None:
    class Other(Spin):
        pass

    assert declared(object.__new__(Spin)) == "spin"
    assert declared(object.__new__(Other)) == ""


@needs_compiler
def test_errors_of_policies_come_through(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Spin):
        def assign(self, batch: Any) -> list[int]:
            raise RuntimeError("lost its mind")

    monkeypatch.setitem(SELECTORS._classes, "spin", Broken)
    with pytest.raises(RuntimeError, match="lost its mind"):
        simulate_scenario(small(policies={"selector": {"name": "spin"}}), HERE, engine="native")


def raise_it() -> None:
    raise KeyboardInterrupt


@needs_compiler
@pytest.mark.parametrize("interrupted", [raise_it, lambda: os.kill(os.getpid(), signal.SIGINT)])
def test_an_interruption_keeps_what_there_is(interrupted: Callable[[], None]) -> None:
    def interrupt(phase: str, done: float, total: float) -> None:
        if done == 64:
            interrupted()

    workload = {
        "requests": 300,
        "arrivals": {"process": "poisson", "rate_per_s": 20},
        "prompt_tokens": {"distribution": "fixed", "value": 40},
        "output_tokens": {"distribution": "fixed", "value": 30},
    }
    records = simulate_scenario(small(workload=workload), HERE, interrupt, engine="native").records
    ended = [request for request in records.requests.values() if request.finished_ns >= 0]
    assert records.interrupted == "interrupted"
    assert len(ended) >= 64
    assert len(records.requests) < 300
    assert records.ended_ns == max(request.finished_ns for request in ended)
