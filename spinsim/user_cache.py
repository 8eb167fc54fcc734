"""What takes long to calculate and is asked for again by the next process: kept in the user's cache folder.

It is ``$SPINSIM_CACHE``, else ``spinsim`` in ``$XDG_CACHE_HOME`` or ``~/.cache``. It may be deleted at any
time. Where it cannot be written to, everything is calculated anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import spinsim
from spinsim.files import remove_abandoned, unfinished

ROOT = Path(spinsim.__file__).parent


def folder() -> Path | None:
    """Where things are kept; None where ``SPINSIM_CACHE`` is empty, which keeps nothing."""
    given = os.environ.get("SPINSIM_CACHE")
    if given is not None:
        return Path(given) if given else None
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spinsim"
    except RuntimeError:  # a user without a home
        return None


def writable(name: str) -> Path | None:
    """The subfolder ``name``, made where it was not there; None where nothing can be kept."""
    place = folder()
    if place is None:
        return None
    try:
        (place / name).mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return place / name if os.access(place / name, os.W_OK) else None


def kept(name: str, given: object, code: str, calculate: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """``calculate()``, or what it gave for the same ``given`` and the same :func:`code_digest` before.

    ``given`` and the result are what JSON can hold, floats exactly. ``name`` is that of the subfolder.
    """
    place = writable(name)
    if place is None:
        return calculate()
    key = sha256(f"{code}\n{json.dumps(given)}".encode()).hexdigest()[:32]
    path = place / f"{key}.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError):  # none yet, or damaged
        pass
    remove_abandoned(place)
    result = calculate()
    partial = unfinished(path)
    try:
        partial.write_text(json.dumps(result), encoding="utf-8")
        partial.replace(path)  # another process reads the whole file or none
    except OSError:
        pass
    return result


@cache
def code_digest(places: tuple[str, ...], libraries: tuple[str, ...]) -> str:
    """Of the package's modules and folders ``places``, and of the versions of ``libraries``."""
    digest = sha256(" ".join(map(version, libraries)).encode())
    for path in _modules(places):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _modules(places: Iterable[str]) -> list[Path]:
    found = [ROOT / place for place in places]
    return sorted(file for path in found for file in (path.rglob("*.py") if path.is_dir() else [path]))
