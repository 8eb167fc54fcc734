"""Policies as the kernel has them: by their numbers where it knows the rule, else asked in Python."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from spinsim.engine.settings import EngineSettings
from spinsim.native import layout
from spinsim.native.parts import declared
from spinsim.operations import named
from spinsim.policies.base import Feedback, RequestView
from spinsim.policies.build import Policies
from spinsim.workload.request import Workload

RULES = {  # by what classes declare, for each kind of policy
    "admission": {"arrival": layout.FIRST, "shortest prompt": layout.SECOND},
    "selector": {"fixed": layout.FIRST, "spin": layout.SECOND},
    "length": {"table": layout.FIRST},
    "packing": {"ragged": layout.FIRST, "padded": layout.SECOND, "decomposed": layout.THIRD},
    "pipeline": {"constant": layout.FIRST},
    "composition": {"round robin": layout.FIRST},
}
SEEN = "generated", "rounds", "last_draft", "slot"  # of a request, by policies; rows of one array
REWARDS = {"tokens_per_draft_second": layout.FIRST, "tokens": layout.SECOND}  # else tokens_per_round_second


def set_rules(
    run: layout.Run, policies: Policies, settings: EngineSettings, kinds: Sequence[str]
) -> list[Any]:
    """Fill in which rules the kernel follows by itself. Returns arrays that must live as long as it plays."""
    for kind, rules in RULES.items():
        setattr(run, kind, rules.get(declared(getattr(policies, kind)), layout.ASKED))
    selector, kept = policies.selector, []
    limited: Any = getattr(selector, "unlimited_rows", 0)
    if run.selector == layout.SECOND and settings.batch_limit > limited:
        run.selector = layout.ASKED  # assigned jointly, within the drafts' capacities
    if run.selector == layout.FIRST:
        run.fixed_draft, run.fixed_capacity = selector.draft, selector.capacity  # type: ignore[attr-defined]
    elif run.selector == layout.SECOND:
        kept.append(_set_spin(run, selector))
    if run.length == layout.FIRST:
        table = np.array(policies.length.table, np.int64)  # type: ignore[attr-defined]
        run.lengths = layout.address(table)
        kept.append(table)
    run.depth = policies.pipeline.depth() if run.pipeline == layout.FIRST else 0
    run.max_depth = policies.pipeline.max_depth
    if run.packing:
        run.packing_kind = kinds.index(declared(policies.packing))
    if run.packing == layout.THIRD:
        kept += _set_decomposed(run, policies.packing, settings)
    run.listening = not (run.selector and run.length)
    run.thinking = hasattr(selector, "thought")
    return kept


def _set_spin(run: layout.Run, spin: Any) -> np.ndarray[Any, Any]:
    run.arms, run.allow_none = len(spin.arms), spin.statistics.no_draft
    run.weight, run.stay, run.explore = spin.statistics.weight, spin.stay, spin.params.explore
    run.reward = REWARDS.get(spin.params.reward, layout.THIRD)
    wanted = np.array(spin.wanted)
    run.wanted = layout.address(wanted)
    return wanted


def _set_decomposed(run: layout.Run, packing: Any, settings: EngineSettings) -> list[Any]:
    longest = max(settings.context_tokens + packing.align, packing.shortest)
    known = np.zeros((layout.DECOMPOSITIONS, 3), np.int64)
    arrays = [
        np.zeros(size, np.uint8)
        for size in (longest + 1, settings.batch_limit, layout.DECOMPOSITIONS * settings.batch_limit)
    ]
    made = layout.Decompositions(packing.align, packing.shortest, 0, *map(layout.address, (*arrays, known)))
    run.decompositions = ctypes.pointer(made)
    return [*arrays, known, made]


class AskedPolicies:
    """What the kernel asks of policies that it does not know, and tells them.

    Their views of requests are brought up to date from ``now``: arrays by request, of what a server sees.
    """

    def __init__(
        self,
        run: layout.Run,
        policies: Policies,
        workload: Workload,
        drafts: int,
        kinds: Sequence[str],
        now: dict[str, np.ndarray[Any, Any]],
    ) -> None:
        self._policies = policies
        self._prompts = [request.prompt_tokens for request in workload.requests]
        self._drafts = drafts
        self._kinds = kinds
        self._now = now
        self._views: dict[int, RequestView] = {}
        both = (policies.selector, run.selector), (policies.length, run.length)
        self._told = [policy for policy, rule in both if not rule]

    def views(self, requests: Sequence[int]) -> list[RequestView]:
        """The requests as policies see them, as they are now.

        Every other one that a policy was shown and that has not ended is brought up to date as well: a policy
        may keep the views that it gets, and the engine's are always of now.
        """
        now, views = self._now, self._views
        for request in requests:
            if request not in views:
                arrived = int(now["arrived_ns"][request])
                views[request] = RequestView(request, self._prompts[request], arrived, self._drafts)
        every = list(views)
        columns = *now["seen"][:, every].tolist(), now["cached"][every].tolist()
        for view, generated, rounds, draft, slot, cached in zip(views.values(), *columns, strict=True):
            view.generated, view.rounds, view.draft, view.slot = generated, rounds, draft, slot
            view.cached = cached
        return [views[request] for request in requests]

    def depth(self) -> int:
        return self._policies.pipeline.depth()

    def select(self, rows: int, chosen: Any, active: int, depth: int) -> int:
        found = self._policies.composition.select(self.views(chosen[:rows]), active, depth)
        if any(not 0 <= index < rows for index in found):
            raise IndexError(f"composition chose {found} of {rows} requests")
        _fill(chosen, found)
        return len(found)

    def assign(self, rows: int, requests: Any, drafts: Any) -> None:
        found = self._policies.selector.assign(self.views(requests[:rows]))
        if any(not -1 <= draft < self._drafts for draft in found):
            raise IndexError(f"selector chose {found} of {self._drafts} drafts")
        _fill(drafts, found, rows)

    def lengths(self, rows: int, requests: Any, drafts: Any, lengths: Any) -> None:
        found = self._policies.length.lengths(self.views(requests[:rows]), drafts[:rows])
        if any(not 0 <= length < 2**15 for length in found):
            raise OverflowError(f"length policy chose {found}")
        _fill(lengths, found, rows)

    def plan(self, rows: int, kv: Any, queries: Any, packing: Any) -> None:
        kind, *sizes = self._policies.packing.plan(kv[:rows], queries[:rows])
        packing[0] = layout.Packing(self._kinds.index(kind), *sizes)

    def observe(self, rows: int, *columns: Any) -> None:
        *lists, round_s, verify_s = columns
        requests, drafts, lengths, accepted, committed, draft_s = (column[:rows] for column in lists)
        told = self.views(requests), drafts, lengths, accepted, committed, draft_s, round_s, (), verify_s
        feedback = named(Feedback, told)
        for policy in self._told:
            policy.observe(feedback)

    def think(self) -> None:
        self.views(())
        thought = self._policies.thought()
        if thought is not None:
            thought()

    def forget(self, request: int) -> None:
        for policy in self._told:
            policy.forget(request)
        self._views.pop(request, None)


def _fill(target: Any, values: Sequence[int], rows: int | None = None) -> None:
    if rows is not None and len(values) != rows:
        raise ValueError(f"a policy answered {len(values)} values for {rows} requests")
    ctypes.memmove(target, (ctypes.c_int64 * len(values))(*values), 8 * len(values))
