"""Clocks of the GPUs during a live run: read by nvidia-smi in a process of its own, told where they moved."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from spinsim.live.gpu_clocks import Watch, read_states, watched
from spinsim.pages.fidelity_terminal import moved_clocks_note
from spinsim.pages.run_terminal import moved_clocks

LINE = "{gpu}, NVIDIA H100 80GB HBM3, 580.159.04, 81559, {sm}, 1980, 2619, {power}, 700.00, 41\n"


def told(*clocks: int) -> dict[str, object]:
    table = "".join(LINE.format(gpu=0, sm=sm, power=600 + i) for i, sm in enumerate(clocks))
    found = Watch(read_states(table)).told()
    assert found is not None
    return found


def test_a_clock_that_moved_by_more_than_three_percent_is_told() -> None:
    moved = told(1980, 1665, 1755)
    assert moved["moved"] is True
    (gpu,) = moved["gpus"]  # type: ignore[misc]
    assert gpu["sm_mhz"] == {"low": 1665, "median": 1755, "high": 1980}
    assert (gpu["readings"], gpu["power_w_high"], gpu["power_limit_w"]) == (3, 602.0, 700.0)
    assert "GPU 0 1,665 to 1,980 MHz" in moved_clocks({"clocks": moved})
    cells = [{"name": "grid: spin", "clocks": [moved]}, {"name": "grid: none", "clocks": [told(1980)]}]
    assert "spin" in moved_clocks_note({"cells": cells})


def test_a_steady_clock_and_a_run_without_gpus_say_nothing() -> None:
    steady = told(1980, 1965)
    assert steady["moved"] is False
    assert moved_clocks({"clocks": steady}) == moved_clocks({}) == moved_clocks_note({"cells": []}) == ""
    assert Watch().told() is None


def test_each_gpu_is_held_against_itself() -> None:
    table = LINE.format(gpu=0, sm=1980, power=300) + LINE.format(gpu=1, sm=1500, power=300)
    found = Watch(read_states(table)).told()
    assert found is not None
    assert [gpu["index"] for gpu in found["gpus"]] == [0, 1]
    assert found["moved"] is False


def test_it_is_read_while_the_run_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for nvidia-smi: a reading, another one, and half a line when it is ended."""
    program = tmp_path / "nvidia-smi"
    first, second = (LINE.format(gpu=0, sm=sm, power=500) for sm in (1980, 1700))
    program.write_text(
        f"#!/bin/sh\nprintf '%s' '{first}{second}0, NVIDIA'\ntouch {tmp_path}/said\nexec sleep 60\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with watched([0]) as watch:
        while not (tmp_path / "said").exists():
            pass
    found = watch.told()
    assert found is not None
    assert found["moved"]
    assert found["gpus"][0]["readings"] == 2


def test_without_nvidia_smi_the_watch_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with watched([0]) as watch:
        pass
    assert watch.told() is None
    with watched([]) as watch:
        pass
    assert watch.told() is None
