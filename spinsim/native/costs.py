"""Costs as the kernel has them: a roofline's tables, and answers of Python for the rest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from spinsim.buckets import PROMPT_TOKENS, bucket_rows, bucket_tokens
from spinsim.costs.base import ROOFLINE, Predictor
from spinsim.costs.operators import PassCosts
from spinsim.engine.settings import EngineSettings
from spinsim.native import layout
from spinsim.native.parts import declared
from spinsim.operations import KINDS, Packing

LARGEST_TABLE = 1 << 16  # tokens
LAWS = {"": layout.ASKED, "factors": layout.ASKED, "kernels": layout.FIRST, "in turn": layout.SECOND}


def windowed(costs: Any) -> bool:
    """Does a model attend within windows? Its passes are asked for in Python."""
    return any(model.windowed for model in models_of(costs))


def models_of(costs: Any) -> tuple[PassCosts, ...]:
    """The target's passes, then the drafts'."""
    return (costs.target_costs, *costs.draft_costs)


class NativeCosts:
    """A predictor's answers, in tables where it declares to be a roofline. ``number``: 0, or 1 of loads."""

    def __init__(self, costs: Any, settings: EngineSettings, number: int) -> None:
        self.models: tuple[PassCosts, ...] = ()
        self.layout = layout.Costs(number=number, label=ROOFLINE)
        if declared(costs) != "roofline" or windowed(costs):
            return
        self.models = models_of(costs)
        self._tables = [self._table(model, settings) for model in self.models]
        self._models = (layout.Model * len(self.models))(*map(_model, self.models, self._tables))
        self.layout.formula = layout.FIRST
        self.layout.models = self._models
        link = getattr(costs, "link", None)
        if link is not None:
            self.layout.linked, self.layout.link_bytes = 1, link.bytes(1)
            self.layout.link_latency, self.layout.link_bandwidth = link.latency_s, link.bandwidth

    @staticmethod
    def _table(model: PassCosts, settings: EngineSettings) -> np.ndarray[Any, Any]:
        queries = settings.batch_limit * (settings.max_length + 1)
        if model.graphs:
            size = max(PROMPT_TOKENS, bucket_tokens(queries), 2 * bucket_rows(settings.batch_limit))
        else:
            size = max(queries, 2 * settings.batch_limit, settings.context_tokens)
        return np.full((2, min(size, LARGEST_TABLE) + 1), np.nan)

    def of_pass(self, model: int, output: int, tokens: int) -> float:
        """What a table does not have yet."""
        costs = self.models[model]
        return costs.output(tokens) if output else costs.body(tokens)


def _model(model: PassCosts, table: np.ndarray[Any, Any]) -> layout.Model:
    values, bandwidth = model.merging
    return layout.Model(
        overhead_s=model.overhead_s,
        operation_s=model.operation_s,
        kernels=model.kernels,
        kv_s=model.attention.kv_s,
        query_s=model.attention.query_s,
        pair_s=model.attention.pair_s,
        prompt_kv_s=model.prompt_attention.kv_s,
        prompt_query_s=model.prompt_attention.query_s,
        prompt_pair_s=model.prompt_attention.pair_s,
        row_s=model.row_s,
        merge_values=values,
        merge_bandwidth=bandwidth,
        graphs=model.graphs,
        size=table.shape[1],
        body=layout.address(table[0]),
        output=layout.address(table[1]),
    )


class AskedCosts:
    """What the kernel asks of a predictor while it plays."""

    def __init__(self, predictor: Predictor, kinds: Sequence[str]) -> None:
        self._predictor = predictor
        self._kinds = kinds

    def cost(self, kind: int, draft: int, rows: int, first: Any, second: Any, label: Any) -> float:
        """Seconds of an operation; its label goes to ``label``."""
        ask = self._predictor
        if kind == layout.TRANSFER:
            found = ask.transfer(rows, first[0])
        elif KINDS[kind] == "verify":
            packing, *sizes = first[:7]
            found = ask.verify(Packing(self._kinds[packing], *sizes))
        elif KINDS[kind] == "propose":
            found = ask.propose(draft, first[:rows], second[:rows])
        elif KINDS[kind] == "catch_up":
            found = ask.catch_up(draft, first[:rows], second[:rows])
        else:
            found = ask.prefill(first[:rows], second[:rows])
        label[0] = found.label
        return found.seconds


def set_contention(run: layout.Run, predictor: Predictor) -> Any:
    """The law of lanes that share a device. Returns a function for ``ask_factor``."""
    law: Any = predictor.contention().law
    run.law = LAWS.get(declared(law), layout.ASKED)
    among: Any = getattr(law, "among", None)
    run.among = LAWS.get(declared(among), layout.ASKED) if among is not None else layout.ASKED
    kernels: Any
    for kernels in (law, among):
        if declared(kernels) == "kernels":
            run.gap, run.crowd = kernels.gap, kernels.crowd
            run.short_s, run.wait = kernels.short_s, kernels.wait
    run.compensated = sys.version_info >= (3, 12)  # how sum() adds floats
    return getattr(law, "factor", lambda draft, of_target: 1.0)
