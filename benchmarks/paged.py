"""K/V in pages on a GPU: ``python -m benchmarks.paged --seconds 220 --out paged.json``.

Sections, in this order: what the machine does (copy bandwidth and matmul rate, at which every floor below is
taken), the kernels against plain torch, a live run that preempts against transformers' ``generate``,
verification and prefill of the 8B shape in whole slots and in pages, matrix products by number of tokens,
verification within a live run, and the attention kernel cut in several ways. A section that fails is
reported, and the others go on. Rows reach ``--out`` as they are measured; what no longer fits into
``--seconds`` is left out and said so. ``--tiny`` runs everything on small shapes, on the CPU too, where
Triton has no part. Weights are random: they decide no time.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.kernel_session import PROPOSED, Plan, Session, measure_machine, tiny_plan, verification_floor
from benchmarks.kernels import free, over, time_verification
from benchmarks.paged_attention import attention_cuts
from benchmarks.paged_live import lossless, within_a_run
from spinsim.costs.sheets.shapes import ModelShape, shape_of
from spinsim.family.llama_modules import random_llama
from spinsim.runner.fused import LeanDecoder
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.kv import SlotCache
from spinsim.runner.kv_capacity import free_memory
from spinsim.runner.loading import prepare
from spinsim.runner.rows import ChunkRows
from spinsim.runner.selfcheck import check_attention, check_graphs

ROWS = 48
CONTEXTS = (2048, 8192, 16384)
PAGES = (None, 64, 16)  # tokens of a page; None: whole slots
PIECE = 1024
TOKENS = (1, 48, 128, 192, 224, 240, 256, 288, 320, 384, 432, 448, 480, 512)
LIBRARIES = ("cublas", "cublaslt")


def plan_of(tiny: bool) -> Plan:
    """One target, and one batch of :data:`ROWS` rows."""
    if tiny:
        return dataclasses.replace(tiny_plan(), batches=(4,))
    targets = (shape_of("llama-3-8b"),)
    return Plan(targets, (shape_of("llama-68m"),), (ROWS,), ROWS, CONTEXTS[0], CONTEXTS[-1], 0, 8)


def contexts_of(session: Session) -> tuple[int, ...]:
    """Contexts to verify at."""
    return CONTEXTS if session.device.type == "cuda" else (24, 48)


def decoder_of(session: Session) -> LeanDecoder:
    """Random weights of the target's shape, for the longest context."""
    shape = session.plan.targets[0]
    module = random_llama(shape, dtype=torch.bfloat16, device=session.device)
    longest = max(contexts_of(session)) + 64
    return LeanDecoder(prepare(module, shape.name, device=session.device), longest)


