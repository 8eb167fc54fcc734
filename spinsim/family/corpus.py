"""The procedural corpus: examples and documents by (domain, index), and the mixes models train on.

Indices from ``HELD_OUT`` upwards are never trained on. Training and held-out texts come from
the same generators, whose spaces are large enough that a held-out question is hardly ever one
that was trained on (a test measures it).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from spinsim.errors import InputError
from spinsim.family.domains import DOMAINS
from spinsim.family.draw import Draw

HELD_OUT = 1 << 40  # the first index of the held-out split

BOS, EOS, PAD, ASK, REPLY = "<|bos|>", "<|eos|>", "<|pad|>", "<|ask|>", "<|reply|>"

# What models train on: weights of domains. The mix, more than the size, is what makes drafts differ.
MIXES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "all": MappingProxyType(dict.fromkeys(DOMAINS, 1.0)),
        "code": MappingProxyType(dict.fromkeys(("json", "functions", "tables"), 1.0)),
        "maths": MappingProxyType(dict.fromkeys(("arithmetic", "sorting", "sequences"), 1.0)),
        "prose": MappingProxyType(dict.fromkeys(("stories", "backwards", "recall", "inventory"), 1.0)),
    }
)

_TURNS = (1, 1, 1, 2, 2, 4, 4, 16)  # examples in a document: few-shot contexts are trained too


class Example(NamedTuple):
    question: str
    answer: str


def example(domain: str, index: int) -> Example:
    """The ``index``-th example of a domain; the same on every machine.

    Raises InputError for an unknown domain.
    """
    if domain not in DOMAINS:
        raise InputError(f"unknown domain {domain!r}; the corpus has {', '.join(DOMAINS)}")
    return Example(*DOMAINS[domain](Draw(f"{domain}:{index}")))


def turn(item: Example) -> str:
    """Question and answer as the models see them."""
    return f"{ASK}{item.question}{REPLY}{item.answer}{EOS}"


def document(domain: str, index: int) -> str:
    """A document: one to sixteen examples of a domain, each ended by end-of-text."""
    draw = Draw(f"{domain}:{index}")
    make = DOMAINS[domain]
    return BOS + "".join(turn(Example(*make(draw))) for _ in range(draw.pick(_TURNS)))
