"""A profile that goes on where one stopped: what is kept, and what is not gone on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.sharded_measures import kept_profile
from spinsim.costs.profiled.profile import (
    MODEL_OPERATIONS,
    read_profile,
    write_profile,
)
from spinsim.errors import InputError
from spinsim.profiling.probes import Probe
from spinsim.profiling.resumed import resumed
from spinsim.profiling.session import Session
from spinsim.studies.profile import profile
from tests.validation.tiny_models import tiny_scenario


def test_resuming_measures_what_is_missing_alone(
    measured: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut in half, a profile is completed; what is there is not measured again."""
    known = read_profile(measured[1])
    half = replace(known, points=known.points[: len(known.points) // 2])
    path = tmp_path / "half.json"
    write_profile(half, path)
    visited: list[Probe] = []
    visit = Session.visit
    monkeypatch.setattr(
        Session, "visit", lambda self, bench, probe: (visited.append(probe), visit(self, bench, probe))[1]
    )
    loaded = tiny_scenario(measured[0].parent)
    done = profile(loaded, path, quick=True, resume=True, budget_s=0.01)
    before = {point.identity for point in half.points}
    assert visited
    assert not before & {probe.identity for probe in visited}
    planned = [point for point in known.points if point.operation in MODEL_OPERATIONS]
    assert {p.identity for p in planned} <= {p.identity for p in done.profile.points}
    assert done.profile.points[: len(half.points)] == half.points


def test_an_interrupted_profile_is_kept_and_so_is_the_one_that_it_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visit = Session.visit
    count = 0

    def interrupted(self: Session, bench: object, probe: Probe) -> None:
        nonlocal count
        count += 1
        if count > 5:
            raise KeyboardInterrupt
        visit(self, bench, probe)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "visit", interrupted)
    (tmp_path / "p.json").write_text("the earlier one")
    with pytest.raises(KeyboardInterrupt) as caught:
        profile(tiny_scenario(tmp_path), tmp_path / "p.json", quick=True, force=True)
    kept, replaced = caught.value.__notes__
    assert "are kept in" in kept
    assert "--resume" in kept
    earlier = tmp_path / "p.json.earlier-results"
    assert earlier.read_text() == "the earlier one"
    assert replaced == f"the earlier profile is {earlier}"
    assert len([p for p in read_profile(tmp_path / "p.json").points if p.model]) == 5


def test_another_machines_profile_is_not_gone_on_with(measured: tuple[Path, Path], tmp_path: Path) -> None:
    known = read_profile(measured[1])
    path = tmp_path / "p.json"
    write_profile(replace(known, hardware="h200"), path)
    with pytest.raises(InputError, match="--force"):
        profile(tiny_scenario(tmp_path), path, quick=True, resume=True)
    with pytest.raises(InputError, match="exists already"):
        profile(tiny_scenario(tmp_path), path, quick=True)
    write_profile(replace(known, kv_block_tokens=64), path)
    with pytest.raises(InputError, match=r"K/V in blocks of 64 tokens, here in whole slots.*reserve: grow"):
        profile(tiny_scenario(tmp_path), path, quick=True, resume=True)


def test_a_profile_of_another_model_of_the_same_name_is_not_gone_on_with(
    measured: tuple[Path, Path], tmp_path: Path
) -> None:
    """A point is kept under its model's name: those of two models would be fitted as one's."""
    known = read_profile(measured[1])
    name, model = next(iter(known.models.items()))
    deeper = replace(model, shape=replace(model.shape, layers=model.shape.layers + 1))
    path = tmp_path / "p.json"
    write_profile(replace(known, models={**known.models, name: deeper}), path)
    scenario = tiny_scenario(tmp_path).scenario
    with pytest.raises(InputError, match=r"another model, dtype or number of devices") as caught:
        resumed(path, replace(known, points=()), scenario)
    assert caught.value.key == f"models.{name}"
    assert resumed(measured[1], replace(known, points=()), scenario).points == known.points


def test_a_benchmark_goes_on_with_the_profile_of_its_deployment_alone(
    measured: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another deployment's is set aside, never measured into and never lost."""
    known, scenario = read_profile(measured[1]), tiny_scenario(tmp_path).scenario
    begun, path = replace(known, points=()), tmp_path / "part.profile.json"
    assert kept_profile(path, begun, scenario) is begun
    write_profile(known, path)
    assert kept_profile(path, begun, scenario).points == known.points
    assert f"goes on with {len(known.points)} points of this machine" in capsys.readouterr().out
    elsewhere = replace(begun, versions=begun.versions | {"machine": "another"})
    assert kept_profile(path, elsewhere, scenario).points == known.points
    assert "this machine is another" in capsys.readouterr().out
    write_profile(replace(known, hardware="h200"), path)
    assert kept_profile(path, begun, scenario) is begun
    assert not path.exists()
    assert read_profile(tmp_path / "other-part.profile.json").hardware == "h200"
