"""What a simulated result depends on beside its scenario: this code, and the files it reads."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import spinsim
from spinsim.errors import InputError

# What a simulated result can depend on. Pages, commands, live runs and measuring are not among it, so that a
# change of a style sheet makes no finished cell stale.
_ROOMS = (
    "acceptance",
    "costs",
    "drafters",
    "engine",
    "native",
    "packings",
    "policies",
    "results",
    "scenario",
    "scenario_file",
    "simulated",
    "workload",
)
_MODULES = (
    "buckets.py",
    "errors.py",
    "files.py",
    "operations.py",
    "recording.py",
    "registry.py",
    "serving.py",
    "user_cache.py",
    "lab/cell.py",
)
# The shapes of the family's models decide costs on a CPU, so retrained models make every cell stale.
# The formats' defaults decide what a config.json means.
_CONFIGS = ("family/checkpoints/*/config.json", "costs/sheets/config_defaults.json")


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Of the code and the shipped models' configs that results depend on, as they were when first asked."""
    root = Path(spinsim.__file__).parent
    digest = sha256(spinsim.__version__.encode())
    for path in result_files(root):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def result_files(root: Path) -> list[Path]:
    """The files of a package at ``root`` that a simulated result depends on, in a fixed order."""
    code = [path for room in _ROOMS for kind in ("*.py", "*.[ch]") for path in (root / room).rglob(kind)]
    configs = [path for pattern in _CONFIGS for path in root.glob(pattern)]
    return sorted([*code, *(root / module for module in _MODULES), *configs])


def file_digest(path: str) -> str:
    """SHA-256 of a file that a scenario reads. Raises InputError where it cannot be read."""
    try:
        stat = Path(path).stat()
        return _digest(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}; give a readable file", file=path) from None


@lru_cache(maxsize=256)
def _digest(path: str, mtime_ns: int, size: int) -> str:
    digest = sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
