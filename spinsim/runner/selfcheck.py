"""``python -m spinsim.runner.selfcheck``: attention paths and graphs against a reference.

Exit code 1 when anything disagrees. Most of its time goes into compiling kernels, so a handful of
shapes stands for all; ``--full`` checks every combination, ``--flashinfer`` that kernel too.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from spinsim.packings import kinds, packing_kind
from spinsim.packings.ragged import NAME as RAGGED
from spinsim.runner.attention import in_torch
from spinsim.runner.attention.kernels import (
    FlashInferPass,
    FlashPass,
    flash_works,
    flashinfer_works,
    use_kernel,
)
from spinsim.runner.attention.over_slots import attend
from spinsim.runner.batch import Rows, build_batch
from spinsim.runner.eager import ModelRunner
from spinsim.runner.for_model import make_runner
from spinsim.runner.kv import Layout, SlotCache
from spinsim.runner.loading import random_model
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.rows import ChunkRows, DraftRows, PackedAs, Proposal, VerifyRows
from spinsim.runner.sampling import Sampling

LENGTHS = ("equal", "skewed", "mixed", "decode", "prefill")
# heads, K/V heads, dimension; dtype; tokens of a page (None: whole slots); which lengths: grouped queries
# throughout, the others once each
CASES = (
    ((32, 8, 128), torch.bfloat16, None, ("mixed", "decode", "prefill")),
    ((32, 8, 128), torch.bfloat16, 64, ("mixed", "decode", "prefill")),
    ((32, 8, 128), torch.bfloat16, 16, ("mixed",)),
    ((12, 12, 64), torch.bfloat16, None, ("mixed",)),
    ((8, 2, 64), torch.float32, 32, ("mixed",)),
)
HEADS = ((32, 32, 128), (32, 8, 128), (12, 12, 64), (32, 4, 64))
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
PAGES = (None, 16, 64)
EVERY_CASE = tuple((heads, dtype, page, LENGTHS) for heads in HEADS for dtype in DTYPES for page in PAGES)
PIECES = {False: (0,), True: (64, 256)}  # lengths of pieces, where the packing is divided
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 2e-2}


def relative(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """Relative error in the Frobenius norm; infinite where ``got`` is not finite."""
    if not bool(torch.isfinite(got).all()):
        return math.inf
    return float(((got.float() - wanted).norm() / wanted.norm().clamp_min(1e-30)).item())


def attention_paths(
    cache: SlotCache, rows: Rows, heads: int, scale: float, flashinfer: bool
) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Every way this machine has to compute the rows' attention in layer 0."""
    found: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
    for kind, piece in ((name, piece) for name in kinds() for piece in PIECES[packing_kind(name).divided]):
        name = f"{kind}-{piece}" if piece else kind
        batch = use_kernel(build_batch(cache, rows, kind, piece)[0], "triton")
        found[name] = lambda q, b=batch: attend(q, b, 0, scale)  # type: ignore[misc]
        # A batch of its own: on CUDA the kernel's may be cut into parts whose lengths the host does not know.
        plain, _ = build_batch(cache, rows, kind, piece)
        if plain.pieces is not None:
            found[f"{name}-torch"] = lambda q, b=plain: in_torch.attend(q, b, 0, scale)  # type: ignore[misc]
    ragged, _ = build_batch(cache, rows)
    if flash_works(cache):
        flash = FlashPass(ragged)
        found["flash"] = lambda q: flash.attend(q, ragged, 0, scale)
    if flashinfer and flashinfer_works(cache) and max(rows.query_lens) <= 16:
        workspace = FlashInferPass.workspace(cache.device)
        tokens, longest = sum(rows.query_lens), max(rows.query_lens)
        infer = FlashInferPass(cache, heads, scale, len(rows.slots), tokens, longest, workspace)
        infer.plan(rows)
        found["flashinfer"] = lambda q: infer.attend(q, ragged, 0, scale)
    return found


