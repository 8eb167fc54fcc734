"""The packing of the plan that the selector made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Len

from spinsim.operations import Packing
from spinsim.packings import kinds, packing_kind
from spinsim.packings.base import PackingKind
from spinsim.policies.base import PolicyContext
from spinsim.policies.registry import PACKINGS


def in_place() -> tuple[str, ...]:
    """The packings that read K/V where they are, with no padded copy that takes memory from the cache."""
    return tuple(name for name in kinds() if not packing_kind(name).copied)


@PACKINGS.register("planned")
class PlannedPacking:
    """As the selector ``planned`` decided, of the packings that are ``among`` (ours).

    Left out, these are all that read K/V in place. One that reads a padded copy (``padded``) has to be named:
    memory for the copy is then set aside, and the cache is smaller.
    """

    needs_plan = True

    @dataclass(frozen=True)
    class Params:
        among: Annotated[tuple[str, ...], Len(1)] | None = None

        def packings(self) -> tuple[str, ...]:
            """Their names; ``ragged`` first, the one of equals that is taken."""
            names = in_place() if self.among is None else self.among
            return tuple(sorted(dict.fromkeys(names), key=lambda name: name != "ragged"))

    def __init__(self, params: Params, context: PolicyContext) -> None:
        assert context.plan is not None
        self._plan = context.plan
        choices: dict[str, PackingKind] = {}
        for name in params.packings():
            kind = packing_kind(name)
            choices[name] = kind(kind.Params(), context)
        self.choices: Mapping[str, PackingKind] = choices
        self._first = next(iter(choices))

    def plan(self, kv_tokens: Sequence[int], query_tokens: Sequence[int]) -> Packing:
        """See :class:`~spinsim.packings.base.PackingPolicy`."""
        return self.choices[self._plan.packing or self._first].plan(kv_tokens, query_tokens)
