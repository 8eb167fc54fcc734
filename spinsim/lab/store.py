"""An experiment's folder: a manifest, and a file for each finished cell, whole or not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinsim.errors import InputError
from spinsim.files import check_writable, drop_earlier, set_earlier_aside, write_atomically

SCHEMA = "spinsim.experiment/1"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished cell: its summary, or the error of its last attempt."""

    key: str
    summary: dict[str, Any] | None
    error: str = ""
    attempts: int = 1
    scenario: str = ""  # JSON of what was simulated


class Store:
    """Results by cell key, kept in ``folder`` (None: in memory only).

    ``replace``: what the folder holds goes aside when the manifest is written, by when the plan was checked,
    and goes for good with :meth:`complete`.
    """

    def __init__(self, folder: Path | None = None, *, replace: bool = False) -> None:
        self.folder = folder
        self._replace = replace
        self._known: dict[str, Outcome] = {}

    def get(self, key: str) -> Outcome | None:
        """The cell's successful outcome, if it has one. A failed cell is to be tried again."""
        if key not in self._known and self.folder is not None and not self._replace:
            try:
                content = json.loads((self.folder / "cells" / f"{key}.json").read_text(encoding="utf-8"))
                self._known[key] = Outcome(key, content["summary"], content["error"], content["attempts"])
            except (OSError, ValueError, KeyError, TypeError):
                return None
        found = self._known.get(key)
        return found if found is not None and found.summary is not None else None

    def put(self, outcome: Outcome) -> None:
        """Keep a result; on return it outlives this process."""
        self._known[outcome.key] = outcome
        if self.folder is not None:
            (self.folder / "cells").mkdir(parents=True, exist_ok=True)
            content: dict[str, Any] = {
                "summary": outcome.summary,
                "error": outcome.error,
                "attempts": outcome.attempts,
            }
            if outcome.scenario:
                content["scenario"] = json.loads(outcome.scenario)
            write_atomically(self.folder / "cells" / f"{outcome.key}.json", json.dumps(content))

    def write_manifest(self, kind: str, plan: Mapping[str, Any]) -> None:
        """What the experiment is: ``plan`` states everything that its results follow from."""
        if self.folder is not None:
            if self._replace:
                set_earlier_aside(self.folder)
                self._replace = False
            self.folder.mkdir(parents=True, exist_ok=True)
            manifest = {"schema": SCHEMA, "kind": kind, **plan}
            write_atomically(self.folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")

    def complete(self) -> None:
        """The experiment has ended and its files are written: what it replaced is not needed any more."""
        if self.folder is not None:
            drop_earlier(self.folder)


def open_store(folder: Path, kind: str, *, resume: bool = False, force: bool = False) -> Store:
    """The store of a new experiment, or of one to go on with.

    Raises InputError where ``folder`` holds something else, or an experiment and neither
    ``resume`` nor ``force`` says what to do with it.
    """
    manifest = _manifest(folder)
    if resume and force:
        raise InputError("cannot go with --force; one of the two", key="--resume")
    check_writable(folder)
    cells = sum(1 for _ in (folder / "cells").glob("*.json"))
    if manifest is not None and cells and not (resume or force):
        raise InputError(
            f"already holds a {manifest['kind']} of {cells} cells; "
            "--resume goes on with it, --force replaces it, --out names another folder",
            file=str(folder),
        )
    if manifest is not None and resume and manifest["kind"] != kind:
        raise InputError(
            f"holds a {manifest['kind']}; --resume takes the folder of a {kind}", file=str(folder)
        )
    if manifest is None and folder.is_dir() and any(folder.iterdir()):
        raise InputError("holds something else; --out takes a new or empty folder", file=str(folder))
    return Store(folder, replace=manifest is not None and force)


def experiment_kind(folder: Path) -> str | None:
    """What experiment ``folder`` holds; None for none."""
    manifest = _manifest(folder)
    return None if manifest is None else str(manifest["kind"])


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("schema") == SCHEMA else None
