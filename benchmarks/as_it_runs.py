"""Why operations take longer within a run than on a bench: ``python -m benchmarks.as_it_runs --out FILE``.

One cause at a time, on one deployment (Llama 3 8B shape with random weights, drafts of 117M and 1.2B), with
the graphs and lanes of a run: rows of unequal length, blocks all over the cache, gaps between operations,
cold caches, page tables laid before every pass, what ran before, a warm GPU, the other GPU busy. Every row
has the ratio to the first condition, which is what a bench sees: rows alike, blocks in order, back to back.

Then live runs. Their passes are timed where they run, and a few of them are run again on the bench, with the
same rows, pages and tokens: what is left between the two is what a bench cannot see. Floors are taken at the
copy bandwidth and the matmul rate measured in the same command. Rows reach ``--out`` as they are measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.as_it_runs_live import live_cells
from benchmarks.conditions import (
    Condition,
    Passes,
)
from benchmarks.gpu_state import changing, gpu_states
from benchmarks.kernel_session import Session, full_plan, measure_machine, tiny_plan, verification_floor
from benchmarks.long_context_cells import ACCEPTED, FAST, FULL, LARGE, QUICK, SHAPES, Size, write_scenario
from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.costs.sheets.shapes import ModelShape
from spinsim.live.deployment import deploy
from spinsim.live.quiet_interpreter import quiet
from spinsim.profiling.bench import Bench
from spinsim.scenario_file import load
from spinsim.serving import lay_out

PACKINGS = ("ragged", "padded", "decomposed")
CONTEXTS = (8192, 2048, 16384)
PIECES = (256, 512, 1024, 2048, 4096)
WARM_S = 12.0
GAPS_S = (0.0002, 0.0005, 0.001, 0.003)
PROMPT = 2048

EQUAL = Condition("rows alike, in order")
BASE = (
    EQUAL,
    Condition("after a proposal", before="propose"),
    Condition("lengths lognormal", lengths="lognormal"),
    Condition("one long row", lengths="long"),
    Condition("blocks scattered", scattered=True),
    Condition("pages laid before", laid=True),
    *(Condition(f"gap of {gap * 1e3:g} ms", gap_s=gap) for gap in GAPS_S),
    Condition("host caches cold", chill=True),
    Condition("GPU cache flushed", flush=True),
    Condition("after a prefill", before="prefill"),
)
TOGETHER = Condition(
    "all of a run",
    lengths="lognormal",
    scattered=True,
    laid=True,
    gap_s=0.0005,
    before="other",
)
SOME = (
    EQUAL,
    Condition("lengths lognormal", lengths="lognormal"),
    Condition("blocks scattered", scattered=True),
    TOGETHER,
)


class Bothered:
    """Another GPU kept busy by a thread, while this is entered."""

    def __init__(self, device: torch.device | None) -> None:
        self.device, self._on = device, threading.Event()

    def __enter__(self) -> None:
        if self.device is not None:
            self._on.set()
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
            time.sleep(0.3)

    def __exit__(self, *_: object) -> None:
        if self.device is not None:
            self._on.clear()
            self._thread.join()

    def _run(self) -> None:
        a = torch.randn(8192, 8192, device=self.device).bfloat16()
        while self._on.is_set():
            for _ in range(20):
                a @ a
            torch.cuda.synchronize(self.device)


def scenario_of(folder: Path, size: Size, hardware: str, gpus: int, kv_tokens: int) -> Any:
    """The long-context cells' scenario with two of their drafts."""
    path = write_scenario(folder, size, hardware, gpus, {"model": "roofline"})
    last, dtype = f"gpu{gpus - 1}", "fp32" if hardware == "cpu" else "bf16"
    names = (FAST, LARGE)
    shapes = dict.fromkeys(names, "tiny.json") if hardware == "cpu" else SHAPES
    models = ", ".join(f"{name}: {{shape: {shapes[name]}, dtype: {dtype}}}" for name in names)
    places = ", ".join(f"{name}: {last}" for name in names)
    chances = ", ".join(f"{name}: {ACCEPTED[name]}" for name in names)
    overrides = [
        f"models.drafts={{{models}}}",
        f"placement.drafts={{{places}}}",
        f"acceptance={{model: constant, probability: {{{chances}}}}}",
        f"kv.target_tokens={kv_tokens}",
        f"limits.batch={size.rows}",
    ]
    return path, overrides, load(path, overrides)


