"""One scenario through the engine in real time, with deployed models, to its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spinsim.costs.base import Predictor
from spinsim.drafters.costs import build_predictor
from spinsim.drafters.for_scenario import lookups_of
from spinsim.engine.engine import Engine
from spinsim.engine.inputs import InputLog
from spinsim.engine.records import Records
from spinsim.errors import InputError
from spinsim.live.cpu_waits import CpuWaits, cpu_waits
from spinsim.live.deployment import Deployment
from spinsim.live.field import GivenAcceptance, given_acceptance, known_future, refuse_unknown_future
from spinsim.live.gpu_clocks import Watch, watched
from spinsim.live.looking_ahead import LookingAhead
from spinsim.live.lookups import Lookups
from spinsim.live.places import torch_device
from spinsim.live.prompts import Prompted, materialise
from spinsim.live.quiet_interpreter import quiet
from spinsim.live.world import LiveWorld
from spinsim.policies.build import reads_entropies
from spinsim.progress import Progress
from spinsim.scenario import Scenario
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
    Raises InputError for what the scenario asks and these models cannot do.
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
    deployment.target.watch(world.fail)
    known = None if given is None else given.lookups
    ahead = None if known is not None else _looking_ahead(scenario, serving, world)
    engine = serving.start(
        world,
        prompted.workload,
        ended=_reporting(progress, len(prompted.workload.requests)),
        lookups=known if known is not None else ahead,
    )
    played = _play(world, engine, _gpus(scenario, world), over)
    # A lane that waits for a device which is gone may wait for ever.
    world.close(None if played.error is None else LOST_LANE_S)
    pools = serving.pools.every
    return Ran(
        records=_closed_records(engine, world, deployment, played),
        workload=prompted.workload,
        log=world.env.log,
        prompts=prompted.prompts,
        outputs={} if given is not None else _outputs(world, engine.records),
        slots_held=sum(pool.used_slots for pool in pools),
        error=played.error,
        given=given,
        blocks_held=sum(pool.blocks - pool.free_blocks for pool in pools),
        clocks=played.clocks,
        looked=ahead,
        cpus=played.cpus,
    )


def _reporting(progress: Progress | None, total: int) -> Callable[[int], None]:
    """What the engine calls with the number of requests that have ended."""

    def report(ended: int) -> None:
        if progress is not None:
            progress("run", ended, total)

    return report


def _looking_ahead(scenario: Scenario, serving: Serving, world: LiveWorld) -> LookingAhead | None:
    """Lookups that are made before rounds, where policies read what they find."""
    if not lookups_of(scenario) or not serving.policies.read_lookups:
        return None
    return world.look_ahead(len(serving.settings.drafts))


@dataclass(frozen=True)
class _Played:
    """``error``: what ended the run early. ``elapsed_ns``: of its clock, by the wall."""

    error: BaseException | None
    elapsed_ns: int
    clocks: Watch
    cpus: CpuWaits


def _gpus(scenario: Scenario, world: LiveWorld) -> list[int]:
    """CUDA's numbers of the devices that serve."""
    devices = {torch_device(scenario, name) for lane in world.lanes for name in lane.devices}
    return sorted(device.index for device in devices if device.type == "cuda")


def _play(world: LiveWorld, engine: Engine, gpus: Sequence[int], over: Callable[[], object]) -> _Played:
    """Start the clock and serve until all is done, or until something fails."""
    error: BaseException | None = None
    with watched(gpus) as clocks, cpu_waits() as cpus, quiet():
        world.env.start_clock()
        try:
            world.env.run(until=engine.done)
        except (KeyboardInterrupt, Exception) as caught:
            error = caught
        over()
        elapsed_ns = world.env.wall_ns()
    return _Played(error, elapsed_ns, clocks, cpus)


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


def _closed_records(engine: Engine, world: LiveWorld, deployment: Deployment, played: _Played) -> Records:
    """What the engine recorded, and what only a live run knows of it."""
    records, error = engine.records, played.error
    if error is not None:
        records.interrupted = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        records.ended_ns = int(world.env.now)
    records.kv_capacity_tokens = deployment.kv_tokens
    records.orchestrator_s = (played.elapsed_ns - world.env.waited_ns) * 1e-9
    records.idle_caused_s = records.idle_caused_ns() * 1e-9
    return records


def _outputs(world: LiveWorld, records: Records) -> dict[int, list[int]]:
    """What every request was answered, without what its last pass said beyond."""
    return {
        request: tokens[: records.requests[request].output_tokens]
        for request, tokens in world.outputs.items()
    }
