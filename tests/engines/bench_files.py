"""Result files in the layout of vLLM's benchmarks, of a made-up server whose costs are known."""

from __future__ import annotations

import json
from pathlib import Path

BASE, TOKEN, KV = 0.006, 2e-5, 4e-8  # the target's pass
DRAFT, DRAFT_PASS, DRAFT_TOKEN = 0.0003, 0.0004, 3e-6  # a proposal: base, each of its passes, each token
PREFILL, PREFILL_TOKEN = 0.004, 5e-5
INPUT, OUTPUT, TOKENS, CHANCE = 512, 256, 3, 0.7


def step_s(batch: int, tokens: int = 0) -> float:
    """Of the made-up server: one verification, and the proposal before it."""
    found = BASE + TOKEN * batch * (tokens + 1) + KV * batch * (INPUT + OUTPUT / 2)
    return found + (DRAFT + DRAFT_PASS * tokens + DRAFT_TOKEN * batch * tokens if tokens else 0.0)


def serve(folder: Path, batch: int, tokens: int = 0, off: float = 1.0) -> Path:
    """A result of ``vllm bench serve``: ``batch`` clients, ``tokens`` drafted; ``off`` times as slow."""
    length = 1 + sum(CHANCE**i for i in range(1, tokens + 1))
    itl = step_s(batch, tokens) * off
    tpot, first, requests = itl / length, PREFILL + PREFILL_TOKEN * INPUT, 4 * batch
    result = {
        "date": "20260901-120000",
        "backend": "vllm",
        "model_id": "org/target",
        "num_prompts": requests,
        "request_rate": "inf",
        "burstiness": 1.0,
        "max_concurrency": batch,
        "duration": requests * (OUTPUT - 1) * tpot / batch,
        "completed": requests,
        "total_input_tokens": requests * INPUT,
        "total_output_tokens": requests * OUTPUT,
        "request_throughput": batch / (OUTPUT * tpot),
        "output_throughput": batch / tpot,
        "mean_ttft_ms": 1e3 * first,
        "mean_tpot_ms": 1e3 * tpot,
        "mean_itl_ms": 1e3 * itl,
    }
    if tokens:
        drafts = 10_000
        result |= {
            "spec_decode_num_drafts": drafts,
            "spec_decode_draft_tokens": drafts * tokens,
            "spec_decode_accepted_tokens": round(drafts * (length - 1)),
            "spec_decode_acceptance_length": length,
            "spec_decode_per_position_acceptance_rates": [CHANCE**i for i in range(1, tokens + 1)],
        }
    path = folder / f"serve-c{batch}-k{tokens}.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    return path


def latency(folder: Path, batch: int) -> str:
    """A result of ``vllm bench latency``, and what it does not say."""
    seconds = PREFILL + PREFILL_TOKEN * batch * INPUT + (OUTPUT - 1) * step_s(batch)
    result = {"avg_latency": seconds, "latencies": [seconds] * 3, "percentiles": {"50": seconds}}
    path = folder / f"latency-b{batch}.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    return f"{path}:batch={batch},input={INPUT},output={OUTPUT}"


def metrics(folder: Path) -> Path:
    """``/metrics`` of the server, after it speculated."""
    drafts = 20_000
    rates = [CHANCE**i for i in range(1, TOKENS + 1)]
    label = 'engine="0",model_name="org/target"'
    lines = [
        "# HELP vllm:spec_decode_num_drafts_total Number of spec decoding drafts.",
        "# TYPE vllm:spec_decode_num_drafts_total counter",
        f"vllm:spec_decode_num_drafts_total{{{label}}} {float(drafts)}",
        f"vllm:spec_decode_num_draft_tokens_total{{{label}}} {float(drafts * TOKENS)}",
        f"vllm:spec_decode_num_accepted_tokens_total{{{label}}} {drafts * sum(rates)}",
        *(
            f'vllm:spec_decode_num_accepted_tokens_per_pos_total{{{label},position="{at}"}} {drafts * rate}'
            for at, rate in enumerate(rates)
        ),
        'vllm:num_requests_running{engine="0"} 0.0',
    ]
    path = folder / "metrics.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