def cache_of(
    session: Session, shape: ModelShape, rows: int, context: int, page: int | None
) -> SlotCache | None:
    """Random K and V for ``rows`` contexts, pages in any order; None where whole slots do not fit.

    Where memory is too small for all, rows that are far apart share pages: by the time that the second one
    reads a page, nothing of it is left in any on-chip memory.
    """
    slot, pages = context + PROPOSED + 1, None
    if session.device.type == "cuda":
        room = int((free_memory(session.device) - (4 << 30)) // shape.kv_bytes_per_token("bf16"))
        if page is None and rows * (slot + 16) > room:
            return None
        pages = None if page is None else min(rows * -(-slot // page), room // page)
    cache = SlotCache(
        shape.layers,
        rows,
        slot,
        shape.kv_heads,
        shape.head_dim,
        page_tokens=page,
        pages=pages,
        device=session.device,
        dtype=torch.bfloat16,
    )
    for layer in range(shape.layers):
        cache.keys[layer].normal_()
        cache.values[layer].normal_()
    if page is not None:
        order, width = torch.randperm(cache.pages, dtype=torch.int32).numpy(), cache.table.width
        cache.table.hold(
            range(rows),
            [order[[(row * width + i) % cache.pages for i in range(width)]] for row in range(rows)],
        )
    return cache


def correct(session: Session) -> Iterator[None]:
    """Attention of every packing over pages, and graphs over pages, against plain torch. Raises where not."""
    for check in (
        lambda: check_attention(session.device, False, False),
        lambda: check_graphs(session.device, False, ("llama",)),
    ):
        wrong = check()
        session.add("correct", wrong=len(wrong))
        if wrong:
            raise AssertionError("\n".join(wrong))
        yield


def live(session: Session) -> Iterator[None]:
    """A live run in fp32 whose requests are preempted, against ``generate``. Raises where it differs."""
    for found in lossless(session.device):
        session.add("live", **found)
        yield


def verification(session: Session) -> Iterator[None]:
    """Verification in whole slots and in pages, of all packings, beside the floor."""
    shape, rows = session.plan.targets[0], session.plan.batches[0]
    decoder = decoder_of(session)
    for context in contexts_of(session):
        floor = verification_floor(session.costs(shape), [context] * rows)
        for page in PAGES:
            if page == 16 and context != contexts_of(session)[1]:
                continue
            free()
            cache = cache_of(session, shape, rows, context, page)
            if cache is None:
                session.add("left out", what=f"whole slots of {context} tokens: they do not fit")
                continue
            runner: GraphedRunner | None = over(decoder, cache, rows, "auto")
            for kind, piece in (("ragged", 0), ("padded", 0), ("decomposed", PIECE)):
                if session.late(3):
                    return
                assert runner is not None
                device, wall = time_verification(session, runner, [context] * rows, kind, piece)
                session.add(
                    "verification",
                    context=context,
                    page=page or 0,
                    packing=kind,
                    shared=cache.pages * cache.page_tokens < rows * context,
                    device_ms=device * 1e3,
                    wall_ms=wall * 1e3,
                    floor_ms=floor * 1e3,
                    ratio=device / floor,
                )
            if context == contexts_of(session)[1]:
                add_prefill(session, runner, context, page)
            del cache
            runner = None
            yield


def add_prefill(session: Session, runner: GraphedRunner | None, context: int, page: int | None) -> None:
    """The last chunk of a prompt that fills the context."""
    assert runner is not None
    chunk = min(2048, context // 2)
    rows = ChunkRows([0], [context - chunk], [[1] * chunk])
    wall = session.wall_s(lambda: runner.prefill(rows))
    session.add("prefill", context=context, page=page or 0, tokens=chunk, wall_ms=wall * 1e3)


def products(session: Session) -> Iterator[None]:
    """All matrix products of a pass by its tokens, with each library, beside their floor."""
    shape, costs = session.plan.targets[0], session.costs(session.plan.targets[0])
    wide = shape.attention_width + 2 * shape.kv_width
    sizes = (
        (wide, shape.hidden),
        (shape.hidden, shape.attention_width),
        (2 * shape.intermediate, shape.hidden),
        (shape.hidden, shape.intermediate),
    )
    layers = 4  # weights of several, so that none waits in the on-chip memory
    weights = [
        [torch.randn(size, device=session.device).bfloat16() * 0.02 for size in sizes] for _ in range(layers)
    ]
    usual = torch.backends.cuda.preferred_blas_library() if session.device.type == "cuda" else None
    for library in LIBRARIES if session.device.type == "cuda" else ("cpu",):
        if library != "cpu":
            torch.backends.cuda.preferred_blas_library(library)
        for tokens in TOKENS if session.device.type == "cuda" else (4, 8):
            inputs = {
                width: torch.randn(tokens, width, device=session.device).bfloat16()
                for width in {inner for _, inner in sizes}
            }

            def run(inputs: dict[int, torch.Tensor] = inputs) -> None:
                for layer in weights:
                    for weight in layer:
                        torch.nn.functional.linear(inputs[weight.shape[1]], weight)

            seconds = session.device_s(run) * shape.layers / layers
            floor = costs.body(tokens)
            session.add(
                "products",
                library=library,
                tokens=tokens,
                device_ms=seconds * 1e3,
                floor_ms=floor * 1e3,
                ratio=seconds / floor,
            )
        yield
    if usual is not None:
        torch.backends.cuda.preferred_blas_library(usual)


def cuts(session: Session) -> Iterator[None]:
    """The attention kernel alone, cut and tiled in several ways."""
    shape, rows = session.plan.targets[0], session.plan.batches[0]
    for context in (2048, 8192) if session.device.type == "cuda" else (48,):
        yield from attention_cuts(session, dataclasses.replace(shape, layers=1), rows, context, cache_of)


def run(session: Session) -> Iterator[None]:
    """Verifications within a live run, each beside the floor of its own shape."""
    cuda = session.device.type == "cuda"
    for context in (2048, 8192) if cuda else (48,):
        if session.late(30 if cuda else 0):
            session.add("left out", what=f"a run at {context} tokens")
            return
        session.add("run", **within_a_run(session, context))
        yield


SECTIONS: dict[str, Callable[[Session], Iterator[None]]] = {
    "correct": correct,
    "live": live,
    "verification": verification,
    "products": products,
    "run": run,
    "cuts": cuts,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what fits; 0 when no section failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=220.0, help="start nothing that would end later")
    parser.add_argument("--out", type=Path, help="JSON file, rewritten after every row")
    parser.add_argument("--tiny", action="store_true", help="small shapes, for a machine without a GPU")
    parser.add_argument("--sections", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    options = parser.parse_args(arguments)
    chosen = options.sections.split(",")
    if unknown := sorted(set(chosen) - set(SECTIONS)):
        parser.error(f"unknown section {', '.join(unknown)}; allowed: {', '.join(SECTIONS)}")
    cuda = torch.cuda.is_available()
    if not cuda and not options.tiny:
        parser.error("no CUDA device; allowed without one: --tiny")
    device = torch.device("cuda", 0) if cuda else torch.device("cpu")
    if not cuda:
        torch.set_num_threads(1)  # small matrices: a second thread only waits
    session = Session(plan_of(options.tiny), device, options.seconds, options.out)
    measure_machine(session)
    failed = 0
    for name in (name for name in SECTIONS if name in chosen):
        if session.late(4):
            session.add("left out", what=name)
            continue
        failed += measured(session, name, SECTIONS[name])
    return 1 if failed else 0


def measured(session: Session, name: str, section: Callable[[Session], Iterator[None]]) -> bool:
    """Runs a section while there is time; did it fail?"""
    try:
        for _ in section(session):
            if session.late(4):
                session.add("left out", what=f"the rest of {name}")
                break
    except Exception:
        values: dict[str, Any] = {"what": name, "error": traceback.format_exc(limit=-6)}
        session.add("failed", **values)
        return True
    finally:
        free()
    return False


if __name__ == "__main__":
    sys.exit(main())
