"""The kernel as a library: compiled on its first use, and kept in the user's cache folder."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from spinsim.user_cache import writable

SOURCES = Path(__file__).with_name("kernel")
# Contraction would merge a product and a sum into one rounding, which Python does not do.
FLAGS = ("-O2", "-ffp-contract=off", "-fPIC", "-shared")


@cache
def library() -> ctypes.CDLL | None:
    """The kernel, loaded; None where it cannot be had: it takes a C compiler, and a folder to keep it in."""
    compiler, folder = _compiler(), writable("native")
    if compiler is None or folder is None or os.name != "posix":
        return None
    try:
        return ctypes.CDLL(str(_built(compiler, folder)))
    except (OSError, subprocess.SubprocessError):
        return None


def _compiler() -> list[str] | None:
    """The command of a C compiler: ``$CC``, else the system's."""
    for command in (shlex.split(os.environ.get("CC", "")), ["cc"], ["gcc"], ["clang"]):
        if command and (path := shutil.which(command[0])):
            return [path, *command[1:]]
    return None


def _built(compiler: list[str], folder: Path) -> Path:
    """The library's file. Raises OSError or SubprocessError where it cannot be made."""
    made_by = Path(compiler[0]).resolve()
    said = [*compiler, str(made_by), str(made_by.stat().st_mtime_ns), *FLAGS, platform.machine()]
    digest = hashlib.sha256("\0".join(said).encode())
    for source in sorted(SOURCES.glob("*.[ch]")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    built = folder / f"kernel-{digest.hexdigest()[:24]}.so"
    if built.exists():
        return built
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / built.name
        command = [*compiler, *FLAGS, "-o", str(made), str(SOURCES / "kernel.c"), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        os.replace(made, built)  # whole, or not there: several processes may be at it
    return built
