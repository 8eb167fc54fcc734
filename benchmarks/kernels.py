"""Kernels on a GPU beside their floors: ``python -m benchmarks.kernels --seconds 100 --out kernels.json``.

Sections, most telling first: widening (exact, and as costly as its shape), verification, draft steps,
the three packings, FlashInfer. A floor is a sum over operators of
max(bytes / bandwidth, flops / rate) at the copy bandwidth and matmul rate that are measured first. Rows
reach ``--out`` as they are measured; what no longer fits into ``--seconds`` is left out and said so.
``--tiny`` runs everything on small shapes, on the CPU too. Weights are random: they decide no time.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.kernel_session import (
    PROPOSED,
    Session,
    full_plan,
    measure_machine,
    proposal_floor,
    tiny_plan,
    verification_floor,
    verification_rows,
)
from spinsim.costs.sheets.shapes import ModelShape
from spinsim.family import family
from spinsim.family.llama_modules import random_llama
from spinsim.family.widen_check import exactness, timings
from spinsim.runner.attention.kernels import flash_works, flashinfer_works
from spinsim.runner.fused import LeanDecoder
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.kv import SlotCache
from spinsim.runner.loading import prepare
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.rows import DraftRows, PackedAs

SECTIONS = ("widening", "verification", "drafts", "packings", "flashinfer")
PIECES = (128, 256, 512)


def runner_of(
    session: Session, shape: ModelShape, rows: int, slot_tokens: int, kernel: str = "auto"
) -> GraphedRunner:
    """A runner over random weights, its cache full of random K and V."""
    module = random_llama(shape, dtype=torch.bfloat16, device=session.device)
    model = prepare(module, shape.name, device=session.device)
    decoder = LeanDecoder(model, slot_tokens)
    dtype = torch.bfloat16
    cache = SlotCache(
        shape.layers, rows, slot_tokens, shape.kv_heads, shape.head_dim, device=session.device, dtype=dtype
    )
    for layer in range(shape.layers):
        cache.keys[layer].normal_()
        cache.values[layer].normal_()
    return over(decoder, cache, rows, kernel)


def over(decoder: LeanDecoder, cache: SlotCache, rows: int, kernel: str) -> GraphedRunner:
    """A runner of the same model and cache through another kernel."""
    return GraphedRunner(decoder, cache, RunnerPlan(rows, PROPOSED, kernel=kernel))


def free() -> None:
    """Gives back what the last models held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def time_verification(
    session: Session, runner: GraphedRunner, contexts: Sequence[int], kind: str = "ragged", piece: int = 0
) -> tuple[float, float]:
    """(device seconds of the replayed pass, wall seconds of the call)."""
    rows, packed = verification_rows(contexts), PackedAs(kind, piece)
    wall = session.wall_s(lambda: runner.verify(rows, packed))
    with torch.inference_mode():
        replay = runner.verifications.prepare(rows, packed)
        return session.device_s(replay, repeats=6), wall


def add_verification(session: Session, runner: GraphedRunner, shape: ModelShape, kernel: str) -> None:
    """A row for every batch size."""
    for rows in session.plan.batches:
        if session.late(2):
            return session.add("left out", what=f"verification {shape.name} {kernel} {rows}")
        floor = verification_floor(session.costs(shape), [session.plan.context] * rows)
        device, wall = time_verification(session, runner, [session.plan.context] * rows)
        session.add(
            "verification",
            model=shape.name,
            kernel=kernel,
            batch=rows,
            device_ms=device * 1e3,
            wall_ms=wall * 1e3,
            floor_ms=floor * 1e3,
            ratio=device / floor,
        )
    return None


def widening(session: Session) -> Iterator[None]:
    """Exactness in fp32 and bf16; prefill and verification against a random model of the shape."""
    name = str(session.device)
    for shape in session.plan.targets:
        small = family.load("target", dtype=torch.float32, device=session.device)
        found = exactness(small, shape, name, tokens=128 if session.device.type == "cuda" else 16)
        session.add("widening", **dataclasses.asdict(found))
        free()
        yield
        rows, context = (32, 448) if session.device.type == "cuda" else (2, 16)
        for timing in timings(small, shape, name, rows=rows, context=context, repeats=session.plan.repeats):
            session.add("widening", shape=shape.name, **dataclasses.asdict(timing), ratio=timing.ratio)
        free()
        yield


def verification(session: Session) -> Iterator[None]:
    """Verification through our kernels at equal contexts."""
    plan = session.plan
    for shape in plan.targets:
        runner: GraphedRunner | None = runner_of(session, shape, max(plan.batches), plan.context + 16)
        assert runner is not None
        for kernel in ("auto", "flash"):
            if kernel == "auto":
                add_verification(session, runner, shape, kernel)
            elif flash_works(runner.cache):
                other = over(runner.decoder, runner.cache, max(plan.batches), kernel)  # type: ignore[arg-type]
                add_verification(session, other, shape, kernel)
                del other
            yield
        runner = None
        free()


