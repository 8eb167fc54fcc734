"""Procedural prompts of any asked length within the trained context, from the held-out split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spinsim.errors import InputError
from spinsim.family.corpus import ASK, HELD_OUT, REPLY, Example, example, turn
from spinsim.family.domains import DOMAINS
from spinsim.family.draw import Draw
from spinsim.family.family import CONTEXT
from spinsim.family.tokenizer import BOS_ID, encode

_TRIES = 8  # questions tried for one that fits a short prompt
_EXAMPLES = 64  # indices that belong to one prompt


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids that end where the answer begins. ``key`` names it for good: seed, number and length
    are in it."""

    key: str
    domain: str
    tokens: tuple[int, ...]


def prompts(seed: int, lengths: Sequence[int], domains: Sequence[str] | None = None) -> list[Prompt]:
    """One prompt per length, of exactly that many tokens; the domain is drawn from ``domains`` (all).

    A long prompt holds solved examples before its question, the earliest cut where the length wants
    it. A length below that of any question keeps the question's end. Prompt i depends on (seed, i,
    its length, domains) alone. Raises InputError for a length outside 1 .. CONTEXT, or an unknown
    domain.
    """
    allowed = tuple(DOMAINS if domains is None else domains)
    for domain in allowed:
        if domain not in DOMAINS:
            raise InputError(f"unknown domain {domain!r}; the corpus has {', '.join(DOMAINS)}")
    if not allowed:
        raise InputError(f"no domain to draw prompts from; the corpus has {', '.join(DOMAINS)}")
    made = []
    for number, length in enumerate(lengths):
        if not 1 <= length <= CONTEXT:
            raise InputError(f"a prompt of {length} tokens; the family was trained on 1 to {CONTEXT}")
        domain = Draw(f"prompts:{seed}:{number}").pick(allowed)
        tokens = _prompt(domain, HELD_OUT + ((seed << 24) + number) * _EXAMPLES, length)
        made.append(Prompt(f"family/{domain}/{seed}/{number}/{length}", domain, tokens))
    return made


def _question(item: Example) -> list[int]:
    return encode(f"{ASK}{item.question}{REPLY}")


def _prompt(domain: str, first: int, length: int) -> tuple[int, ...]:
    room = length - 1  # the document's first token is always there
    question = _question(example(domain, first))
    for attempt in range(1, _TRIES):
        if len(question) <= room:
            break
        other = _question(example(domain, first + attempt))
        question = min(question, other, key=len)
    tokens = question
    for index in range(first + _TRIES, first + _EXAMPLES):
        if len(tokens) >= room:
            break
        tokens = encode(turn(example(domain, index))) + tokens
    return (BOS_ID, *tokens[len(tokens) - room :])
