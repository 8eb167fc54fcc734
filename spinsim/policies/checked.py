"""The answers of a plugin's policies, checked as they are given.

A wrong answer of a policy would otherwise surface in the engine, lines and rounds away from who gave it.
Policies that ship are tested instead, and cost nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from numbers import Integral
from typing import Any

from spinsim.policies.base import NO_DRAFT, PolicyContext

PREFIX = "spinsim_plugin_"  # of the names of plugins' modules

# the run, an answer and what was asked -> what is wrong with the answer; empty when nothing is
Check = Callable[[PolicyContext, Any, Sequence[Any]], str]


class WrongAnswerError(Exception):
    """A policy decided what nobody can do."""


def check_answers(policy: Any, kind: str, name: str, context: PolicyContext) -> None:
    """From now on ``policy`` raises WrongAnswerError instead of giving a wrong answer."""
    if kind not in _CHECKS:
        return
    method, check = _CHECKS[kind]
    ask = getattr(policy, method)

    @wraps(ask)
    def asked(*question: Any) -> Any:
        answer = ask(*question)
        if wrong := check(context, answer, question):
            raise WrongAnswerError(f"{method} of the {kind} {name!r} gave {answer!r}; {wrong}")
        return answer

    setattr(policy, method, asked)


def _drafts(context: PolicyContext, answer: Any, question: Sequence[Any]) -> str:
    (batch,) = question
    least = NO_DRAFT if context.allow_none else 0
    if _whole(answer, len(batch), NO_DRAFT, len(context.drafts) - 1):
        return ""
    return f"it needs {len(batch)} indices of drafts, {least} to {len(context.drafts) - 1}"


def _lengths(context: PolicyContext, answer: Any, question: Sequence[Any]) -> str:
    batch, _ = question
    if _whole(answer, len(batch), 0, context.max_length):
        return ""
    return f"it needs {len(batch)} numbers of tokens, 0 to {context.max_length}"


def _depth(context: PolicyContext, answer: Any, question: Sequence[Any]) -> str:
    return "" if _whole([answer], 1, 1, None) else "it needs a whole number of at least 1"


def _chosen(context: PolicyContext, answer: Any, question: Sequence[Any]) -> str:
    ready = question[0]
    if _whole(answer, None, 0, len(ready) - 1) and sorted(set(answer)) == list(answer) and len(answer):
        return ""
    return f"it needs indices of 0 to {len(ready) - 1}, ascending, and at least one"


def _whole(answer: Any, count: int | None, least: int, most: int | None) -> bool:
    """Is it a sequence of ``count`` whole numbers from ``least`` to ``most``?"""
    try:
        given = list(answer)
    except TypeError:
        return False
    return count in (None, len(given)) and all(
        isinstance(one, Integral) and least <= int(one) and (most is None or int(one) <= most)
        for one in given
    )


_CHECKS: dict[str, tuple[str, Check]] = {
    "selector": ("assign", _drafts),
    "length": ("lengths", _lengths),
    "pipeline": ("depth", _depth),
    "composition": ("select", _chosen),
}


def is_from_plugin(cls: type) -> bool:
    """Was this class, and not one that it extends, written in a plugin?"""
    return cls.__module__.startswith(PREFIX)
