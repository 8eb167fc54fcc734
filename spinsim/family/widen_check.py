"""Does a widened model say what the small one says, and cost what its shape costs?

``python -m spinsim.family.widen_check --shape llama-7b --device cuda`` (27 GB for fp32).
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from spinsim.costs.sheets.shapes import ModelShape, shape_of
from spinsim.family import family
from spinsim.family.llama_modules import fill_random, random_llama
from spinsim.family.record import used_vocabulary
from spinsim.family.widen import widen

TOLERANCE = 1e-4  # of the largest logit, in fp32
TIME_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Exactness:
    """Largest difference of fp32 logits relative to the largest logit; share of equal argmaxes in bf16."""

    shape: str
    relative_error: float
    bf16_argmax_agreement: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Median seconds of one pass; widened and random alternate, so that clocks drift alike."""

    operation: str
    widened_s: float
    random_s: float

    @property
    def ratio(self) -> float:
        return self.widened_s / self.random_s


@torch.no_grad()
def exactness(small: Any, shape: ModelShape, device: str, *, rows: int = 4, tokens: int = 128) -> Exactness:
    """Widen ``small`` (fp32, on ``device``) and compare logits on random tokens."""
    used = used_vocabulary(small)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, used, (rows, tokens), generator=generator).to(device)
    wanted = small(input_ids=ids, use_cache=False).logits[..., :used]
    wide = widen(small, shape, dtype=torch.float32, device=device)
    got = wide(input_ids=ids, use_cache=False).logits[..., :used]
    error = float((got - wanted).abs().max() / wanted.abs().max())
    del wide, got
    half = widen(small, shape, dtype=torch.bfloat16, device=device)
    rounded = half(input_ids=ids, use_cache=False).logits[..., :used]
    agreement = float((rounded.argmax(-1) == wanted.argmax(-1)).float().mean())
    return Exactness(shape.name, error, agreement)


def _passes(model: Any, device: str, rows: int, context: int) -> list[Callable[[], object]]:
    """Prefill of up to four rows, and verification of four proposals in ``rows`` rows, as a live run does it.

    The second is a replayed CUDA graph where there is CUDA.
    """
    from spinsim.runner.for_model import make_runner
    from spinsim.runner.kv import Layout
    from spinsim.runner.loading import prepare
    from spinsim.runner.plan import RunnerPlan
    from spinsim.runner.rows import ChunkRows, Proposal, VerifyRows

    used = used_vocabulary(model)
    tokens = torch.randint(0, used, (rows, context), generator=torch.Generator().manual_seed(1))
    prompts = tokens.tolist()
    runner = make_runner(
        prepare(model, "timed", device=device), Layout(rows, context + 5), RunnerPlan(rows, 4)
    )
    slots = list(range(rows))
    judged = VerifyRows(slots, [1] * rows, [context] * rows, [4] * rows, Proposal(tokens[:, :4].numpy()))

    def prefill(first: int = 0) -> None:
        some = slots[first : first + 4]
        runner.prefill(ChunkRows(some, [0] * len(some), [prompts[i] for i in some])).tolist()

    for first in range(0, rows, 4):
        prefill(first)
    return [prefill, lambda: runner.verify(judged)]


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


@torch.no_grad()
def timings(
    small: Any, shape: ModelShape, device: str, *, rows: int, context: int, repeats: int
) -> list[Timing]:
    """Prefill of ``context`` tokens a row, and verification of 5 tokens in ``rows`` rows, in bf16."""
    wide = _passes(widen(small, shape, dtype=torch.bfloat16, device=device), device, rows, context)
    plain = _passes(random_llama(shape, dtype=torch.bfloat16, device=device), device, rows, context)
    out = []
    for operation, *calls in zip(("prefill", "verification"), wide, plain, strict=True):
        for call in (*calls, *calls):
            call()
        taken = [[_seconds(call) for call in calls] for _ in range(repeats)]
        out.append(Timing(operation, *(statistics.median(column) for column in zip(*taken, strict=True))))
    return out


def check(
    shape: Annotated[str, typer.Option(help="Shape to widen into.")] = "llama-7b",
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    member: Annotated[str, typer.Option(help="Family member to widen.")] = "target",
    root: Annotated[Path, typer.Option("--family", help="Folder of the checkpoints.")] = family.CHECKPOINTS,
    random_weights: Annotated[bool, typer.Option(help="Random weights in the member's shape.")] = False,
    rows: int = 32,
    context: int = 448,
    repeats: int = 30,
) -> None:
    """Verify one widening; prints JSON, and exits with 1 when it is not exact or not as costly."""
    wanted = shape_of(shape)
    if random_weights:
        from transformers import LlamaConfig

        from spinsim.family.llama_modules import empty_llama

        small = empty_llama(LlamaConfig(**family.member(member).config()), torch.float32, device)
        fill_random(small, seed=1, sd=0.1)
    else:
        small = family.load(member, dtype=torch.float32, device=device, root=root)
    exact = exactness(small, wanted, device)
    times = timings(small, wanted, device, rows=rows, context=context, repeats=repeats)
    report = {**asdict(exact), "timings": [{**asdict(t), "ratio": t.ratio} for t in times]}
    print(json.dumps(report, indent=1))
    good = exact.relative_error <= TOLERANCE and all(abs(t.ratio - 1) <= TIME_TOLERANCE for t in times)
    raise typer.Exit(0 if good else 1)


if __name__ == "__main__":
    typer.run(check)
