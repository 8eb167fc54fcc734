"""Sampling through the engine, SPIN's bandit choosing the drafts: tokens are jointly distributed as the
target's own, by chi-square against exact probabilities; and the test would notice if they were not."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats

from spinsim.costs.constant import ConstantPredictor
from spinsim.engine.engine import Engine
from spinsim.engine.processes import start
from spinsim.engine.records import Records
from spinsim.engine.settings import EngineSettings
from spinsim.engine.world import Lane
from spinsim.policies.base import PolicyContext
from spinsim.policies.build import build_policies
from spinsim.runner.acceptance_rule import distribution
from spinsim.runner.eager import ModelRunner
from spinsim.runner.loaded_model import LoadedModel
from spinsim.runner.loading import random_model
from spinsim.runner.rows import PackedAs, Verified, VerifyRows
from spinsim.runner.sampling import Sampling
from spinsim.scenario import PoliciesSpec
from spinsim.workload.request import Request, Workload
from tests.live.real_tokens import Speakers, SpokenWorld
from tests.runner.runner_configs import CONFIGS
from tests.runner.runner_driver import runner_of

VOCABULARY, OUTPUTS, LENGTH = 5, 6, 3
PROMPTS = ([1, 3, 2], [4, 0, 2, 2, 1])
REQUESTS, BATCH = 2400, 48  # half of the requests have each prompt
NAMES = ("stranger", "relative", "twin")
SAMPLING = Sampling(temperature=0.8, top_p=0.9, seed=4)
SMALL = {"vocab_size": VOCABULARY, "num_hidden_layers": 1, "initializer_range": 0.5}
SEED, ALPHA = 5, 1e-3

Tree = dict[tuple[int, ...], np.ndarray]  # next token's exact probabilities after each output so far
Change = Callable[[random.Random, Tree, Sequence[int], list[int], int], list[int]]


def perturbed(seed: int, noise: float) -> LoadedModel:
    """The target's weights, disturbed."""
    model = random_model(CONFIGS["llama"](**SMALL), 3, context_tokens=64)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.module.parameters():
            weight.add_(noise * torch.randn(weight.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def models() -> list[LoadedModel]:
    """The target, then drafts that are unlike it, somewhat like it, and nearly it."""
    stranger = random_model(CONFIGS["llama"](**SMALL), 9, context_tokens=64)
    return [perturbed(0, 0.0), stranger, perturbed(1, 0.2), perturbed(2, 0.05)]


@pytest.fixture(scope="module")
def trees(models: list[LoadedModel]) -> list[Tree]:
    return [exact(models[0], prompt) for prompt in PROMPTS]


def exact(target: LoadedModel, prompt: Sequence[int]) -> Tree:
    """By transformers' own forward over every possible output."""
    rests = list(itertools.product(range(VOCABULARY), repeat=OUTPUTS - 1))
    ids = torch.tensor([[*prompt, *rest] for rest in rests])
    module = target.module
    module.set_attn_implementation("sdpa")
    with torch.inference_mode():
        logits = module(ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    module.set_attn_implementation("spinsim")
    p = distribution(logits[:, len(prompt) - 1 :], SAMPLING.temperature, SAMPLING.top_p).double().numpy()
    return {rest[:n]: p[row, n] for row, rest in enumerate(rests) for n in range(OUTPUTS)}


def joint(tree: Tree) -> np.ndarray:
    """Of all outputs, ``[V] * OUTPUTS``."""
    whole = np.ones((VOCABULARY,) * OUTPUTS)
    for cell in itertools.product(range(VOCABULARY), repeat=OUTPUTS):
        for n, token in enumerate(cell):
            whole[cell] *= tree[cell[:n]][token]
    return whole


@dataclass
class Served:
    outputs: list[list[int]]
    records: Records


class Changed:
    """The target's runner, with a mistake in what it makes of rejections."""

    def __init__(self, runner: ModelRunner, change: Change, trees: Sequence[Tree]) -> None:
        self.runner, self.change, self.trees, self.rng = runner, change, trees, random.Random(SEED)
        self.device = runner.device
        self.prefill = runner.prefill
        self.speakers: Speakers | None = None

    def verify(self, rows: VerifyRows, packed: PackedAs, sampling: Sampling) -> Verified:
        """As the runner's."""
        assert self.speakers is not None
        done = self.runner.verify(rows, packed, sampling)
        changed = []
        for row, (request, length) in enumerate(zip(rows.requests, rows.lengths, strict=True)):
            said = [int(token) for token in rows.proposal.tokens[row, :length]]
            stands = done.tokens[row]
            if done.accepted[row] < length:
                tree, before = self.trees[request % len(PROMPTS)], self.speakers.outputs[request]
                stands = self.change(self.rng, tree, before, said, done.accepted[row]) or stands
            changed.append(stands)
        return Verified([len(tokens) - 1 for tokens in changed], changed)


def accept_everything(
    rng: random.Random, tree: Tree, before: Sequence[int], said: list[int], accepted: int
) -> list[int]:
    """Proposals stand whatever the target thinks."""
    after = tree.get((*before, *said))
    return [*said, 0 if after is None else int(after.argmax())]


def residual_not_taken(
    rng: random.Random, tree: Tree, before: Sequence[int], said: list[int], accepted: int
) -> list[int]:
    """The target's own token is drawn from p, not from what p has over q."""
    p = tree.get((*before, *said[:accepted]))
    if p is None:
        return []  # past the end of the output: nobody looks
    return [*said[:accepted], rng.choices(range(VOCABULARY), p.tolist())[0]]


def serve(
    models: list[LoadedModel],
    *,
    graphed: bool = False,
    change: Change | None = None,
    trees: Sequence[Tree] = (),
    requests: int = REQUESTS,
) -> Served:
    """All requests through the engine, at most ``BATCH`` at once, in two micro-batches."""
    runners = [
        runner_of(model, BATCH, 16, graphed=graphed, lean=graphed, sampling=SAMPLING) for model in models
    ]
    target = runners[0] if change is None else Changed(runners[0], change, trees)
    prompts = {request: PROMPTS[request % len(PROMPTS)] for request in range(requests)}
    speakers = Speakers(target, runners[1:], prompts, SAMPLING)  # type: ignore[arg-type]
    if isinstance(target, Changed):
        target.speakers = speakers
    lanes = (Lane("gpu0/target", ("gpu0",)), Lane("gpu1/drafts", ("gpu1",)))
    predictor = ConstantPredictor(
        verify_s=0.01, draft_step_s=[0.001, 0.001, 0.0015], prefill_s=0.002, catch_up_s=0.001
    )
    world = SpokenWorld(lanes, predictor, speakers, drafts=3)
    spec = PoliciesSpec.model_validate(
        {
            "selector": {"name": "spin", "share": "prior", "prior_weight": 2, "explore": 0.2},
            "length": {"name": "fixed", "tokens": LENGTH},
            "packing": {"name": "decomposed"},
            "pipeline": {"name": "fixed", "micro_batches": 2},
            "switching": "overlapped",
        }
    )
    context = PolicyContext(
        drafts=NAMES,
        draft_lanes=(1, 1, 1),
        draft_sizes=(1, 1, 1),
        capacities=(None,) * 3,
        allow_none=False,
        max_length=LENGTH,
        batch_limit=BATCH,
        seed=SEED,
        predictor=predictor,
    )
    settings = EngineSettings(
        drafts=NAMES,
        target_lane=0,
        draft_lanes=(1, 1, 1),
        batch_limit=BATCH,
        context_tokens=12,
        prefill_chunk_tokens=64,
        max_length=LENGTH,
        overlapped=True,
        reserve="full",
        block_tokens=16,
        target_kv_tokens=12 * BATCH,
        draft_kv_tokens=(12 * BATCH,) * 3,
    )
    everyone = tuple(
        Request(id=i, arrival_s=0.0, prompt_tokens=len(prompts[i]), output_tokens=OUTPUTS, key=str(i))
        for i in range(requests)
    )
    engine = Engine(world, Workload(everyone, BATCH), build_policies(spec, context), settings)
    start(engine)
    world.env.run(until=engine.done)
    return Served([speakers.outputs[i][:OUTPUTS] for i in range(requests)], engine.records)


def pvalue(outputs: Sequence[Sequence[int]], trees: Sequence[Tree], places: Sequence[int]) -> float:
    """Chi-square of the tokens at ``places`` jointly; cells that expect under five are one cell."""
    total, freedom = 0.0, 0
    for number, tree in enumerate(trees):
        mine = outputs[number :: len(trees)]
        others = tuple(place for place in range(OUTPUTS) if place not in places)
        expected = joint(tree).sum(others).ravel() * len(mine)
        observed = np.zeros((VOCABULARY,) * len(places))
        for output in mine:
            observed[tuple(output[place] for place in places)] += 1
        few = expected < 5
        cells = [observed.ravel()[~few], expected[~few]]
        if expected[few].sum() > 0:
            cells = [
                np.append(cells[0], observed.ravel()[few].sum()),
                np.append(cells[1], expected[few].sum()),
            ]
        total += float(((cells[0] - cells[1]) ** 2 / cells[1]).sum())
        freedom += len(cells[0]) - 1
    return float(stats.chi2.sf(total, freedom))


JOINTLY = ((0, 1, 2), (1, 2, 3), (3, 4, 5))


@pytest.mark.parametrize("graphed", [False, True], ids=["eager", "graphed"])
def test_tokens_are_jointly_the_targets(models: list[LoadedModel], trees: list[Tree], graphed: bool) -> None:
    served = serve(models, graphed=graphed)
    for number, output in enumerate(served.outputs):  # top-p: never outside the kept set
        tree = trees[number % len(PROMPTS)]
        assert all(tree[tuple(output[:n])][token] > 0 for n, token in enumerate(output))
    for places in JOINTLY:
        assert pvalue(served.outputs, trees, places) > ALPHA
    rounds = served.records.rounds
    chosen = Counter(rounds.draft)
    assert set(chosen) == {0, 1, 2}  # the bandit tries them all
    assert chosen.most_common(1)[0][1] > len(rounds.draft) / 2  # and comes to prefer one
    assert max(rounds.size) >= BATCH // 2
    assert 0.2 < sum(rounds.accepted) / sum(rounds.drafted) < 0.9
    switches = sum(record.switches for record in served.records.requests.values())
    assert switches > REQUESTS / 10


def test_a_run_in_virtual_time_repeats(models: list[LoadedModel]) -> None:
    first, second = serve(models, requests=200), serve(models, requests=200)
    assert first.outputs == second.outputs
    assert first.records.rounds == second.records.rounds


@pytest.mark.parametrize("change", [accept_everything, residual_not_taken], ids=lambda f: f.__name__)
def test_a_wrong_rule_is_noticed(models: list[LoadedModel], trees: list[Tree], change: Change) -> None:
    """A test of the test."""
    served = serve(models, change=change, trees=trees)
    assert min(pvalue(served.outputs, trees, places) for places in JOINTLY) < ALPHA / 1000
