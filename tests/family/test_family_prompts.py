"""Prompts: exactly as long as asked, held out, and the same every time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.errors import InputError
from spinsim.family.corpus import ASK, HELD_OUT, REPLY
from spinsim.family.domains import DOMAINS
from spinsim.family.family import CONTEXT
from spinsim.family.prompts import prompts
from spinsim.family.tokenizer import BOS_ID, EOS_ID, REPLY_ID, decode


@settings(max_examples=40)
@given(st.integers(0, 2**20), st.lists(st.integers(1, CONTEXT), min_size=1, max_size=6))
def test_lengths_are_exact(seed: int, lengths: list[int]) -> None:
    made = prompts(seed, lengths)
    assert [len(prompt.tokens) for prompt in made] == lengths
    assert all(prompt.tokens[0] == BOS_ID for prompt in made)
    assert all(prompt.tokens[-1] == REPLY_ID for prompt in made if len(prompt.tokens) > 1)
    assert len({prompt.key for prompt in made}) == len(made)
    assert made == prompts(seed, lengths)


def test_a_prompt_does_not_depend_on_its_neighbours() -> None:
    assert prompts(5, [80, 90, 100])[2] == prompts(5, [7, 300, 100])[2]


@pytest.mark.parametrize("domain", DOMAINS)
def test_long_prompts_hold_solved_examples(domain: str) -> None:
    (prompt,) = prompts(2, [400], [domain])
    assert prompt.domain == domain
    assert prompt.tokens.count(EOS_ID) >= 2
    text = decode(prompt.tokens)
    question = text.rsplit(ASK, 1)[1]
    assert question.endswith(REPLY)
    assert question not in text.rsplit(ASK, 1)[0]


def test_only_held_out_indices(monkeypatch: pytest.MonkeyPatch) -> None:
    import spinsim.family.prompts as module

    asked: list[int] = []
    real = module.example

    def spy(domain: str, index: int) -> object:
        asked.append(index)
        return real(domain, index)

    monkeypatch.setattr(module, "example", spy)
    prompts(0, [1, 40, 512])
    assert asked
    assert min(asked) >= HELD_OUT


def test_domains_are_all_drawn() -> None:
    assert {prompt.domain for prompt in prompts(1, [30] * 120)} == set(DOMAINS)


@pytest.mark.parametrize("length", [0, CONTEXT + 1])
def test_untrained_lengths_are_refused(length: int) -> None:
    with pytest.raises(InputError, match=f"trained on 1 to {CONTEXT}"):
        prompts(0, [length])


def test_unknown_or_no_domain() -> None:
    with pytest.raises(InputError, match="unknown domain 'poems'"):
        prompts(0, [10], ["poems"])
    with pytest.raises(InputError, match="no domain"):
        prompts(0, [10], [])
