"""The files behind a part's results: what was given, and what its simulations read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spinsim.bundles.plan import Part
from spinsim.errors import InputError
from spinsim.lab.cell import files_read
from spinsim.lab.fingerprint import file_digest
from spinsim.scenario.yaml_places import parse
from spinsim.scenario_file import read_text
from spinsim.scenario_file.hardware_files import ENDINGS


@dataclass(frozen=True)
class Input:
    """A file: what it is called wherever it lies, its path as results write it, and its SHA-256."""

    name: str
    path: str
    sha256: str


def given_files(part: Part) -> list[Path]:
    """The scenarios and plugins that a part names, and the files that those scenarios name in turn.

    Raises InputError for one that cannot be read.
    """
    found: dict[Path, None] = {}
    for key, value in part.options.items():
        for path in _paths(value):
            found |= dict.fromkeys([path] if key == "plugins" else _scenario_files(path))
    return list(found)


def _paths(value: Any) -> Iterator[Path]:
    for each in value if isinstance(value, tuple) else (value,):
        if isinstance(each, Path):
            yield each


def _scenario_files(path: Path) -> Iterator[Path]:
    """A scenario, a sweep with its scenario, and hardware sheets in files of their own."""
    yield path
    content = parse(read_text(path), str(path)).data
    if not isinstance(content, Mapping):
        return
    if isinstance(content.get("scenario"), str):
        yield from _scenario_files(Path(os.path.normpath(path.parent / content["scenario"])))
    devices = content.get("devices")
    for device in devices.values() if isinstance(devices, Mapping) else ():
        sheet = device.get("hardware") if isinstance(device, Mapping) else None
        if isinstance(sheet, str) and sheet.lower().endswith(ENDINGS):
            yield path.parent / Path(sheet).expanduser()


def files_of(folder: Path, original: Callable[[str], str]) -> list[Path]:
    """The files that the simulations kept in a part's folder read. ``original``: the file of a path there."""
    found: set[Path] = set()
    for scenario in _scenarios_in(folder):
        found.update(files_read(_with(original, scenario)))
    return sorted(found)


def _with(original: Callable[[str], str], value: Any) -> Any:
    """A value with ``original`` of every text in it."""
    if isinstance(value, dict):
        return {key: _with(original, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with(original, each) for each in value]
    return original(value) if isinstance(value, str) else value


def _scenarios_in(folder: Path) -> Iterator[dict[str, Any]]:
    """Of every cell, or of a run."""
    cells = sorted((folder / "cells").glob("*.json"))
    for path in cells:
        scenario = json.loads(path.read_text(encoding="utf-8")).get("scenario")
        if scenario is not None:
            yield scenario
    if not cells and (folder / "scenario.yaml").is_file():
        yield yaml.safe_load((folder / "scenario.yaml").read_text(encoding="utf-8"))


def inputs(paths: Iterable[Path]) -> list[Input]:
    """Each file once, under the shortest end of its path that no other has.

    Raises InputError for one that cannot be read.
    """
    real: dict[str, Path] = {}
    for path in paths:
        real.setdefault(str(path.resolve()), path)
    names = _names([Path(path) for path in real])
    found = [
        Input(name, str(path), file_digest(str(path)))
        for name, path in zip(names, real.values(), strict=True)
    ]
    return sorted(found, key=lambda one: one.name)


def _names(paths: Sequence[Path]) -> list[str]:
    names = []
    for path in paths:
        ends = ("/".join(path.parts[-n:]) for n in range(1, len(path.parts) + 1))
        names.append(next(end for end in ends if sum(_ends(other, end) for other in paths) < 2))
    return names


def _ends(path: Path, end: str) -> bool:
    return path.as_posix().endswith(f"/{end}")


def changed(known: Iterable[Mapping[str, str]], original: Callable[[str], str]) -> str:
    """The name of the first file that is not what it was; nothing where all are."""
    for one in known:
        try:
            if file_digest(original(one["path"])) != one["sha256"]:
                return one["name"]
        except InputError:
            return one["name"]
    return ""
