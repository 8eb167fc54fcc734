"""The machine itself: what it is, how fast it copies and multiplies."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import torch

from spinsim.costs.profiled.profile import Point
from spinsim.live.machine import this_machine
from spinsim.profiling.timing import Effort, repeated
from spinsim.results.environment import environment

COPY_BYTES = {"cuda": (1 << 26, 1 << 28, 1 << 30), "cpu": (1 << 22, 1 << 24, 1 << 26)}
MATMUL_SIZES = {"cuda": (2048, 4096, 8192), "cpu": (256, 512, 1024)}


def now_utc() -> str:
    """To the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions(device: torch.device) -> dict[str, str]:
    """Libraries, interpreter, driver, device and machine, as found."""
    found = {"python": platform.python_version(), "platform": platform.system()}
    found |= {str(name): str(said) for name, said in environment()["packages"].items()}
    if device.type == "cuda":
        found["cuda"] = str(torch.version.cuda)
        found["device"] = torch.cuda.get_device_name(device)
        driver = _nvidia(device, "driver_version")
        if driver:
            found["driver"] = driver[0]
    else:
        found["device"] = _cpu_name()
        found["threads"] = str(torch.get_num_threads())
    if identity := this_machine(device).id:
        found["machine"] = identity
    return found


def clocks(device: torch.device) -> dict[str, float]:
    """Clocks in MHz at this moment, where the machine tells them."""
    if device.type == "cuda":
        values = _nvidia(device, "clocks.sm,clocks.mem,clocks.max.sm")
        names = ("sm_mhz", "memory_mhz", "sm_max_mhz")
        return {name: float(v) for name, v in zip(names, values, strict=False) if v.isdigit()}
    speeds = [float(line.split(":")[1]) for line in _cpu_lines("cpu MHz")]
    return {"cpu_mhz": round(sum(speeds) / len(speeds), 1)} if speeds else {}


def _nvidia(device: torch.device, query: str) -> list[str]:
    """What nvidia-smi says of one GPU; nothing where it does not run."""
    command = [
        "nvidia-smi",
        f"--id={device.index or 0}",
        f"--query-gpu={query}",
        "--format=csv,noheader,nounits",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [value.strip() for value in done.stdout.strip().split(",")]


def _cpu_lines(key: str) -> list[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return [line for line in file if line.startswith(key)]
    except OSError:
        return []


def _cpu_name() -> str:
    lines = _cpu_lines("model name")
    return lines[0].split(":", 1)[1].strip() if lines else platform.machine()


def machine_points(device: torch.device, dtype: torch.dtype, effort: Effort) -> Iterator[Callable[[], Point]]:
    """Measurements of copy bandwidth and matmul rate, each a call that gives its point."""
    for size in COPY_BYTES[device.type]:
        yield lambda size=size: _copy(device, size, effort)  # type: ignore[misc]
    for size in MATMUL_SIZES[device.type]:
        yield lambda size=size: _matmul(device, dtype, size, effort)  # type: ignore[misc]


def _copy(device: torch.device, size: int, effort: Effort) -> Point:
    source = torch.empty(size, dtype=torch.uint8, device=device).random_()
    sink = torch.empty_like(source)
    timing = repeated(_timed(device, lambda: sink.copy_(source)), effort)
    features = {"bytes": 2.0 * size}  # each byte is read and written
    return Point("copy_bandwidth", timing.seconds, timing.spread_s, timing.repetitions, features)


def _matmul(device: torch.device, dtype: torch.dtype, size: int, effort: Effort) -> Point:
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)
    timing = repeated(_timed(device, lambda: a @ b), effort)
    features = {"flops": 2.0 * size**3}
    return Point("matmul_rate", timing.seconds, timing.spread_s, timing.repetitions, features)


def _timed(device: torch.device, work: Callable[[], object]) -> Callable[[], float]:
    def once() -> float:
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    return once
