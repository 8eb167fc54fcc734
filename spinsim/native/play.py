"""Plays a run with the kernel, from its parts to its records."""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from spinsim.costs.base import LABELS
from spinsim.engine.kv import KvPool
from spinsim.engine.records import Records
from spinsim.engine.world import NS, Lane
from spinsim.errors import InputError
from spinsim.native import layout, tables
from spinsim.native.acceptance import NativeRuns
from spinsim.native.compiled import library
from spinsim.native.costs import AskedCosts, NativeCosts, set_contention
from spinsim.native.fits import fits
from spinsim.native.parts import Parts, declared
from spinsim.native.policies import SEEN, AskedPolicies, set_rules
from spinsim.native.profiled import NativeProfile
from spinsim.operations import KINDS
from spinsim.packings import kinds as packing_kinds
from spinsim.packings import packing_kind

REPORT_EVERY = 64  # ended requests between two progress reports
SIGNALS = (signal.SIGINT, signal.SIGTERM)
ENDLESS = -1


def covers(parts: Parts, engine: str = "auto") -> bool:
    """Can the kernel play this run? Nothing of ``parts`` is used up by asking.

    Raises InputError where it cannot and ``engine`` is ``native``.
    """
    compiled = library() is not None
    reasons = fits(parts) if compiled else ["no C compiler, or no cache folder to write to"]
    if reasons and engine == "native":
        raise InputError(
            f"the kernel does not cover this run: {'; '.join(reasons)}; auto or python", key="--engine"
        )
    return not reasons


def play(parts: Parts, report: Callable[[int], None]) -> Records | None:
    """Play a run that the kernel :func:`covers`. None where it gave up for want of memory.

    ``report`` hears how many requests have ended, now and then. Raises what policies and costs raise.
    """
    kernel = library()
    assert kernel is not None, "asked for a run that the kernel does not cover"
    return _Play(parts, report).records(kernel)


