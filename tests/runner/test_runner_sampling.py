"""Sampling: what comes out is distributed as the target alone, and belongs to its request."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from spinsim.runner import randomness
from spinsim.runner.acceptance_rule import (
    distribution,
    draw,
    leading,
    verify_greedy,
    verify_sampled,
)
from spinsim.runner.loading import random_model
from spinsim.runner.sampling import Sampling
from tests.runner.runner_configs import CONFIGS
from tests.runner.runner_driver import runner_of, speculate


def test_uniform_numbers_are_uniform_and_independent_of_the_batch():
    requests, positions = torch.arange(200)[:, None], torch.arange(300)
    numbers = randomness.uniform(3, requests, positions, randomness.EMIT)
    assert stats.kstest(numbers.flatten().numpy(), "uniform").pvalue > 1e-3
    neighbours = np.corrcoef(numbers[:, :-1].flatten(), numbers[:, 1:].flatten())[0, 1]
    assert abs(neighbours) < 0.02
    alone = randomness.uniform(3, torch.tensor([17]), torch.tensor([42]), randomness.EMIT)
    assert alone[0] == numbers[17, 42]
    other = randomness.uniform(3, requests, positions, randomness.ACCEPT)
    assert abs(np.corrcoef(numbers.flatten(), other.flatten())[0, 1]) < 0.02
    assert (randomness.uniform(4, requests, positions, randomness.EMIT) != numbers).all()


def test_top_p_keeps_the_smallest_sufficient_set():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.97, 0.01, 0.01, 0.01]]))
    got = distribution(logits, 1.0, 0.8)
    torch.testing.assert_close(got, torch.tensor([[0.625, 0.375, 0, 0], [1.0, 0, 0, 0]]))
    torch.testing.assert_close(distribution(logits, 0.5, 1.0), torch.softmax(logits / 0.5, -1))


def test_draw_never_takes_an_impossible_token():
    weights = torch.tensor([[0.0, 0.4, 0.0, 0.6, 0.0]])
    numbers = torch.tensor([0.0, 0.3999, 0.4001, 1 - 2**-53], dtype=torch.float64)
    assert draw(weights.expand(4, -1), numbers).tolist() == [1, 1, 3, 3]


def test_leading_counts_within_the_length():
    keep = torch.tensor([[True, True, False, True], [True] * 4, [False] * 4, [True] * 4])
    assert leading(keep, torch.tensor([4, 2, 3, 0])).tolist() == [2, 2, 0, 0]


def test_greedy_rows_of_all_lengths():
    best = torch.tensor([[5, 6, 7], [5, 6, 7], [5, 6, 7]])
    proposals = torch.tensor([[5, 6], [5, 9], [5, 6]])
    judged = verify_greedy(best, proposals, torch.tensor([2, 2, 0]))
    assert judged.accepted.tolist() == [2, 1, 0]


@pytest.mark.parametrize("length", [0, 1, 2])
def test_rejection_rule_has_the_targets_joint_distribution(length):
    """Exact joint distribution of the first emitted tokens: p(x1) p(x2 | x1), whatever q is."""
    generator = torch.Generator().manual_seed(length)
    size, rows = 4, 40_000
    p = torch.softmax(torch.randn(3, size, size, generator=generator), -1)  # p[step, last token]
    q = torch.softmax(2 * torch.randn(3, size, size, generator=generator), -1)

    def numbers(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    first = torch.zeros(rows, dtype=torch.int64)
    proposals, spreads, targets, last = [], [], [p[0][first]], first
    for step in range(2):
        spreads.append(q[step][last])
        last = draw(spreads[-1], numbers(rows))
        proposals.append(last)
        targets.append(p[step + 1][last])
    judged = verify_sampled(
        torch.stack(targets, 1),
        torch.stack(spreads, 1),
        torch.stack(proposals, 1),
        torch.full((rows,), length),
        numbers(rows, 2),
        numbers(rows, 3),
    )
    counts = torch.bincount(judged.tokens[:, 0], minlength=size)
    assert stats.chisquare(counts, rows * p[0][0].double() / p[0][0].double().sum()).pvalue > 1e-3
    if length:
        two = judged.accepted >= 1
        pairs = judged.tokens[two]
        taken = torch.minimum(p[0][0], q[0][0])  # a first token kept: min(p, q)
        joint = (taken[:, None] * p[1]).double().flatten()
        counts = torch.bincount(pairs[:, 0] * size + pairs[:, 1], minlength=size * size)
        assert stats.chisquare(counts, joint / joint.sum() * counts.sum()).pvalue > 1e-3
        assert two.double().mean() == pytest.approx(taken.sum().item(), abs=0.01)


@pytest.mark.parametrize("graphed", [False, True])
def test_sampled_speculation_is_the_model_chain(graphed):
    """Joint distribution of three tokens from the whole loop against probabilities enumerated exactly."""
    sampling = Sampling(temperature=0.8, top_p=0.9, seed=4)
    small = {"vocab_size": 5, "num_hidden_layers": 1, "initializer_range": 0.5}
    target = random_model(CONFIGS["llama"](**small), 3, context_tokens=64)
    draft = random_model(CONFIGS["llama"](**small), 9, context_tokens=64)
    prompt, count = [1, 3, 2], 600
    ids = torch.tensor([[*prompt, *rest] for rest in itertools.product(range(5), repeat=2)])
    target.module.set_attn_implementation("sdpa")
    with torch.inference_mode():
        logits = target.module(ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[:, 2:]
    target.module.set_attn_implementation("spinsim")
    p = distribution(logits, sampling.temperature, sampling.top_p).double()
    joint = torch.stack(
        [p[5 * a + b, 0, a] * p[5 * a + b, 1, b] * p[5 * a + b, 2] for a in range(5) for b in range(5)]
    ).flatten()
    runners = [
        runner_of(m, slots=count, slot_tokens=16, graphed=graphed, lean=graphed, sampling=sampling)
        for m in (target, draft)
    ]
    outputs, accepted = speculate(
        runners[0], runners[1:], [prompt] * count, 3, sampling=sampling, max_length=3, kinds=["padded"]
    )
    assert accepted > 0
    counts = np.zeros(125)
    for a, b, c in outputs:
        counts[25 * a + 5 * b + c] += 1
    assert counts[joint.numpy() == 0].sum() == 0  # top-p: never outside the kept set
    # Pool cells until each expects at least five, smallest first.
    order = np.argsort(joint.numpy())
    expected = joint.numpy()[order] * count
    cells = np.minimum((np.cumsum(expected) // 8).astype(int), count // 8 - 1)
    pooled = [np.bincount(cells, weights=w) for w in (counts[order], expected)]
    used = pooled[1] > 0
    assert stats.chisquare(pooled[0][used], pooled[1][used] * count / pooled[1].sum()).pvalue > 1e-3


def test_sampled_outputs_do_not_depend_on_the_batch():
    sampling = Sampling(temperature=1.0, top_p=0.95, seed=1)
    models = [random_model(CONFIGS["qwen3"](), seed, context_tokens=64) for seed in (1, 2)]
    prompts = [[3, 4, 5], [7, 8], [1, 2, 3, 4, 5, 6]]

    def run(chosen, graphed):
        runners = [runner_of(m, slot_tokens=64, graphed=graphed, sampling=sampling) for m in models]
        # Without a draft at random: drafts and lengths are drawn by the driver, so only the target.
        return speculate(runners[0], [], chosen, 8, sampling=sampling)[0]

    assert run(prompts, False)[:1] == run(prompts[:1], False) == run(prompts[:1], True)
