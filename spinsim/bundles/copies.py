"""A bundle's own copies of what its parts read, so that it can be sent, checked and simulated elsewhere.

Files keep their places to each other below the folder ``inputs``. Paths in results lead there. Data that the
files name by ``$NAME`` or ``~`` stay where they are: whoever checks the bundle has them under that name, too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import escape

from spinsim.bundles.inputs import given_files
from spinsim.bundles.plan import INPUTS, StudyPlan
from spinsim.errors import InputError
from spinsim.scenario.yaml_places import parse
from spinsim.scenario_file import read_text

TEXTS = (".json", ".yaml", ".html")  # files of a part that may hold paths
_UP = re.compile(rf'({INPUTS}/(?:[^\n"<>]*?/)?)(?!\.\./)[^/\n"<>]+/\.\./')  # what is left and come back to
_SHORT = re.compile(r"^(~|\$\{?(\w+)\}?)/")


@dataclass(frozen=True)
class Copies:
    """Where a study's files lie, and where their copies go.

    ``study``: its file. ``root``: the folder that holds it and every file that it and its scenarios name by
    a relative path. ``short``: folders that they name as ``$NAME`` or ``~``, by that text.
    """

    study: Path
    root: Path
    short: Mapping[str, Path]

    @property
    def _written(self) -> list[tuple[Path, str]]:
        """Folders and how the bundle writes them, inner ones first."""
        named = [(self.root, INPUTS), *((folder, name) for name, folder in self.short.items())]
        return sorted(named, key=lambda one: -len(one[0].parts))

    def path(self, file: Path) -> str:
        """A file's path as the bundle writes it: below ``inputs``, by ``$NAME``, or else absolute."""
        for folder, name in self._written:
            if file.is_relative_to(folder):
                return (Path(name) / file.relative_to(folder)).as_posix()
        return str(file)

    def original(self, path: str) -> str:
        """The file of a path that a bundle wrote, where the study's file has it; any other text as it is."""
        bare = re.sub(r"^(\.\./)+", "", path)
        for folder, name in self._written:
            if bare.startswith(f"{name}/"):
                return str(folder / bare.removeprefix(f"{name}/"))
        return path

    def copy(self, files: Iterable[Path], bundle: Path) -> None:
        """Copy the study's file and those of ``files`` that belong below ``inputs``."""
        for file in (self.study, *files):
            path = self.path(file)
            target = bundle / path
            if path.startswith(f"{INPUTS}/") and target.resolve() != file.resolve():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)

    def in_text(self, text: str, up: str = "") -> str:
        """``text`` with the bundle's paths. ``up``: the way from the text's folder to the bundle."""
        for folder, name in self._written:
            way = f"{up}{name}" if name == INPUTS else name
            for written in written_as(str(folder)):
                text = text.replace(f"{written}/", f"{way}/")
        while "/../" in text and text != (shorter := _UP.sub(r"\1", text)):
            text = shorter
        return text

    def in_folder(self, part: Path) -> None:
        """Give every text of a part's folder the bundle's paths; those of a YAML start at its own folder,
        as the paths of scenarios do, the others at the bundle."""
        for file in sorted(part.rglob("*")):
            if file.suffix not in TEXTS or not file.is_file():
                continue
            deep = len(file.relative_to(part).parts)
            old, made = file.read_bytes(), file.stat()
            new = self.in_text(old.decode("utf-8"), "../" * deep if file.suffix == ".yaml" else "").encode()
            if new != old:
                file.write_bytes(new)
                os.utime(file, ns=(made.st_atime_ns, made.st_mtime_ns))  # the result is no newer


def written_as(path: str) -> list[str]:
    """A path as texts have it: plainly, in JSON, and in HTML."""
    return list(dict.fromkeys((path, json.dumps(path)[1:-1], str(escape(path)))))


def copies_of(plan: StudyPlan) -> Copies:
    """Where a study's files lie. Files that cannot be read are left to the commands that read them."""
    study = plan.path.resolve()
    files, short = {study.parent}, {}
    for file, text in _texts(plan):
        if found := _SHORT.match(text):
            folder = Path.home() if found[1] == "~" else Path(os.environ.get(found[2], ""))
            if folder.is_absolute():
                short[found[1]] = folder
        elif not Path(text).is_absolute() and (path := Path(os.path.normpath(file.parent / text))).exists():
            files.add(path)
    near = [path for path in files if os.path.commonpath((path, study.parent)) != "/"]
    return Copies(study, Path(os.path.commonpath([*near, study.parent])), short)


def _texts(plan: StudyPlan) -> Iterator[tuple[Path, str]]:
    """What the study and the files that it names say, as (file that paths start at, text)."""
    given = {plan.path.resolve(): None}
    for part in plan.parts:
        try:
            given |= dict.fromkeys(file.resolve() for file in given_files(part))
        except InputError:
            continue
    yaml = [file for file in given if file.suffix in (".yaml", ".yml")]
    for file in yaml:
        for text in _strings(parse(read_text(file), str(file)).data):
            yield file, text
            if file == plan.path.resolve():  # its overrides count from the scenarios' folders
                yield from ((other, text.partition("=")[2] or text) for other in yaml)
    yield from ((plan.path.resolve(), os.path.relpath(file, plan.path.resolve().parent)) for file in given)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _strings(each)
