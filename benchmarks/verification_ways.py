"""Where a verification's time goes, and what other ways of running it take.

    python -m benchmarks.verification_ways --seconds 90 --out ways.json      # one GPU
    python -m benchmarks.verification_ways --tiny --out ways.json            # a rehearsal on a CPU

The 8B shape with random weights, 5 new tokens a row, K/V in pages of 64, CUDA graphs. Sections:

``where``  kernels of one replay by name: how many, how long in all, and how long the GPU runs none
``ways``   the pass with rows cut into shorter parts (:mod:`spinsim.runner.attention.parts`), and as it is,
           beside its floor at the rates of this session
``products``  each matrix product of a layer, and the head's, by tokens: either library as torch calls it, and
           the fastest of :data:`GUESSES` algorithms of cuBLASLt, beside its floor
``attention``  the attention kernel of one layer, with tiles of :data:`TILES` (tokens, warps, stages)
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from benchmarks import cublaslt
from benchmarks.kernel_session import (
    PROPOSED,
    Session,
    measure_machine,
    verification_floor,
    verification_rows,
)
from benchmarks.kernels import free, over, time_verification
from benchmarks.paged import cache_of, decoder_of, measured, plan_of
from spinsim.runner.attention import parts
from spinsim.runner.attention.kernels import use_kernel
from spinsim.runner.batch import Rows, build_batch
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.rows import AS_RAGGED

PAGE = 64
CELLS = ((48, 2048), (24, 8192))  # rows, tokens of each
LIBRARIES = ("cublas", "cublaslt")
TOKENS = (1, 48, 240, 256, 120)  # of a product
GUESSES = 40
SHORT = 512  # tokens of a part, as it was until these measurements
# Tokens, warps and stages; today's first.
TILES = ((64, 4, 2), (32, 4, 2), (32, 4, 3), (32, 4, 4), (64, 2, 2), (128, 4, 2), (128, 4, 3))


@contextmanager
def library(name: str) -> Iterator[None]:
    """Matrix products by ``name``; nothing on a CPU."""
    if not torch.cuda.is_available():
        yield
        return
    before = torch.backends.cuda.preferred_blas_library()
    torch.backends.cuda.preferred_blas_library(name)
    try:
        yield
    finally:
        torch.backends.cuda.preferred_blas_library(before)


def kernels_of(call: Callable[[], object]) -> tuple[dict[str, tuple[int, float]], float, float]:
    """By name (count, microseconds) of one call's kernels; all of their span; and what of it is idle."""
    call()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize()
    found: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    spans = []
    for event in profile.events():
        if event.device_type != torch.autograd.DeviceType.CUDA:
            continue
        begin, end = event.time_range.start, event.time_range.end
        count, total = found[event.name]
        found[event.name] = count + 1, total + end - begin
        spans.append((begin, end))
    spans.sort()
    idle, until = 0.0, spans[0][0] if spans else 0.0
    for begin, end in spans:
        idle += max(0.0, begin - until)
        until = max(until, end)
    return dict(found), until - spans[0][0] if spans else 0.0, idle


def where(session: Session, runner: GraphedRunner, rows: int, context: int, way: str) -> None:
    """The kernels of one replay."""
    if session.device.type != "cuda":
        return
    with torch.inference_mode():
        replay = runner.verifications.prepare(verification_rows([context] * rows), AS_RAGGED)
        found, span, idle = kernels_of(replay)
    for name, (count, us) in sorted(found.items(), key=lambda item: -item[1][1])[:14]:
        session.add("where", way=way, rows=rows, context=context, kernel=name[:90], count=count, us=us)
    session.add("where", way=way, rows=rows, context=context, kernel="all", us=span, idle_us=idle)


def verification(session: Session) -> Iterator[None]:
    """Each cell with shorter parts of rows and as it is. ``agrees``: the share of rows that emit the same."""
    decoder = decoder_of(session)
    shape = session.plan.targets[0]
    for rows, context in cells(session):
        cache = cache_of(session, shape, rows, context, PAGE)
        assert cache is not None
        floor = verification_floor(session.costs(shape), [context] * rows)
        before: list[list[int]] = []
        for part in (SHORT, parts.USUAL):
            if session.late(3):
                return
            with patch.object(parts, "USUAL", part):
                runner = over(decoder, cache, rows, "auto")
                seconds, _ = time_verification(session, runner, [context] * rows, "ragged", 0)
                said = emitted(runner, rows, context, shape.vocab)
                before = before or said
                session.add(
                    "ways",
                    rows=rows,
                    context=context,
                    way=f"parts of {part}",
                    device_ms=seconds * 1e3,
                    floor_ms=floor * 1e3,
                    ratio=seconds / floor,
                    agrees=sum(a == b for a, b in zip(said, before, strict=True)) / rows,
                )
                where(session, runner, rows, context, f"parts of {part}")
            del runner
            yield
        del cache
        free()


def emitted(runner: GraphedRunner, rows: int, context: int, vocabulary: int) -> list[list[int]]:
    """What a verification says after the same proposals in every way."""
    tokens = np.random.default_rng(1).integers(0, vocabulary, (rows, PROPOSED))
    return runner.verify(verification_rows([context] * rows, tokens)).tokens


