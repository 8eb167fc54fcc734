"""The corpus's domains: each a generator of (question, answer) texts, all written here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from spinsim.family.domains import code, maths, prose
from spinsim.family.draw import Draw

Generator = Callable[[Draw], tuple[str, str]]

DOMAINS: Mapping[str, Generator] = MappingProxyType(
    {
        "arithmetic": maths.arithmetic,
        "sorting": maths.sorting,
        "sequences": maths.sequences,
        "json": code.json_record,
        "functions": code.functions,
        "tables": code.tables,
        "stories": prose.stories,
        "backwards": prose.backwards,
        "recall": prose.recall,
        "inventory": prose.inventory,
    }
)
