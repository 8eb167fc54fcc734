"""``python -m spinsim.live.runner.selfcheck``: every attention path and every graph against a reference.

On a CUDA device it also times attention, verification and draft steps beside their floors. Exit
code 1 when anything disagrees. ``--quick`` leaves out the 7B and 8B shapes.
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

import torch

from spinsim.live.runner import packings
from spinsim.live.runner.attention import attend
from spinsim.live.runner.batch import Rows, build_batch
from spinsim.live.runner.build import make_runner
from spinsim.live.runner.cache import SlotCache
from spinsim.live.runner.forward import ModelRunner
from spinsim.live.runner.kernels import FlashInferPass, FlashPass, flash_works, flashinfer_works
from spinsim.live.runner.loading import random_model
from spinsim.live.runner.sampling import Sampling

Check = Callable[[torch.device], None]
ATTENTIONS = ((32, 32, 128), (32, 8, 128), (12, 12, 64), (32, 4, 64))  # heads, K/V heads, dimension
CALLS = 20  # in one graph, when a kernel is timed
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 2e-2}


def relative(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """Relative error in the Frobenius norm; infinite where ``got`` is not finite."""
    if not bool(torch.isfinite(got).all()):
        return math.inf
    return float(((got.float() - wanted).norm() / wanted.norm().clamp_min(1e-30)).item())


def timed(function: Callable[[], object], repeats: int = 20) -> float:
    """Median seconds of a call, on the device where there is one."""
    for _ in range(3):
        function()
    spans = []
    for _ in range(repeats):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        begin = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spans.append(time.perf_counter() - begin)
    return sorted(spans)[len(spans) // 2]


def attention_paths(
    cache: SlotCache, rows: Rows, heads: int, scale: float
) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Every way this machine has to compute the rows' attention in layer 0."""
    found: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
    for kind, piece in (("padded", 0), ("decomposed", 64), ("decomposed", 256), ("ragged", 0)):
        batch, _ = build_batch(cache, rows, kind, piece)
        found[f"{kind}-{piece}" if piece else kind] = lambda q, b=batch: attend(q, b, 0, scale)  # type: ignore[misc]
        if kind == "padded":
            found["padded-torch"] = lambda q, b=batch: packings.attend_padded(q, b, 0, scale)  # type: ignore[misc]
        if kind == "decomposed":
            found[f"decomposed-{piece}-torch"] = lambda q, b=batch: packings.attend_decomposed(q, b, 0, scale)  # type: ignore[misc]
    ragged, _ = build_batch(cache, rows, "ragged")
    if flash_works(cache):
        flash = FlashPass(ragged)
        found["flash"] = lambda q: flash.attend(q, ragged, 0, scale)
    if flashinfer_works(cache) and max(rows.query_lens) <= 16:
        workspace = FlashInferPass.workspace(cache.device)
        tokens, longest = sum(rows.query_lens), max(rows.query_lens)
        infer = FlashInferPass(cache, heads, scale, len(rows.slots), tokens, longest, workspace)
        infer.plan(rows)
        found["flashinfer"] = lambda q: infer.attend(q, ragged, 0, scale)
    return found


def shapes(count: int) -> dict[str, Rows]:
    """Lengths that matter: equal, skewed, zero rows, single tokens, a prefill."""
    slots = list(range(count))[::-1]
    skew = [2048 if i % 8 == 0 else 292 for i in range(count)]
    return {
        "equal": Rows(slots, [5] * count, [512] * count),
        "skewed": Rows(slots, [5] * count, skew),
        "mixed": Rows(slots, [i % 6 for i in range(count)], [i % 6 + 37 * i % 900 for i in range(count)]),
        "decode": Rows(slots, [1] * count, [512 + i for i in range(count)]),
        "prefill": Rows(slots[:3], [700, 33, 1], [900, 33, 2000]),
    }


def check_attention(device: torch.device) -> None:
    """Each path in each dtype against plain torch in float32."""
    count = 32 if device.type == "cuda" else 4
    dtypes = (torch.float32, torch.bfloat16, torch.float16) if device.type == "cuda" else (torch.float32,)
    worst: list[str] = []
    for heads, groups, dim in ATTENTIONS if device.type == "cuda" else ATTENTIONS[-1:]:
        for dtype in dtypes:
            cache = SlotCache(1, count, 2064, groups, dim, device=device, dtype=dtype)
            cache.keys.normal_()
            cache.values.normal_()
            exact = SlotCache(1, count, 2064, groups, dim, device=device)
            exact.keys.copy_(cache.keys)
            exact.values.copy_(cache.values)
            for name, rows in shapes(count).items():
                query = torch.randn(sum(rows.query_lens), heads, dim, device=device, dtype=dtype)
                batch, _ = build_batch(exact, rows, "ragged")
                wanted = packings.attend_rows(query.float(), batch, 0, dim**-0.5)
                for path, run in attention_paths(cache, rows, heads, dim**-0.5).items():
                    label = f"{path:20s} {name:8s} {heads}/{groups}x{dim} {str(dtype)[6:]}"
                    try:
                        error = relative(run(query), wanted)
                    except Exception as failure:
                        worst.append(
                            f"{label}: {type(failure).__name__}: {str(failure).splitlines()[0][:200]}"
                        )
                        continue
                    if error > TOLERANCE[dtype]:
                        worst.append(f"{label}: relative error {error:.2g}")
            del cache, exact
    if worst:
        raise AssertionError("\n  " + "\n  ".join(worst))


