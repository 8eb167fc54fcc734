"""The live halves of the grid of evidence: whichever cells the GPUs at hand allow within some seconds.

    python -m benchmarks.evidence --seconds 300 --profile --out results/evidence   # again: goes on with it
    python -m benchmarks.evidence --quick --device cpu --out /tmp/evidence         # a rehearsal: tiny models

The cells are those of scenarios/evidence: validate-one-gpu.yaml, and validate-two-gpus.yaml before it where
there are two GPUs. Each is run live once. Before that it is simulated, from the sheets, and from the profile
where one was measured. told.json keeps what that came to. ``--profile`` measures a host card's points for
each deployment first.

Every cell is kept when it ends. What fails is noted and left out. What does not fit into ``--seconds`` is
left for the next call on the same machine. The folder is one of `spinsim validate`, whose ``--again`` judges
it with any cost model. At the end an archive lies beside it for docs/measurements/evidence.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.clock_settling import measure_clocks
from benchmarks.host_card import FULL, QUICK, commit, machine, measure_profile, pack
from benchmarks.long_context_cells import TINY_CONFIG
from spinsim.errors import InputError
from spinsim.files import write_atomically
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.gpu_clocks import gpu_states
from spinsim.packings import kinds
from spinsim.profiling.workplace import Workplace
from spinsim.results.environment import environment
from spinsim.results.metrics import shown_in, value
from spinsim.results.summary import summarise
from spinsim.scenario import PolicyChoice, ProfileCosts, Scenario
from spinsim.scenario_file import LoadedScenario
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.validation.folder import Folder
from spinsim.studies.validation.live_cells import run_live
from spinsim.studies.validation.plan import Cell, Options, deployed_scenario, deployments, plan

SCHEMA = "spinsim.evidence/1"
GRID = Path(__file__).parents[1] / "scenarios" / "evidence"
GROUPED = "8B grouped"  # the target of cells that name none
PLANS = {1: GRID / "validate-one-gpu.yaml", 2: GRID / "validate-two-gpus.yaml"}  # by the GPUs that they need
LONGEST_S = 8.0  # of a live run, as the workload is cut: a cell is told shorter than it is
CELL_S, DEPLOY_S, PROFILE_S, CLOCKS_S = (
    15.0,
    60.0,
    60.0,
    35.0,
)  # that these are thought to take before one has
TINY = (  # a rehearsal's models, and as much of a cell as says that everything runs
    "models.target={shape: target.json, dtype: fp32}",
    "models.drafts={fast: {shape: draft.json, dtype: fp32}, large: {shape: draft.json, dtype: fp32}}",
    "limits={batch: 4, context_tokens: 128, prefill_chunk_tokens: 64, max_length: 4}",
    "workload.arrivals={process: closed, concurrency: 4}",
    "workload.requests=8",
    "workload.prompt_tokens={distribution: uniform, min: 8, max: 24}",
    "workload.output_tokens={distribution: uniform, min: 12, max: 16}",
    "kv={reserve: grow, block_tokens: 16}",
)
Numbers = dict[str, Any]


class OutOfTime(Exception):
    """The next part does not fit into the seconds that are left."""


class Session:
    """One call: what is told before each live half, and how much time is left."""

    def __init__(self, root: Path, about: Numbers, seconds: float) -> None:
        """Raises InputError where ``root`` is of another machine."""
        self.folder = Folder(root, resume=True)
        self.path = root / "told.json"
        self._until = time.monotonic() + seconds
        self.data: Numbers = {"schema": SCHEMA, "machine": about, "sessions": [], "told": {}}
        if self.path.exists():
            self.data = json.loads(self.path.read_text(encoding="utf-8"))
            if self.data["machine"] != about:
                raise InputError("is of another machine; another --out", file=str(self.path))
        self.data["sessions"].append({"environment": environment(), **commit(), "wall_s": {}})

    def require(self, seconds: float) -> None:
        """Raises OutOfTime."""
        if time.monotonic() + seconds > self._until:
            raise OutOfTime

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Notes the time within, and what the GPUs say afterwards."""
        began = time.monotonic()
        try:
            yield
        finally:
            took = round(time.monotonic() - began, 3)
            self.data["sessions"][-1]["wall_s"][name] = took
            self.write()
            states = ", ".join(f"{s.get('sm_mhz')} MHz {s.get('power_w')} W" for s in gpu_states())
            print(f"{took:6.1f} s  {name}  {states}", flush=True)

    def tell(self, cell: Cell, by: str, scenario: Scenario, base_dir: Path) -> None:
        """Simulate a cell, and keep what it came to. A prediction that fails is noted."""
        try:
            done = simulate_scenario(scenario, base_dir)
            summary = summarise(
                done.records, scenario, mode="simulated", acceptance_source=done.acceptance_source
            )
            told: Numbers = {m.measure: value(summary, m) for m in shown_in("intervals")}
            told["run_s"] = done.records.ended_ns * 1e-9
        except Exception as error:  # a prediction is no reason to lose a live run
            told = {"error": str(error)}
        self.data["told"].setdefault(cell.name, {}).setdefault(by, told)
        self.write()

    def finished(self) -> set[str]:
        """Names of the cells that the folder has."""
        if not (self.folder.root / "plan.json").exists():
            return set()
        return {name for deployed in self.folder.plan()["deployments"] for name in deployed["cells"]}

    def write(self) -> None:
        """Keep what is known so far."""
        write_atomically(self.path, json.dumps(self.data, indent=1) + "\n")