class _Play:
    def __init__(self, parts: Parts, report: Callable[[int], None]) -> None:
        serving, requests = parts.serving, parts.workload.requests
        self._parts, self._report = parts, report
        self._error: BaseException | None = None
        self._kept: list[Any] = []  # what the kernel has addresses of
        self._records = Records(
            lanes=tuple((lane.name, lane.devices) for lane in serving.layout.lanes),
            drafts=serving.settings.drafts,
        )
        self._records.closed_loop = parts.workload.concurrency is not None
        self._kinds = packing_kinds()
        count, drafts = len(requests), len(serving.settings.drafts)
        run = self._run = layout.Run(requests=count, drafts=drafts, report_every=REPORT_EVERY)
        self._noted = self._arrays_of_requests(count, drafts)
        self._set_workload()
        self._set_engine()
        self._runs = NativeRuns(parts.field, count, drafts, self._noted["finished_ns"])
        run.runs = layout.address(self._runs.table)
        self._kept += set_rules(run, serving.policies, serving.settings, self._kinds)
        self._asked = AskedPolicies(run, serving.policies, parts.workload, drafts, self._kinds, self._noted)
        tables.declare(run.tables, self._records)
        self._set_costs()
        self._set_callbacks()

    # --- what the kernel is handed ------------------------------------------------------------------------

    def _hand(self, name: str, values: Any, kind: Any = np.int64) -> np.ndarray[Any, Any]:
        """The kernel's field ``name`` is this array from now on."""
        array = np.ascontiguousarray(values, kind)
        self._kept.append(array)
        setattr(self._run, name, layout.address(array))
        return array

    def _arrays_of_requests(self, count: int, drafts: int) -> dict[str, np.ndarray[Any, Any]]:
        """What is known of each request, by name: -1 where a moment never came."""
        moments = ("arrived_ns", "admitted_ns", "first_token_ns", "finished_ns")
        counts = ("drafted", "accepted", "switches", "catch_up", "preemptions")
        noted = {name: self._hand(name, np.full(count, -1)) for name in moments}
        noted |= {name: self._hand(name, np.zeros(count), np.int32) for name in counts}
        # what policies see lies together, to be looked up at once
        noted["seen"] = np.repeat(np.array([[0], [0], [-1], [-1]], np.int32), count, axis=1)
        for name, row in zip(SEEN, noted["seen"], strict=True):
            noted[name] = self._hand(name, row, np.int32)
        noted["cached"] = self._hand("cached", np.zeros((count, drafts)), np.int32)
        noted["status"] = self._hand("status", np.full(count, layout.UNFINISHED), np.int8)
        self._hand("place", np.zeros(count), np.int8)
        return noted

    def _set_workload(self) -> None:
        workload = self._parts.workload
        requests = workload.requests
        self._run.clients = workload.concurrency or 0
        self._hand("prompt", [request.prompt_tokens for request in requests])
        self._hand("output", [request.output_tokens for request in requests])
        arrivals = [round(request.arrival_s * NS) for request in requests] if not self._run.clients else []
        self._hand("arrival_ns", arrivals)
        patient = float("inf")
        self._hand(
            "patience_ns",
            [ENDLESS if one.patience_s == patient else round(one.patience_s * NS) for one in requests],
        )

    def _set_engine(self) -> None:
        run, serving = self._run, self._parts.serving
        settings, lanes = serving.settings, serving.layout.lanes
        run.target_lane, run.batch, run.context = (
            *(settings.target_lane, settings.batch_limit),
            settings.context_tokens,
        )
        run.chunk, run.max_length = settings.prefill_chunk_tokens, settings.max_length
        run.overlapped, run.grow = settings.overlapped, settings.reserve == "grow"
        run.prompts_beside = settings.merged_prefill
        self._hand("draft_lane", settings.draft_lanes)
        self._hand("remote", (*serving.layout.remote, False))
        devices = list(dict.fromkeys(device for lane in lanes for device in lane.devices))
        run.lanes, run.devices = len(lanes), len(devices)
        self._hand("lane_devices", [[device in lane.devices for device in devices] for lane in lanes])
        self._hand("beside", [_neighbours(lanes, number) for number in range(len(lanes))])
        pools = [_pool(pool) for pool in serving.pools.every]
        target, drafts = (layout.Pool * 1)(pools[0]), (layout.Pool * max(len(pools) - 1, 1))(*pools[1:])
        run.target_pool, run.pools = target, drafts
        self._kept += [target, drafts]

    def _set_costs(self) -> None:
        run, predictor, noise = self._run, self._parts.predictor, self._parts.noise
        settings = self._parts.serving.settings
        self._costs = [
            NativeCosts(predictor, settings, 0),
            NativeCosts(predictor.contention().loads, settings, 1),
        ]
        run.costs, run.loads = (ctypes.pointer(costs.layout) for costs in self._costs)
        if declared(predictor) == "profiled":
            self._profile = NativeProfile(predictor, settings, self._kinds)
            run.profiled = ctypes.pointer(self._profile.layout)
            self._costs[0].layout.formula = layout.SECOND
        self._factor = set_contention(run, predictor)
        run.hop_ns = round(predictor.hop().seconds * (noise.hop if noise else 1.0) * NS)
        run.wake_ns = round(getattr(predictor, "wake_s", 0.0) * (noise.hop if noise else 1.0) * NS)
        run.noisy = noise is not None
        slow, rows = noise.handling if noise else 1.0, settings.batch_limit + 1
        self._slow = slow
        handle_s = [[slow * predictor.handle(kind, n).seconds for n in range(rows)] for kind in KINDS]
        run.handles = any(predictor.handle(kind, 1).seconds for kind in KINDS)
        self._hand("handle_s", handle_s, np.float64)
        self._host_s = self._hand("host_s", np.zeros(rows), np.float64)
        self._host_ns = self._hand("host_ns", np.zeros(rows))
        self._hand("factors", np.full(2 * len(settings.draft_lanes) + 2, np.nan), np.float64)
        every = [packing_kind(kind) for kind in self._kinds]
        self._hand("rectangular", [kind.rectangular for kind in every])
        self._hand("merged", [kind.merged for kind in every])

    def _set_callbacks(self) -> None:
        asked, noise = self._asked, self._parts.noise
        for name, answer in {
            "ask_pass": lambda costs, *what: self._costs[costs].of_pass(*what),
            "ask_cost": AskedCosts(self._parts.predictor, self._kinds).cost,
            "ask_fit": lambda *what: self._profile.ask(*what),
            "ask_host": self._ask_host,
            "ask_factor": lambda draft, of_target: self._factor(draft, bool(of_target)),
            "ask_noise": noise.factor if noise else None,
            "ask_runs": self._runs.ask,
            "ask_depth": asked.depth,
            "select": asked.select,
            "assign": asked.assign,
            "ask_lengths": asked.lengths,
            "plan": asked.plan,
            "observe": asked.observe,
            "think": asked.think,
            "observe_pipeline": lambda committed, active: self._parts.serving.policies.pipeline.observe(
                self._run.now_ns, committed, active
            ),
            "forget": asked.forget,
            "flush": lambda table, rows: tables.flush(
                self._run.tables[table], table, rows, self._records, self._kinds
            ),
            "report": lambda ended: self._report(ended) if ended else None,
        }.items():
            kind = layout.CALLBACKS[name]
            callback = kind(self._guarded(answer, name != "flush")) if answer else kind()
            self._kept.append(callback)
            setattr(self._run, name, callback)

    def _guarded(self, answer: Callable[..., Any], once: bool) -> Callable[..., Any]:
        """``answer``, whose exceptions end the run; after one, those asked ``once`` are asked no more."""

        def ask(*arguments: Any) -> Any:
            if once and self._error is not None:
                return 0
            try:
                return answer(*arguments)
            except BaseException as error:  # C knows no exceptions: it is raised when the kernel has ended
                self._error = error
                self._run.stop = layout.STOPPED
                return 0

        return ask

    def _ask_host(self, rows: int) -> None:
        """As SimulatedWorld._host_time: orchestrator time of an operation, for up to ``rows``."""
        for n in range(self._run.hosts, rows + 1):
            seconds = self._slow * self._parts.predictor.orchestrate(n).seconds
            self._host_s[n], self._host_ns[n] = seconds, round(seconds * NS)
            self._run.hosts = n + 1

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """What handlers of signals raise ends the run at its next event.

        Python would raise it as a callback begins, where nobody catches it.
        """
        main = threading.current_thread() is threading.main_thread()
        found = {number: signal.getsignal(number) for number in SIGNALS} if main else {}
        handlers = {number: handler for number, handler in found.items() if callable(handler)}

        def handle(number: int, frame: FrameType | None) -> None:
            try:
                handlers[signal.Signals(number)](number, frame)
            except BaseException as error:
                self._error, self._run.stop = error, layout.STOPPED

        for number in handlers:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    # --- the run ------------------------------------------------------------------------------------------

    def records(self, kernel: ctypes.CDLL) -> Records | None:
        run, records = self._run, self._records
        with self._interruptible():
            ended = kernel.play(ctypes.byref(run))
        interrupted = isinstance(self._error, KeyboardInterrupt)
        if self._error is not None and not interrupted:
            raise self._error
        if ended > layout.STOPPED:
            return None  # the Python engine says what is wrong
        records.requests = tables.request_records(self._parts.workload, run.arrived, self._noted)
        records.ended_ns, records.last_arrival_ns = run.ended_ns, run.last_arrival_ns
        if interrupted:
            records.interrupted, records.ended_ns = "interrupted", run.now_ns
        records.label_s = dict(zip(LABELS, run.label_s, strict=False))
        records.orchestrator_s = run.orchestrator_s
        return records


def _pool(pool: KvPool) -> layout.Pool:
    return layout.Pool(
        full=pool.full,
        keeps=pool.keeps,
        block_tokens=pool.block_tokens,
        blocks=pool.blocks,
        slots=pool.slots,
        free_blocks=pool.free_blocks,
        free_slots=pool.slots,
    )


def _neighbours(lanes: Sequence[Lane], number: int) -> list[int]:
    """As SharedLane.neighbours, in its order; filled up with -1."""
    mine = lanes[number].devices
    found = dict.fromkeys(i for device in mine for i, lane in enumerate(lanes) if device in lane.devices)
    others = [i for i in found if i != number]
    return others + [-1] * (len(lanes) + 1 - len(others))
