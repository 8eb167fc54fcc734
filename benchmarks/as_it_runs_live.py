"""Passes of live runs, timed where they run, and some of them again on the bench with the same inputs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.gpu_state import changing, gpu_states
from benchmarks.kernel_session import Session
from benchmarks.long_context_cells import FAST, LENGTH, SERIAL, Size, cell_of, figures
from benchmarks.policies import fixed, packing
from spinsim.costs.sheets.shapes import ModelShape
from spinsim.live.deployment import Deployment
from spinsim.live.live_run import run_scenario
from spinsim.operations import KINDS
from spinsim.runner.rows import PackedAs

KEPT_EVERY = 8  # calls between two whose inputs are kept
AGAIN = 6  # of the kept ones are run again
TIMES = 7


class Call(NamedTuple):
    """One call of a runner in a run: its arguments, what it took, and the page table that it met."""

    arguments: tuple[Any, ...]
    seconds: float
    captured: int
    pages: Any

    @property
    def asked(self) -> Any:
        """Its rows, as of :mod:`spinsim.runner.rows`."""
        return self.arguments[0]

    @property
    def rows(self) -> int:
        """Their number."""
        return len(self.asked.slots)

    @property
    def packed(self) -> PackedAs:
        """Of a verification."""
        found: PackedAs = self.arguments[1]
        return found


class Watched:
    """A runner whose calls are timed."""

    def __init__(self, runner: Any) -> None:
        self.runner = runner
        self.calls: dict[str, list[Call]] = {"verify": [], "propose": [], "prefill": []}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.runner, name)
        return self._timed(name, found) if name in self.calls else found

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            known = self.captured
            began = time.perf_counter()
            found = call(*arguments)
            seconds = time.perf_counter() - began
            calls, table = self.calls[name], self.runner.cache.table
            kept = len(calls) % KEPT_EVERY == 0
            pages = (table.host.copy(), list(table.room)) if kept else None
            calls.append(Call(arguments, seconds, self.captured - known, pages))
            return found

        return timed

    @property
    def captured(self) -> int:
        """Graphs recorded so far."""
        recorder = getattr(self.runner, "recorder", None)
        return recorder.captured if recorder is not None else 0


def live_cells(
    session: Session,
    path: Path,
    size: Size,
    overrides: Sequence[str],
    deployment: Deployment,
    shape: ModelShape,
) -> Iterator[None]:
    """Serial runs of the fast draft with each packing, at two contexts."""
    cuda = session.device.type == "cuda"
    cells = [
        (context, kind) for context in ((8192, 2048) if cuda else (24,)) for kind in ("ragged", "decomposed")
    ]
    cells += [(2048 if cuda else 24, "padded")]
    for context, kind in cells:
        if session.late(22 if cuda else 0):
            session.add("left out", what=f"live {kind} {context}")
            continue
        one_cell(session, path, size, context if cuda else 24, kind, overrides, deployment, shape)
        yield


def one_cell(
    session: Session,
    path: Path,
    size: Size,
    context: int,
    kind: str,
    overrides: Sequence[str],
    deployment: Deployment,
    shape: ModelShape,
) -> None:
    """A live run, and rows of what its operations took there and on the bench."""
    loaded = cell_of(path, size, context, [*overrides, fixed(FAST), LENGTH, packing(kind), SERIAL])
    target, drafts = Watched(deployment.target), [Watched(draft) for draft in deployment.drafts]
    stand_ins: Any = {"target": target, "drafts": tuple(drafts)}
    watched = replace(deployment, **stand_ins)
    ran = run_scenario(loaded.scenario, loaded.base_dir, watched)
    if ran.error is not None:
        raise ran.error
    session.add("live", context=context, packing=kind, **figures(ran.records), clocks=changing(gpu_states()))
    operations = ran.records.operations
    spans = (np.asarray(operations.finished_ns) - np.asarray(operations.started_ns)) * 1e-9
    kinds, sizes = np.asarray(operations.kind), np.asarray(operations.rows)
    for name, runner in (("verify", target), ("propose", drafts[0]), ("prefill", target)):
        calls = runner.calls[name]
        full = max((call.rows for call in calls), default=0)
        whole = [call for call in calls if call.rows == full]
        seen = (kinds == KINDS.index(name)) & (sizes == full)
        again = on_the_bench(runner, name, [call for call in whole if call.pages and not call.captured])
        values: dict[str, Any] = {
            "context": context,
            "packing": kind,
            "what": name,
            "rows": full,
            "calls": len(whole),
            "operation_ms": float(np.median(spans[seen])) * 1e3,
            "call_ms": statistics.median(call.seconds for call in whole) * 1e3,
            "mean_ms": statistics.fmean(call.seconds for call in whole) * 1e3,
            "graphs_captured": sum(call.captured for call in calls),
            **again,
        }
        if name == "verify":
            values["over_floor"] = over_floor(session, shape, spans[seen], whole)
            values["pieces"] = sorted({call.packed.piece for call in whole})[:8]
            values["lengths"] = sorted(whole[len(whole) // 2].asked.contexts)
        session.add("in run", **values)


def over_floor(session: Session, shape: ModelShape, spans: Any, calls: Sequence[Call]) -> float:
    """The median over calls of the operation's time over the floor of its own rows."""
    costs = session.costs(shape)
    ratios = []
    for seconds, call in zip(spans, calls, strict=False):
        contexts, lengths = call.asked.contexts, call.asked.lengths
        kv, tokens = sum(contexts) + sum(lengths), sum(lengths) + len(lengths)
        pairs = sum((c + n) * (n + 1) for c, n in zip(contexts, lengths, strict=True))
        attention = costs.attention.seconds(kv, tokens, pairs)
        ratios.append(float(seconds) / (costs.body(tokens) + costs.output(tokens) + attention))
    return statistics.median(ratios)


def on_the_bench(watched: Watched, name: str, kept: Sequence[Call]) -> dict[str, float]:
    """Kept calls again, back to back, from the same pages: medians, and what the run took over them.

    ``ordered_ms``: likewise, with the rows' pages in order.
    """
    if not kept:
        return {}
    runner = watched.runner
    call, table = getattr(runner, name), runner.cache.table
    ratios, seconds, ordered = [], [], []
    for one in kept[:: -(-len(kept) // AGAIN)]:
        host, room = one.pages
        slots = list(one.asked.slots)
        blocks = [host[slot, : -(-room[slot] // table.page_tokens)] for slot in slots]
        found = _timed_with(runner, call, one, slots, blocks)
        begins = np.cumsum([0, *map(len, blocks)])
        lined = [np.arange(a, a + len(b)) % table.pages for a, b in zip(begins, blocks, strict=False)]
        ordered.append(_timed_with(runner, call, one, slots, lined))
        seconds.append(found)
        ratios.append(one.seconds / found)
    return {
        "bench_ms": statistics.median(seconds) * 1e3,
        "ordered_ms": statistics.median(ordered) * 1e3,
        "over_bench": statistics.median(ratios),
    }


def _timed_with(runner: Any, call: Callable[..., Any], one: Call, slots: Any, blocks: Any) -> float:
    runner.cache.table.hold(slots, blocks)
    if runner.device.type == "cuda":
        torch.cuda.synchronize(runner.device)
    spans = []
    with torch.cuda.device(runner.device) if runner.device.type == "cuda" else nullcontext():
        for _ in range(TIMES):
            began = time.perf_counter()
            call(*one.arguments)
            spans.append(time.perf_counter() - began)
    return statistics.median(spans[2:])
