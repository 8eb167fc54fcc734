"""Writes the tables of policies.md from the registry: ``python docs/make/policy_table.py``.

A test fails when the page is stale.
"""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

from spinsim.policies.build import KINDS, tunables

PAGE = Path(__file__).parents[1] / "policies.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
TITLES = {
    "selector": "Draft selection: `policies.selector`",
    "length": "Speculation length: `policies.length`",
    "packing": "Verification packing: `policies.packing`",
    "pipeline": "Pipelining: `policies.pipeline`",
    "composition": "Composition of micro-batches: `policies.composition`",
    "admission": "Admission: `policies.admission`",
}


def tables() -> str:
    """A section for each kind of policy, with a row for each policy."""
    sections = []
    for kind, title in TITLES.items():
        rows = [_row(kind, name) for name in KINDS[kind].names()]
        head = "| name | parameters and defaults | rule, source, what is ours |\n|---|---|---|"
        sections.append("\n".join([f"## {title}", "", head, *rows]))
    return "\n\n".join(sections)


def page(text: str) -> str:
    """The page with its tables brought up to date."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def _row(kind: str, name: str) -> str:
    cls = KINDS[kind].get(name)
    words = " ".join(inspect.cleandoc(cls.__doc__ or "").replace("``", "`").replace("|", "\\|").split())
    return f"| `{name}` | {_parameters(kind, name)} | {words} |"


def _parameters(kind: str, name: str) -> str:
    ranges = tunables(kind, name)
    found = []
    for field in dataclasses.fields(KINDS[kind].get(name).Params):
        text = f"`{field.name}: {_default(field)}`"
        if field.name in ranges:
            text += f" (tune: {ranges[field.name].low:g} to {ranges[field.name].high:g})"
        found.append(text)
    return "<br>".join(found) or "none"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return str(field.default_factory())
    return "null" if field.default is None else str(field.default)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
