"""What GPUs are and how they are doing, as ``nvidia-smi`` tells: driver, clocks, power, temperature."""

from __future__ import annotations

import subprocess
from typing import Any

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


def gpu_states() -> list[State]:
    """One for each GPU of the machine; none where nvidia-smi does not run."""
    command = ["nvidia-smi", f"--query-gpu={','.join(FIELDS.values())}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return read_states(done.stdout)


def read_states(table: str) -> list[State]:
    """The lines of nvidia-smi's table, without what it does not know."""
    states = []
    for line in table.strip().splitlines():
        values = [value.strip() for value in line.split(",")]
        state = {name: _read(value) for name, value in zip(FIELDS, values, strict=True)}
        states.append({name: value for name, value in state.items() if value is not None})
    return states


def changing(states: list[State]) -> list[State]:
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