class Probe:
    """The deployment on the bench, and what is measured of it."""

    def __init__(self, session: Session, passes: Passes, size: Size, shape: ModelShape) -> None:
        self.session, self.passes, self.size, self.shape = session, passes, size, shape
        self._first: dict[str, float] = {}

    def row(self, what: str, context: int, condition: Condition, state: str = "", piece: int = 0) -> None:
        """Measure an operation under a condition; the ratio is to its first condition."""
        found = self.passes.measure(what, context, condition, piece)
        key = f"{what} {context}"
        first = self._first.setdefault(key, found.seconds)
        values: dict[str, Any] = {
            "what": what,
            "context": context,
            "condition": " ".join(filter(None, (condition.name, state))),
            "ms": found.seconds * 1e3,
            "device_ms": found.device_s * 1e3,
            "ratio": found.seconds / first,
        }
        if piece:
            values["piece"] = piece
        if what.startswith("verify"):
            floor = verification_floor(self.session.costs(self.shape), found.contexts)
            values["over_floor"] = found.seconds / floor
            values["longest"], values["pieces"] = max(found.contexts), found.pieces
        self.session.add("bench", **values)

    def conditions(self) -> Iterator[None]:
        """Verification at each context, the ragged packing under every condition, others under some."""
        for context in self.contexts:
            for condition in BASE:
                self.row("verify ragged", context, condition)
            self.row("verify ragged", context, TOGETHER)
            yield
        for context in self.contexts[:2]:
            for condition in SOME:
                self.row("verify padded", context, condition)
            for piece in PIECES if self.session.device.type == "cuda" else (16,):
                for condition in SOME[:2]:
                    self.row("verify decomposed", context, condition, piece=piece)
            yield

    def longest_rows(self) -> Iterator[None]:
        """One row of 1, 2, 4 and 8 times the mean, the total as it is."""
        context = min(self.contexts)
        for times in (1, 2, 4, 8):
            condition = Condition(f"a row of {times} x the mean", lengths="long", longest=times * context)
            for what in ("verify ragged", "propose large", "propose fast"):
                self.row(what, context, condition)
        yield

    def others(self) -> Iterator[None]:
        """Proposals and a prefill."""
        for context in self.contexts[:2]:
            for what in ("propose large", "propose fast", "prefill"):
                for condition in (EQUAL, *BASE[2:]):
                    if not (condition.before or (what == "prefill" and condition.lengths)):
                        self.row(what, context, condition)
                self.row(what, context, Condition("after a verification", before="verify"))
            yield

    def warm(self) -> Iterator[None]:
        """The same after seconds of work without a pause, and with the other GPU at work."""
        context = self.contexts[0]
        busy = WARM_S if self.session.device.type == "cuda" else 0.1
        stop, seen = threading.Event(), list[Any]()

        def watch() -> None:
            while not stop.wait(1.0):
                seen.append(changing(gpu_states()))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        self.passes.busy("verify ragged", context, busy)
        for what in ("verify ragged", "propose large", "prefill"):
            for condition in (EQUAL, TOGETHER):
                self.row(what, context, condition, "warm")
                self.passes.busy("verify ragged", context, min(busy, 1.0))
        stop.set()
        watcher.join()
        self.session.add("clocks", samples=seen)
        yield
        other = None
        if torch.cuda.device_count() > 1:
            other = torch.device("cuda", 1)
            with Bothered(other):
                for condition in (EQUAL, TOGETHER):
                    self.row("verify ragged", context, condition, "warm, the other GPU busy")
        yield

    @property
    def contexts(self) -> tuple[int, ...]:
        """Mean contexts, the most telling first."""
        return CONTEXTS if self.session.device.type == "cuda" else (48, 24)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what fits; 0 when no section failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=200.0, help="start nothing that would end later")
    parser.add_argument("--out", type=Path, help="JSON file, rewritten after every row")
    parser.add_argument("--gpus", type=int, choices=(1, 2), help="default: two where there are two")
    parser.add_argument("--kv-tokens", type=int, default=240_000, help="in the target's cache (240000)")
    parser.add_argument("--tiny", action="store_true", help="small shapes, for a machine without a GPU")
    options = parser.parse_args(arguments)
    cuda = torch.cuda.is_available()
    if not cuda and not options.tiny:
        parser.error("no CUDA device; allowed without one: --tiny")
    device = torch.device("cuda", 0) if cuda else torch.device("cpu")
    session = Session(full_plan() if cuda else tiny_plan(), device, options.seconds, options.out)
    measure_machine(session)
    session.add("clocks", samples=[changing(gpu_states())])
    hardware = (sheet_of_device(torch.cuda.get_device_name(device)) or "h200") if cuda else "cpu"
    gpus = options.gpus or (min(2, torch.cuda.device_count()) if cuda else 1)
    size = dataclasses.replace(FULL, contexts=(2048, 8192, 16384)) if cuda else QUICK
    with TemporaryDirectory() as scratch:
        kv_tokens = options.kv_tokens if cuda else 2048
        path, overrides, loaded = scenario_of(Path(scratch), size, hardware, gpus, kv_tokens)
        deployment = deploy(loaded.scenario, loaded.base_dir, packings=PACKINGS)
        session.add("deployed", kv_tokens=deployment.kv_tokens, gpus=gpus)
        layout = lay_out(loaded.scenario)
        bench = Bench(loaded.scenario, deployment, layout.lanes, layout.target_lane, layout.draft_lanes)
        shape = session.plan.targets[-1]
        longest = size.longest - 8
        probe = Probe(session, Passes(bench, size.rows, longest, min(PROMPT, longest // 4)), size, shape)
        sections: list[tuple[str, Callable[[], Iterator[None]]]] = [
            ("conditions", probe.conditions),
            ("live", lambda: live_cells(session, path, size, overrides, deployment, shape)),
            ("others", probe.others),
            ("warm", probe.warm),
            ("longest rows", probe.longest_rows),
        ]
        failed = 0
        with quiet():
            for name, section in sections:
                failed += measured(session, name, section)
                session.add("clocks", samples=[changing(gpu_states())])
        bench.close()
    return 1 if failed else 0


def measured(session: Session, name: str, section: Callable[[], Iterator[None]]) -> bool:
    """Runs a section while there is time; did it fail?"""
    try:
        for _ in section():
            if session.late(10):
                session.add("left out", what=f"the rest of {name}")
                break
    except Exception:
        session.add("failed", what=name, error=traceback.format_exc(limit=-6))
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
