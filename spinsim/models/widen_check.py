"""Does a widened model say what the small one says, and cost what its shape costs?

``python -m spinsim.models.widen_check --shape llama-7b --device cuda`` (27 GB for fp32).
"""

from __future__ import annotations

import copy
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from spinsim.costs.shapes import ModelShape, shape_of
from spinsim.models import family
from spinsim.models.build import fill_random, random_llama
from spinsim.models.record import used_vocabulary
from spinsim.models.widen import widen

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


def _pass(model: Any, rows: int, new: int, context: int, device: str) -> Callable[[], None]:
    """A forward pass of ``new`` tokens a row after ``context`` cached ones; as a CUDA graph on CUDA."""
    used = used_vocabulary(model)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, used, (rows, context + new), generator=generator).to(device)
    cache: Any = None
    if context:
        cache = model(input_ids=ids[:, :context], use_cache=True, logits_to_keep=1).past_key_values

    def forward() -> None:  # the copy shares the cached tensors; only its own lists grow
        grown = copy.copy(cache)
        if grown is not None:
            grown.layers = [copy.copy(layer) for layer in cache.layers]
        model(input_ids=ids[:, context:], past_key_values=grown, use_cache=grown is not None)

    if device == "cpu":
        return forward
    cuda: Any = torch.cuda
    stream = cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            forward()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        forward()

    def replay() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return replay


def _seconds(call: Callable[[], None]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


@torch.no_grad()
def timings(
    small: Any, shape: ModelShape, device: str, *, rows: int, context: int, repeats: int
) -> list[Timing]:
    """Prefill of ``context`` tokens, and verification of 5 tokens in ``rows`` rows, in bf16."""
    wide = widen(small, shape, dtype=torch.bfloat16, device=device)
    plain = random_llama(shape, dtype=torch.bfloat16, device=device)
    out = []
    for operation, arguments in (("prefill", (1, context, 0)), ("verification", (rows, 5, context))):
        calls = [_pass(model, *arguments, device) for model in (wide, plain)]
        for call in calls:
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

        from spinsim.models.build import empty_llama

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
