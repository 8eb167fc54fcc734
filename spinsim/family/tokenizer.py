"""The family's vocabulary: byte-level BPE trained on the corpus, single digits, five special tokens."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from spinsim.family.corpus import ASK, BOS, EOS, PAD, REPLY, document
from spinsim.family.domains import DOMAINS

VOCABULARY = 2048
SPECIAL = (PAD, BOS, EOS, ASK, REPLY)  # ids 0 .. 4
PAD_ID, BOS_ID, EOS_ID, ASK_ID, REPLY_ID = range(5)
SHIPPED = Path(__file__).with_name("checkpoints") / "tokenizer.json"


def _texts(documents_per_domain: int) -> Iterator[str]:
    for index in range(documents_per_domain):
        for domain in DOMAINS:
            yield document(domain, index)


def train(documents_per_domain: int = 2000, vocabulary: int = VOCABULARY) -> Any:
    """A ``tokenizers.Tokenizer``; the same corpus gives the same merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(documents_per_domain), trainer)
    return tokenizer


@cache
def load(path: Path = SHIPPED) -> Any:
    """The tokenizer saved at ``path`` (the shipped one by default)."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def encode(text: str) -> list[int]:
    """Token ids under the shipped vocabulary; special tokens are written as in the corpus."""
    ids: list[int] = load().encode(text).ids
    return ids


def decode(ids: list[int] | tuple[int, ...]) -> str:
    """The text of ``ids``, special tokens included."""
    text: str = load().decode(list(ids), skip_special_tokens=False)
    return text
