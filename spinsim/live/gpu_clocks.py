"""What GPUs are and how they are doing, as ``nvidia-smi`` tells; their clocks while a live run is at work.

A GPU at its power limit lowers its clock, and every time measured then is longer. So a live run notes the
clocks of its GPUs twice a second. A process of its own reads them: the run's threads have no time for it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

State = dict[str, Any]

# our name: nvidia-smi's. Numbers where they read as such.
FIELDS = {
    "index": "index",
    "name": "name",
    "driver": "driver_version",
    "memory_mib": "memory.total",
    "sm_mhz": "clocks.sm",
    "sm_max_mhz": "clocks.max.sm",
    "memory_mhz": "clocks.mem",
    "power_w": "power.draw",
    "power_limit_w": "power.limit",
    "temperature_c": "temperature.gpu",
}
ABOUT = ("name", "driver", "memory_mib", "sm_max_mhz", "power_limit_w")  # does not change within a session
EVERY_MS = 500
MOVED = 0.03  # of the highest clock seen; a prediction's own error is not much less


@dataclass
class Watch:
    """What was read while a run was at work; complete once :func:`watched` has ended."""

    states: list[State] = field(default_factory=list)

    def told(self) -> dict[str, Any] | None:
        """``summary.json``'s ``clocks``; None where nothing was read.

        By GPU: lowest, median and highest SM clock in MHz, most watts and degrees (Celsius), and the number
        of readings. ``moved``: does a GPU's lowest clock lie more than ``MOVED`` below its highest?
        """
        by_gpu: dict[int, list[State]] = {}
        for state in self.states:
            if "sm_mhz" in state and "index" in state:
                by_gpu.setdefault(state["index"], []).append(state)
        if not by_gpu:
            return None
        gpus = [_gpu(index, states) for index, states in sorted(by_gpu.items())]
        return {"gpus": gpus, "moved": any(_moved(gpu) for gpu in gpus)}


def _gpu(index: int, states: Sequence[State]) -> State:
    clocks = [state["sm_mhz"] for state in states]
    found: State = {
        "index": index,
        "readings": len(clocks),
        "sm_mhz": {"low": min(clocks), "median": statistics.median(clocks), "high": max(clocks)},
    }
    for name in ("power_w", "temperature_c"):
        if values := [state[name] for state in states if name in state]:
            found[f"{name}_high"] = max(values)
    for name in ("sm_max_mhz", "power_limit_w"):
        if name in states[0]:
            found[name] = states[0][name]
    return found


def _moved(gpu: State) -> bool:
    clocks = gpu["sm_mhz"]
    return bool(clocks["low"] < (1 - MOVED) * clocks["high"])


@contextmanager
def watched(devices: Sequence[int]) -> Iterator[Watch]:
    """Notes the clocks of these CUDA devices while the context lasts; nothing without ``devices``.

    Where nvidia-smi does not run, the watch stays empty.
    """
    watch = Watch()
    if not devices:
        yield watch
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8") as table:
        reader = _reader(_physical(devices), table)
        try:
            yield watch
        finally:
            if reader is not None:
                reader.terminate()
                reader.wait()
                table.seek(0)
                watch.states = read_states(table.read())


def _reader(ids: Sequence[str], table: IO[str]) -> subprocess.Popen[bytes] | None:
    command = [*_query(), f"--id={','.join(ids)}", f"--loop-ms={EVERY_MS}"]
    try:
        return subprocess.Popen(command, stdout=table, stderr=subprocess.DEVNULL)
    except OSError:
        return None


def _physical(devices: Sequence[int]) -> list[str]:
    """What nvidia-smi calls CUDA's devices, of which the environment may show a part, in an order of its
    own."""
    shown = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return [shown[device] if device < len(shown) else str(device) for device in devices]


def gpu_states() -> list[State]:
    """One for each GPU of the machine; none where nvidia-smi does not run."""
    try:
        done = subprocess.run(_query(), capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return read_states(done.stdout)


def _query() -> list[str]:
    return ["nvidia-smi", f"--query-gpu={','.join(FIELDS.values())}", "--format=csv,noheader,nounits"]


def read_states(table: str) -> list[State]:
    """The lines of nvidia-smi's table, without what it does not know.

    A last line that was cut off, or says something else, is left out.
    """
    states = []
    for line in table.splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) == len(FIELDS) and all(values):
            state = {name: _read(value) for name, value in zip(FIELDS, values, strict=True)}
            states.append({name: value for name, value in state.items() if value is not None})
    return states


def changing(states: Sequence[State]) -> list[State]:
    """Clocks, power and temperature alone."""
    return [{name: value for name, value in state.items() if name not in ABOUT} for state in states]


def _read(value: str) -> float | int | str | None:
    if value.startswith("["):  # [N/A], [Not Supported]
        return None
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


__all__ = ["ABOUT", "State", "Watch", "changing", "gpu_states", "read_states", "watched"]
