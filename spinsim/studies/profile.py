"""``spinsim profile``: this machine, measured for a scenario's models through the live runners."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spinsim.costs.profiled.profile import BESIDE_MODELS, Profile, Repeat, read_profile, write_profile
from spinsim.errors import InputError
from spinsim.files import drop_earlier, earlier, set_earlier_aside
from spinsim.live.cpu_waits import CpuWaits, cpu_waits
from spinsim.live.deployment import deploy
from spinsim.live.places import other_hardware
from spinsim.packings import kinds, usual_packing
from spinsim.profiling.adaptive import fits_of, report, report_of_lanes, report_of_sums
from spinsim.profiling.bench import USUAL_LENGTH
from spinsim.profiling.beside_models import beside_models
from spinsim.profiling.drift import Drift, drifted
from spinsim.profiling.host import transfer_point
from spinsim.profiling.machine import clocks, machine_points, now_utc
from spinsim.profiling.on_a_bench import bench_points
from spinsim.profiling.probes import Probe
from spinsim.profiling.rehearsal import host_factors
from spinsim.profiling.resumed import require_same_blocks, resumed
from spinsim.profiling.session import Session
from spinsim.profiling.sharing import beside_points, probes_of, shared_subsets, usual_rows
from spinsim.profiling.timing import QUICK, Effort
from spinsim.profiling.workplace import Workplace
from spinsim.progress import Progress
from spinsim.scenario import PolicyChoice, Scenario
from spinsim.scenario_file import LoadedScenario

QUICK_S, FULL_S = 45.0, 300.0
WARM_S = 5.0  # of verifications before anything is measured
REHEARSING = 0.2  # of the time: for short runs with each selector, once the rest is known


@dataclass(frozen=True)
class Profiled:
    """``fits``: held-out errors by operation, a row each. ``seconds``: how long this session took. ``cpus``:
    what its threads waited for one. ``unrehearsed``: selectors for whose short runs no time was left."""

    profile: Profile
    path: Path
    fits: list[dict[str, Any]]
    seconds: float
    added: int
    cpus: CpuWaits = field(default_factory=CpuWaits)
    unrehearsed: tuple[str, ...] = ()


def profile(
    loaded: LoadedScenario,
    out: Path | None = None,
    *,
    quick: bool = False,
    resume: bool = False,
    force: bool = False,
    budget_s: float | None = None,
    packings: tuple[str, ...] | None = None,
    progress: Progress | None = None,
) -> Profiled:
    """Deploy the scenario's models, measure, and write the profile as it grows.

    What ``force`` replaces is kept (:func:`spinsim.files.earlier`) until the new profile is complete.
    ``resume`` goes on with the file at ``out``, whose hardware and models must be these. ``budget_s``
    bounds the measuring (not the loading). Beyond it every point of the core is still measured once, with the
    fewest repetitions, and the scenario's own selector is rehearsed.
    Raises InputError where ``out`` exists and neither ``resume`` nor ``force`` is given, and where the
    machine is not the hardware that the scenario names: the file would say what is not so.
    """
    scenario = loaded.scenario
    _require_named_hardware(scenario)
    path = out or default_path(scenario)
    if path.exists() and not (resume or force):
        raise InputError(
            "exists already; --resume goes on with it, --force begins anew, --out names another file",
            file=str(path),
        )
    packings = packings or kinds()
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        deploy(scenario, loaded.base_dir, progress, packings=packings, buckets={}) as deployment,
        Workplace(scenario, loaded.base_dir, deployment) as place,
    ):
        begun = place.empty_profile()
        if resume and path.exists():
            begun = resumed(path, begun, scenario)
        if not resume:
            set_earlier_aside(path)
        session = Session(begun, path, QUICK if quick else Effort(), place.guess(), progress)
        points = len(begun.points)
        try:
            with cpu_waits() as cpus:
                left = _measure(session, place, quick, budget_s or (QUICK_S if quick else FULL_S), packings)
        except BaseException as error:
            kept = len(session.profile.points)
            error.add_note(f"{kept} points are kept in {path}, --resume goes on with them")
            if earlier(path).exists():
                error.add_note(f"the earlier profile is {earlier(path)}")
            raise
        finally:
            session.write()
        drop_earlier(path)
    found = session.profile
    fits = [*report(fits_of(found)), *report_of_lanes(found), *report_of_sums(found)]
    added = len(session.profile.points) - points
    return Profiled(session.profile, path, fits, session.elapsed_s, added, cpus, left)


def again(loaded: LoadedScenario, path: Path, progress: Progress | None = None) -> Drift:
    """Measure a few points of every operation and the host again, and note in the profile how they differ.

    Done in other processes and on other days, this is what intervals are estimated from.
    """
    known = read_profile(path)
    _require_named_hardware(loaded.scenario)
    require_same_blocks(known, loaded.scenario, path)
    with (
        deploy(loaded.scenario, loaded.base_dir, progress, buckets={}) as deployment,
        Workplace(loaded.scenario, loaded.base_dir, deployment) as place,
    ):
        place.require_same_models(known, str(path))
        place.bench.warm_up(WARM_S)
        hop = place.hop()  # first, as when the profile was made
        drift = drifted(known, place.bench, place.design(quick=False).core, Effort(), per_fit=4)
        points = (hop, *place.rehearsed(known, place.selectors(quick=True), runs=1))
    drift = replace(drift, host=host_factors(known.points, points))
    repeat = Repeat(now_utc(), drift.factors, points)
    write_profile(replace(known, repeats=(*known.repeats, repeat)), path)
    return drift


def _require_named_hardware(scenario: Scenario) -> None:
    for device, why in other_hardware(scenario).items():
        raise InputError(why, key=f"devices.{device}.hardware")


def default_path(scenario: Scenario) -> Path:
    """``profiles/NAME-HARDWARE.json``, with the number of devices where there are several."""
    used = {*scenario.placement.target, *scenario.placement.drafts.values()}
    hardware = scenario.devices[scenario.placement.target[0]].hardware_name
    several = f"-x{len(used)}" if len(used) > 1 else ""
    return Path("profiles") / f"{scenario.name}-{re.sub(r'[^a-zA-Z0-9]+', '-', hardware)}{several}.json"


def _measure(
    session: Session, place: Workplace, quick: bool, budget_s: float, packings: tuple[str, ...]
) -> tuple[str, ...]:
    """Returns the selectors that were not rehearsed for lack of time."""
    plan = place.design(quick=quick, packings=packings)
    session.report(budget_s)
    place.bench.warm_up(WARM_S * (0.2 if quick else 1))
    measure_host(session, place, quick)
    until_s = budget_s * (1 - REHEARSING)
    for probes in (plan.core, plan.stairs):
        session.measure(place.bench, probes, max(0.0, budget_s - session.elapsed_s) * 0.3, until_s)
    session.refine(place.bench, plan.core, plan.candidates, until_s)
    session.note_clocks(clocks(place.deployment.target.device))
    measure_sharing(session, place, quick)
    measure_beside_models(session, place, quick)
    measure_planning(session, place, packings)
    runs = 1 if quick or session.elapsed_s >= budget_s else 2
    unrehearsed = rehearse_selectors(session, place, place.selectors(quick=quick), runs, budget_s)
    measure_on_a_bench(session, place, plan.core)
    session.pass_over(plan.stairs)  # last: everything was measured with all of them
    return unrehearsed


def measure_fixed(
    session: Session, place: Workplace, packings: tuple[str, ...], selectors: Mapping[str, PolicyChoice]
) -> None:
    """The same points on every machine: none is chosen for its error, and none left out for lack of time."""
    plan = place.design(quick=True, packings=packings)
    measure_host(session, place, quick=True)
    session.measure(place.bench, plan.core)
    measure_sharing(session, place, quick=True)
    measure_planning(session, place, packings)
    rehearse_selectors(session, place, selectors, runs=1)


def rehearse_selectors(
    session: Session,
    place: Workplace,
    selectors: Mapping[str, PolicyChoice],
    runs: int,
    budget_s: float = math.inf,
) -> tuple[str, ...]:
    """Short runs with each selector whose thinking the profile has not yet; policies believe in the rest.

    Once ``budget_s`` have gone the scenario's own alone. Returns the names of those that had no time.
    """
    known = {point.policy for point in session.profile.of("handling")}
    selectors = {name: choice for name, choice in selectors.items() if name not in known}
    rest_s = max(0.0, budget_s - session.elapsed_s) if math.isfinite(budget_s) else 0.0
    own = place.selectors(quick=True)
    unrehearsed: list[str] = []

    def wanted(name: str) -> bool:
        if name in own or session.elapsed_s < budget_s:
            return True
        unrehearsed.append(name)
        return False

    def left(share: float) -> None:
        session.report(rest_s * share)

    for point in place.rehearsed(session.profile, selectors, runs=runs, left=left, wanted=wanted):
        session.add(point)
    return tuple(unrehearsed)


def measure_host(session: Session, place: Workplace, quick: bool) -> None:
    """The machine's own points; those that a resumed profile has are kept."""
    known = session.profile
    effort = QUICK if quick else Effort()
    device = place.deployment.target.device
    if not known.of("matmul_rate"):
        for measured in machine_points(device, place.deployment.target.dtype, effort):
            session.add(measured())
    if not any(point.operation == "all_reduce" for point in known.points):
        for point in place.sums():
            session.add(point)
    if not known.of("hop"):
        session.add(place.hop())
    if not known.of("transfer") and any(place.layout.remote):
        draft = place.layout.remote.index(True)
        limits = place.scenario.limits
        shapes = sorted({(1, 1), (max(1, limits.batch // 4), 4), (limits.batch, limits.max_length)})
        for rows, length in shapes:
            session.add(transfer_point(place.bench, draft, rows, min(length, limits.max_length), effort))


def measure_planning(session: Session, place: Workplace, packings: Sequence[str]) -> None:
    """What plans take the host; kept where a resumed profile has it."""
    known = {point.packing for point in session.profile.of_operation("planning")}
    for point in place.planned(session.profile, [name for name in packings if name not in known]):
        session.add(point)


def measure_on_a_bench(session: Session, place: Workplace, core: Sequence[Probe]) -> None:
    """How far a bench is from a run on this machine; kept where a resumed profile has it."""
    if not session.profile.of_operation("bench"):
        for point in bench_points(session.profile, place.bench, core, QUICK):
            session.add(point)


def measure_beside_models(session: Session, place: Workplace, quick: bool) -> None:
    """Lookups and heads of the scenario; kept where a resumed profile has any."""
    if any(point.operation in BESIDE_MODELS for point in session.profile.points):
        return
    effort, lanes = QUICK if quick else Effort(), place.lanes_of_drafts
    for point in beside_models(
        place.bench, place.whole, place.base_dir, lanes.__getitem__, place.batch, effort
    ):
        session.add(point)


def measure_sharing(session: Session, place: Workplace, quick: bool) -> None:
    """What lanes of one device do to each other; kept where a resumed profile has it."""
    if session.profile.of_operation("beside"):
        return
    scenario, effort, alone = place.scenario, QUICK if quick else Effort(), dict[Probe, float]()
    length = min(USUAL_LENGTH, scenario.limits.max_length)
    context = max(2, (scenario.limits.context_tokens - length) // 2)
    subject, packing = place.subject, usual_packing(scenario.policies.packing.name)
    group = 0
    for rows in usual_rows(place.batch):
        probes = probes_of(subject.by_draft, subject.target, rows, context, length, packing)
        for subset in shared_subsets(place.bench, probes):
            for point in beside_points(place.bench, place.loads(), subset, group, effort, alone):
                session.add(point)
            group += 1
