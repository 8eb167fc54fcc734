"""Small deployments for engine tests: constant costs, a random acceptance field, any policies."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from spinsim.costs.base import CONSTANT, Estimate
from spinsim.costs.constant import ConstantPredictor
from spinsim.engine.engine import Engine
from spinsim.engine.processes import start
from spinsim.engine.records import Records
from spinsim.engine.settings import EngineSettings
from spinsim.engine.world import Lane
from spinsim.policies.base import PolicyContext
from spinsim.policies.build import Policies, build_policies
from spinsim.scenario import PoliciesSpec
from spinsim.simulated.noise import Noise
from spinsim.simulated.world import Acceptance, SimulatedWorld
from spinsim.workload.request import Request, Workload


class RandomField:
    """Runs of independent accepted bits; depends on (seed, request, draft, position) alone."""

    source = "synthetic"

    def __init__(self, probability: float | Sequence[float], outputs: Sequence[int], seed: int = 0) -> None:
        self.probability = probability
        self.outputs = outputs
        self.seed = seed
        self.forgotten: list[int] = []
        self._cache: dict[tuple[int, int], list[int]] = {}

    def runs(self, request: int, draft: int) -> list[int]:
        key = (request, draft)
        if key not in self._cache:
            rng = random.Random(f"{self.seed}/{request}/{draft}")
            p = self.probability if isinstance(self.probability, float) else self.probability[draft]
            bits = [rng.random() < p for _ in range(self.outputs[request] + 64)]
            runs = [0] * (len(bits) + 1)
            for i in reversed(range(len(bits))):
                runs[i] = runs[i + 1] + 1 if bits[i] else 0
            self._cache[key] = runs
        return self._cache[key]

    def forget(self, request: int) -> None:
        self.forgotten.append(request)


class HandlingPredictor(ConstantPredictor):
    """Handling an end takes ``handle_s`` a row."""

    def __init__(self, *, handle_s: float, **costs: Any) -> None:
        super().__init__(**costs)
        self._handle_s = handle_s

    def handle(self, kind: str, rows: int) -> Estimate:
        return Estimate(self._handle_s * rows, CONSTANT)


@dataclass(frozen=True)
class Deployment:
    """Everything a test may want to vary."""

    requests: Sequence[Request]
    concurrency: int | None = None
    drafts: int = 2
    acceptance: float | Sequence[float] = 0.7
    policies: PoliciesSpec = field(default_factory=PoliciesSpec)
    batch_limit: int = 8
    context_tokens: int = 256
    prefill_chunk_tokens: int = 64
    reserve: str = "full"
    target_kv_tokens: int = 100_000
    draft_kv_tokens: int = 100_000
    verify_s: float = 0.01
    draft_step_s: float = 0.001
    prefill_s: float = 0.002
    catch_up_s: float = 0.001
    orchestrator_s: float = 0.0
    one_gpu: bool = False  # the drafts' lanes share the target's device
    own_lanes: bool = False  # a lane for each draft, or one for all
    slowdown: float = 1.0
    allow_none: bool = False
    max_length: int = 8
    handle_s: float = 0.0  # of the host, when an operation has ended
    noise_sd: float = 0.0  # of every operation's time
    ahead: bool = True  # may the world set its clock where nothing is due?
    seed: int = 0


@dataclass
class Finished:
    records: Records
    engine: Engine
    world: SimulatedWorld
    field: RandomField
    policies: Policies


def requests(
    lengths: Sequence[tuple[int, int]], gap_s: float = 0.0, patience_s: float = float("inf")
) -> list[Request]:
    """Requests of (prompt, output) tokens, ``gap_s`` apart."""
    return [
        Request(
            id=i, arrival_s=i * gap_s, prompt_tokens=p, output_tokens=o, patience_s=patience_s, key=str(i)
        )
        for i, (p, o) in enumerate(lengths)
    ]


def build(deployment: Deployment) -> Finished:
    d = deployment
    names = tuple(f"draft{i}" for i in range(d.drafts))
    drafts_on = ("gpu0" if d.one_gpu else "gpu1",)
    drafting = tuple(Lane(name, drafts_on) for name in (names if d.own_lanes else ("drafts",)))
    lanes = (Lane("gpu0/target", ("gpu0",)), *drafting)
    draft_lanes = tuple(range(1, 1 + d.drafts)) if d.own_lanes else (1,) * d.drafts
    predictor = HandlingPredictor(
        handle_s=d.handle_s,
        verify_s=d.verify_s,
        draft_step_s=[d.draft_step_s * (i + 1) for i in range(d.drafts)],
        prefill_s=d.prefill_s,
        catch_up_s=d.catch_up_s,
        transfer_s=0.0,
        orchestrator_s=d.orchestrator_s,
        hop_s=0.0,
        slowdown=d.slowdown,
    )
    outputs = [r.output_tokens for r in d.requests]
    acceptance = RandomField(d.acceptance, outputs, d.seed)
    policies = build_policies(
        d.policies,
        PolicyContext(
            drafts=names,
            draft_lanes=draft_lanes,
            draft_devices=drafts_on * d.drafts,
            draft_sizes=tuple(range(1, d.drafts + 1)),
            capacities=(None,) * d.drafts,
            allow_none=d.allow_none,
            max_length=d.max_length,
            batch_limit=d.batch_limit,
            seed=d.seed,
            predictor=predictor,
            future=acceptance,
            outputs=outputs,
        ),
    )
    world = SimulatedWorld(
        lanes,
        predictor,
        Acceptance(acceptance),
        remote=(not d.one_gpu,) * d.drafts,
        scored_tokens=policies.scored_tokens,
        noise=Noise((0.0,) * 4, (d.noise_sd,) * 4, d.seed) if d.noise_sd else None,
        ahead=d.ahead,
    )
    settings = EngineSettings(
        drafts=names,
        target_lane=0,
        draft_lanes=draft_lanes,
        batch_limit=d.batch_limit,
        context_tokens=d.context_tokens,
        prefill_chunk_tokens=d.prefill_chunk_tokens,
        max_length=d.max_length,
        overlapped=d.policies.switching == "overlapped",
        reserve=d.reserve,
        block_tokens=16,
        target_kv_tokens=d.target_kv_tokens,
        draft_kv_tokens=(d.draft_kv_tokens,) * d.drafts,
    )
    engine = Engine(world, Workload(tuple(d.requests), d.concurrency), policies, settings)
    return Finished(engine.records, engine, world, acceptance, policies)


def run(deployment: Deployment) -> Finished:
    finished = build(deployment)
    start(finished.engine)
    finished.world.env.run(until=finished.engine.done)
    finished.world.env.run()  # whatever is still in flight
    return replace(finished, records=finished.engine.records)


def policies(**choices: object) -> PoliciesSpec:
    """``policies(selector="random", length={"name": "fixed", "tokens": 4})``."""
    return PoliciesSpec.model_validate(
        {k: {"name": v} if isinstance(v, str) and k != "switching" else v for k, v in choices.items()}
    )
