"""A study's manifest.json: what was asked, what with, what came out, each file with its SHA-256.

It is written anew after every part, so that an interrupted study goes on where it stopped.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import spinsim
from spinsim.bundles.copies import copies_of
from spinsim.bundles.inputs import Input, given_files, inputs
from spinsim.bundles.plan import Part, StudyPlan
from spinsim.errors import InputError
from spinsim.files import check_writable, write_atomically
from spinsim.lab.fingerprint import code_digest
from spinsim.results.environment import environment

SCHEMA = "spinsim.study/1"
MANIFEST = "manifest.json"
BEGUN, DONE, FAILED = "begun", "done", "failed"
# What differs from run to run by itself, by the name of the file, and why.
NOT_COMPARED = {"environment.json": "date, command line, machine and versions of the run"}
LIVE = "live: real devices answer differently each time"

Record = dict[str, Any]


def asked(part: Part) -> Record:
    """Everything that a part's results follow from: its options, this code, and the files that it names."""
    files = {one.name: one.sha256 for one in inputs(given_files(part))}
    said = json.loads(json.dumps(dict(part.said)))  # as it is read back
    return {"command": part.command, "options": said, "code": code_digest(), "files": files}


def read_manifest(folder: Path) -> Record | None:
    """The manifest of a study's folder; None where there is none."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("schema") == SCHEMA else None


class Bundle:
    """The folder of a study, and its manifest. Raises InputError where ``folder`` holds something else.

    ``force``: a study of another name may be replaced.
    """

    def __init__(self, folder: Path, plan: StudyPlan, *, force: bool = False) -> None:
        check_writable(folder)
        found = read_manifest(folder)
        if found is None and folder.is_dir() and any(folder.iterdir()):
            raise InputError("holds something else; --out takes a new or empty folder", file=str(folder))
        known = found["study"]["name"] if found else plan.name
        if known != plan.name and not force:
            raise InputError(
                f"holds the study {known}; --force replaces it, --out names another folder", file=str(folder)
            )
        self.folder, self.plan, self.copies = folder, plan, copies_of(plan)
        self.records: dict[str, Record] = found["parts"] if found else {}

    def write(self) -> None:
        """Replace manifest.json. The parts stand in the order of the plan."""
        self.folder.mkdir(parents=True, exist_ok=True)
        order = [part.name for part in self.plan.parts]
        content = {
            "schema": SCHEMA,
            "study": {
                "name": self.plan.name,
                "description": self.plan.description,
                "file": self.plan.path.name,
                "path": self.copies.path(self.plan.path.resolve()),
                "sha256": sha256(self.plan.path.read_bytes()).hexdigest(),
                "parts": {part.name: part.title for part in self.plan.parts},
            },
            "spinsim": spinsim.__version__,
            "code": code_digest(),
            "git": {"study": commit(self.plan.path.parent), "spinsim": commit(Path(spinsim.__file__).parent)},
            "environment": environment(),
            "not_compared": NOT_COMPARED,
            "parts": {name: self.records[name] for name in order if name in self.records},
        }
        write_atomically(self.folder / MANIFEST, json.dumps(content, indent=1) + "\n")

    def begin(self, part: Part, question: Record, *, live: bool) -> None:
        """Note that a part is being made."""
        self.records[part.name] = {
            "title": part.title,
            "description": part.description,
            "state": BEGUN,
            "live": live,
            "asked": question,
        }
        self.write()

    def end(
        self, part: Part, read: Sequence[Input], folders: Iterable[Path], wall_s: float, error: str
    ) -> None:
        """Note what a part was made of, which is copied, and what it gave, whose paths lead to the copies."""
        folder, path = self.folder / part.name, self.copies.path
        self.copies.copy((Path(one.path).resolve() for one in read), self.folder)
        if not self.records[part.name]["live"]:  # which is simulated again where it was run
            self.copies.in_folder(folder)
        self.records[part.name] |= {
            "state": FAILED if error else DONE,
            "error": error,
            "wall_s": round(wall_s, 3),
            "seeds": seeds(folder),
            "folders": [path(each) for each in folders],
            "inputs": [
                {"name": one.name, "path": path(Path(one.path).resolve()), "sha256": one.sha256}
                for one in read
            ],
            "outputs": outputs(folder),
        }
        self.write()


def outputs(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a part's folder, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in files
        if not path.name.startswith(".")
    }


def seeds(folder: Path) -> list[int]:
    """The seeds of a part's simulations, or of its run."""
    found: set[int] = set()
    for path in folder.glob("*.parquet"):
        if "seed" in pq.read_schema(path).names:
            found.update(pq.read_table(path, columns=["seed"])["seed"].to_pylist())
    try:
        summary: Mapping[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return sorted(found)
    own = summary.get("seed")
    return sorted(found | ({own} if isinstance(own, int) else set()))


def commit(folder: Path) -> Record | None:
    """The commit of ``folder``'s checkout, and whether files differ from it; None outside one."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None