def time_proposal(session: Session, runner: GraphedRunner, rows: int) -> tuple[float, float]:
    """Seconds a step: of the device, replaying a whole proposal, and of the call's wall time."""
    ones = [1] * rows
    asked = DraftRows(range(rows), ones, ones, [session.plan.context] * rows, [PROPOSED] * rows)

    wall = session.wall_s(lambda: runner.propose(asked))
    with torch.inference_mode():
        _, steps = runner.proposals.prepare(asked)

        def replay() -> None:
            for step in steps:
                step()

        return session.device_s(replay) / PROPOSED, wall / PROPOSED


def drafts(session: Session) -> Iterator[None]:
    """A proposal of every draft, by step."""
    plan, rows = session.plan, session.plan.draft_batch
    for shape in plan.drafts:
        runner = runner_of(session, shape, rows, plan.context + 16)
        device, wall = time_proposal(session, runner, rows)
        floor = proposal_floor(session.costs(shape), rows, plan.context) / PROPOSED
        session.add(
            "drafts",
            model=shape.name,
            batch=rows,
            device_ms=device * 1e3,
            wall_ms=wall * 1e3,
            floor_ms=floor * 1e3,
            ratio=device / floor,
        )
        del runner
        free()
        yield


def packings(session: Session) -> Iterator[None]:
    """The three packings on equal and on skewed contexts; decomposed at several piece lengths."""
    plan = session.plan
    for shape in reversed(plan.targets):
        runner = runner_of(session, shape, max(plan.batches), max(plan.long, plan.context) + 16)
        for rows in plan.batches:
            lengths = {
                "equal": [plan.context] * rows,
                "skewed": [plan.long if i % 8 == 0 else plan.short for i in range(rows)],
            }
            for skew, contexts in lengths.items():
                floor = verification_floor(session.costs(shape), contexts)
                for kind, piece in (("ragged", 0), ("padded", 0), *(("decomposed", p) for p in PIECES)):
                    device, wall = time_verification(session, runner, contexts, kind, piece)
                    session.add(
                        "packings",
                        model=shape.name,
                        batch=rows,
                        lengths=skew,
                        packing=kind,
                        piece=piece,
                        device_ms=device * 1e3,
                        wall_ms=wall * 1e3,
                        ratio=device / floor,
                    )
                yield
        del runner
        free()


def flashinfer(session: Session) -> Iterator[None]:
    """Verification through FlashInfer, where it is installed and there is time to compile it."""
    plan, shape = session.plan, session.plan.targets[-1]
    runner = runner_of(session, shape, max(plan.batches), plan.context + 16)
    if not flashinfer_works(runner.cache):
        return session.add("left out", what="flashinfer is not installed or does not take this cache")
    if session.late(32):
        return session.add("left out", what="flashinfer: under 32 s left, and compiling takes up to 30")
    other = over(runner.decoder, runner.cache, max(plan.batches), "flashinfer")  # type: ignore[arg-type]
    add_verification(session, other, shape, "flashinfer")
    yield
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what fits; 0 when no section failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=100.0, help="start nothing that would end later")
    parser.add_argument("--out", type=Path, help="JSON file, rewritten after every row")
    parser.add_argument("--tiny", action="store_true", help="small shapes, for a machine without a GPU")
    parser.add_argument("--sections", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    options = parser.parse_args(arguments)
    unknown = set(options.sections.split(",")) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown section {', '.join(sorted(unknown))}; allowed: {', '.join(SECTIONS)}")
    cuda = torch.cuda.is_available()
    if not cuda and not options.tiny:
        parser.error("no CUDA device; allowed without one: --tiny")
    device = torch.device("cuda", 0) if cuda else torch.device("cpu")
    if not cuda:
        torch.set_num_threads(1)  # small matrices: a second thread only waits
    session = Session(tiny_plan() if options.tiny else full_plan(), device, options.seconds, options.out)
    measure_machine(session)
    work = dict(zip(SECTIONS, (widening, verification, drafts, packings, flashinfer), strict=True))
    failed = 0
    for name in SECTIONS:
        if name not in options.sections.split(","):
            continue
        try:
            for _ in work[name](session):
                if session.late(4):
                    break
        except Exception:
            failed += 1
            session.add("failed", what=name, error=traceback.format_exc(limit=-4))
        free()
        if session.late(4):
            session.add("left out", what=f"everything after {name}")
            break
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