def cells_of(gpus: int, sheet: str, targets: Sequence[str] = ()) -> list[Cell]:
    """Those that a machine of ``gpus`` GPUs can run, of ``targets`` alone where some are named."""
    found: list[Cell] = []
    for needed, path in sorted(PLANS.items(), reverse=True):
        if needed <= gpus:
            sheets = [f"devices.gpu{number}.hardware={sheet}" for number in range(needed)]
            found += plan([path], [], sheets, None)
    return [cell for cell in found if not targets or cell.labels.get("target", GROUPED) in targets]


def rehearsed_cells(folder: Path, device: str) -> list[Cell]:
    """One cell with tiny models, whose configs are written to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "draft.json").write_text(json.dumps(TINY_CONFIG))
    (folder / "target.json").write_text(json.dumps(TINY_CONFIG | {"num_hidden_layers": 2}))
    overrides = [text.replace("shape: ", f"shape: {folder.resolve()}/") for text in TINY]
    return plan([GRID / "evidence.yaml"], [], overrides, device)


def with_profile(cell: Cell, path: Path) -> Scenario:
    """The cell with costs from a profile; what lies beyond it is the sheets'."""
    costs = ProfileCosts(model="profile", path=str(path.resolve()), allow_roofline=True)
    return cell.loaded.scenario.model_copy(update={"costs": costs})


def run_deployment(
    session: Session, group: Sequence[Cell], before: Sequence[Cell], options: argparse.Namespace, number: int
) -> None:
    """Deploy, profile, tell and run the cells of one deployment. Raises OutOfTime when the time is over."""
    finished = session.finished()
    if all(cell.name in finished for cell in group):
        return
    session.require(DEPLOY_S + CELL_S)
    first = group[0].loaded
    whole = replace(first, scenario=deployed_scenario(group))
    with session.part(f"deploy {number}"):
        deployment = deploy(whole.scenario, whole.base_dir, packings=kinds())
    with deployment:
        _run_cells(session, whole, deployment, group, before, options, number)


def _run_cells(
    session: Session,
    whole: LoadedScenario,
    deployment: Deployment,
    group: Sequence[Cell],
    before: Sequence[Cell],
    options: argparse.Namespace,
    number: int,
) -> None:
    finished = session.finished()
    if options.clocks:
        _clocks(session, whole, deployment, session.folder.root / f"clocks-{number}.json", options.quick)
    profile = session.folder.root / f"profile-{number}.json"
    if options.profile and not profile.exists():
        chosen = [cell.loaded.scenario.policies.selector for cell in group]
        thinking = {one.name: one for one in chosen if one.name != "fixed"}  # which is measured anyway
        _profile(session, whole, deployment, profile, options.quick, thinking)

    @contextmanager
    def around(name: str) -> Iterator[None]:
        if name in finished:
            yield
            return
        session.require(CELL_S)
        for cell in group:
            if cell.name == name:  # a cell at a share of the load is told by the one that it follows
                session.tell(cell, "sheets", cell.loaded.scenario, cell.loaded.base_dir)
                if profile.exists():
                    session.tell(cell, "profile", with_profile(cell, profile), cell.loaded.base_dir)
        with session.part(name):
            yield

    asked = Options(repetitions=1, intervals=0, seconds=LONGEST_S if not options.quick else 2.0)
    run_live([*before, *group], session.folder, asked, deployed=deployment, around=around)


def _profile(
    session: Session,
    whole: LoadedScenario,
    deployment: Deployment,
    path: Path,
    quick: bool,
    selectors: Mapping[str, PolicyChoice],
) -> None:
    session.require(PROFILE_S + CELL_S)
    try:
        with session.part(f"{path.stem}"):
            effort = QUICK if quick else FULL
            measure_profile(whole, deployment, path, effort, quick=True, also=selectors)
    except Exception as error:
        print(f"no profile: {error}", flush=True)
        path.unlink(missing_ok=True)


def _clocks(session: Session, whole: LoadedScenario, deployment: Deployment, path: Path, quick: bool) -> None:
    session.require(CLOCKS_S + CELL_S)
    try:
        with session.part(path.stem), Workplace(whole.scenario, whole.base_dir, deployment) as place:
            measure_clocks(place, path, 0.05 if quick else 1.0)
    except Exception as error:
        print(f"no clocks: {error}", flush=True)


def run_all(session: Session, cells: Sequence[Cell], options: argparse.Namespace) -> int:
    """Every deployment in turn; returns how many failed."""
    failed = 0
    done: list[Cell] = []
    for number, group in enumerate(deployments(cells), 1):
        try:
            run_deployment(session, group, done, options, number)
        except OutOfTime:
            print("no time for the rest", flush=True)
            break
        except Exception as error:
            failed += 1
            print(f"deployment {number}: {type(error).__name__}: {error}", flush=True)
        finished = session.finished()
        done += [cell for cell in group if cell.name in finished]
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing. Exit codes as the command line's: 2 for bad input, 1 where something failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of this machine's cells")
    parser.add_argument("--seconds", type=float, default=540.0, help="of the whole command (default 540)")
    parser.add_argument("--targets", nargs="*", default=[], help="of the grid's targets, these alone")
    parser.add_argument("--profile", action="store_true", help="measure a profile of each deployment first")
    parser.add_argument("--clocks", action="store_true", help="see how the GPU's clock settles before that")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny models and workloads: a rehearsal")
    options = parser.parse_args(arguments)
    try:
        about, _ = machine(options.device)
        if options.quick:
            cells = rehearsed_cells(options.out.with_name(f"{options.out.name}-models"), options.device)
        else:
            cells = cells_of(about["used"], about["sheet"], options.targets)
        session = Session(options.out, about, options.seconds)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        failed = run_all(session, cells, options)
    finally:
        session.write()
        pack(options.out, options.out.with_name(f"{options.out.name}-live.tgz"), options.out.name)
    print(f"{len(session.finished())} cells in {options.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