def time_attention(device: torch.device) -> None:
    """Microseconds a layer, in a graph, and the floor of reading K and V once."""
    from spinsim.live.runner.graphs import Recorder

    recorder = Recorder(device)
    print(f"{'us a layer':22s}" + "".join(f"{name:>10s}" for name in ("equal", "skewed", "decode")))
    for count in (8, 32, 64):
        for heads, groups, dim in ((32, 32, 128), (32, 8, 128), (12, 12, 64)):
            cache = SlotCache(1, count, 2064, groups, dim, device=device, dtype=torch.bfloat16)
            cache.keys.normal_()
            cache.values.normal_()
            table: dict[str, list[str]] = {"floor": []}
            for name in ("equal", "skewed", "decode"):
                rows = shapes(count)[name]
                query = torch.randn(sum(rows.query_lens), heads, dim, device=device, dtype=torch.bfloat16)
                moved = sum(rows.kv_lens) * groups * dim * 4
                table["floor"].append(f"{moved / 4.3e6:10.1f}")
                for path, run in attention_paths(cache, rows, heads, dim**-0.5).items():
                    if path.endswith("torch") and path != "padded-torch":
                        continue

                    def many(
                        run: Callable[[torch.Tensor], torch.Tensor] = run, q: torch.Tensor = query
                    ) -> None:
                        for _ in range(CALLS):
                            run(q)

                    try:
                        cell = f"{timed(recorder.record(many)) / CALLS * 1e6:10.1f}"
                    except Exception as failure:
                        cell = f"{type(failure).__name__[:9]:>10s}"
                    table.setdefault(path, []).append(cell)
            print(f"batch {count}, {heads}/{groups} x {dim}")
            for path, cells in table.items():
                print(f"  {path:20s}" + "".join(cells))


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
    keyed = sampling._replace(requests=rows)
    slots = [4, 0, 3, 1, 2]
    zeros = [0] * len(rows)
    first = target.prefill(slots, zeros, prompts, keyed).tolist()
    contexts = [[*prompt, token] for prompt, token in zip(prompts, first, strict=True)]
    draft.prefill(slots, zeros, prompts, keyed)
    for round_ in range(6):
        lengths = [(row + round_) % 5 for row in rows]
        active = [row for row in rows if lengths[row]]
        cut = [len(contexts[row]) for row in rows]
        draft.catch_up([slots[r] for r in active], zeros[: len(active)], [contexts[r][:-1] for r in active])
        found = draft.propose(
            [slots[r] for r in active],
            [contexts[r][-2] for r in active],
            [contexts[r][-1] for r in active],
            [cut[r] for r in active],
            [lengths[r] for r in active],
            sampling._replace(requests=active),
        )
        index = torch.tensor(active, device=target.device)
        tokens = torch.zeros(len(rows), max(lengths), dtype=torch.int64, device=target.device)
        tokens[index] = found.tokens
        spread = found.probabilities
        if spread is not None:
            whole = spread.new_zeros(len(rows), *spread.shape[1:])
            whole[index] = spread
            spread = whole
        last = [contexts[r][-1] for r in rows]
        done = target.verify(slots, last, cut, lengths, tokens, spread, kind, 16, keyed)
        for row in rows:
            contexts[row] += done.tokens[row]
    return contexts


def check_graphs(device: torch.device) -> None:
    """Lean and graphed against transformers and eager, in float32, token for token."""
    for sampling in (Sampling(), Sampling(temperature=0.9, top_p=0.9, seed=5)):
        for name, config in tiny_configs().items():
            models = [random_model(config, seed, context_tokens=256, device=device) for seed in (1, 2)]
            outputs = {}
            for path, lean, graphs in (
                ("transformers", False, False),
                ("lean", True, False),
                ("graphs", True, True),
            ):
                for kind in ("ragged", "padded", "decomposed"):
                    target, draft = (
                        make_runner(
                            model,
                            slots=5,
                            slot_tokens=256,
                            max_rows=5,
                            max_length=4,
                            sampling=sampling,
                            graphs=graphs,
                            lean=lean,
                        )
                        for model in models
                    )
                    outputs[path, kind] = play(target, draft, sampling, kind)
            wanted = outputs["transformers", "ragged"]
            different = [key for key, got in outputs.items() if got != wanted]
            if different:
                raise AssertionError(f"{name}, {sampling}: other outputs from {different}")


