"""Do a target and a draft have the same vocabulary, padding apart?

Embeddings and heads are often padded to a convenient number of rows, which differs between models of one
family (Qwen2.5: 151,936 rows at 0.5B and 152,064 at 7B, for the same tokens). Such a pair can run: a draft
never proposes a token that it has no row for, and the target never accepts one.

Pure: imports no torch, so that a simulation can ask as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ROW_MULTIPLE = 64  # rows are padded to a multiple of this, or of a multiple of it
MOST_PADDING = 128  # rows by which padded vocabularies of unknown tokens may differ, as in llama.cpp


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How many tokens a model may emit, and the tokenizer's ids by token (None where they are not known).

    Tokens that were added to a tokenizer (marks of a chat) are left out: a draft that proposes a mark of
    its own is corrected by the target, as for any other wrong token.
    """

    used: int
    tokens: Mapping[str, int] | None = None


def disagreement(target: Vocabulary, draft: Vocabulary) -> str:
    """Why the draft's proposals mean nothing to the target, as a clause about "the draft"; "" if they do.

    Tokenizers decide, where both are known: then rows do not matter. Else the numbers of tokens in use must
    be equal, or differ as padding would: both are multiples of 64, and at most 128 apart.
    """
    if target.tokens is not None and draft.tokens is not None:
        return _other_token(target.tokens, draft.tokens)
    if is_padding(target.used, draft.used):
        return ""
    return f"has {draft.used} tokens, the target has {target.used}"


def is_padding(first: int, second: int) -> bool:
    """May two sizes be of one vocabulary, as far as sizes tell?"""
    padded = first % ROW_MULTIPLE == second % ROW_MULTIPLE == 0
    return first == second or (padded and abs(first - second) <= MOST_PADDING)


def _other_token(target: Mapping[str, int], draft: Mapping[str, int]) -> str:
    if target == draft:
        return ""
    token = min(t for t in target.keys() | draft.keys() if target.get(t) != draft.get(t))
    return f"has token {token!r} as {draft.get(token, 'none')}, the target as {target.get(token, 'none')}"
