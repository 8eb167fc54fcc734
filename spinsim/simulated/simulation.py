"""One scenario through the engine in predicted time, from its parts to its records."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spinsim.acceptance.cached import CachedField
from spinsim.costs.base import LABELS, Predictor
from spinsim.drafters.acceptance import build_field, offers_of, stops_of
from spinsim.drafters.costs import build_predictor, looks
from spinsim.drafters.memory import kv_capacity
from spinsim.engine.records import Records
from spinsim.engine.world import Lookups
from spinsim.errors import InputError
from spinsim.native.parts import Parts
from spinsim.native.play import REPORT_EVERY, covers, play
from spinsim.policies.build import reads_entropies
from spinsim.progress import Progress
from spinsim.scenario import Scenario
from spinsim.serving import assemble
from spinsim.simulated.looking_ahead import ChargedLookups
from spinsim.simulated.noise import Noise, noise_of
from spinsim.simulated.world import Acceptance, SimulatedWorld
from spinsim.workload.for_scenario import build_workload
from spinsim.workload.request import Workload

ENGINES = ("auto", "python", "native")


@contextmanager
def rare_collections() -> Iterator[None]:
    """Python looks for cycles of dead objects a hundred times less often than it is set to: a run makes few.

    It makes millions of tuples, each of which counts. Looking took an eighth of the time.
    """
    young, *older = gc.get_threshold()
    gc.set_threshold(100 * young, *older)
    try:
        yield
    finally:
        gc.set_threshold(young, *older)


@dataclass(frozen=True)
class Simulated:
    """A finished simulation."""

    records: Records
    workload: Workload
    field: CachedField
    predictor: Predictor
    error: BaseException | None = None  # what ended it early, where that is kept

    @property
    def acceptance_source(self) -> str:
        """Where acceptances came from."""
        return self.field.source


def simulate_scenario(
    scenario: Scenario,
    base_dir: Path,
    progress: Progress | None = None,
    *,
    workload: Workload | None = None,
    predictor: Predictor | None = None,
    noise_seed: int | None = None,
    engine: str = "auto",
    partial: bool = False,
) -> Simulated:
    """Run a scenario through the engine in predicted time.

    ``workload`` and ``predictor`` replace the scenario's, for repeated runs and for those of another
    world; ``noise_seed`` draws other noise, and other text, over the same seed. ``engine``: ``python``;
    ``native``, in C (:mod:`spinsim.native`); or ``auto``, in C where it covers the run. Records are the same.
    Raises InputError for what the scenario asks and cannot have. An interruption (Ctrl-C) ends the run early:
    the records say so and keep what there is. So does an error within the run where ``partial`` is set: it
    is then ``error`` of what is returned, and otherwise raised.
    """
    if engine not in ENGINES:
        raise InputError(f"{engine!r} is not known; one of {', '.join(ENGINES)}", key="--engine")
    workload = workload or build_workload(scenario, base_dir)
    predictor = predictor or build_predictor(scenario, base_dir)
    noise_seed = scenario.seed if noise_seed is None else noise_seed
    field = build_field(scenario, workload, base_dir, noise_seed=noise_seed)
    capacity = kv_capacity(scenario, base_dir)
    total = len(workload.requests)

    def report(ended: int) -> None:
        if progress is not None and (ended % REPORT_EVERY == 0 or ended == total):
            progress("simulate", ended, total)

    def parts() -> Parts:
        serving = assemble(scenario, base_dir, predictor, capacity, future=field, workload=workload)
        noise = noise_of(scenario.noise, noise_seed)
        return Parts(workload, field, predictor, serving, noise, offers_of(scenario, workload, field))

    made = parts()
    natively = engine != "python" and covers(made, engine)
    records, error = None, None
    try:
        records = play(made, report) if natively else None
    except InputError:
        raise
    except (Exception, SystemExit):
        if not partial:
            raise  # otherwise the Python engine meets the same error, and keeps what was before it
    if records is None:
        noise = noise_of(scenario.noise, noise_seed)
        # What the kernel has begun is used up.
        records, error = _play(scenario, base_dir, parts() if natively else made, noise, report)
    records.idle_caused_s = records.idle_caused_ns() * 1e-9
    records.kv_capacity_tokens = capacity
    if error is not None and not partial:
        raise error
    return Simulated(records, workload, field, predictor, error)


def _play(
    scenario: Scenario, base_dir: Path, parts: Parts, noise: Noise | None, report: Callable[[int], None]
) -> tuple[Records, BaseException | None]:
    """The run by the Python engine, and the error that ended it early.

    ``noise``: as of ``parts``, from its beginning.
    """
    field, serving, workload = parts.field, parts.serving, parts.workload
    stops = stops_of(field, workload) if reads_entropies(serving.policies.length) else None
    world = SimulatedWorld(
        serving.layout.lanes,
        parts.predictor,
        Acceptance(field, parts.offers, stops),
        remote=serving.layout.remote,
        noise=noise,
        scored_tokens=serving.policies.scored_tokens,
        searched=lambda: getattr(serving.policies.packing, "searched", True),
    )
    lookups: Lookups | None = field.lookups
    looking = looks(scenario, base_dir) if lookups and serving.policies.read_lookups else None
    if lookups is not None and looking:
        prompts = [request.prompt_tokens for request in workload.requests]
        lookups = ChargedLookups(lookups, looking, prompts, world.spend)
    engine = serving.start(world, workload, ended=report, lookups=lookups)
    interrupted, failure = "", None
    try:
        with rare_collections():
            world.env.run(until=engine.done)
        engine.log.flush()  # here, where a time that no column has room for is reported
    except KeyboardInterrupt:
        interrupted = "interrupted"
    except InputError:
        raise
    except OverflowError as error:  # of a time in nanoseconds, which tables keep in 64 bits
        raise InputError(
            f"the run lasts beyond what a clock of nanoseconds can show ({error}); shorter times, or faster "
            "hardware",
            key="costs",
        ) from error
    except (Exception, SystemExit) as error:  # the latter of a plugin's policy
        interrupted, failure = f"{type(error).__name__}: {error}", error
    records = engine.records  # of all that was noted until now
    if interrupted:
        records.interrupted, records.ended_ns = interrupted, int(world.env.now)
    records.label_s = dict(zip(LABELS, world.label_s, strict=True))
    records.orchestrator_s = world.orchestrator_s
    return records, failure