def floor_s(shape: Any, rows: int, new: int, context: int) -> float:
    """Sum over operators of max(bytes / bandwidth, flops / rate), at what an H200 was seen to reach."""
    bandwidth, rate = 4.3e12, 790e12
    tokens = rows * new
    q, kv, h, mlp = shape.attention_width, shape.kv_width, shape.hidden, shape.intermediate
    matrices = [(h, q + 2 * kv), (q, h), (h, 2 * mlp), (mlp, h)]

    def matmul(a: int, b: int) -> float:
        return max(2 * (a * b + tokens * (a + b)) / bandwidth, 2 * a * b * tokens / rate)

    attention = max(4 * rows * context * kv / bandwidth, 4 * tokens * context * q / rate)
    return float(shape.layers * (sum(matmul(a, b) for a, b in matrices) + attention) + matmul(h, shape.vocab))


def verification_s(runner: ModelRunner, rows: int) -> float:
    """Seconds to verify four proposals a row at a context of 512, the host's part included."""
    tokens = torch.ones(rows, 4, dtype=torch.int64, device=runner.device)
    slots, ones, contexts, lengths = list(range(rows)), [1] * rows, [512] * rows, [4] * rows
    return timed(lambda: runner.verify(slots, ones, contexts, lengths, tokens))


def draft_step_s(runner: ModelRunner, rows: int) -> float:
    """Seconds of one later step of a proposal at a context of 512."""
    slots, ones, contexts = list(range(rows)), [1] * rows, [512] * rows
    spans = [
        timed(lambda length=length: runner.propose(slots, ones, ones, contexts, [length] * rows))  # type: ignore[misc]
        for length in (1, 4)
    ]
    return (spans[1] - spans[0]) / 3


def time_models(device: torch.device, names: Sequence[str], kernels: Sequence[str]) -> None:
    """Verification and draft steps of the paper's shapes beside their floors."""
    from spinsim.costs.shapes import shape_of
    from spinsim.models.build import config_of

    for name in names:
        shape = shape_of(name)
        large = shape.hidden >= 4096
        for kernel in kernels:
            config = config_of(shape, max_position_embeddings=4096)
            model = random_model(config, 0, context_tokens=600, dtype=torch.bfloat16, device=device)
            runner = make_runner(
                model, slots=64, slot_tokens=608, max_rows=64, max_length=4, kernel=kernel, consume=True
            )
            model.module.model.layers = None
            for rows in (1, 8, 32, 64) if large else (8, 32, 64):
                span = verification_s(runner, rows) if large else draft_step_s(runner, rows)
                floor = floor_s(shape, rows, 5 if large else 1, 512)
                print(
                    f"  {name:12s} {kernel:10s} {'verify x5' if large else 'draft step'} batch {rows:3d}: "
                    f"{span * 1e3:7.3f} ms, floor {floor * 1e3:6.3f} ms, {span / floor:5.2f}x",
                    flush=True,
                )
            del runner, model
            torch.cuda.empty_cache()


def main() -> int:
    """Runs the checks that this machine can run; 0 when all agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no timing of 7B and 8B shapes")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if device.type == 'cuda' else 'cpu'}")
    checks: dict[str, Check] = {"attention": check_attention, "graphs": check_graphs}
    if device.type == "cuda":
        kernels = ["auto", "flash"]
        try:
            import flashinfer

            print(f"flashinfer {flashinfer.__version__}")
            kernels.append("flashinfer")
        except ImportError:
            pass
        drafts = ["llama-68m", "llama-265m", "llama-616m", "llama-1.1b", "llama-1.4b"]
        checks["attention times"] = time_attention
        checks["draft steps"] = lambda d: time_models(d, drafts, ["auto", "flash"])
        if not options.quick:
            checks["verification"] = lambda d: time_models(d, ["llama-7b", "llama-3-8b"], kernels)
    failed = 0
    for name, check in checks.items():
        begin = time.perf_counter()
        try:
            check(device)
            outcome = "ok"
        except Exception as error:
            failed += 1
            outcome = f"FAILED {error}" if isinstance(error, AssertionError) else traceback.format_exc()
        print(f"{name}: {outcome} ({time.perf_counter() - begin:.1f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
