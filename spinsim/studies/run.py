"""``spinsim run``: one scenario on real devices, through the same engine and policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from spinsim.acceptance.lookups import KnownLookups
from spinsim.costs.base import Predictor
from spinsim.costs.for_scenario import profile_of
from spinsim.costs.profiled.elsewhere import laid_elsewhere, profile_elsewhere
from spinsim.drafters.costs import build_predictor
from spinsim.drafters.for_scenario import lookups_of
from spinsim.engine.engine import Engine
from spinsim.engine.inputs import InputLog
from spinsim.engine.records import Records
from spinsim.errors import InputError
from spinsim.live.cpu_waits import CpuWaits, cpu_waits
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.field import GivenAcceptance, given_acceptance, known_future, refuse_unknown_future
from spinsim.live.gpu_clocks import Watch, watched
from spinsim.live.interrupts import Interrupts
from spinsim.live.looking_ahead import TABLE, LookingAhead
from spinsim.live.lookups import Lookups
from spinsim.live.machine import this_machine
from spinsim.live.outputs import decoder, outputs_table
from spinsim.live.places import found_devices, other_hardware, torch_device
from spinsim.live.prompts import Prompted, materialise
from spinsim.live.quiet_interpreter import quiet
from spinsim.live.world import LiveWorld
from spinsim.policies.build import reads_entropies
from spinsim.results.folder import Additions
from spinsim.results.hindsight import of_recording
from spinsim.results.publish import Progress, Summary, publish
from spinsim.scenario import Scenario
from spinsim.scenario_file import LoadedScenario
from spinsim.scenario_file.one_world import not_read
from spinsim.serving import Serving, assemble, trusting
from spinsim.workload.for_scenario import build_workload
from spinsim.workload.request import Workload

LOST_LANE_S = 10.0  # how long a run that failed waits for its lanes


@dataclass(frozen=True)
class Ran:
    """A finished live run.

    ``prompts``: the token ids that each request was asked. ``outputs``: its answer's, cut at its end; none
    where acceptance was ``given``, for they are no text of the models. ``slots_held``: KV slots of target and
    drafts that somebody still holds; 0 after a run that was not cut short, as are ``blocks_held``, the blocks
    behind them. ``clocks``: of its GPUs while it ran. ``cpus``: what its threads waited for one. ``looked``:
    what lookups found before rounds, where policies read it.
    """

    records: Records
    workload: Workload
    log: InputLog
    prompts: Mapping[int, Sequence[int]]
    outputs: dict[int, list[int]]
    slots_held: int
    error: BaseException | None
    given: GivenAcceptance | None = None
    blocks_held: int = 0
    clocks: Watch = field(default_factory=Watch)
    looked: LookingAhead | None = None
    cpus: CpuWaits = field(default_factory=CpuWaits)

    @property
    def acceptance_source(self) -> str:
        """Where acceptances came from: the models, or a field's own source."""
        return "models" if self.given is None else self.given.field.source


def run_scenario(
    scenario: Scenario,
    base_dir: Path,
    deployment: Deployment,
    progress: Progress | None = None,
    *,
    prompted: Prompted | None = None,
    predictor: Predictor | None = None,
    over: Callable[[], object] = lambda: None,
) -> Ran:
    """Serve the scenario's workload once with deployed models.

    ``prompted`` and ``predictor`` replace what the scenario says, for repeated runs. A worker's
    failure or Ctrl-C ends the run: the records keep what there is and say why. ``over`` is called then.
    """
    refuse_unknown_future(scenario)
    target = deployment.models.target
    if prompted is None:
        prompted = materialise(scenario, build_workload(scenario, base_dir), target)
    given = given_acceptance(scenario, base_dir, prompted.workload, target.used_vocabulary)
    predictor = predictor or build_predictor(trusting(scenario), base_dir)
    future = known_future(given, prompted.workload)
    serving = assemble(scenario, base_dir, predictor, deployment.kv_tokens, **future)
    _require_entropies(deployment, serving, given)
    _refuse_scores_of_samples(scenario, serving, given)
    world = _world(scenario, deployment, serving, prompted, given)
    total = len(prompted.workload.requests)

    def report(ended: int) -> None:
        if progress is not None:
            progress("run", ended, total)

    deployment.target.watch(world.fail)
    ahead: LookingAhead | None = None
    lookups: KnownLookups | LookingAhead | None = None if given is None else given.lookups
    if lookups is None and lookups_of(scenario) and serving.policies.read_lookups:
        lookups = ahead = world.look_ahead(len(serving.settings.drafts))
    engine = serving.start(world, prompted.workload, ended=report, lookups=lookups)
    error: BaseException | None = None
    devices = {torch_device(scenario, name) for lane in world.lanes for name in lane.devices}
    gpus = sorted(device.index for device in devices if device.type == "cuda")
    with watched(gpus) as clocks, cpu_waits() as cpus, quiet():
        world.env.start_clock()
        try:
            world.env.run(until=engine.done)
        except (KeyboardInterrupt, Exception) as caught:
            error = caught
        over()
        elapsed_ns = world.env.wall_ns()
    # A lane that waits for a device which is gone may wait for ever.
    world.close(None if error is None else LOST_LANE_S)
    return Ran(
        _closed_records(engine, world, deployment, elapsed_ns, error),
        prompted.workload,
        world.env.log,
        prompted.prompts,
        {} if given is not None else _outputs(world, engine.records),
        sum(pool.used_slots for pool in serving.pools.every),
        error,
        given,
        sum(pool.blocks - pool.free_blocks for pool in serving.pools.every),
        clocks,
        ahead,
        cpus,
    )


