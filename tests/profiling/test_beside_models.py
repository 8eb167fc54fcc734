"""Lookups and heads in a profile: measured as they run, and charged by what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spinsim.costs.base import INTERPOLATED
from spinsim.costs.profiled.profile import Point, read_profile, write_profile
from spinsim.drafters.costs import build_predictor, looks
from spinsim.errors import InputError
from spinsim.profiling import workplace
from spinsim.scenario_file import LoadedScenario, load
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies import profile as experiment
from spinsim.studies.profile import profile
from tests.live.test_live_head import CONTEXTUAL, MODEL, TARGET, mixed
from tests.profiling.test_profiling import TINY

DRAFTS = {"head": {"kind": "head"}, "a": MODEL, "ngram": {"kind": "ngram", "max_size": 2, "min_size": 1}}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> LoadedScenario:
    """A scenario of head, model and lookup with its own quick profile."""
    folder = tmp_path_factory.mktemp("beside")
    models = {"target": TARGET, "drafts": DRAFTS}
    loaded = mixed(folder, models=models, policies=CONTEXTUAL)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "QUICK", TINY)
        patch.setattr(workplace, "REHEARSED_TOKENS", 8)
        profile(loaded, folder / "p.json", quick=True, budget_s=0.1, packings=("ragged",))
    return load(loaded.path, ["costs={model: profile, path: p.json}"])


def test_what_is_no_model_is_measured_and_charged(measured: LoadedScenario) -> None:
    kept = read_profile(measured.base_dir / "p.json")
    assert {point.kind for point in kept.of("lookup")} == {"ngram"}
    assert len({point.kind for point in kept.of("head")}) == 1
    assert {point.policy for point in kept.of("handling")} == {"contextual"}
    predictor = build_predictor(measured.scenario, measured.base_dir)
    for draft in (0, 2):
        seconds, label = predictor.propose(draft, [3, 3], [20, 30])
        assert label == INTERPOLATED
        assert seconds > 0
    assert looks(measured.scenario, measured.base_dir)[2](100) == 0.0, "handling has it"
    made = simulate_scenario(measured.scenario, measured.base_dir).records
    assert made.label_s["assumed"] == made.label_s["roofline"] == 0.0


def points(operation: str, kind: str, seconds: Any, *rows: dict[str, float]) -> tuple[Point, ...]:
    return tuple(Point(operation, seconds(**row), 0.0, 1, row, kind=kind) for row in rows)


def test_a_law_gives_back_the_points_that_follow_it(measured: LoadedScenario) -> None:
    """Lookups in rows and contexts; a head's proposal in steps times what one step takes."""
    folder = measured.base_dir
    kept = read_profile(folder / "p.json")
    kind = kept.of("head")[0].kind
    shapes = [{"rows": r, "kv_tokens": r * c} for r in (1.0, 2.0, 8.0) for c in (10.0, 100.0)]
    lookups = points(
        "lookup", "ngram", lambda rows, kv_tokens: 5e-5 + 6e-6 * rows + 1e-9 * kv_tokens, *shapes
    )
    stepped = [{**shape, "steps": steps} for shape in shapes for steps in (1.0, 3.0)]
    heads = points(
        "head",
        kind,
        lambda rows, kv_tokens, steps: 1e-4 + steps * (3e-4 + 1e-5 * rows + 2e-9 * kv_tokens),
        *stepped,
    )
    others = tuple(p for p in kept.points if p.operation not in ("lookup", "head"))
    write_profile(replace(kept, points=(*others, *lookups, *heads)), folder / "exact.json")
    loaded = load(measured.path, ["costs={model: profile, path: exact.json}"])
    predictor = build_predictor(loaded.scenario, loaded.base_dir)
    expected = 1e-4 + 3 * (3e-4 + 1e-5 * 2 + 2e-9 * 50)
    assert predictor.propose(0, [3, 2], [20, 30]).seconds == pytest.approx(expected, rel=1e-6)
    assert predictor.propose(2, [3, 2], [20, 30]).seconds == pytest.approx(5e-5 + 12e-6 + 50e-9, rel=1e-6)


def test_a_point_says_which_drafter_it_is_of(measured: LoadedScenario, tmp_path: Path) -> None:
    kept = read_profile(measured.base_dir / "p.json")
    unnamed = Point("lookup", 1e-5, 0.0, 1, {"rows": 1.0, "kv_tokens": 7.0})
    with pytest.raises(InputError, match="the drafter that was measured"):
        write_profile(replace(kept, points=(*kept.points, unnamed)), tmp_path / "p.json")
