"""The measurements that ship, by host: profiles, and live halves of validations.

A host is one machine of one session. Live halves lie in archives (``NAME-live.tgz``), which are unpacked to
be read. A host card of ``docs/measurements/host-cards`` holds its profile, and an archive of
``docs/measurements/evidence`` the profiles that were measured before its cells. In
``docs/measurements/as-profiled`` are profiles for contexts of up to 26 thousand tokens.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from spinsim.costs.profiled.profile import Profile, read_profile
from spinsim.studies.validation.folder import Folder, LiveCell
from spinsim.studies.validation.operations import times

MEASUREMENTS = Path("docs") / "measurements"
# The H100s of one session: live halves, and the profile that was measured on the same host in the same hour.
CORNER = {
    "h100-x2": ("h100-validate-live.tgz", "two-gpus-h100-x2.json"),
    "h100-x1": ("h100-validate-one-live.tgz", "one-gpu-h100.json"),
}
LONG_CONTEXTS = "h200-x2-long-contexts.json"
# Until commit 7e974c2 a decomposed verification of a new number of pieces recorded its graph within the run,
# some hundred milliseconds each. Those cells are left out of what is estimated.
RECORDED_WITHIN_RUNS = frozenset(
    {
        *CORNER,
        LONG_CONTEXTS,
        "2026-11-28-h100-1",
        "2026-11-28-h200-1",
        "2026-11-28-h200-2",
        "2026-11-28-h200-2-run2",
        "2026-11-28-h200-2-run3",
    }
)


TIME_SLICE_S, FAR, OFTEN = 2.5e-3, 4.0, 0.01  # see :func:`short_of_cpus`


@dataclass(frozen=True)
class Host:
    """``gpu``: its sheet. ``profiles`` by file; ``live``: a validation's folder, None where nothing ran live.

    ``machine``: hosts of one name may be one machine in the same hours, and are counted as one.
    """

    name: str
    gpu: str
    machine: str
    profiles: dict[Path, Profile] = field(default_factory=dict)
    live: Path | None = None

    def cells(self, *, beside_other_jobs: bool = False) -> Iterator[LiveCell]:
        """Its live cells, without those that recorded graphs within the run, or were short of CPUs.

        ``beside_other_jobs``: those short of CPUs as well.
        """
        if self.live is None:
            return
        folder = Folder(self.live, resume=True)
        for key in folder.plan()["cells"]:
            cell = folder.get(key)
            assert cell is not None  # the plan lists what is finished
            recorded = (
                cell.scenario.policies.packing.name == "decomposed" and self.name in RECORDED_WITHIN_RUNS
            )
            if not recorded and (beside_other_jobs or not short_of_cpus(cell)):
                yield cell


def hosts(root: Path, scratch: Path) -> list[Host]:
    """Every host below ``root``, the project's folder; archives are unpacked into ``scratch``."""
    return by_machine(
        [*_corner(root, scratch), *_cards(root, scratch), *_grid(root, scratch), *_as_profiled(root)]
    )


def by_machine(found: Sequence[Host]) -> list[Host]:
    """Hosts whose profiles have one digest of GPUs are one machine, called as the first of them."""
    named: dict[str, str] = {}
    for host in found:
        for profile in host.profiles.values():
            if digest := profile.versions.get("machine"):
                named.setdefault(digest, host.machine)
    machines = [
        next((named[d] for p in host.profiles.values() if (d := p.versions.get("machine"))), host.machine)
        for host in found
    ]
    return [replace(host, machine=machine) for host, machine in zip(found, machines, strict=True)]


def short_of_cpus(cell: LiveCell) -> bool:
    """Had other jobs the host's CPUs while the cell ran?

    Runs say so since commit 3654df1. Before that, what happened in between tells: a thread that waits for a
    CPU stands still for about a time slice of the scheduler, some 3 ms. More than one handover in a hundred
    took so long beside other jobs, and far more than the median, in runs alone hardly one in a thousand.
    """
    if cell.cpus:
        return any(run["short"] for run in cell.cpus)
    waits = np.concatenate([times(table)["handover"] for table in cell.operations])
    waits = waits[~np.isnan(waits)]
    return bool(len(waits) and (waits > max(TIME_SLICE_S, FAR * np.median(waits))).mean() > OFTEN)


def measured(root: Path) -> str:
    """A digest of every file that estimates are made from: it says whether they are of what ships now."""
    folder = root / MEASUREMENTS
    files = [folder / LONG_CONTEXTS]
    files += [folder / archive for archive, _ in CORNER.values()]
    files += [root / "profiles" / profile for _, profile in CORNER.values()]
    for name in ("host-cards", "evidence", "as-profiled"):
        files += [path for path in (folder / name).glob("*") if path.suffix in (".json", ".tgz")]
    digests = sorted(
        f"{path.relative_to(root).as_posix()} {sha256(path.read_bytes()).hexdigest()}" for path in files
    )
    return sha256("\n".join(digests).encode()).hexdigest()[:16]


def _corner(root: Path, scratch: Path) -> Iterator[Host]:
    for name, (archive, profile) in CORNER.items():
        path = root / "profiles" / profile
        live = unpacked(root / MEASUREMENTS / archive, scratch)
        yield Host(name, "h100", "h100 of the corner", {path: read_profile(path)}, live)


def _cards(root: Path, scratch: Path) -> Iterator[Host]:
    for card in sorted((root / MEASUREMENTS / "host-cards").glob("*.json")):
        content = json.loads(card.read_text(encoding="utf-8"))
        path = scratch / f"{card.stem}-profile.json"
        path.write_text(json.dumps(content["profile"]), encoding="utf-8")
        live = unpacked(card.with_name(f"{card.stem}-live.tgz"), scratch)
        yield Host(card.stem, content["card"]["sheet"], card.stem, {path: read_profile(path)}, live)


def _grid(root: Path, scratch: Path) -> Iterator[Host]:
    for archive in sorted((root / MEASUREMENTS / "evidence").glob("*-live.tgz")):
        live = unpacked(archive, scratch)
        told: dict[str, Any] = json.loads((live / "told.json").read_text(encoding="utf-8"))
        found = {path: read_profile(path) for path in sorted(live.glob("profile-*.json"))}
        name = archive.name.removesuffix("-live.tgz")
        yield Host(name, told["machine"]["sheet"], name, found, live)


def _as_profiled(root: Path) -> Iterator[Host]:
    for path in sorted((root / MEASUREMENTS / "as-profiled").glob("*-profile.json")):
        profile = read_profile(path)
        name = path.name.removesuffix("-profile.json")
        yield Host(f"{name}-as-profiled", profile.hardware, f"{name}-as-profiled", {path: profile})


def unpacked(archive: Path, scratch: Path) -> Path:
    """The one folder that an archive holds, in a folder named by the archive: several hold one of one
    name."""
    folder = scratch / archive.name.removesuffix(".tgz")
    if not folder.exists():
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    (found,) = folder.iterdir()
    return found
