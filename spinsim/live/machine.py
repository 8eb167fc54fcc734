"""Which machine this is."""

from __future__ import annotations

import platform
import subprocess
from hashlib import sha256
from pathlib import Path

import torch

from spinsim.costs.profiled.elsewhere import Machine

SYSTEM_ID = Path("/etc/machine-id")


def this_machine(device: torch.device) -> Machine:
    """The machine that ``device`` is in, known by the identifiers of its GPUs, or of its system for a CPU."""
    if device.type == "cuda":
        return Machine(torch.cuda.get_device_name(device), _digest(_gpu_identifiers()))
    try:
        system = SYSTEM_ID.read_text(encoding="utf-8")
    except OSError:
        system = ""
    return Machine("cpu", _digest(f"{system} {platform.machine()}" if system else ""))


def _gpu_identifiers() -> str:
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return " ".join(sorted(done.stdout.split()))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12] if text else ""
