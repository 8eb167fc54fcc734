"""What a simulated result depends on beside its scenario: this code, and the files it reads."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import spinsim
from spinsim.errors import InputError

# Nothing below these takes part in a simulation.
_APART = {"live", "models", "profiling", "cli", "api"}


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Of the package's source, as it was when this process first asked."""
    root = Path(spinsim.__file__).parent
    digest = sha256(spinsim.__version__.encode())
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] not in _APART:
            digest.update(name.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


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
