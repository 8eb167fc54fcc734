"""Kinds of drafters by the names that a scenario uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from spinsim.drafters.base import Drafter

KINDS: dict[str, type[Drafter]] = {}
MODEL = "model"
Kind = TypeVar("Kind", bound=type[Drafter])


def register(name: str) -> Callable[[Kind], Kind]:
    """Class decorator. Raises ValueError where the name is taken."""

    def add(cls: Kind) -> Kind:
        if name in KINDS:
            raise ValueError(f"two kinds of drafters are called {name!r}")
        cls.kind = name
        KINDS[name] = cls
        return cls

    return add