def products(session: Session) -> Iterator[None]:
    """Each product by itself; weights of several layers, so that none waits in the on-chip memory."""
    shape = session.plan.targets[0]
    sizes = {
        "qkv": (shape.attention_width + 2 * shape.kv_width, shape.hidden),
        "out": (shape.hidden, shape.attention_width),
        "gate_up": (2 * shape.intermediate, shape.hidden),
        "down": (shape.hidden, shape.intermediate),
        "head": (shape.vocab, shape.hidden),
    }
    rates = session.hardware
    for name, (outer, inner) in sizes.items():
        cold = 4 if outer * inner < 1 << 27 else 1
        weights = [
            torch.randn(outer, inner, device=session.device, dtype=torch.bfloat16) * 0.02 for _ in range(cold)
        ]
        for tokens in TOKENS if session.device.type == "cuda" else (4,):
            if session.late(2):
                return
            x = torch.randn(tokens, inner, device=session.device).bfloat16()
            moved = 2 * (outer * inner + tokens * (outer + inner)) / rates.bandwidth
            floor = max(moved, 2 * tokens * outer * inner / rates.rate["bf16"])
            found: dict[str, float] = {}

            def timed(
                multiply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
                x: torch.Tensor = x,
                weights: list[torch.Tensor] = weights,
            ) -> float:
                def run() -> None:
                    for weight in weights:
                        multiply(x, weight)

                return session.device_s(run, repeats=4) / len(weights)

            for other in LIBRARIES:
                with library(other):
                    found[other] = timed(torch.nn.functional.linear)
            best, at, wrong, order = float("inf"), -1, 0.0, list[float]()
            if cublaslt.works(x):
                right = torch.nn.functional.linear(x, weights[0]).float()
                for number, guess in enumerate(cublaslt.guesses(tokens, weights[0], GUESSES)):
                    multiply = partial(cublaslt.multiply, guess=guess)
                    try:
                        took = timed(multiply)
                    except cublaslt.LibraryError:  # a guess that the library itself refuses
                        continue
                    order.append(took * 1e6)
                    if took < best:
                        best, at = took, number
                        wrong = float((multiply(x, weights[0]).float() - right).norm() / right.norm())
            session.add(
                "products",
                matrix=name,
                tokens=tokens,
                floor_us=floor * 1e6,
                **{f"{other}_us": took * 1e6 for other, took in found.items()},
                guess_us=best * 1e6,
                guess=at,
                guesses=len(order),
                first_us=order[0] if order else 0.0,
                differs=wrong,
                ratio=min(best, *found.values()) / floor,
            )
            yield
        del weights
        free()


def attention(session: Session) -> Iterator[None]:
    """The attention kernel of one layer by tiles and lengths of parts, beside reading K and V once."""
    if session.device.type != "cuda":
        return
    from spinsim.runner.attention.in_triton import Tiles, attend_pieces

    shape = replace(session.plan.targets[0], layers=1)
    (rows, context), new = cells(session)[0], PROPOSED + 1
    cache = cache_of(session, shape, rows, context, PAGE)
    assert cache is not None
    query = torch.randn(rows * new, shape.heads, shape.head_dim, device=session.device).bfloat16()
    asked = Rows(list(range(rows)), [new] * rows, [context + PROPOSED] * rows)
    floor = rows * (context + PROPOSED) * shape.kv_bytes_per_token("bf16") / session.hardware.bandwidth
    for part, (tokens, warps, stages) in product((SHORT, parts.USUAL, 2 * parts.USUAL), TILES):
        if session.late(3):
            return
        with patch.object(parts, "USUAL", part):
            batch = use_kernel(build_batch(cache, asked, "ragged")[0], "triton")
        tiles = Tiles(32, tokens, warps, stages)
        call = partial(attend_pieces, query, batch, 0, shape.head_dim**-0.5, tiles)
        us = session.device_s(call) * 1e6
        named = {"tokens": tokens, "warps": warps, "stages": stages}
        session.add("attention", part=part, **named, us=us, floor_us=floor * 1e6, ratio=us / floor / 1e6)
        yield


def cells(session: Session) -> Sequence[tuple[int, int]]:
    """Rows, and tokens of each."""
    return CELLS if session.device.type == "cuda" else ((4, 24),)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what fits; 0 when no section failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=90.0, help="start nothing that would end later")
    parser.add_argument("--out", type=Path, help="JSON file, rewritten after every row")
    parser.add_argument("--tiny", action="store_true", help="small shapes, for a machine without a GPU")
    options = parser.parse_args(arguments)
    cuda = torch.cuda.is_available()
    if not cuda and not options.tiny:
        parser.error("no CUDA device; allowed without one: --tiny")
    device = torch.device("cuda", 0) if cuda else torch.device("cpu")
    session = Session(plan_of(options.tiny), device, options.seconds, options.out)
    measure_machine(session)
    sections: dict[str, Callable[[Session], Iterator[None]]] = {
        "verification": verification,
        "products": products,
        "attention": attention,
    }
    return 1 if sum(measured(session, name, section) for name, section in sections.items()) else 0


if __name__ == "__main__":
    sys.exit(main())
