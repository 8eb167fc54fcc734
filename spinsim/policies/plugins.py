"""Policies from a user's own file: imported by path, in every process that simulates with them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from hashlib import sha256
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import walk_tb

from spinsim.errors import InputError
from spinsim.policies.checked import PREFIX


def load_plugins(paths: Iterable[Path | str]) -> tuple[str, ...]:
    """Import Python files, each once a process, so that what they register exists.

    Returns their absolute paths. Raises InputError for a file that is missing, fails to import, or was
    edited after its import: what it registered cannot be replaced.
    """
    return tuple(_load(Path(path).absolute()) for path in paths)


def loaded_plugins() -> tuple[str, ...]:
    """The files that this process has imported, in that order: for processes that are to know the same."""
    modules = [module for name, module in sys.modules.items() if name.startswith(PREFIX)]
    return tuple(str(module.__file__) for module in modules)


def _load(path: Path) -> str:
    name = f"{PREFIX}{sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        if sys.modules[name].__dict__["_spinsim_content"] != _content(path):
            raise InputError(
                "has changed since this process imported it; start a new process", file=str(path)
            )
        return str(path)
    spec = spec_from_file_location(name, path) if path.suffix == ".py" else None
    if spec is None or spec.loader is None or not path.is_file():
        raise InputError("is no plugin; allowed is a Python file that registers policies", file=str(path))
    import_module("spinsim.policies.build")  # the names that ship are taken before a plugin's
    module = module_from_spec(spec)
    module.__dict__["_spinsim_content"] = _content(path)
    sys.modules[name] = module  # dataclasses look their module up while it is executed
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        text = " ".join(f"{type(error).__name__}: {error}".split())
        line = (
            error.lineno if isinstance(error, SyntaxError) and error.lineno else _lines(error).get(str(path))
        )
        raise InputError(
            f"cannot be imported: {text}; allowed is a Python file that runs",
            file=str(path),
            line=line or 0,
        ) from error
    return str(path)


def place_in_plugin(error: BaseException) -> str:
    """``file:line`` of the last statement of a plugin that led to ``error``; empty where none did."""
    found = _lines(error)
    return ":".join(map(str, list(found.items())[-1])) if found else ""


def _lines(error: BaseException) -> dict[str, int]:
    """By plugin's file the line at work, of an error and of what it came from; the innermost last."""
    found: dict[str, int] = {}
    cause: BaseException | None = error  # simpy raises a copy, and the original is its cause
    while cause is not None:
        for frame, line in walk_tb(cause.__traceback__):
            if str(frame.f_globals.get("__name__", "")).startswith(PREFIX):
                found.pop(frame.f_code.co_filename, None)
                found[frame.f_code.co_filename] = line
        cause = cause.__cause__
    return found


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}; give a readable file", file=str(path)) from None
