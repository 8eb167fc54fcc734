"""The benchmark of host time covers every operation in every setting, through the lanes of a deployment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import host
from tests.live.test_run import scenario_file


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8}], ids=["greedy", "sampled"])
def test_every_operation_in_every_setting(tmp_path: Path, sampling: dict[str, float]) -> None:
    loaded = scenario_file(tmp_path, sampling=sampling)
    out = tmp_path / "host.json"
    asked = [
        str(loaded.path),
        "--device",
        "cpu",
        "--out",
        str(out),
        "--repetitions",
        "2",
        "--batches",
        "32,2",
    ]
    assert host.main(asked) == 0
    rows = json.loads(out.read_text())["rows"]
    drafts = {row["model"] for row in rows if row["operation"] == "propose"}
    assert len(drafts) == 2  # two shapes
    per_batch = 3 + 2 * len(drafts)
    assert {row["batch"] for row in rows} == {4, 2}  # no more rows than slots
    assert len(rows) == 2 * per_batch * len(host.SETTINGS)
    for row in rows:
        assert 0 < row["wall_us"] <= row["wall_p90_us"] * (1 + 1e-9)
        assert row["device_us"] is None  # no events on a CPU, and no host share without them
        assert row["host_us"] is None
        if row["setting"] != "queued":
            assert row["trip_us"] > row["wall_us"]


def test_no_time_left_measures_nothing_and_says_so(tmp_path: Path) -> None:
    loaded = scenario_file(tmp_path)
    asked = [str(loaded.path), "--device", "cpu", "--out", str(tmp_path / "host.json"), "--seconds", "0"]
    assert host.main(asked) == 1


def test_the_host_share_is_what_the_device_alone_does_not_take() -> None:
    work = host.Work("verify", "m", 0, lambda: None, (1, lambda: None), torch.device("cpu"))
    samples = [host.Sample(wall, wall + 20, wall - 30) for wall in (100.0, 120.0, 110.0)]
    row = host.row_of(work, 8, "after sleep", samples, alone_us=60.0)
    assert (row.wall_us, row.trip_us, row.device_us, row.host_us) == (110.0, 130.0, 80.0, 50.0)
