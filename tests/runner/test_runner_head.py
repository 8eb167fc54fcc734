"""A head on a target: it drafts from what the target computed, step by step or in one pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spinsim.errors import InputError
from spinsim.packings.ragged import NAME as RAGGED
from spinsim.runner.batch import Rows, build_batch
from spinsim.runner.eager import ModelRunner
from spinsim.runner.for_model import make_runner
from spinsim.runner.fused import LeanDecoder
from spinsim.runner.head import HeadRunner, make_head_runner, random_head
from spinsim.runner.kv import Layout
from spinsim.runner.loading import random_model
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.rows import ChunkRows, DraftRows
from spinsim.runner.sampling import Sampling
from tests.runner.runner_configs import CONFIGS

CONTEXTS, LENGTHS = (9, 4, 13), (3, 2, 4)
SLOTS, TARGET_SLOTS = (2, 0, 3), (1, 3, 0)  # not alike, or a mix-up would not show
PAGES = {"whole": {}, "paged": {"page_tokens": 4, "pages": 32}}


def deployed(parallel: bool, rows: int = 0, **pages: int) -> tuple[ModelRunner, HeadRunner]:
    target = random_model(CONFIGS["llama"](), 0, context_tokens=32)
    layout, plan = Layout(4, 32, **pages), RunnerPlan(4, 4)
    runner = make_runner(target, layout, plan, lean=True)
    shape = {"layers": 1, "inputs": 2, "context_tokens": 32, "seed": 1, "key": "models.drafts.head"}
    head = random_head(target, parallel=parallel, rows=rows, **shape)
    return runner, make_head_runner(head, runner, layout, plan)


def texts() -> list[list[int]]:
    draw = np.random.default_rng(3)
    return [draw.integers(1, 90, size=count).tolist() for count in CONTEXTS]


def caught_up(target: ModelRunner, head: HeadRunner) -> list[list[int]]:
    """The target has all of each context but its last token; the head has one token fewer."""
    fed = texts()
    target.prefill(ChunkRows(TARGET_SLOTS, [0] * 3, [text[:-1] for text in fed]))
    head.follow(SLOTS, TARGET_SLOTS)
    head.catch_up(ChunkRows(SLOTS, [0] * 3, [text[:-2] for text in fed]), False)
    return fed


def asked(fed: list[list[int]]) -> DraftRows:
    return DraftRows(SLOTS, [text[-2] for text in fed], [text[-1] for text in fed], CONTEXTS, LENGTHS)


def proposed(head: HeadRunner, fed: list[list[int]]) -> list[list[int]]:
    found = head.propose(asked(fed))
    return [found.tokens[row, :length].tolist() for row, length in enumerate(LENGTHS)]


def at_once(head: HeadRunner, tokens: list[int], states: torch.Tensor) -> torch.Tensor:
    """Logits after every token of a text, in one pass over a slot that nobody uses."""
    batch, positions = build_batch(head.cache, Rows([1], [len(tokens)], [len(tokens)]), RAGGED)
    with torch.inference_mode():
        return head.decoder.after(states, torch.tensor(tokens), positions, batch)


def states_before(target: ModelRunner, slot: int, count: int) -> torch.Tensor:
    """The target's state of the token before each of the first ``count``; of the first, its own."""
    assert isinstance(target.decoder, LeanDecoder)
    assert target.decoder.states is not None
    places = (torch.arange(count) - 1).clamp_min(0)
    return target.decoder.states[target.cache.table.flat(torch.full((count,), slot), places)]


@pytest.mark.parametrize("pages", PAGES.values(), ids=PAGES)
def test_steps_hand_the_heads_own_state_on(pages: dict[str, int]) -> None:
    target, head = deployed(parallel=False, **pages)
    fed = caught_up(target, head)
    made = proposed(head, fed)
    for row, length in enumerate(LENGTHS):
        tokens = list(fed[row])
        states = states_before(target, TARGET_SLOTS[row], len(tokens))
        for token in made[row][:length]:
            logits = at_once(head, tokens, states)
            assert token == int(logits[-1].argmax())
            tokens.append(token)
            states = torch.cat((states, head.decoder.last[-1:]))


@pytest.mark.parametrize("pages", PAGES.values(), ids=PAGES)
def test_one_pass_proposes_all(pages: dict[str, int]) -> None:
    target, head = deployed(parallel=True, **pages)
    fed = caught_up(target, head)
    made = proposed(head, fed)
    for row, length in enumerate(LENGTHS):
        tokens = fed[row] + fed[row][-1:] * (length - 1)
        states = states_before(target, TARGET_SLOTS[row], len(tokens))
        expected = at_once(head, tokens, states).argmax(-1)[len(fed[row]) - 1 :]
        assert made[row] == expected.tolist()


@pytest.mark.parametrize("parallel", [False, True])
def test_any_greedy_call_hands_states_on(parallel: bool) -> None:
    """A live run's calls carry its seed, which once led past the recorded steps to ones without states."""
    target, head = deployed(parallel=parallel)
    fed = caught_up(target, head)
    seeded = head.propose(asked(fed), Sampling(0.0, seed=7)).tokens
    made = [seeded[row, :length].tolist() for row, length in enumerate(LENGTHS)]
    assert made == proposed(head, fed)
    if not parallel:
        steps = [key for key in head.proposals.graphs if not key.first]
        assert steps, "later steps are recorded ones"


def test_the_target_keeps_what_its_own_head_reads() -> None:
    target, _ = deployed(parallel=False)
    fed = texts()
    said = target.catch_up(ChunkRows(TARGET_SLOTS, [0] * 3, fed))
    kept = [
        states_before(target, slot, len(text) + 1)[1:] for slot, text in zip(TARGET_SLOTS, fed, strict=True)
    ]
    assert isinstance(target.decoder, LeanDecoder)
    assert F.linear(torch.cat(kept), target.decoder.weights.head).argmax(-1).tolist() == said.tolist()


def test_a_vocabulary_of_its_own_bounds_what_it_says() -> None:
    target, head = deployed(parallel=False, rows=5)
    assert max(token for row in proposed(head, caught_up(target, head)) for token in row) < 5
    with pytest.raises(InputError, match="at most so many"):
        deployed(parallel=False, rows=1000)
