"""A validation's folder: what live runs gave, kept whole, so that the simulated half can be done again
anywhere.

``plan.json``        the options, the cells in order, drift and wall time of what was deployed
``inputs/``          the files that the scenarios read (profile, shapes), named by their contents
``trace-HASH.npz``   recorded acceptance of all that a deployment served, with a checksum of its own
``live/KEY/``        a cell: ``operations-R.parquet`` of every run, ``rounds.parquet`` of the first, and last
                     ``cell.json``: scenario, workload, metrics by run, checksums
``validation.json``  the comparison
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spinsim.errors import InputError
from spinsim.files import drop_earlier, set_earlier_aside, write_atomically
from spinsim.results import arrow
from spinsim.scenario import Scenario
from spinsim.studies.validation.agreement import Rounds
from spinsim.studies.validation.operations import OperationTable, read_operations, write_operations
from spinsim.workload.request import Request, Workload
from spinsim.workload.source import resolve

Numbers = dict[str, Any]

SCHEMA = "spinsim.validation-live/1"
REQUEST_FIELDS = ("arrival_s", "prompt_tokens", "output_tokens", "patience_s", "domain", "key")


@dataclass(frozen=True)
class LiveCell:
    """What a cell's live runs leave. ``scenario`` and ``workload`` are what the simulated world is given.

    ``runs``: the metrics of each repetition; ``rounds``: of the first, by request; ``recorded``: acceptance
    was recorded from the same models over the same requests. ``of``: requests that the scenario has in all.
    ``clocks``: of the GPUs during each repetition, where they were read.
    """

    key: str
    name: str
    labels: Numbers
    scenario: Scenario
    workload: Workload
    of: int
    setting: str
    recorded: bool
    runs: tuple[dict[str, float | None], ...]
    live_s: tuple[float, ...]
    requests_per_s: float
    operations: tuple[OperationTable, ...]
    rounds: Rounds
    clocks: tuple[Numbers, ...] = ()
    cpus: tuple[Numbers, ...] = ()


class Folder:
    """Raises InputError where ``root`` holds something and neither ``resume`` nor ``force`` is given."""

    def __init__(self, root: Path, *, resume: bool = False, force: bool = False) -> None:
        self.root = root
        if root.exists() and any(root.iterdir()) and not (resume or force):
            raise InputError(
                "already holds something; --resume goes on with it, --again compares its live runs anew, "
                "--force begins anew, --out names another folder",
                file=str(root),
            )
        if force and not resume and (root / "live").is_dir():
            set_earlier_aside(root / "live")
        (root / "live").mkdir(parents=True, exist_ok=True)

    def portable(self, scenario: Scenario, base_dir: Path) -> Scenario:
        """The scenario with the files that a simulation reads copied in: its paths start at :attr:`root`.

        The workload's source stays where it is: the requests themselves are kept.
        """
        values = scenario.model_dump(mode="json")
        for section in ("costs", "acceptance"):
            if path := values[section].get("path"):
                values[section]["path"] = self._kept(resolve(path, base_dir, f"{section}.path"))
        for model in (values["models"]["target"], *values["models"]["drafts"].values()):
            if "shape" not in model:  # a draft that is no model
                continue
            path = base_dir / model["shape"]
            if path.exists():
                model["shape"] = self._kept(path / "config.json" if path.is_dir() else path)
        return Scenario.model_validate(values)

    def _kept(self, path: Path) -> str:
        """The path, from :attr:`root`, of a copy of a file; of the file itself where it is in the folder."""
        if path.resolve().is_relative_to(self.root.resolve()):
            return path.resolve().relative_to(self.root.resolve()).as_posix()
        content = path.read_bytes()
        copy = self.root / "inputs" / f"{path.stem}-{sha256(content).hexdigest()[:12]}{path.suffix}"
        copy.parent.mkdir(exist_ok=True)
        if not copy.exists():
            copy.write_bytes(content)
        return copy.relative_to(self.root).as_posix()

    def put(self, cell: LiveCell) -> None:
        """Keep a cell: on return it outlives this process."""
        folder = self.root / "live" / cell.key
        folder.mkdir(exist_ok=True)
        files = []
        for number, table in enumerate(cell.operations, 1):
            files.append(folder / f"operations-{number}.parquet")
            write_operations(files[-1], table)
        files.append(folder / "rounds.parquet")
        _write_rounds(files[-1], cell.rounds)
        content = {
            "schema": SCHEMA,
            "name": cell.name,
            "labels": cell.labels,
            "scenario": cell.scenario.model_dump(mode="json"),
            "workload": _workload_values(cell.workload),
            "of": cell.of,
            "setting": cell.setting,
            "recorded": cell.recorded,
            "runs": cell.runs,
            "live_s": cell.live_s,
            "requests_per_s": cell.requests_per_s,
            "files": {path.name: _digest(path) for path in files},
            "clocks": cell.clocks,
            "cpus": cell.cpus,
        }
        write_atomically(folder / "cell.json", json.dumps(content, indent=1) + "\n")

    def get(self, key: str) -> LiveCell | None:
        """A cell that is finished. Raises InputError where one of its files was changed or lost since."""
        folder = self.root / "live" / key
        try:
            content = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if content.get("schema") != SCHEMA:
            raise InputError(f"schema {content.get('schema')!r}; {SCHEMA!r}", file=str(folder / "cell.json"))
        for name, digest in content["files"].items():
            path = folder / name
            if not path.is_file() or _digest(path) != digest:
                raise InputError("is damaged or missing; run the cell again (--force)", file=str(path))
        # Drafts of a GPU took turns, before scenarios could say otherwise.
        content["scenario"]["placement"].setdefault("draft_lanes", "shared")
        tables = sorted((name for name in content["files"] if name.startswith("operations-")), key=_number)
        return LiveCell(
            key=key,
            name=content["name"],
            labels=content["labels"],
            scenario=Scenario.model_validate(content["scenario"]),
            workload=_workload(content["workload"]),
            of=content["of"],
            setting=content["setting"],
            recorded=content["recorded"],
            runs=tuple(content["runs"]),
            live_s=tuple(content["live_s"]),
            requests_per_s=content["requests_per_s"],
            operations=tuple(read_operations(folder / name) for name in tables),
            rounds=_read_rounds(folder / "rounds.parquet"),
            clocks=tuple(content.get("clocks", ())),  # folders from before have none
            cpus=tuple(content.get("cpus", ())),
        )

    def write_plan(self, plan: Numbers) -> None:
        """Keep what is being validated and what is known of it so far."""
        write_atomically(self.root / "plan.json", json.dumps(plan, indent=1) + "\n")

    def plan(self) -> Numbers:
        """What :meth:`write_plan` kept. Raises InputError where there is none."""
        path = self.root / "plan.json"
        try:
            found: Numbers = json.loads(path.read_text(encoding="utf-8"))
        except OSError:
            raise InputError(
                "holds no live runs of a validation; a folder that `spinsim validate` wrote",
                file=str(self.root),
            ) from None
        return found

    def finish(self, result: Numbers) -> None:
        """Keep the comparison."""
        write_atomically(self.root / "validation.json", json.dumps(result, indent=1) + "\n")

    def drop_earlier(self) -> None:
        """All live runs are there: those that they replace are not needed any more."""
        drop_earlier(self.root / "live")


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _number(name: str) -> int:
    return int(name.removesuffix(".parquet").rpartition("-")[2])


def _workload_values(workload: Workload) -> Numbers:
    def value(request: Request, name: str) -> Any:
        found = getattr(request, name)
        return None if found == math.inf else found

    columns = {name: [value(request, name) for request in workload.requests] for name in REQUEST_FIELDS}
    return {"concurrency": workload.concurrency, **columns}


def _workload(values: Numbers) -> Workload:
    rows = zip(*(values[name] for name in REQUEST_FIELDS), strict=True)
    requests = []
    for number, row in enumerate(rows):
        fields = dict(zip(REQUEST_FIELDS, row, strict=True))
        if fields["patience_s"] is None:
            fields["patience_s"] = math.inf
        requests.append(Request(id=number, **fields))
    return Workload(tuple(requests), values["concurrency"])


def _write_rounds(path: Path, rounds: Rounds) -> None:
    rows = [(request, *row) for request, made in rounds.items() for row in made]
    flat = np.asarray(rows, np.int32).reshape(-1, 4)
    names = ("request", "draft", "drafted", "accepted")
    data = {name: arrow.numbers(flat[:, i]) for i, name in enumerate(names)}
    # Requests without a round are in the workload alone.
    pq.write_table(pa.table(data), path, compression=arrow.COMPRESSION)


def _read_rounds(path: Path) -> Rounds:
    read = pq.read_table(path)
    columns = [read.column(name).to_pylist() for name in ("request", "draft", "drafted", "accepted")]
    found: Rounds = {}
    for request, draft, drafted, accepted in zip(*columns, strict=True):
        found.setdefault(request, []).append((draft, drafted, accepted))
    return found


def live_key(cell_key: str, options: Sequence[object]) -> str:
    """A folder's name for a cell: a hash of all that decides what it gives live."""
    return sha256("/".join([cell_key, *map(str, options)]).encode()).hexdigest()[:24]
