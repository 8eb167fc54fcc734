"""The measurements that ship, by host: profiles, and live halves of validations.

A host is one machine of one session. Live halves lie in archives (``NAME-live.tgz``), which are unpacked to
be read. A host card of ``docs/measurements/host-cards`` holds its profile, and an archive of
``docs/measurements/evidence`` the profiles that were measured before its cells. In
``docs/measurements/as-profiled`` are profiles for contexts of up to 26 thousand tokens.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from spinsim.costs.profiled.profile import Profile, read_profile
from spinsim.studies.validation.folder import Folder, LiveCell

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
        "2026-11-28-h200-2",
        "2026-11-28-h200-2-run2",
        "2026-11-28-h200-2-run3",
    }
)


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

    def cells(self) -> Iterator[LiveCell]:
        """Its live cells, without those that recorded graphs within the run."""
        if self.live is None:
            return
        folder = Folder(self.live, resume=True)
        for key in folder.plan()["cells"]:
            cell = folder.get(key)
            assert cell is not None  # the plan lists what is finished
            if not (
                cell.scenario.policies.packing.name == "decomposed" and self.name in RECORDED_WITHIN_RUNS
            ):
                yield cell


def hosts(root: Path, scratch: Path) -> list[Host]:
    """Every host below ``root``, the project's folder; archives are unpacked into ``scratch``."""
    return [*_corner(root, scratch), *_cards(root, scratch), *_grid(root, scratch), *_as_profiled(root)]


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
