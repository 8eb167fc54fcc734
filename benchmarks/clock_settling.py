"""How fast a GPU's clock settles: operations in turn, after heavy work, after a pause, with gaps between.

    python -m benchmarks.evidence --profile --clocks --out results/evidence   # clocks-1.json beside cells

A profile measures each operation for some 30 ms, between others. A GPU at its power limit lowers its clock.
So what comes before a point may tell at what clock it is measured. In a run, rounds of a few rows follow each
other for seconds. Each series is a list of operations with the time since the series began, what it took, and
the clock behind it. That clock is counted on the device: a kernel that spins for so many cycles is timed.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_state import gpu_states
from spinsim.files import write_atomically
from spinsim.packings import usual_packing
from spinsim.profiling.bench import PIECE, USUAL_LENGTH, Bench, Timed
from spinsim.profiling.probes import Probe
from spinsim.profiling.workplace import Workplace

SCHEMA = "spinsim.clock-settling/1"
CYCLES = 400_000  # of a spin: 0.2 ms
EVERY = 4  # operations between two spins
HEAVY_S, SERIES_S, PAUSE_S = 0.5, 1.0, 0.7
SHAPES = ((1, 256), (2, 2048), (8, 512), (8, 2048), (32, 256), (32, 2048))  # rows, context
GAPS_S = (0.002, 0.008)  # between two rounds: the shares of an open loop
POWER = "timestamp,clocks.sm,power.draw.instant,power.draw,temperature.gpu"
Numbers = dict[str, Any]


@dataclass
class Series:
    """``at_s``, ``took_s`` by operation; ``mhz`` by spin: (seconds since the series began, MHz)."""

    name: str
    rows: int
    context: int
    operations: list[tuple[str, float, float]] = field(default_factory=list)
    mhz: list[tuple[float, float]] = field(default_factory=list)


class Clock:
    """Counts a device's clock. On a CPU it counts nothing."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._cuda = bench.deployment.target.device.type == "cuda"
        self._empty_ms = min((self._spin(1) for _ in range(20)), default=0.0) if self._cuda else 0.0

    def mhz(self) -> float:
        """Now; 0 without a GPU."""
        if not self._cuda:
            return 0.0
        return CYCLES / max(self._spin(CYCLES) - self._empty_ms, 1e-6) * 1e-3

    def _spin(self, cycles: int) -> float:
        found: list[float] = []

        def spin() -> None:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            torch.cuda._sleep(cycles)
            end.record()
            end.synchronize()
            found.append(begin.elapsed_time(end))

        self._bench.stamps(self._bench.target_lane, "verify", spin)
        return found[0]


def played(
    bench: Bench, clock: Clock, into: Series, operations: Sequence[Timed], seconds: float, gap_s: float = 0.0
) -> None:
    """The operations in turn for so long; ``gap_s`` after each round of them."""
    began, count = time.perf_counter(), 0
    while (now := time.perf_counter() - began) < seconds:
        lane, operation, execute = operations[count % len(operations)]
        into.operations.append((operation, now, bench.stamps(lane, operation, execute).seconds))
        count += 1
        if count % EVERY == 0:
            into.mhz.append((time.perf_counter() - began, clock.mhz()))
        if gap_s and count % len(operations) == 0:
            time.sleep(gap_s)


def series_of(place: Workplace, scale: float) -> Iterator[Series]:
    """All of them. ``scale`` of their times: a rehearsal's are short."""
    bench, limits = place.bench, place.scenario.limits
    clock = Clock(bench)
    tokens = min(limits.prefill_chunk_tokens, limits.context_tokens - 1)
    heavy: Timed = (bench.target_lane, "prefill", bench.call(Probe("prefill", "", -1, 1, tokens, 0)))
    longest = limits.context_tokens - limits.max_length - 1
    shapes = list(dict.fromkeys((min(rows, place.batch), min(kv, longest)) for rows, kv in SHAPES))

    def play(name: str, rows: int, context: int, operations: Sequence[Timed], gap_s: float = 0.0) -> Series:
        series = Series(name, rows, context)
        played(bench, clock, series, operations, SERIES_S * scale, gap_s)
        return series

    time.sleep(PAUSE_S * scale)
    yield play("prefill after a pause", 1, tokens, [heavy])
    for rows, context in shapes:
        pair = _round(place, rows, context)
        played(bench, clock, Series("", rows, context), [heavy], HEAVY_S * scale)
        yield play("after prefills", rows, context, pair)
        time.sleep(PAUSE_S * scale)
        yield play("after a pause", rows, context, pair)
        paged = [_paged(bench, timed, draft) for timed, draft in zip(pair, (0, -1), strict=True)]
        yield play("tables written", rows, context, [*pair, *paged])
    for gap_s in GAPS_S:  # of the last shape
        yield play(f"gaps of {1e3 * gap_s:g} ms", rows, context, pair, gap_s)


def _round(place: Workplace, rows: int, context: int) -> tuple[Timed, Timed]:
    """A proposal of the first draft, and the verification of it."""
    bench, length = place.bench, min(USUAL_LENGTH, place.scenario.limits.max_length)
    packing = usual_packing(place.scenario.policies.packing.name)
    propose = Probe("draft_step", "", 0, rows, 1, context, proposal=length)
    verify = Probe("verify", "", -1, rows, length + 1, context, packing, PIECE)
    return (
        (bench.draft_lanes[0], "draft_step", bench.call(propose)),
        (bench.target_lane, "verify", bench.call(verify)),
    )


def _paged(bench: Bench, timed: Timed, draft: int) -> Timed:
    """The same, with the page table of one row written before it."""
    lane, operation, execute = timed
    laid = bench.laid_of[draft]

    def after_tables() -> Any:
        laid.write(1)
        return execute()

    return lane, f"{operation}, tables written", after_tables


def measure_clocks(place: Workplace, path: Path, scale: float = 1.0) -> None:
    """Every series, kept in ``path`` as it ends; nvidia-smi's readings lie beside it."""
    data: Numbers = {"schema": SCHEMA, "gpus": gpu_states(), "series": []}
    with _readings(path.with_suffix(".csv")):
        for series in series_of(place, scale):
            data["series"].append(
                {
                    "name": series.name,
                    "rows": series.rows,
                    "context": series.context,
                    "operations": [
                        [kind, round(at, 5), round(took, 7)] for kind, at, took in series.operations
                    ],
                    "mhz": [[round(at, 5), round(mhz, 1)] for at, mhz in series.mhz],
                }
            )
            write_atomically(path, json.dumps(data) + "\n")


@contextmanager
def _readings(path: Path) -> Iterator[None]:
    command = ["nvidia-smi", f"--query-gpu={POWER}", "--format=csv,noheader,nounits", "--loop-ms=50"]
    with path.open("w") as table:
        try:
            reader: subprocess.Popen[bytes] | None = subprocess.Popen(
                command, stdout=table, stderr=subprocess.DEVNULL
            )
        except OSError:
            reader = None
        try:
            yield
        finally:
            if reader is not None:
                reader.terminate()
                reader.wait()
