"""The parts of :mod:`benchmarks.sharded`: each takes its file, and whether shapes are small."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.kernel_session import (
    PROPOSED,
    Plan,
    Session,
    measure_machine,
    verification_floor,
    verification_rows,
)
from benchmarks.sharded_machine import RANKS, Kept, devices, on_gpus, sums_in_one
from benchmarks.sharded_outputs import correct, pages, soak
from spinsim.costs.sheets.shapes import ModelShape, shape_of
from spinsim.family.llama_modules import config_of, random_llama
from spinsim.runner.base import Runner
from spinsim.runner.for_model import make_runner
from spinsim.runner.kv import Layout
from spinsim.runner.loading import prepare
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.sharded.leader import ShardedRunner
from spinsim.runner.sharded.orders import Build, Serve
from spinsim.runner.sharded.outline import drawn
from spinsim.runner.sharded.ranks import Ranks

BATCHES, CONTEXT = (1, 8, 32), 1000
TOKENS = (1, 2, 4, 8, 16, 32, 48, 64, 128, 160, 240, 320, 448, 512, 1024, 2048)


@contextmanager
def divided(
    shape: ModelShape, dtype: torch.dtype, *, rows: int, slot_tokens: int, in_one_kernel: bool = True
) -> Iterator[ShardedRunner]:
    """A runner of random weights over all ranks, its cache full of random K and V."""
    ranks = Ranks([f"gpu{rank}" for rank in range(RANKS)], devices(), in_one_kernel=in_one_kernel)
    runner: ShardedRunner | None = None
    try:
        config = config_of(shape, max_position_embeddings=max(4096, slot_tokens))
        order = drawn(config, 1, context_tokens=slot_tokens - 16, dtype=dtype).load(slot_tokens)
        collectives = ranks.meet()
        ranks.order(order)
        held = order.carry_out(0, tuple(map(str, devices())))
        ranks.answers()
        build = Build(Layout(rows, slot_tokens), RunnerPlan(rows, PROPOSED))
        ranks.order(build)
        local = build.carry_out(held, collectives)
        ranks.answers()
        ranks.order(Serve())
        runner = ShardedRunner(local, ranks, collectives)
        with torch.inference_mode():
            runner.fill()
        yield runner
    finally:
        ranks.close() if runner is None else runner.close()


def collectives(path: Path, tiny: bool) -> None:
    """Microseconds of a sum, by tokens and way, as :meth:`CudaCollectives.time` takes them on both GPUs."""
    kept = Kept(path)
    if not on_gpus():
        kept.add(skipped="no two GPUs")
        return
    hidden = 4096
    shape = dataclasses.replace(shape_of("llama-3-8b"), layers=1, intermediate=128, vocab=256)
    with divided(shape, torch.bfloat16, rows=1, slot_tokens=64) as runner:
        found: Any = runner.collectives
        kept.add(hidden=hidden, symmetric=found.symmetric, why_not=found.why_not)
        for tokens, ways in found.measured.items():
            in_us = {way: seconds * 1e6 for way, seconds in ways.items()}
            kept.add(hidden=hidden, tokens=tokens, chosen=found.ways[tokens], **in_us)


def verification_of(name: str) -> Callable[[Path, bool], None]:
    """The part that verifies with a shape."""

    def measure(path: Path, tiny: bool) -> None:
        verification(path, shape_of(name), tiny)

    return measure


def small(shape: ModelShape) -> ModelShape:
    """One for a CPU."""
    return dataclasses.replace(
        shape, layers=2, hidden=128, heads=4, kv_heads=2, head_dim=32, intermediate=192, vocab=256
    )


def sums_by(in_one_kernel: bool) -> Callable[[Path, bool], None]:
    """The part that verifies with 8B over both: sums apart from residual and norm, or in one kernel."""

    def measure(path: Path, tiny: bool) -> None:
        kept = Kept(path)
        context, dtype = (24, torch.float32) if tiny else (CONTEXT, torch.bfloat16)
        shape = small(shape_of("llama-3-8b")) if tiny else shape_of("llama-3-8b")
        rows, slot_tokens = max(BATCHES), context + 16
        with divided(shape, dtype, rows=rows, slot_tokens=slot_tokens, in_one_kernel=in_one_kernel) as runner:
            found: Any = runner.collectives
            kept.add(
                sums=getattr(found, "measured", {}),
                sums_in_one=sums_in_one(found).measured,
                why_not_in_one=sums_in_one(found).why_not,
            )
            for batch in BATCHES:
                in_one = on_gpus() and found.in_one_kernel(batch * (PROPOSED + 1))
                kept.add(batch=batch, in_one=in_one, two_ms=timed(runner, batch, context) * 1e3)

    return measure


def again(path: Path, tiny: bool) -> None:
    """Two divided deployments of one process, one after the other: both verify, and both end."""
    kept = Kept(path)
    dtype = torch.float32 if tiny else torch.bfloat16
    for number in (1, 2):
        begun = time.perf_counter()
        with divided(small(shape_of("llama-3-8b")), dtype, rows=8, slot_tokens=64) as runner:
            opened = time.perf_counter()
            found: Any = runner.collectives
            kept.add(
                deployment=number,
                open_s=opened - begun,
                symmetric=getattr(found, "symmetric", False),
                why_not=getattr(found, "why_not", ""),
                two_ms=timed(runner, 8, 24) * 1e3,
            )
            closing = time.perf_counter()
        kept.add(deployment=number, close_s=time.perf_counter() - closing)


def verification(path: Path, shape: ModelShape, tiny: bool) -> None:
    """Wall milliseconds of a call of ``verify``: over both devices, on one, and the floor of two."""
    kept = Kept(path)
    context, dtype = (24, torch.float32) if tiny else (CONTEXT, torch.bfloat16)
    shape = small(shape) if tiny else shape
    session = Session(Plan((shape,), (), BATCHES, 1, context, context, context, 12), devices()[0], 1e9, None)
    measure_machine(session)
    kept.machine |= session.machine
    rows, slot_tokens = max(BATCHES), context + 16
    with divided(shape, dtype, rows=rows, slot_tokens=slot_tokens) as runner:
        sums: dict[int, dict[str, float]] = getattr(runner.collectives, "measured", {})
        in_one = sums_in_one(runner.collectives).measured
        kept.add(symmetric=getattr(runner.collectives, "symmetric", False), sums=sums, sums_in_one=in_one)
        two = {batch: timed(runner, batch, context) for batch in BATCHES}
        for batch, seconds in two.items():
            kept.add(batch=batch, two_ms=seconds * 1e3)
        kept.add(hops={name: hops._asdict() for name, hops in runner.ranks.hops().items()})
    del runner  # or its weights and graphs would stay beside those of the whole model
    gc.collect()
    if on_gpus():
        torch.cuda.empty_cache()
    module = random_llama(shape, dtype=dtype, device=devices()[0])
    model = prepare(module, shape.name, device=devices()[0])
    single = make_runner(model, Layout(rows, slot_tokens), RunnerPlan(rows, PROPOSED))
    with torch.inference_mode():
        single.fill()
    for batch in BATCHES:
        one = timed(single, batch, context)
        tokens = batch * (PROPOSED + 1)
        floor = verification_floor(session.costs(shape), [context] * batch)
        between = sums_of_a_pass(shape.layers, tokens, sums, in_one)
        kept.add(
            batch=batch,
            one_ms=one * 1e3,
            two_ms=two[batch] * 1e3,
            speed_up=one / two[batch],
            floor_one_ms=floor * 1e3,
            sums_ms=between * 1e3,
            floor_two_ms=(floor / RANKS + between) * 1e3,
            ratio_one=one / floor,
            ratio_two=two[batch] / (floor / RANKS + between),
        )


def sums_of_a_pass(
    layers: int, tokens: int, sums: Mapping[int, Mapping[str, float]], in_one: Mapping[int, float]
) -> float:
    """Seconds of all sums by the fastest way that was measured; 0 where none was."""
    apart = next((min(ways.values()) for most, ways in sums.items() if most >= tokens), 0.0)
    with_norm = next((seconds for most, seconds in in_one.items() if most >= tokens), apart)
    return 2 * layers * min(with_norm, apart) + apart  # the embedding's is no norm's


def timed(runner: Runner, rows: int, context: int, repeats: int = 30) -> float:
    """Median wall seconds of a verification; K/V are full of random numbers."""
    asked = verification_rows([context] * rows)
    spans = []
    for _ in range(repeats + 5):
        begin = time.perf_counter()
        runner.verify(asked)
        spans.append(time.perf_counter() - begin)
    return float(np.median(spans[5:]))


PARTS: Mapping[str, Callable[[Path, bool], None]] = {
    "collectives": collectives,
    "correct": correct,
    "pages": pages,
    "soak": soak,
    "llama-3-8b": verification_of("llama-3-8b"),
    "llama-13b": verification_of("llama-13b"),
    "again": again,
    "apart": sums_by(in_one_kernel=False),
    "in-one": sums_by(in_one_kernel=True),
}
