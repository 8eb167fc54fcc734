"""Operations within a run, of fidelity.md: ``python docs/make/in_run_tables.py PROFILE [VALIDATION_FOLDER]``.

Of the profile's ``in_run`` points, by kind and model: time within short runs of the engine over the time that
the bench predicts, least to largest over rows and selectors, and over all operations together. With a folder
of live runs: the goodput's error in closed loops as the profile stands, and with every point of an operation
scaled by what it takes longer in a run.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from spinsim.costs.profiled.profile import Point, Profile, read_profile, write_profile
from spinsim.scenario import ProfileCosts
from spinsim.studies.validation.agreement import errors
from spinsim.studies.validation.folder import Folder
from spinsim.studies.validation.simulated_cells import simulate_cells

OPERATIONS = {"prefill": "prefill", "catch_up": "catch_up", "propose": "draft_step", "verify": "verify"}


def groups(profile: Profile) -> dict[tuple[str, str], list[Point]]:
    """Points of what ran, by kind and model."""
    found: dict[tuple[str, str], list[Point]] = {}
    for point in profile.points:
        if point.operation == "in_run":
            found.setdefault((point.kind, point.model), []).append(point)
    return found


def together(points: list[Point]) -> float:
    """Time within runs over time on the bench, of all operations behind the points."""
    ran = sum(point.repetitions * point.seconds for point in points)
    return ran / sum(point.repetitions * point.features["bench_s"] for point in points)


def charged(profile: Profile) -> Profile:
    """The profile with every point of a model's operation as long as within a run."""
    factors = {(OPERATIONS[kind], model): together(found) for (kind, model), found in groups(profile).items()}

    def scaled(point: Point) -> Point:
        factor = factors.get((point.operation, point.model), 1.0)
        return replace(point, seconds=factor * point.seconds, spread_s=factor * point.spread_s)

    return replace(profile, points=tuple(map(scaled, profile.points)))


def goodput(folder: Path, profile: Path) -> str:
    """The mean and the worst absolute error of closed loops."""
    costs = ProfileCosts(model="profile", path=str(profile.resolve()))
    cells = simulate_cells(folder, Folder(folder, resume=True).plan()["cells"], 0, costs)
    found = errors([cell for cell in cells if not cell["open_loop"]])["goodput_tokens_per_s"]
    return f"{100 * found['mean']:.2f} % in the mean, {100 * found['worst']:.1f} % at worst"


def main(path: Path, folder: Path | None) -> None:
    """Print all of it."""
    profile = read_profile(path)
    for (kind, model), points in groups(profile).items():
        ratios = [point.seconds / point.features["bench_s"] for point in points]
        few = [r for r, point in zip(ratios, points, strict=True) if point.features["rows"] < 2]
        more = [r for r, point in zip(ratios, points, strict=True) if point.features["rows"] >= 2]
        spans = (
            f"{100 * np.min(part) - 100:+.1f} to {100 * np.max(part) - 100:+.1f} %"
            for part in (few, more)
            if part
        )
        whole = f"{kind:9s} {model:24s} all {100 * together(points) - 100:+.1f} %"
        print(f"{whole}   one row, and more: {'; '.join(spans)}")
    if folder is not None:
        print(f"goodput, as it stands:      {goodput(folder, path)}")
        with TemporaryDirectory() as kept:
            write_profile(charged(profile), Path(kept) / path.name)
            print(f"goodput, in_run is charged: {goodput(folder, Path(kept) / path.name)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