def mix_pages(cache: SlotCache) -> None:
    """Whole slots on pages in an order that is not that of memory, the same in every cache of this size."""
    if not cache.whole_slots:
        pages, width = random.Random(3).sample(range(cache.pages), cache.pages), cache.table.width
        slots = range(cache.slots)
        cache.table.hold(slots, [pages[slot * width : (slot + 1) * width] for slot in slots])


def shapes(count: int) -> dict[str, Rows]:
    """Lengths that matter: equal, skewed, zero rows, single tokens, a prefill."""
    slots = list(range(count))[::-1]
    skew = [2048 if i % 8 == 0 else 292 for i in range(count)]
    return {
        "equal": Rows(slots, [5] * count, [512] * count),
        "skewed": Rows(slots, [5] * count, skew),
        "mixed": Rows(slots, [i % 6 for i in range(count)], [i % 6 + 37 * i % 900 for i in range(count)]),
        "decode": Rows(slots, [1] * count, [512 + i for i in range(count)]),
        "prefill": Rows(slots[:3], [160, 33, 1], [900, 33, 2000]),
    }


def check_attention(device: torch.device, full: bool, flashinfer: bool) -> list[str]:
    """Each path against plain torch in float32; what disagrees. Prints as it goes."""
    found: list[str] = []
    count = 32 if device.type == "cuda" else 4
    for (heads, groups, dim), dtype, page, names in EVERY_CASE if full else CASES:
        cache = SlotCache(1, count, 2064, groups, dim, page_tokens=page, device=device, dtype=dtype)
        cache.keys.normal_()
        cache.values.normal_()
        exact = SlotCache(1, count, 2064, groups, dim, page_tokens=page, device=device)
        exact.keys.copy_(cache.keys)
        exact.values.copy_(cache.values)
        for each in (cache, exact):
            mix_pages(each)
        for name in names:
            begin, rows = time.perf_counter(), shapes(count)[name]
            query = torch.randn(sum(rows.query_lens), heads, dim, device=device, dtype=dtype)
            batch, _ = build_batch(exact, rows)
            wanted = in_torch.attend_rows(query.float(), batch, 0, dim**-0.5)
            errors: dict[str, str] = {}
            paths = attention_paths(cache, rows, heads, dim**-0.5, flashinfer)
            for path, run in paths.items():
                try:
                    error = relative(run(query), wanted)
                except Exception as failure:
                    errors[path] = f"{type(failure).__name__}: {str(failure).splitlines()[0][:200]}"
                    continue
                if error > TOLERANCE[dtype]:
                    errors[path] = f"relative error {error:.2g}"
            label = f"attention {heads}/{groups}x{dim} {str(dtype)[6:]} page {page} {name}"
            found += [f"{label} {path}: {error}" for path, error in errors.items()]
            took = time.perf_counter() - begin
            print(f"  {label}: {len(paths)} paths, {len(errors)} wrong ({took:.1f} s)", flush=True)
    return found


def tiny_configs() -> dict[str, Any]:
    """One small configuration of each architecture of the lean path."""
    from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

    common: dict[str, Any] = {
        "vocab_size": 500,
        "hidden_size": 256,
        "intermediate_size": 352,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": 512,
        "initializer_range": 0.1,
    }
    return {
        "llama": LlamaConfig(**common),
        "qwen2": Qwen2Config(**common),
        "qwen3": Qwen3Config(**common),
        "mistral": MistralConfig(**common, sliding_window=None),
    }


