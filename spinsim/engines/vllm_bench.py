"""What vLLM's benchmarks write: ``vllm bench serve --save-result`` and ``vllm bench latency --output-json``.

``serve`` writes its totals, mean TTFT, TPOT and ITL in milliseconds and, of a server that speculates,
counters named ``spec_decode_*``. ``latency`` writes seconds of whole batches, and neither their size nor
their lengths. Keys that a file lacks are given behind it: ``FILE:batch=8,input=32,output=128``. Layouts are
those of vllm/benchmarks/latency.py at 00cae0753b8d50118a960888a6aff57f9b098ac6, and of result files in
repositories.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinsim.errors import InputError, reason_of

EXPECTED = (
    "JSON of vllm bench serve (completed, duration, total_input_tokens, total_output_tokens, mean_tpot_ms, "
    "mean_itl_ms) or of vllm bench latency (avg_latency)"
)
GIVEN = {
    "batch": "batch_size",
    "input": "input_len",
    "output": "output_len",
    "tokens": "num_speculative_tokens",
}
_SAMPLE = re.compile(r"^vllm:spec_decode_(\w+?)(?:_total)?(?:\{([^}]*)\})?\s+([0-9.eE+-]+)\s*$")


@dataclass(frozen=True, slots=True)
class Accepted:
    """Counters of speculation. ``per_position``: drafts whose proposal was accepted up to a position."""

    drafts: float
    drafted: float
    accepted: float
    per_position: tuple[float, ...] = ()

    @property
    def tokens(self) -> float:
        """Proposed tokens of a draft, in the mean."""
        return self.drafted / self.drafts

    @property
    def length(self) -> float:
        """Acceptance length: tokens committed a verification, the target's own included."""
        return 1.0 + self.accepted / self.drafts


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark. ``step_s``: of a decoding step (``serve``); ``batch_s``: of a whole batch (``latency``).

    ``batch``: requests that decode at once, in the mean. ``tokens``: proposed in a round, 0 without
    speculation. ``first_s``: time to the first token where nobody waits.
    """

    name: str
    batch: float
    input_tokens: float
    output_tokens: float
    tokens: float = 0.0
    step_s: float | None = None
    batch_s: float | None = None
    first_s: float | None = None
    accepted: Accepted | None = None


def read_benchmark(text: str) -> Benchmark:
    """``FILE`` or ``FILE:key=value,...``. Raises InputError for what is no such file, or lacks a figure."""
    path, given = _parted(text)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"not readable as JSON ({reason_of(error)}); {EXPECTED}", file=str(path)) from None
    if not isinstance(found, dict):
        raise InputError(f"no JSON object; {EXPECTED}", file=str(path))
    values = {**found, **given}
    if "avg_latency" in values:
        return _latency(path, values)
    if "mean_tpot_ms" in values:
        return _serve(path, values)
    raise InputError(f"neither mean_tpot_ms nor avg_latency; {EXPECTED}", file=str(path))


def read_metrics(path: Path) -> Accepted:
    """The counters of speculation in a server's ``/metrics`` (Prometheus text). Raises InputError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=str(path)) from None
    totals: dict[str, float] = {}
    positions: dict[int, float] = {}
    for line in lines:
        sample = _SAMPLE.match(line)
        if sample is None:
            continue
        name, labels, value = sample.groups()
        if name == "num_accepted_tokens_per_pos":
            position = re.search(r'position="(\d+)"', labels or "")
            if position is not None:
                at = int(position.group(1))
                positions[at] = positions.get(at, 0.0) + float(value)
        else:
            totals[name] = totals.get(name, 0.0) + float(value)
    names = ("num_drafts", "num_draft_tokens", "num_accepted_tokens")
    missing = [name for name in names if name not in totals]
    if missing or not totals["num_drafts"]:
        what = f"vllm:spec_decode_{missing[0]}_total" if missing else "a draft"
        raise InputError(f"holds no {what}; /metrics of a vLLM server that speculates", file=str(path))
    drafts, drafted, accepted = (totals[name] for name in names)
    return Accepted(drafts, drafted, accepted, tuple(positions[at] for at in sorted(positions)))


def _parted(text: str) -> tuple[Path, dict[str, float]]:
    """A path, and what is given behind it."""
    path, colon, rest = text.rpartition(":")
    if not colon or "=" not in rest:
        return Path(text), {}
    given = {}
    for part in rest.split(","):
        key, _, value = part.partition("=")
        if key not in GIVEN or not value.isdigit():
            raise InputError(f"{part!r} is not allowed; {', '.join(GIVEN)} as whole numbers", file=path)
        given[GIVEN[key]] = float(value)
    return Path(path), given


def _serve(path: Path, values: Mapping[str, Any]) -> Benchmark:
    completed = _number(path, values, "completed")
    duration = _number(path, values, "duration")
    inputs = _number(path, values, "total_input_tokens") / completed
    outputs = _number(path, values, "total_output_tokens") / completed
    tpot = _number(path, values, "mean_tpot_ms") / 1e3
    if outputs <= 1:
        raise InputError("outputs of one token have no TPOT; longer ones", file=str(path))
    accepted = _counters(values)
    tokens = accepted.tokens if accepted is not None else float(values.get("num_speculative_tokens", 0))
    # A chunk of the stream is a verification's tokens, so that the time between chunks is the step's.
    step = _number(path, values, "mean_itl_ms") / 1e3 if tokens else tpot
    batch = max(1.0, completed * (outputs - 1) * tpot / duration)  # Little's law
    alone = values.get("max_concurrency") == 1
    first = _number(path, values, "mean_ttft_ms") / 1e3 if alone and "mean_ttft_ms" in values else None
    return Benchmark(path.name, batch, inputs, outputs, tokens, step, None, first, accepted)


def _latency(path: Path, values: Mapping[str, Any]) -> Benchmark:
    for name, key in GIVEN.items():
        if key not in values and name != "tokens":
            raise InputError(
                f"does not say its {key}; write {path.name}:batch=8,input=32,output=128", file=str(path)
            )
    if values.get("num_speculative_tokens"):
        raise InputError("has no counters of what was accepted; vllm bench serve has", file=str(path))
    return Benchmark(
        path.name,
        _number(path, values, "batch_size"),
        _number(path, values, "input_len"),
        _number(path, values, "output_len"),
        batch_s=_number(path, values, "avg_latency"),
    )


def _counters(values: Mapping[str, Any]) -> Accepted | None:
    names = ("spec_decode_num_drafts", "spec_decode_draft_tokens", "spec_decode_accepted_tokens")
    if not all(values.get(name) for name in names):
        return None
    drafts, drafted, accepted = (float(values[name]) for name in names)
    rates = values.get("spec_decode_per_position_acceptance_rates") or ()
    return Accepted(drafts, drafted, accepted, tuple(drafts * float(rate) for rate in rates))


def _number(path: Path, values: Mapping[str, Any], key: str) -> float:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InputError(f"{key} is {value!r}, no number above 0; {EXPECTED}", file=str(path))
    return float(value)
