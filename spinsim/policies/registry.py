"""Policies by the names that a scenario uses.

A policy is a class ``cls(params, context)`` with a nested frozen dataclass ``Params``. Adding one
takes one file in the package of its kind, with the class decorated::

    @SELECTORS.register("mine")
    class Mine:
        @dataclass(frozen=True)
        class Params:
            eagerness: Annotated[float, Ge(0), Tunable(0.1, 10, log=True)] = 1.0
"""

from __future__ import annotations

from spinsim.packings import PACKINGS
from spinsim.policies.base import (
    AdmissionPolicy,
    CompositionPolicy,
    LengthPolicy,
    PipelinePolicy,
    Selector,
)
from spinsim.registry import Registry

__all__ = [
    "ADMISSIONS",
    "COMPOSITIONS",
    "LENGTHS",
    "PACKINGS",
    "PIPELINES",
    "SELECTORS",
    "Registry",
]

SELECTORS: Registry[Selector] = Registry("selector", ("assign", "observe", "forget"))
LENGTHS: Registry[LengthPolicy] = Registry("length", ("lengths", "observe", "forget"))
PIPELINES: Registry[PipelinePolicy] = Registry("pipeline", ("depth", "observe"))
COMPOSITIONS: Registry[CompositionPolicy] = Registry("composition", ("select",))
ADMISSIONS: Registry[AdmissionPolicy] = Registry("admission", ("key",))
