"""A host card: the same four minutes on every GPU machine, for a history of how cards and hosts differ.

    python -m benchmarks.host_card                        # docs/measurements/host-cards/DATE-CARD-GPUS.json
    python -m benchmarks.host_card --quick --device cpu --out /tmp/cards   # a rehearsal: half a minute

A fixed part of the profile of scenarios/host-card.yaml is measured. Then the six cells of
scenarios/validate-host-card.yaml run live, and are simulated from that profile. The target is on the first
GPU, the drafts on the second one where there is one. The card states the machine, clocks, power and
temperature around every part, every measured point, and what each cell gave beside its prediction. The live
halves lie beside it (DATE-CARD-GPUS-live.tgz): `spinsim validate --again` judges them with any other profile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from benchmarks.gpu_state import ABOUT, State, changing, gpu_states
from spinsim.costs.profiled.profile import Profile
from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.errors import InputError
from spinsim.files import write_atomically
from spinsim.live.deployment import Deployment, deploy
from spinsim.packings import kinds
from spinsim.pages.validation import validation_report
from spinsim.profiling.session import Session
from spinsim.profiling.timing import Effort
from spinsim.profiling.workplace import Workplace
from spinsim.results.environment import environment
from spinsim.scenario import PolicyChoice
from spinsim.scenario_file import LoadedScenario, load
from spinsim.studies.profile import measure_fixed
from spinsim.studies.validation.folder import Folder
from spinsim.studies.validation.live_cells import run_live
from spinsim.studies.validation.plan import Options, plan
from spinsim.studies.validation.validate import again

SCHEMA = "spinsim.host-card/1"
ROOT = Path(__file__).parents[1]
SCENARIO = ROOT / "scenarios" / "host-card.yaml"
CELLS = ROOT / "scenarios" / "validate-host-card.yaml"
CARDS = Path("docs") / "measurements" / "host-cards"

FULL = Effort(seconds=0.03, fewest=3, most=10, warm=1, passes=3)
QUICK = Effort(seconds=0.005, fewest=1, most=3, warm=1, passes=1)
SHORT = (  # a rehearsal's limits
    "limits.batch=4",
    "limits.context_tokens=96",
    "limits.max_length=4",
    "workload.arrivals={process: closed, concurrency: 4}",
    "workload.requests=8",
    "workload.prompt_tokens={distribution: uniform, min: 8, max: 32}",
    "workload.output_tokens={distribution: uniform, min: 16, max: 24}",
)
Numbers = dict[str, Any]


class Card:
    """The card in the making: rewritten after every part, so that a session that is cut short leaves one."""

    def __init__(self, path: Path, about: Numbers) -> None:
        self.path = path
        self.data: Numbers = {"schema": SCHEMA, **about, "wall_s": {}, "clocks": []}
        self._began = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Since the card was begun."""
        return time.perf_counter() - self._began

    def write(self) -> None:
        """All that is known so far."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(self.data, indent=1) + "\n")

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Notes the GPUs' clocks before and after, and the seconds between."""
        before, began = gpu_states(), self.elapsed_s
        try:
            yield
        finally:
            seconds = self.elapsed_s - began
            self.data["wall_s"][name] = round(seconds, 3)
            clocks = {"before": changing(before), "after": changing(gpu_states())}
            self.data["clocks"].append({"part": name, "at_s": round(began, 3), **clocks})
            self.write()
            print(f"[{self.elapsed_s:5.1f} s] {name}: {seconds:.1f} s{_shown(clocks['after'])}", flush=True)


def _shown(states: Sequence[State]) -> str:
    return "".join(
        f"; GPU {state.get('index')}: {state.get('sm_mhz', '?')} MHz, {state.get('power_w', '?')} W, "
        f"{state.get('temperature_c', '?')} C"
        for state in states
    )


def scenario_overrides(gpus: int, hardware: str) -> list[str]:
    """Devices and placement for a machine of ``gpus`` GPUs, of which two at most are used."""
    names = [f"gpu{number}" for number in range(min(gpus, 2))]
    devices = ", ".join(f"{name}: {{hardware: {hardware}}}" for name in names)
    drafts = ", ".join(f"{name}: {names[-1]}" for name in ("tiny", "large"))
    return [f"devices={{{devices}}}", f"placement={{target: [gpu0], drafts: {{{drafts}}}}}"]


def machine(device: str) -> tuple[Numbers, list[str]]:
    """What the card says of the machine, and the overrides that name it to the scenario.

    Raises InputError for a GPU that has no sheet.
    """
    if device == "cpu":
        return {"name": "cpu", "sheet": "cpu", "count": 1, "used": 1}, []
    count = torch.cuda.device_count()
    if not count:
        raise InputError("there is no CUDA device; --device cpu --quick rehearses on a CPU")
    name = torch.cuda.get_device_name(0)
    sheet = sheet_of_device(name)
    if sheet is None:
        raise InputError(f"{name} has no hardware sheet (spinsim/costs/sheets/hardware.py)")
    known = gpu_states()
    about = {key: known[0][key] for key in ABOUT if known and key in known[0]}
    about |= {"name": name, "sheet": sheet, "count": count, "used": min(count, 2)}
    return about | {"cuda": torch.version.cuda}, scenario_overrides(count, sheet)