def play(target: ModelRunner, draft: ModelRunner, sampling: Sampling, kind: str) -> list[list[int]]:
    """A few rounds of speculation with fixed, ragged lengths; the outputs."""
    source = random.Random(7)
    prompts = [[source.randrange(500) for _ in range(n)] for n in (3, 40, 17, 90, 64)]
    rows = list(range(len(prompts)))
    slots = [4, 0, 3, 1, 2]
    zeros = [0] * len(rows)
    told = ChunkRows(slots, zeros, prompts, rows)
    first = target.prefill(told, sampling).tolist()
    contexts = [[*prompt, token] for prompt, token in zip(prompts, first, strict=True)]
    draft.prefill(told, sampling)
    for round_ in range(6):
        lengths = [(row + round_) % 5 for row in rows]
        active = [row for row in rows if lengths[row]]
        cut = [len(contexts[row]) for row in rows]
        drafting = [slots[row] for row in active]
        draft.catch_up(ChunkRows(drafting, zeros[: len(active)], [contexts[row][:-1] for row in active]))
        asked = DraftRows(
            drafting,
            previous=[contexts[row][-2] for row in active],
            last=[contexts[row][-1] for row in active],
            contexts=[cut[row] for row in active],
            lengths=[lengths[row] for row in active],
            requests=active,
        )
        found = draft.propose(asked, sampling)
        tokens = np.zeros((len(rows), max(lengths)), np.int64)
        tokens[active] = found.tokens
        spread = found.probabilities
        if spread is not None:
            whole = spread.new_zeros(len(rows), *spread.shape[1:])
            whole[torch.tensor(active, device=target.device)] = spread
            spread = whole
        last = [contexts[row][-1] for row in rows]
        judged = VerifyRows(slots, last, cut, lengths, Proposal(tokens, spread), rows)
        done = target.verify(judged, PackedAs(kind, 16), sampling)
        for row in rows:
            contexts[row] += done.tokens[row]
    return contexts


def check_graphs(device: torch.device, full: bool, names: Sequence[str] = ()) -> list[str]:
    """Lean and graphed against transformers and eager, in float32, token for token; what differs.

    ``names``: architectures of :func:`tiny_configs`; by default all.
    """
    found: list[str] = []
    sampled = Sampling(temperature=0.9, top_p=0.9, seed=5)
    for name, config in tiny_configs().items():
        if names and name not in names:
            continue
        models = [random_model(config, seed, context_tokens=256, device=device) for seed in (1, 2)]
        thorough = full or name == "llama"
        for sampling in (Sampling(), sampled) if thorough else (Sampling(),):
            begin = time.perf_counter()
            packings = kinds() if thorough else (RAGGED,)
            ways = [("transformers", RAGGED), ("lean", RAGGED), *(("graphs", kind) for kind in packings)]
            ways += [("pages", kind) for kind in packings] if thorough else []
            outputs = []
            for path, kind in ways:
                layout = Layout(5, 256, 32 if path == "pages" else None)
                plan = RunnerPlan(5, 4, sampling, graphs=path in ("graphs", "pages"))
                target, draft = (
                    make_runner(model, layout, plan, lean=path != "transformers") for model in models
                )
                for runner in (target, draft):
                    mix_pages(runner.cache)
                outputs.append(play(target, draft, sampling, kind))
            different = [way for way, got in zip(ways, outputs, strict=True) if got != outputs[0]]
            label = f"graphs {name} {'greedy' if sampling.greedy else 'sampled'}"
            found += [f"{label}: other outputs from {', '.join(way)}" for way in different]
            took = time.perf_counter() - begin
            print(f"  {label}: {len(ways)} ways, {len(different)} differ ({took:.1f} s)", flush=True)
    return found


def main() -> int:
    """Runs the checks; 0 when all agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="every combination: minutes of compiling")
    parser.add_argument("--flashinfer", action="store_true", help="FlashInfer too, where it is installed")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(f"torch {torch.__version__}, {name}", flush=True)
    if device.type == "cpu":
        torch.set_num_threads(1)  # tiny matrices: a second thread only waits
    checks: dict[str, Callable[[], list[str]]] = {
        "graphs": lambda: check_graphs(device, options.full),
        "attention": lambda: check_attention(device, options.full, options.flashinfer),
    }
    wrong = 0
    for what, check in checks.items():
        begin = time.perf_counter()
        try:
            found = check()
        except Exception:
            found = [traceback.format_exc()]
        wrong += len(found)
        outcome = "\n  ".join(["FAILED", *found]) if found else "ok"
        print(f"{what}: {outcome} ({time.perf_counter() - begin:.1f} s)", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
