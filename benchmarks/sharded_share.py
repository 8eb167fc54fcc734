"""Where the time of a share's pass goes, on one GPU: ``python -m benchmarks.sharded_share --out FILE``.

A rank of one or two (``--ranks``) verifies with its share of an 8B and a 13B shape (random weights, bf16): 1,
8 and 32 rows of 5 tokens after 1,000. It meets nobody, and its sums are its own parts. So a pass takes what
a rank of as many GPUs computes, without what the GPUs tell each other. Every kind of operator then runs by
itself, those of all layers in turn within one graph, beside what its bytes or its flops ask for.

``summed`` is the kernel that sums over GPUs, adds and norms (``spinsim/runner/sharded/summed_norm.py``). Both
of its ends are on this GPU here, on streams of their own. Their results are held against plain torch, and the
two are timed beside each other.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.kernel_session import (
    PROPOSED,
    Plan,
    Row,
    Session,
    measure_machine,
    verification_floor,
    verification_rows,
)
from spinsim.costs.operators import PassCosts
from spinsim.costs.sheets.shapes import ModelShape, shape_of
from spinsim.family.llama_modules import config_of
from spinsim.packings.ragged import NAME as RAGGED
from spinsim.runner.attention.kernels import use_kernel
from spinsim.runner.attention.over_slots import attend
from spinsim.runner.batch import Rows, build_batch
from spinsim.runner.eager import ModelRunner
from spinsim.runner.graphs.capture import Recorder
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.kv import Layout
from spinsim.runner.layers import in_torch
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.rows import AS_RAGGED
from spinsim.runner.sharded.collectives import Collectives
from spinsim.runner.sharded.orders import Build
from spinsim.runner.sharded.outline import drawn
from spinsim.runner.sharded.shape import Share
from spinsim.runner.sharded.weights import read_share

BATCHES, CONTEXT = (1, 8, 32), 1000
RANKS, REPEATS, EPSILON = 2, 64, 1e-5  # of the kernel that sums
PATIENCE = 1 << 22  # polls: some seconds
Operator = tuple[str, Callable[[], object], float]  # name, all layers' in turn, floor in seconds


class Alone(Collectives):
    """The collectives of a rank that meets nobody: a sum is its own part."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks

    def prepare(self, hidden: int, dtype: torch.dtype) -> None:
        """Nothing to make ready."""

    def sum_of(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """The product alone."""
        return F.linear(x, weight)

    def sum(self, x: torch.Tensor) -> torch.Tensor:
        """As it is."""
        return x

    def gather(self, x: torch.Tensor) -> torch.Tensor:
        """Its own, as often as there are ranks."""
        return x.expand(self.ranks, *x.shape)

    def times(self, tokens: int) -> dict[str, float]:
        """No sum is made."""
        return {}

    def close(self) -> None:
        """Nothing to end."""

    def abort(self) -> None:
        """Nothing to end."""


def share_of(shape: ModelShape, ranks: int, device: torch.device, tiny: bool) -> ModelRunner:
    """The first rank's runner, its cache full of random K and V."""
    context, dtype = (24, torch.float32) if tiny else (CONTEXT, torch.bfloat16)
    order = drawn(config_of(shape, max_position_embeddings=4096), 1, context_tokens=context, dtype=dtype)
    load = order.load(context + 16)
    share = Share(0, ranks, load.shape)
    held = share, read_share(load.source, share, load.rotary, dtype, device)
    rows = max(BATCHES)
    runner = Build(Layout(rows, context + 16), RunnerPlan(rows, PROPOSED)).carry_out(held, Alone(ranks))
    with torch.inference_mode():
        runner.fill()
    return runner


def operators(runner: ModelRunner, costs: PassCosts, rows: int, context: int) -> Iterator[Operator]:
    """Of a verification, by kind."""
    decoder: Any = runner.decoder
    weights, cache, ops = decoder.weights, runner.cache, decoder.ops
    layers, first = weights.layers, weights.layers[0]
    tokens, hidden, like = rows * (PROPOSED + 1), first.out.shape[0], weights.embedding

    def numbers(width: int) -> torch.Tensor:
        return torch.randn(tokens, width, dtype=like.dtype, device=like.device)

    products = {
        "qkv": [layer.qkv for layer in layers],
        "out": [layer.out for layer in layers],
        "gate and up": [layer.gate_up for layer in layers],
        "down": [layer.down for layer in layers],
        "head": [weights.head],
    }
    for name, matrices in products.items():
        rows_out, columns = matrices[0].shape
        floor = len(matrices) * costs.product(tokens, columns, rows_out)
        yield name, partial(_all, F.linear, numbers(columns), matrices), floor
        turned = [each.t().contiguous() for each in matrices]
        yield f"{name}, turned", partial(_all, torch.matmul, numbers(columns), turned), floor
    residual, delta = numbers(hidden), numbers(hidden)
    norm = partial(ops.add_rms_norm, delta, residual, first.input_norm, weights.epsilon)
    yield "norms", lambda: [norm() for _ in range(2 * len(layers))], 0.0
    both = numbers(first.gate_up.shape[0])
    yield "silu", lambda: [ops.silu_times(both) for _ in layers], 0.0
    batch, positions = build_batch(
        cache, Rows(list(range(rows)), [PROPOSED + 1] * rows, [context + PROPOSED] * rows), RAGGED
    )
    if like.device.type == "cuda":  # as within a captured pass
        batch = dataclasses.replace(batch, rows=None)
    batch = use_kernel(batch, "auto")
    qkv = numbers(first.qkv.shape[0])

    def rotate(index: int) -> torch.Tensor:
        keys, values = cache.layer(index)
        places = (weights.rotary, positions, batch.write, first.head_norms, weights.epsilon)
        rotated: torch.Tensor = ops.rotate_and_store(qkv, *places, keys, values, weights.heads)
        return rotated

    yield "rotate and store", lambda: [rotate(index) for index in range(len(layers))], 0.0
    query = rotate(0)
    kv = rows * (context + PROPOSED)
    floor = costs.attention.seconds(kv, tokens, kv * (PROPOSED + 1))
    yield "attention", lambda: [attend(query, batch, at, weights.scale) for at in range(len(layers))], floor


def _do(call: Callable[[], object]) -> None:
    call()


def _all(product: Callable[..., torch.Tensor], x: torch.Tensor, matrices: Sequence[torch.Tensor]) -> None:
    for each in matrices:
        product(x, each)


def measure(session: Session, shape: ModelShape, ranks: int, tiny: bool) -> None:
    """A row for every batch, and one for each of its operators."""
    context = 24 if tiny else CONTEXT
    runner = share_of(shape, ranks, session.device, tiny)
    costs = PassCosts(shape, "bf16", session.hardware, efficiency=1.0)
    share_costs = PassCosts(shape, "bf16", session.hardware, efficiency=1.0, devices=ranks)
    for rows in BATCHES:
        asked = verification_rows([context] * rows)
        floor = verification_floor(costs, [context] * rows) / ranks
        wall = session.wall_s(partial(runner.verify, asked))
        said: Row = {"model": shape.name, "ranks": ranks, "rows": rows}
        found = {"wall_us": wall * 1e6, "floor_us": floor * 1e6, "ratio": wall / floor}
        if isinstance(runner, GraphedRunner):
            replay = runner.verifications.prepare(asked, AS_RAGGED)
            found["device_us"] = session.device_s(replay) * 1e6
        session.add("pass", **said, **found)
        with torch.inference_mode():
            for name, call, least in operators(runner, share_costs, rows, context):
                seconds = session.device_s(Recorder(session.device).record(partial(_do, call)))
                session.add("operator", **said, operator=name, us=seconds * 1e6, floor_us=least * 1e6)


# --- sum, residual and norm in one kernel, both ends on this GPU ------------------------------------------


def summed(session: Session) -> None:
    """For each number of tokens: are both ends right, and how long do they take beside each other?"""
    device, hidden, most = session.device, 4096, 256
    like = torch.zeros(1, hidden, dtype=torch.bfloat16, device=device)
    ends, weight = ends_on_one_device(RANKS, most, hidden, like), torch.randn_like(like[0])
    cuda: Any = torch.cuda
    streams = [cuda.Stream(device) for _ in ends]
    for end in ends:  # compiled and loaded, before one end waits for the other
        end.join(0, like.clone(), weight, EPSILON, 1)
    cuda.synchronize()
    for end in ends:
        end.raised[0].zero_()
    for tokens in (1, 5, 40, 160):
        before = torch.randn(tokens, hidden, dtype=like.dtype, device=device)
        wanted, residual = [], before.clone()
        for turn in range(2):
            total = torch.zeros(tokens, hidden, device=device)
            for end in ends:
                total += end.part(turn, tokens, hidden).normal_().float()
            wanted.append(in_torch.add_rms_norm(total.to(like.dtype), residual, weight, EPSILON))
        cuda.synchronize()
        held, found = [before.clone() for _ in ends], []
        cuda.synchronize()
        for turn in range(2):
            for end, stream, mine in zip(ends, streams, held, strict=True):
                with cuda.stream(stream):
                    found.append(end.join(turn, mine, weight, EPSILON, PATIENCE))
        cuda.synchronize()
        session.add(
            "summed",
            tokens=tokens,
            ends_alike=all(torch.equal(found[2 * turn], found[2 * turn + 1]) for turn in range(2)),
            largest_difference=max(float((found[2 * t] - wanted[t]).abs().max()) for t in range(2)),
        )
        both = _both_s(ends, streams, held, weight)
        norm = Recorder(device).record(partial(_norms, before, held[0], weight))
        alone = session.device_s(norm) / REPEATS
        session.add("summed", tokens=tokens, both_us=both * 1e6, norm_alone_us=alone * 1e6)
    lost = ends[0].join(0, like.clone(), weight, EPSILON, 1000)
    session.add("summed", alone_gives_nan=bool(lost.isnan().all()))


def _norms(delta: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor) -> None:
    from spinsim.runner.layers import in_triton

    for _ in range(REPEATS):
        in_triton.add_rms_norm(delta, residual, weight, EPSILON)


def _both_s(
    ends: Sequence[Any], streams: Sequence[Any], held: Sequence[torch.Tensor], weight: torch.Tensor
) -> float:
    """Seconds of one of many in a graph, the other end's beside it."""
    cuda: Any = torch.cuda
    graphs = []
    for end, stream, residual in zip(ends, streams, held, strict=True):
        graph = cuda.CUDAGraph()
        with cuda.stream(stream):
            graph.capture_begin(capture_error_mode="thread_local")
            for at in range(REPEATS):
                end.join(at % 2, residual, weight, EPSILON, PATIENCE)
            graph.capture_end()
        graphs.append(graph)
    best = float("inf")
    for _ in range(8):
        marks = []
        for graph, stream in zip(graphs, streams, strict=True):
            with cuda.stream(stream):
                begin, ended = (cuda.Event(enable_timing=True) for _ in range(2))
                begin.record(stream)
                graph.replay()
                ended.record(stream)
                marks.append((begin, ended))
        cuda.synchronize()
        best = min(best, *(begin.elapsed_time(ended) * 1e-3 for begin, ended in marks))
    return best / REPEATS


def ends_on_one_device(ranks: int, rows: int, hidden: int, like: torch.Tensor) -> list[Any]:
    """All ranks' ends of the kernel, their memory on the device of ``like``."""
    from spinsim.runner.sharded.summed_norm import TURNS, SummedNorm

    own = [[like.new_zeros(rows * hidden) for _ in range(TURNS)] for _ in range(ranks)]
    raised = [
        [torch.zeros(rows, ranks, dtype=torch.int32, device=like.device) for _ in range(TURNS)]
        for _ in range(ranks)
    ]

    def addresses(held: list[list[torch.Tensor]]) -> list[torch.Tensor]:
        return [
            torch.tensor([each[turn].data_ptr() for each in held], dtype=torch.int64, device=like.device)
            for turn in range(TURNS)
        ]

    parts, flags = addresses(own), addresses(raised)
    return [SummedNorm(rank, own[rank], raised[rank], parts, flags) for rank in range(ranks)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Everything that there is time for; what fails is printed, and the rest goes on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharded_share", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/sharded-share.json"), help="where it goes")
    parser.add_argument("--seconds", type=float, default=100, help="begin nothing later than this")
    parser.add_argument("--shapes", nargs="*", default=["llama-3-8b", "llama-13b"])
    parser.add_argument("--ranks", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--tiny", action="store_true", help="small shapes, for a CPU")
    asked = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    session = Session(
        Plan((), (), BATCHES, 1, CONTEXT, CONTEXT, CONTEXT, 12), device, asked.seconds, asked.out
    )
    measure_machine(session)
    jobs: list[Callable[[], None]] = [] if device.type == "cpu" else [partial(_within, session)]
    for name in asked.shapes:
        shape = shape_of(name)
        if asked.tiny:
            shape = dataclasses.replace(
                shape, layers=2, hidden=128, heads=4, kv_heads=2, head_dim=32, intermediate=192, vocab=256
            )
        jobs += [partial(measure, session, shape, ranks, asked.tiny) for ranks in asked.ranks]
    failed = 0
    for job in jobs:
        if session.late(10):
            session.add("left out", why="no time")
            continue
        try:
            job()
        except Exception:
            traceback.print_exc()
            failed += 1
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return failed


def _within(session: Session, seconds: float = 25.0) -> None:
    """The kernel by itself, and not for ever: its ends wait for each other."""
    thread = threading.Thread(target=summed, args=(session,), daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError("the ends of the kernel still wait for each other")


if __name__ == "__main__":
    sys.exit(main())
