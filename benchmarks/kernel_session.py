"""The session of a kernel benchmark: what is measured, ceilings, floors, results file."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spinsim.costs.operators import PassCosts
from spinsim.costs.sheets.hardware import Hardware, hardware_of
from spinsim.costs.sheets.shapes import ModelShape, shape_of
from spinsim.runner.graphs.buffers import Array
from spinsim.runner.rows import Proposal, VerifyRows

LEAD_CYCLES = 1_500_000  # under a millisecond
PROPOSED = 4  # tokens a row; a verification takes one more
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how often."""

    targets: tuple[ModelShape, ...]
    drafts: tuple[ModelShape, ...]
    batches: tuple[int, ...]
    draft_batch: int
    context: int
    long: int  # in the skewed batch, 1 row in 8 has this context and the others `short`
    short: int
    repeats: int


def full_plan() -> Plan:
    """The shapes, batches and lengths of the project's claims."""
    drafts = tuple(shape_of(f"llama-{size}") for size in ("68m", "265m", "616m", "1.1b", "1.4b"))
    targets = (shape_of("llama-7b"), shape_of("llama-3-8b"))
    return Plan(targets, drafts, (8, 32, 64), 32, 512, 2048, 292, 12)


def tiny_plan() -> Plan:
    """The same on shapes that a CPU runs in seconds."""
    like = dataclasses.replace(shape_of("llama-68m"), hidden=64, heads=4, kv_heads=4, head_dim=16, vocab=128)
    draft = dataclasses.replace(like, name="tiny-draft", layers=1, intermediate=96)
    wide = dataclasses.replace(
        like, name="tiny", layers=7, hidden=320, heads=8, head_dim=64, intermediate=768, vocab=4200
    )
    return Plan((wide,), (draft,), (2, 4), 4, 24, 48, 16, 2)


class Session:
    """The machine, the time that is left, and the rows measured so far."""

    def __init__(self, plan: Plan, device: torch.device, seconds: float, out: Path | None) -> None:
        self.plan, self.device, self.out = plan, device, out
        self.begun, self.seconds = time.perf_counter(), seconds
        self.rows: list[Row] = []
        self.machine: Row = {"torch": torch.__version__, "device": device.type}
        self.hardware: Hardware = hardware_of("h200")

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.begun

    def late(self, needs: float) -> bool:
        """Would something that ``needs`` so many seconds run past the budget?"""
        return self.elapsed + needs > self.seconds

    def add(self, section: str, **values: Any) -> None:
        """Keeps, saves and prints a row."""
        row = {"section": section, **values}
        self.rows.append(row)
        shown = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
        print(f"[{self.elapsed:5.1f} s] {section}: {shown}", flush=True)
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            draft = self.out.with_suffix(".part")
            whole = {"schema": 1, "machine": self.machine, "elapsed_s": self.elapsed, "rows": self.rows}
            draft.write_text(json.dumps(whole, indent=1) + "\n")
            os.replace(draft, self.out)

    def synchronize(self) -> None:
        """Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def device_s(self, call: Callable[[], object], inner: int = 3, repeats: int = 0) -> float:
        """Median device seconds of a call, by events around ``inner`` calls in a row.

        The device sleeps before, so that launches are queued ahead and cost it nothing.
        """
        call()
        spans = []
        for _ in range(repeats or self.plan.repeats):
            if self.device.type == "cuda":
                cuda: Any = torch.cuda
                first, last = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
                cuda._sleep(LEAD_CYCLES)
                first.record()
                for _ in range(inner):
                    call()
                last.record()
                last.synchronize()
                spans.append(first.elapsed_time(last) / 1e3 / inner)
            else:
                begin = time.perf_counter()
                call()
                spans.append(time.perf_counter() - begin)
        return float(statistics.median(spans))

    def wall_s(self, call: Callable[[], object]) -> float:
        """Median wall seconds of a call that waits for the device itself."""
        spans = []
        for _ in range(self.plan.repeats + 1):
            begin = time.perf_counter()
            call()
            spans.append(time.perf_counter() - begin)
        return statistics.median(spans[1:])

    def costs(self, shape: ModelShape) -> PassCosts:
        """The shape's operators at the measured rates; overheads are left out by the caller."""
        return PassCosts(shape, "bf16", self.hardware, efficiency=1.0)


def measure_machine(session: Session) -> None:
    """Copy bandwidth (bytes read and written) and bf16 matmul rate, the ceilings of every floor."""
    cuda = session.device.type == "cuda"
    source = torch.empty((1 << 30) if cuda else (1 << 24), dtype=torch.uint8, device=session.device).random_()
    sink = torch.empty_like(source)
    bandwidth = 2 * source.numel() / session.device_s(lambda: sink.copy_(source))
    size = 8192 if cuda else 256
    a, b = (torch.randn(size, size, device=session.device).bfloat16() for _ in range(2))
    rate = 2 * size**3 / session.device_s(lambda: a @ b)
    rates = {"bandwidth": bandwidth, "rate": {"bf16": rate}, "ridge": math.inf}  # a floor hides all it can
    session.hardware = dataclasses.replace(session.hardware, **rates)
    if cuda:
        session.machine["device"] = torch.cuda.get_device_name(session.device)
    session.machine |= {"bandwidth": bandwidth, "rate": rate}
    session.add("machine", TB_per_s=bandwidth / 1e12, TFLOP_per_s=rate / 1e12)


def verification_rows(contexts: Sequence[int], tokens: Array | None = None) -> VerifyRows:
    """``PROPOSED`` tokens after each context, in the first slots; by default always the same token."""
    rows = len(contexts)
    proposal = Proposal(np.ones((rows, PROPOSED), np.int64) if tokens is None else tokens)
    return VerifyRows(range(rows), [1] * rows, contexts, [PROPOSED] * rows, proposal)


def verification_floor(costs: PassCosts, contexts: Sequence[int]) -> float:
    """Floor of verifying ``PROPOSED`` tokens after each context, read without padding."""
    kv, tokens = sum(contexts) + PROPOSED * len(contexts), (PROPOSED + 1) * len(contexts)
    attention = costs.attention.seconds(kv, tokens, kv * (PROPOSED + 1))
    return costs.body(tokens) + costs.output(tokens) + attention


def proposal_floor(costs: PassCosts, rows: int, context: int) -> float:
    """Floor of ``PROPOSED`` steps; the first takes two tokens a row."""
    total = 0.0
    for step in range(PROPOSED):
        new, kv = 2 if step == 0 else 1, rows * (context + step)
        total += (
            costs.body(new * rows) + costs.output(rows) + costs.attention.seconds(kv, new * rows, new * kv)
        )
    return total
