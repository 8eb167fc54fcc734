"""Where a verification's time goes, and what other ways of running it take.

    python -m benchmarks.verification_ways --seconds 90 --out ways.json      # one GPU
    python -m benchmarks.verification_ways --tiny --out ways.json            # a rehearsal on a CPU

The 8B shape with random weights, 5 new tokens a row, K/V in pages of 64, CUDA graphs. Sections:

``where``  kernels of one replay by name: how many, how long in all, and how long the GPU runs none
``ways``   the pass with either matrix library while its graph is recorded, and with rows cut into other
           parts (:mod:`spinsim.runner.attention.parts`), beside its floor at the rates of this session
``products``  each matrix product of a layer, and the head's, by tokens: either library as torch calls it, and
           the fastest of :data:`GUESSES` algorithms of cuBLASLt, beside its floor
``steps``  a draft's step likewise, with either matrix library
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.kernel_session import PROPOSED, Session, measure_machine, verification_floor
from benchmarks.kernels import free, over, time_proposal, time_verification
from benchmarks.paged import cache_of, decoder_of, measured, plan_of
from spinsim.costs.sheets.shapes import shape_of
from spinsim.family.llama_modules import random_llama
from spinsim.runner.attention import parts
from spinsim.runner.fused import LeanDecoder
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.layers import cublaslt
from spinsim.runner.loading import prepare

PAGE = 64
CELLS = ((48, 2048), (24, 8192))  # rows, tokens of each
LIBRARIES = ("cublas", "cublaslt")
CUTS = ((512, 2), (1024, 2), (2048, 2), (512, 3), (1024, 3))  # parts.USUAL and parts.RESIDENT; today's first
TOKENS = (1, 48, 240, 256, 120)  # of a product
GUESSES = 40
DRAFTS = ("llama-3-1b", "llama-3-117m")


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


def where(session: Session, runner: GraphedRunner, rows: int, context: int) -> None:
    """The kernels of one replay."""
    if session.device.type != "cuda":
        return
    tokens = np.ones((rows, PROPOSED), np.int64)
    asked = (list(range(rows)), [1] * rows, [context] * rows, [PROPOSED] * rows, tokens)
    with torch.inference_mode():
        found, span, idle = kernels_of(runner.verifications.prepare(*asked, "ragged", 0, ()))
    for name, (count, us) in sorted(found.items(), key=lambda item: -item[1][1])[:24]:
        session.add("where", rows=rows, context=context, kernel=name[:90], count=count, us=us)
    session.add("where", rows=rows, context=context, kernel="all", us=span, idle_us=idle)


def verification(session: Session) -> Iterator[None]:
    """Each cell as it is, by kernels; by either library; and with other parts of rows."""
    shape, decoder = session.plan.targets[0], decoder_of(session)
    for rows, context in cells(session):
        cache = cache_of(session, shape, rows, context, PAGE)
        assert cache is not None
        floor = verification_floor(session.costs(shape), [context] * rows)
        tried = [(name, *CUTS[0]) for name in LIBRARIES] + [(LIBRARIES[0], *cut) for cut in CUTS[1:]]
        for number, (name, usual, resident) in enumerate(tried):
            if session.late(3):
                return
            with library(name), patch.multiple(parts, USUAL=usual, RESIDENT=resident):
                runner = over(decoder, cache, shape, rows, "auto")
                seconds, _ = time_verification(session, runner, [context] * rows, "ragged", 0)
            session.add(
                "ways",
                rows=rows,
                context=context,
                library=name,
                part=usual,
                resident=resident,
                device_ms=seconds * 1e3,
                ratio=seconds / floor,
            )
            if not number:
                where(session, runner, rows, context)
            del runner
            yield
        del cache
        free()


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


def steps(session: Session) -> Iterator[None]:
    """A draft's step with all rows, by either library."""
    rows, context = cells(session)[0]
    shapes = [shape_of(name) for name in DRAFTS] if session.device.type == "cuda" else session.plan.drafts
    for shape in shapes:
        module = random_llama(shape, dtype=torch.bfloat16, device=session.device)
        decoder = LeanDecoder(prepare(module, shape.name, device=session.device), context + 64)
        cache = cache_of(session, shape, rows, context, PAGE)
        assert cache is not None
        for name in LIBRARIES:
            with library(name):
                seconds, _ = time_proposal(session, over(decoder, cache, shape, rows, "auto"), rows)
            session.add("steps", draft=shape.name, rows=rows, library=name, device_ms=seconds * 1e3)
            yield


def cells(session: Session) -> Sequence[tuple[int, int]]:
    """Rows, and tokens of each."""
    return CELLS if session.device.type == "cuda" else ((4, 24),)


SECTIONS = {"verification": verification, "products": products, "steps": steps}


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
    return 1 if sum(measured(session, name, section) for name, section in SECTIONS.items()) else 0


if __name__ == "__main__":
    sys.exit(main())
