"""What a scenario may name, with a line each: hardware, shapes, policies, drafters, formats of traffic."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from spinsim.errors import InputError

Lines = dict[str, str]
EXAMPLES = 4  # names that the list of kinds gives of each


def hardware() -> Lines:
    """The hardware sheets that ship."""
    from spinsim.costs.sheets.hardware import GIB, hardware_names, hardware_of

    lines = {}
    for name in hardware_names():
        sheet = hardware_of(name)
        rates = ", ".join(f"{rate / 1e12:g} {dtype}" for dtype, rate in sheet.rate.items())
        lines[name] = (
            f"{sheet.memory_bytes / GIB:.0f} GiB, {sheet.bandwidth / 1e9:,.0f} GB/s, TFLOP/s: {rates}"
        )
    return lines


def shapes() -> Lines:
    """The model shapes that ship; any transformers ``config.json`` does as well."""
    from spinsim.costs.sheets.shapes import shape_names, shape_of

    lines = {}
    for name in shape_names():
        shape = shape_of(name)
        context = "any context" if shape.context is None else f"context {shape.context:,}"
        ours = "; widths are ours" if shape.ours else ""
        lines[name] = (
            f"{shape.parameters() / 1e6:,.0f}M parameters, {shape.layers} layers of {shape.hidden}, "
            f"vocabulary {shape.vocab:,}, {context}{ours}"
        )
    return lines


def policies() -> Lines:
    """The policies of every kind, plugins included: ``selector.joint`` and so on."""
    from spinsim.policies.build import KINDS

    return {
        f"{kind}.{name}": _first_sentence(registry.get(name))
        for kind, registry in KINDS.items()
        for name in registry.names()
    }


def drafters() -> Lines:
    """The kinds of drafters, those of plugins included."""
    import spinsim.drafters.for_scenario  # noqa: F401 - registers those that ship
    from spinsim.drafters.registry import KINDS

    return {name: _first_sentence(kind) for name, kind in KINDS.items()}


def formats() -> Lines:
    """The formats of ``workload.source``."""
    from spinsim.workload.formats import READERS

    return {name: reader.expected for name, reader in READERS.items()}


KINDS: Mapping[str, Callable[[], Lines]] = MappingProxyType(
    {"hardware": hardware, "shapes": shapes, "policies": policies, "drafters": drafters, "formats": formats}
)


def catalogue(kind: str = "") -> Lines:
    """A line for each name of a kind of ``KINDS``, or for each kind. Raises InputError for another kind."""
    if not kind:
        return {name: _in_short(names) for name, names in KINDS.items()}
    if kind not in KINDS:
        raise InputError(f"{kind!r} is no list; one of {', '.join(KINDS)}", key="KIND")
    return KINDS[kind]()


def _in_short(names: Callable[[], Lines]) -> str:
    """What a kind's list holds: what they are, how many, and some of them."""
    found = list(names())
    more = ", ..." if found[EXAMPLES:] else ""
    return f"{_first_sentence(names)} {len(found)}: {', '.join(found[:EXAMPLES])}{more}"


def _first_sentence(thing: object) -> str:
    """Of its docstring, without markup."""
    words = " ".join(inspect.cleandoc(getattr(thing, "__doc__", "") or "").split()).replace("``", "")
    ends = re.search(r"(?<!et al)\.(?= [A-Z])", words)
    return words[: ends.end()] if ends else words
