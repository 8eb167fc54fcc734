"""A divided decoder computes what the undivided one does: every architecture, any number of ranks."""

from __future__ import annotations

import random

import pytest
import torch

from spinsim.errors import InputError
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.kv import Layout
from spinsim.runner.loading import random_model
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.sampling import Sampling
from spinsim.runner.sharded.orders import Build
from spinsim.runner.sharded.outline import Outline, drawn
from spinsim.runner.sharded.shape import LeanShape, Share, cut, require_divisible
from spinsim.runner.sharded.weights import names_and_shapes
from tests.runner.ranks_in_threads import on_ranks
from tests.runner.runner_configs import CONFIGS, VOCABULARY
from tests.runner.runner_driver import runner_of, speculate


class InMemory:
    """The weights of a module in memory, as a source."""

    def __init__(self, module):
        self.state = dict(module.named_parameters())

    def take(self, name, share, dtype, device):
        weight = self.state.get(name)
        return None if weight is None else cut(weight.data, share.part(name)).to(device, dtype).clone()


def shares_of(model, ranks):
    load = Outline(model, InMemory(model.module)).load(160)
    return [load.carry_out(rank, ("cpu",) * ranks) for rank in range(ranks)]


GREEDY, SAMPLED = Sampling(), Sampling(0.8, 0.9, seed=3)


@pytest.mark.parametrize(
    ("name", "ranks", "sampling"),
    [
        *((name, 2, GREEDY) for name in CONFIGS),
        ("llama", 4, GREEDY),
        ("qwen3", 4, SAMPLED),
    ],
)
def test_speculates_as_on_one_device(name, ranks, sampling):
    """97 tokens and 49 units leave remainders; two K/V heads over four ranks are held twice."""
    target = random_model(CONFIGS[name](intermediate_size=49), 1, context_tokens=160)
    draft = random_model(CONFIGS[name](num_hidden_layers=1), 1, context_tokens=160)
    source = random.Random(5)
    prompts = [[source.randrange(VOCABULARY) for _ in range(n)] for n in (1, 11, 24, 7)]
    expected = speculate(runner_of(target, lean=True), [runner_of(draft)], prompts, 10, sampling=sampling)
    shares = shares_of(target, ranks)

    def said(rank, collectives):
        build = Build(Layout(8, 160), RunnerPlan(8, 4, sampling))
        divided = build.carry_out(shares[rank], collectives)
        return speculate(divided, [runner_of(draft)], prompts, 10, sampling=sampling)

    everyone = on_ranks(ranks, said)
    assert everyone == [expected] * ranks


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_captured_passes_say_the_same(sampling):
    """Through the fixed buffers that CUDA graphs have."""
    target, draft = (random_model(CONFIGS["llama"](), seed, context_tokens=160) for seed in (1, 2))
    source = random.Random(5)
    prompts = [[source.randrange(VOCABULARY) for _ in range(n)] for n in (1, 11, 7)]
    alone = runner_of(target, lean=True, graphed=True, sampling=sampling)
    expected = speculate(alone, [runner_of(draft)], prompts, 8, sampling=sampling, max_length=3)
    shares = shares_of(target, 2)

    def said(rank, collectives):
        plan = RunnerPlan(8, 4, sampling)
        divided = Build(Layout(8, 160), plan).carry_out(shares[rank], collectives)
        graphed = GraphedRunner(divided.decoder, divided.cache, plan)
        graphed.capture("target", ("ragged",))
        return speculate(graphed, [runner_of(draft)], prompts, 8, sampling=sampling, max_length=3)

    assert on_ranks(2, said)[0] == expected


def test_shares_cover_a_model_once():
    model = random_model(CONFIGS["llama"](intermediate_size=49), 1, context_tokens=160)
    shape = shares_of(model, 2)[0][0].shape
    for ranks in (1, 2, 4):
        held = [Share(rank, ranks, shape) for rank in range(ranks)]
        for whole, part in ((97, "vocabulary"), (49, "units"), (4 * 8, "queries")):
            rows = [row for share in held for row in range(whole)[getattr(share, part)]]
            assert rows == list(range(whole)), (ranks, part)
        assert sum(share.used for share in held) == 97
        # Every query head finds the K/V head of its group on its rank.
        for share in held:
            heads = range(4)[slice(share.queries.start // 8, share.queries.stop // 8)]
            keys = range(2)[slice(share.keys.start // 8, share.keys.stop // 8)]
            assert {head // 2 for head in heads} == set(keys), ranks


def test_refuses_what_does_not_divide():
    model = random_model(CONFIGS["llama"](), 1, context_tokens=160)
    for ranks in (1, 2, 4):
        require_divisible(model, ranks)
    with pytest.raises(InputError, match=r"4 query and 2 K/V heads .* over 3 devices; .*: 1, 2, 4"):
        require_divisible(model, 3)
    gelu = random_model(CONFIGS["llama"](hidden_act="gelu"), 1, context_tokens=160)
    with pytest.raises(InputError, match="stay on one device"):
        require_divisible(gelu, 2)


def test_random_shares_are_parts_of_one_model():
    config = CONFIGS["qwen2"]()
    made = drawn(config, 3, context_tokens=160, dtype=torch.float32)
    shape, cpu = LeanShape.of(made.model), torch.device("cpu")
    for name in names_and_shapes(made.model.module):
        whole = made.source.take(name, Share(0, 1, shape), torch.float32, cpu)
        parts = [made.source.take(name, Share(rank, 2, shape), torch.float32, cpu) for rank in range(2)]
        rows, columns = Share(0, 2, shape).part(name)
        along = 0 if rows != slice(None) else 1 if columns != slice(None) else None
        assert torch.equal(whole, parts[1] if along is None else torch.cat(parts, along)), name
    assert 0.25 < float(made.source.whole("lm_head.weight", torch.float32, cpu).std()) < 0.35
