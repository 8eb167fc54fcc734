"""How long a live run's threads waited for a CPU, as Linux tells: other jobs on the host take it from them.

A thread that is ready and finds every CPU taken stands still for some milliseconds, longer than most
operations take. Times measured then are those of a shared host. Two counters tell: a thread's wait in the
queues of the scheduler (the second number of /proc/self/task/ID/schedstat), and what a hypervisor took from
the whole machine (``steal`` of /proc/stat). Elsewhere than on Linux nothing is told.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TASKS = Path("/proc/self/task")
STAT = Path("/proc/stat")
SHORT = 0.02  # of a run, for its thread that waited most; threads that have CPUs wait some 0.1 %
STEAL = 7  # of the numbers that follow "cpu"


@dataclass
class CpuWaits:
    """What threads waited while a run was at work; complete once :func:`cpu_waits` has ended.

    ``waited_s``: of the thread that waited most. ``stolen_s``: by the hypervisor, of all CPUs. None where the
    system does not tell.
    """

    elapsed_s: float = 0.0
    waited_s: float | None = None
    stolen_s: float | None = None

    def told(self) -> dict[str, Any] | None:
        """``summary.json``'s ``cpus``; None where nothing was read.

        ``short``: did a thread wait for more than ``SHORT`` of the run?
        """
        if self.waited_s is None or self.elapsed_s <= 0:
            return None
        told: dict[str, Any] = {
            "waited_s": self.waited_s,
            "waited_fraction": self.waited_s / self.elapsed_s,
            "stolen_s": self.stolen_s,
            "usable": len(os.sched_getaffinity(0)),
        }
        return told | {"short": told["waited_fraction"] > SHORT}


@contextmanager
def cpu_waits() -> Iterator[CpuWaits]:
    """Notes what the interpreter's threads wait for a CPU while the context lasts: the engine's and the
    lanes' are among them."""
    found = CpuWaits()
    began, waited, stolen = time.monotonic(), read_waits(), read_steal()
    try:
        yield found
    finally:
        found.elapsed_s = time.monotonic() - began
        more = {task: wait - waited.get(task, 0) for task, wait in read_waits().items()}
        if more:
            found.waited_s = max(more.values()) * 1e-9
        now = read_steal()
        if stolen is not None and now is not None:
            found.stolen_s = now - stolen


def read_waits(tasks: Path = TASKS) -> dict[int, int]:
    """Nanoseconds that each of the interpreter's threads has waited for a CPU so far, by its number."""
    found = {}
    for thread in threading.enumerate():
        if thread.native_id is None:
            continue
        try:
            counters = (tasks / str(thread.native_id) / "schedstat").read_text(encoding="ascii")
            found[thread.native_id] = int(counters.split()[1])
        except (OSError, IndexError, ValueError):  # the thread has ended, or the kernel counts nothing
            continue
    return found


def read_steal(stat: Path = STAT) -> float | None:
    """Seconds that a hypervisor took from the machine's CPUs so far, of all together."""
    try:
        first = stat.read_text(encoding="ascii").partition("\n")[0].split()
        return int(first[1 + STEAL]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None


__all__ = ["CpuWaits", "cpu_waits", "read_steal", "read_waits"]
