"""A profile's fits as the kernel has them; what is beyond their range it asks of the predictor."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from spinsim.costs.profiled.laws import Law
from spinsim.engine.settings import EngineSettings
from spinsim.native import layout
from spinsim.native.parts import declared

WAITS = {"prompts": 1, "rows": 2}  # as the kernel has them, else 0


class NativeProfile:
    """The fits of a predictor that declares to be ``profiled``. ``kinds``: names of packings, in order."""

    def __init__(self, predictor: Any, settings: EngineSettings, kinds: Sequence[str]) -> None:
        self._fits: list[Any] = []
        self._kept: list[Any] = []
        drafts, rows = predictor.drafts, range(settings.batch_limit + 1)
        queries = range(settings.batch_limit * (settings.max_length + 1) + 1)
        step_rows = [[predictor.step_rows(draft, n) for n in rows] for draft in range(len(drafts))]
        self.layout = layout.Profiled(
            prompt_graphs=predictor.prompt_graphs,
            prefill=self._several([predictor.target.get(("prefill", ""))]),
            verify=self._several(predictor.target.get(("verify", kind)) for kind in kinds),
            catch_up=self._several(fits.get(("catch_up", "")) for fits in drafts),
            first=self._several(fits.get(("draft_step", "first")) for fits in drafts),
            later=self._several(fits.get(("draft_step", "later")) for fits in drafts),
            step_rows=self._keep(step_rows, np.int64),
            verify_tokens=self._keep([predictor.verify_tokens(n) for n in queries], np.int64),
            transfer_s=self._keep(np.full(len(queries), np.nan)),
        )

    def ask(self, number: int, tokens: float, head: float) -> int:
        """The address of what a fit keeps: what is fixed of a law, or a table's row."""
        fit = self._fits[number]
        return self._keep([fit.fixed(tokens, head)] if isinstance(fit, Law) else fit.row(tokens))

    def _keep(self, values: Any, kind: Any = np.float64) -> int:
        self._kept.append(np.ascontiguousarray(values, kind))
        return layout.address(self._kept[-1])

    def _several(self, passes: Iterable[Any]) -> Any:
        made = [self._one(one) for one in passes]
        self._kept.append((layout.Fit * max(1, len(made)))(*made))
        return self._kept[-1]

    def _one(self, one: Any) -> layout.Fit:
        fit: Any = None if one is None else one.chosen.fit
        if declared(fit) not in ("law", "interpolation") or one.divided:
            return layout.Fit()  # asked in Python
        cells = (layout.Cell * layout.CELLS)()
        self._kept.append(cells)
        measured = [[*shape, seconds] for shape, seconds in one.measured.items()]
        tokens = [shape.tokens for shape in one.shapes]
        kv = [shape.kv_tokens for shape in one.shapes]
        known = layout.Fit(
            number=len(self._fits),
            known=True,
            points=len(measured),
            is_law=declared(fit) == "law",
            min_tokens=min(tokens),
            max_tokens=max(tokens),
            min_kv=min(kv),
            max_kv=max(kv),
            max_context=max(shape.kv_tokens / shape.rows for shape in one.shapes),
            measured=self._keep(measured),
            cells=ctypes.addressof(cells),
        )
        self._fits.append(fit)
        if known.is_law:
            attention = fit.costs.attention
            known.waits, known.coefficients = WAITS.get(fit.waits, 0), tuple(fit.coefficients)
            known.kv_s, known.query_s, known.pair_s = attention.kv_s, attention.query_s, attention.pair_s
        else:
            known.knots, known.knot = len(fit.knots), self._keep(fit.knots)
        return known
