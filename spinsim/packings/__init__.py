"""How the rows of one verification share a tensor: what is executed, what it costs, and how it is planned.

A room near the ground: policies, costs, engine and runner import it; it imports the bucketing rule alone.
To add a packing, add a file here, or a plugin, with a subclass of
:class:`~spinsim.packings.base.PackingKind` under ``@PACKINGS.register("NAME")``. Scenarios, costs, memory,
captured graphs, kernels and profiles read there what they need to know of it.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from spinsim.packings.base import (
    PACKINGS,
    PackingKind,
    executed_by,
    kinds,
    packing_kind,
    reads_copies,
    usual_packing,
)

_FIRST = ("padded", "decomposed", "ragged")  # in this order profiles measure them
_NONE = ("base", "tables")

for _name in dict.fromkeys((*_FIRST, *(module.name for module in iter_modules(__path__)))):
    if _name not in _NONE:
        import_module(f"{__name__}.{_name}")

__all__ = ["PACKINGS", "PackingKind", "executed_by", "kinds", "packing_kind", "reads_copies", "usual_packing"]