def commit() -> Numbers:
    """Of the code that runs; nothing where this is no git checkout."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    try:
        return {"commit": git("rev-parse", "HEAD").strip(), "changed": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "changed": None}


def free_path(folder: Path, stem: str) -> Path:
    """``folder/stem.json``, or with a number behind it where an earlier card has that name."""
    paths = (folder / f"{stem}{f'-run{n}' if n > 1 else ''}.json" for n in range(1, 1000))
    return next(path for path in paths if not path.exists())


def measure_profile(
    loaded: LoadedScenario,
    deployment: Deployment,
    path: Path,
    effort: Effort,
    *,
    quick: bool,
    also: Mapping[str, PolicyChoice] = MappingProxyType({}),
) -> Profile:
    """The fixed points, written to ``path``: what cells are planned with and predicted from.

    ``also``: selectors whose thinking is measured besides.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with Workplace(loaded.scenario, loaded.base_dir, deployment) as place:
        session = Session(place.empty_profile(), path, effort, place.guess(), None)
        try:
            measure_fixed(session, place, kinds(), {**also, **place.selectors(quick=quick)})
        finally:
            session.write()
    return session.profile


def pack(folder: Path, archive: Path, name: str) -> None:
    """The live half of a validation's ``folder``, as a folder ``name`` in a tar file."""
    with tarfile.open(archive, "w:gz") as tar:
        for part in sorted(folder.iterdir()):
            if part.name not in ("validation.json", "report.html"):
                tar.add(part, f"{name}/{part.name}")


def cell_rows(validation: Numbers) -> list[Numbers]:
    """Of each cell: what its runs gave beside the prediction, and its operations beside the bench's."""
    kept = ("name", "labels", "requests", "live_s", "metrics", "operations")
    return [{key: cell[key] for key in kept} for cell in validation["cells"]]


def table(data: Numbers) -> str:
    """A line for each live cell: median of its runs, and the prediction from the card's own profile."""
    lines = [
        f"{'cell':28s} {'tokens/s':>9s} {'spread':>7s} {'predicted':>10s} {'TPOT p50':>9s} {'accepted':>9s}"
    ]
    for cell in data["cells"]:
        goodput, tpot = (cell["metrics"][name] for name in ("goodput_tokens_per_s", "tpot_p50_s"))
        accepted = cell["metrics"].get("acceptance_length", {}).get("live")
        lines.append(
            f"{cell['name'].partition(': ')[2]:28s} {goodput['live']:9,.0f} {100 * goodput['spread']:6.1f}% "
            f"{100 * goodput['error']:+9.1f}% {1e3 * tpot['live']:6.2f} ms "
            + (f"{accepted:9.2f}" if accepted is not None else f"{'':9s}")
        )
    lines.append(
        f"\n{'operation':10s} {'model':8s} {'rows':>4s} {'in runs':>10s} {'bench':>10s} {'count':>6s}"
    )
    for row in data["operations"]:
        if row["count"] >= 20:
            lines.append(
                f"{row['kind']:10s} {row['model']:8s} {row['rows']:4d} {1e3 * row['live_s']:7.3f} ms "
                f"{1e3 * row['simulated_s']:7.3f} ms {row['count']:6.0f}"
            )
    return "\n".join(lines)


def make_card(options: argparse.Namespace) -> Card:
    """Measure, run, compare. Raises InputError where the machine or a file is not what it has to be."""
    about, overrides = machine(options.device)
    short = list(SHORT) if options.quick else []
    loaded = load(SCENARIO, [*overrides, *short], "cpu" if options.device == "cpu" else None)
    now = datetime.now(UTC)
    path = free_path(options.out, f"{now:%Y-%m-%d}-{about['sheet']}-{about['count']}")
    code = commit() if options.commit is None else {"commit": options.commit, "changed": None}
    date = now.isoformat(timespec="seconds")
    card = Card(path, {"date": date, "quick": options.quick, **code, "card": about})
    card.data["environment"] = environment()
    work = options.work / path.stem
    profile_path = work / "profile.json"
    live = Folder(work / "live", force=True)

    with card.part("deploy"):
        deployment = deploy(loaded.scenario, loaded.base_dir, packings=kinds())
    with card.part("profile"):
        effort = QUICK if options.quick else FULL
        found = measure_profile(loaded, deployment, profile_path, effort, quick=options.quick)
    card.data["profile"] = json.loads(profile_path.read_text(encoding="utf-8"))

    costs = f"costs={{model: profile, path: {profile_path.resolve()}, allow_roofline: true}}"
    cells = plan([CELLS], [], [*overrides, *short, costs], "cpu" if options.device == "cpu" else None)
    asked = Options(repetitions=options.repetitions, seconds=options.seconds, intervals=0)
    with card.part("live cells"):
        run_live(cells, live, asked, deployed=deployment, around=card.part)
    with card.part("predictions"):
        validation = again(live.root, intervals=0, report=validation_report)
    card.data |= {
        "measured": {"points": len(found.points), "effort": asdict(effort)},
        "asked": {"repetitions": options.repetitions, "seconds": options.seconds},
        "drift": validation["drift"],
        "errors": validation["errors"]["goodput_tokens_per_s"],
        "cells": cell_rows(validation),
        "operations": validation["operations"],
        "failed": validation["failed"],
    }
    card.write()
    pack(live.root, path.with_name(f"{path.stem}-live.tgz"), path.stem)
    return card


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the card and print its table. Exit codes as the command line's: 2 for bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, default=CARDS, help="folder of the card")
    parser.add_argument(
        "--work", type=Path, default=Path("results") / "host-cards", help="folder of the rest"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of a live run")
    parser.add_argument("--repetitions", type=int, default=2, help="live runs of a cell")
    parser.add_argument("--commit", help="of the code, where this is no git checkout")
    parser.add_argument(
        "--quick", action="store_true", help="tiny limits and effort: a rehearsal, no card to keep"
    )
    options = parser.parse_args(arguments)
    try:
        card = make_card(options)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"\n{table(card.data)}\n\n{card.path} after {card.elapsed_s:.0f} s")
    return 1 if card.data["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
