"""A target over two CPU ranks, profiled and held against its own simulation, deployed once."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinsim.costs.profiled.profile import read_profile
from spinsim.live.deployment import deploy
from spinsim.pages.validation import validation_report
from spinsim.profiling.adaptive import report_of_sums
from spinsim.profiling.session import Session
from spinsim.profiling.timing import Effort
from spinsim.profiling.workplace import Workplace
from spinsim.studies.validation import shared_deployment
from spinsim.studies.validation.plan import Options, plan
from spinsim.studies.validation.validate import validate
from tests.validation.tiny_models import TARGET, tiny_scenario

ONCE = Effort(seconds=0.0, fewest=1, most=1, warm=0, passes=1)
ON_TWO = {
    "devices": {"a": {"hardware": "cpu"}, "b": {"hardware": "cpu"}},
    "placement": {"target": ["a", "b"], "drafts": {"a": "a", "b": "b"}},
    "live": {"acceptance": "field"},
}


def test_a_profile_of_a_target_on_two_devices_and_cells_that_run_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny_scenario(tmp_path, **ON_TWO)
    path = tmp_path / "p.json"
    with deploy(loaded.scenario, loaded.base_dir) as deployment:
        with Workplace(loaded.scenario, loaded.base_dir, deployment) as place:
            session = Session(place.empty_profile(), path, ONCE, place.guess(), None)
            session.measure(place.bench, place.design(quick=True, packings=("padded",)).core[::2])
            for point in (*place.sums(), place.hop()):
                session.add(point)
            session.write()
        known = read_profile(path)
        target, *drafts = known.models.values()
        assert (target.devices, [draft.devices for draft in drafts]) == (2, [1, 1])
        sums = [point for point in known.points if point.operation == "all_reduce"]
        row = TARGET["hidden_size"] * 4  # type: ignore[operator]
        assert [point.features["bytes"] / row for point in sums] == [1, 2, 4, 8, 16]
        assert {(point.kind, point.features["devices"]) for point in sums} == {("ring", 2)}
        (reported,) = report_of_sums(known)
        assert reported["median_error"] is not None

        costs = "costs={model: profile, path: p.json, allow_roofline: true}"
        cells = plan([loaded.path], [], [costs], None)
        monkeypatch.setattr(shared_deployment, "deploy", lambda *_, **__: deployment)
        options = Options(repetitions=1, intervals=0, seconds=0.5)
        found = validate(cells, tmp_path / "out", options, report=validation_report)
    assert not found["failed"]
    (cell,) = found["cells"]
    assert cell["identical_requests"] == 1.0  # acceptance is given, and the policy reads no clock
    assert {drift["model"] for drift in found["drift"]} <= set(known.models)
    assert any("x2" in drift["model"] for drift in found["drift"])
