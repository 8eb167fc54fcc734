"""What a live run's threads wait for a CPU."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from spinsim.live import cpu_waits as module
from spinsim.live.cpu_waits import CpuWaits, cpu_waits, read_steal, read_waits
from spinsim.pages.fidelity_terminal import short_of_cpus_note
from spinsim.pages.run_terminal import short_of_cpus


def counters(tasks: Path, waited_ns: int, thread: int = threading.get_native_id()) -> None:
    """As Linux writes them: time on a CPU, time waited for one, turns."""
    (tasks / str(thread)).mkdir(parents=True, exist_ok=True)
    (tasks / str(thread) / "schedstat").write_text(f"900000000 {waited_ns} 77\n")


def test_the_thread_that_waited_most_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, waiting = threading.Event(), threading.Event()

    def lane() -> None:
        counters(tmp_path, 0, threading.get_native_id())
        waiting.set()
        ended.wait()

    thread = threading.Thread(target=lane)
    counters(tmp_path, 5_000_000)
    monkeypatch.setattr(module, "read_waits", lambda: read_waits(tmp_path))
    thread.start()
    waiting.wait()
    assert thread.native_id is not None
    with cpu_waits() as found:
        counters(tmp_path, 25_000_000)
        counters(tmp_path, 400_000_000, thread.native_id)
    ended.set()
    thread.join()
    assert found.waited_s == pytest.approx(0.4)


def test_a_run_whose_threads_waited_says_so() -> None:
    short, free = CpuWaits(4.0, 0.4, 0.0).told(), CpuWaits(4.0, 0.004, 0.0).told()
    assert short is not None
    assert free is not None
    assert (short["short"], free["short"]) == (True, False)
    assert short["waited_fraction"] == pytest.approx(0.1)
    assert "waited 10 % of the run" in short_of_cpus({"cpus": short})
    assert "waited 10 % of the measuring" in short_of_cpus({"cpus": short}, "the measuring")
    assert short_of_cpus({"cpus": free}) == short_of_cpus({}) == short_of_cpus_note({"cells": []}) == ""
    cells = [{"name": "grid: spin", "cpus": [free, short]}, {"name": "grid: none", "cpus": [free]}]
    said = short_of_cpus_note({"cells": cells})
    assert "spin" in said
    assert "none" not in said


def test_a_system_that_does_not_tell_leaves_it_open(tmp_path: Path) -> None:
    assert read_waits(tmp_path) == {}
    assert read_steal(tmp_path / "stat") is None
    assert CpuWaits(1.0).told() is None
    (tmp_path / "stat").write_text("cpu  1 2 3 4 5 6 7 250 0 0\ncpu0 1 2 3 4 5 6 7 250 0 0\n")
    assert read_steal(tmp_path / "stat") == 250 / os.sysconf("SC_CLK_TCK")
