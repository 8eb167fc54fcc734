"""The vocabulary: any text comes back, digits stay single, training repeats exactly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spinsim.family import tokenizer
from spinsim.family.corpus import ASK, BOS, EOS, PAD, REPLY, document
from spinsim.family.domains import DOMAINS


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_corpus_comes_back_and_ids_fit() -> None:
    for domain in DOMAINS:
        text = document(domain, 7)
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert max(ids) < tokenizer.VOCABULARY
        assert ids[0] == tokenizer.BOS_ID
        assert ids[-1] == tokenizer.EOS_ID


def test_special_tokens_have_their_ids() -> None:
    assert tokenizer.encode(PAD + BOS + EOS + ASK + REPLY) == [0, 1, 2, 3, 4]


def test_every_digit_is_a_token() -> None:
    assert len(tokenizer.encode("1234567")) == 7


def test_training_repeats() -> None:
    first, second = (tokenizer.train(documents_per_domain=20, vocabulary=400).to_str() for _ in range(2))
    assert first == second
