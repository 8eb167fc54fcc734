"""Greedy speculative decoding is the target's own greedy decoding, token for token."""

from __future__ import annotations

import random

import pytest
import torch

from spinsim.runner.loading import random_model
from tests.runner.runner_configs import CONFIGS, VOCABULARY
from tests.runner.runner_driver import runner_of, shuffled, speculate


def own_greedy(module, prompts, outputs):
    """transformers' generate, on an unmodified copy of the model."""
    module.set_attn_implementation("sdpa")
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        whole = module.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=outputs, do_sample=False, pad_token_id=0
        )
        found.append(whole[0, len(prompt) :].tolist())
    module.set_attn_implementation("spinsim")
    return found


PATHS = {"transformers": {}, "lean": {"lean": True}, "graphed": {"lean": True, "graphed": True}}
PAGES = (None, 1, 7, 16)
# An architecture's layers do not know where K/V lies: one of them meets every page on every path, and each of
# the others every page on one.
EVERY = [(path, page) for path in PATHS for page in PAGES]
EACH_ONCE = [("transformers", None), ("lean", None), ("graphed", None)]
EACH_ONCE += [("transformers", 7), ("lean", 1), ("graphed", 16)]


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_generate(name):
    config = CONFIGS[name]()
    target = random_model(config, 1, context_tokens=160)
    # One draft is the target itself with other weights in the last layer: it is often right.
    near = random_model(CONFIGS[name](), 1, context_tokens=160)
    for weight in near.module.model.layers[-1].parameters():
        weight.data.mul_(0.9)
    far = random_model(CONFIGS[name](num_hidden_layers=1), 2, context_tokens=160)
    source = random.Random(5)
    prompts = [[source.randrange(VOCABULARY) for _ in range(n)] for n in (1, 3, 11, 24, 7)]
    expected = own_greedy(target.module, prompts, 30)
    for path, page in EVERY if name == "llama" else EACH_ONCE:
        runners = [runner_of(model, page_tokens=page, **PATHS[path]) for model in (target, near, far)]
        for number, runner in enumerate(runners):
            if page:
                shuffled(runner.cache, number)
        got, accepted = speculate(runners[0], runners[1:], prompts, 30)
        assert got == expected, (path, page)
        assert accepted > 15, (path, page)  # both branches of the rule were taken