def _require_entropies(deployment: Deployment, serving: Serving, given: GivenAcceptance | None) -> None:
    by_entropy = reads_entropies(serving.policies.length) and (given is None or given.stops is None)
    if by_entropy and not deployment.tells_entropies:
        raise InputError(
            "ends proposals by entropies, but the models were deployed for a policy that reads none; "
            "the same length policy for the whole deployment",
            key="policies.length.name",
        )


def _refuse_scores_of_samples(scenario: Scenario, serving: Serving, given: GivenAcceptance | None) -> None:
    """That a draft would not have proposed a token which was drawn does not say that it would be refused."""
    asks = serving.policies.scored_tokens and not serving.policies.selector.full_information
    if asks and given is None and not scenario.sampling.greedy:
        raise InputError(
            "drafts are asked about greedy outputs; sampling.temperature 0, or 0 here",
            key="policies.selector.reads",
        )


def _world(
    scenario: Scenario,
    deployment: Deployment,
    serving: Serving,
    prompted: Prompted,
    given: GivenAcceptance | None,
) -> LiveWorld:
    lanes = serving.layout.lanes
    return LiveWorld(
        lanes,
        deployment.executor(scenario, lanes),
        prompted.prompts,
        end_of_text=prompted.end_of_text,
        stops=prompted.stops,
        scored_tokens=serving.policies.scored_tokens,
        paging=deployment.paging(serving.pools),
        given=given,
        lookups=Lookups(lookups_of(scenario)),
    )


def _closed_records(
    engine: Engine, world: LiveWorld, deployment: Deployment, elapsed_ns: int, error: BaseException | None
) -> Records:
    """What the engine recorded, and what only a live run knows of it."""
    records = engine.records
    if error is not None:
        records.interrupted = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        records.ended_ns = int(world.env.now)
    records.kv_capacity_tokens = deployment.kv_tokens
    records.orchestrator_s = (elapsed_ns - world.env.waited_ns) * 1e-9
    records.idle_caused_s = records.idle_caused_ns() * 1e-9
    return records


def _outputs(world: LiveWorld, records: Records) -> dict[int, list[int]]:
    """What every request was answered, without what its last pass said beyond."""
    return {
        request: tokens[: records.requests[request].output_tokens]
        for request, tokens in world.outputs.items()
    }


def run(
    loaded: LoadedScenario,
    out: Path | None,
    progress: Progress | None = None,
    *,
    report: Callable[[Path], object] | None = None,
) -> Summary:
    """Load the models, serve the workload, write the results folder; returns the summary.

    ``report`` writes report.html into the folder that it is given. Raises InputError before anything
    runs for what cannot be run, and LaneError after the partial results are written when a worker failed.
    """
    refuse_unknown_future(loaded.scenario)  # before models are loaded
    predictor = build_predictor(trusting(loaded.scenario), loaded.base_dir)
    with Interrupts() as interrupts:
        with deploy(loaded.scenario, loaded.base_dir, progress) as deployment:
            ran = run_scenario(
                loaded.scenario,
                loaded.base_dir,
                deployment,
                progress,
                predictor=predictor,
                over=interrupts.hold,
            )
            ranks = deployment.ranks() if ran.error is None else {}
        notes = _notes(loaded, deployment, ran, ranks)
        known = None if ran.given is None else ran.given.field
        notes["regret"], curves = of_recording(
            loaded.scenario, loaded.base_dir, ran.records, ran.workload, predictor, known
        )
        additions = Additions(
            log=ran.log,
            documents={"regret.json": curves} if curves else {},
            tables=_tables(loaded.scenario, deployment, ran),
            report=report,
        )
        summary = publish(loaded, out, ran, mode="live", progress=progress, notes=notes, additions=additions)
    if ran.error is not None and not isinstance(ran.error, KeyboardInterrupt):
        raise ran.error
    return summary


def _notes(
    loaded: LoadedScenario, deployment: Deployment, ran: Ran, ranks: Mapping[str, Any]
) -> dict[str, Any]:
    """Further keys of the summary."""
    scenario = loaded.scenario
    found: dict[str, Any] = {
        "models": deployment.models.notes,
        "found_devices": found_devices(scenario),
        "other_hardware": other_hardware(scenario),
        "not_read": not_read(scenario, "live"),
        "kv_slots": deployment.kv_slots,
        "kv_slots_held": ran.slots_held,
    }
    told = {
        "profile_elsewhere": _elsewhere(loaded),
        "ranks": ranks,
        "clocks": ran.clocks.told(),
        "cpus": ran.cpus.told(),
    }
    return found | {key: value for key, value in told.items() if value}


def _tables(scenario: Scenario, deployment: Deployment, ran: Ran) -> dict[str, pa.Table]:
    """Further Parquet files."""
    tables = {}
    if ran.given is None:
        decode = decoder(scenario.models.target.weights, deployment.models.target.name)
        tables["outputs.parquet"] = outputs_table(ran.workload, ran.prompts, ran.outputs, decode)
    if ran.looked is not None:
        tables[TABLE] = ran.looked.table()
    return tables


def _elsewhere(loaded: LoadedScenario) -> str:
    """Whether the scenario's profile is of another machine than this one, or of K/V laid otherwise."""
    profile, kv = profile_of(loaded.scenario, loaded.base_dir), loaded.scenario.kv
    if profile is None:
        return ""
    device = torch_device(loaded.scenario, loaded.scenario.placement.target[0])
    found = profile_elsewhere(profile, this_machine(device)), laid_elsewhere(profile, kv.paged_by)
    return "; ".join(filter(None, found))
