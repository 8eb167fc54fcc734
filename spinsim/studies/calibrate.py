"""``spinsim calibrate``: costs and acceptance from an engine's own benchmarks.

The fit is the ``linear`` cost model's: seconds of a pass = base + a * tokens + b * KV tokens, all at least 0.
Every benchmark is one equation, weighted by its own size, so that relative errors count. Each is also
predicted from a fit without it: the held-out error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.optimize import nnls

from spinsim.engines.vllm_bench import Accepted, Benchmark, read_benchmark, read_metrics
from spinsim.errors import InputError
from spinsim.scenario_file import load, resolved_yaml
from spinsim.scenario_file.variants import override

SOURCES = ("vllm-bench",)
FEWEST = 3  # batches without speculation: base, tokens and K/V
TERMS = (
    "target.base_s",
    "target.token_s",
    "target.kv_token_s",
    "draft.base_s",
    "draft.pass_s",
    "draft.token_s",
    "prefill.base_s",
    "prefill.token_s",
)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Fitted costs. ``held_out``: relative error of each benchmark by name, from a fit without it.

    ``draft``: the drafter's name; None where no benchmark speculates. ``acceptance``: probability that a
    token is accepted, from the counters; None without.
    """

    terms: dict[str, float]
    draft: str | None
    held_out: dict[str, float]
    accepted: Accepted | None
    acceptance: float | None
    notes: tuple[str, ...]

    @property
    def label(self) -> str:
        """What stands behind the costs, in one line."""
        errors = list(self.held_out.values())
        return (
            f"fitted to {len(errors)} vLLM benchmarks; held out: median error {100 * median(errors):.1f} %, "
            f"worst {100 * max(errors):.1f} %"
        )

    def costs(self) -> dict[str, Any]:
        """The scenario's ``costs``."""
        found: dict[str, Any] = {"model": "linear", "target": _pass(self.terms, "target")}
        if self.draft is not None:
            found["drafts"] = {self.draft: _pass(self.terms, "draft")}
        found["prefill"] = _pass(self.terms, "prefill")
        return found

    def text(self) -> str:
        """``costs`` and ``acceptance`` as YAML, with the label as a comment."""
        sections: dict[str, Any] = {"costs": self.costs()}
        if self.acceptance is not None and self.draft is not None:
            probability = {self.draft: round(self.acceptance, 4)}
            sections["acceptance"] = {"model": "constant", "probability": probability}
        lines = [f"# {self.label}", *(f"# {note}" for note in self.notes)]
        return "\n".join(lines) + "\n" + yaml.safe_dump(sections, sort_keys=False)

    def scenario(self, base: Path, overrides: Sequence[str] = ()) -> str:
        """``base`` with these costs and this acceptance. Raises InputError where its drafts are others."""
        drafts = tuple(load(base, overrides).scenario.models.drafts)
        if drafts != (() if self.draft is None else (self.draft,)):
            raise InputError(
                f"has drafts {', '.join(drafts) or 'none'}; the benchmarks are of "
                f"{self.draft or 'no draft'} alone",
                file=str(base),
                key="models.drafts",
            )
        changes = [override("costs", self.costs())]
        if self.acceptance is not None:
            changes.append(
                override("acceptance", {"model": "constant", "probability": {self.draft: self.acceptance}})
            )
        lines = [f"# {self.label}", *(f"# {note}" for note in self.notes)]
        return "\n".join(lines) + "\n" + resolved_yaml(load(base, [*overrides, *changes]))


def calibrate(
    files: Sequence[str], *, source: str = "vllm-bench", metrics: Path | None = None, draft: str = "draft"
) -> Calibration:
    """Fit costs to benchmark files, and acceptance to counters of a metrics file or of the benchmarks.

    Raises InputError for unreadable files, or too few batches to tell a step's terms apart.
    """
    if source not in SOURCES:
        raise InputError(f"no source {source!r}; {', '.join(SOURCES)}", key="--from")
    benchmarks = [read_benchmark(text) for text in files]
    plain = [one for one in benchmarks if not one.tokens]
    batches = {round(one.batch, 1) for one in plain}
    if len(batches) < FEWEST:
        raise InputError(
            f"{len(batches)} batches without speculation do not tell a step's terms apart; {FEWEST} or more, "
            "such as --max-concurrency 1, 8 and 32",
            key="--from",
        )
    terms = _fit(benchmarks)
    held_out = {one.name: _error(_fit([o for o in benchmarks if o is not one]), one) for one in benchmarks}
    speculating = any(one.tokens for one in benchmarks)
    accepted = read_metrics(metrics) if metrics is not None else _counted(benchmarks)
    notes = []
    if not any(one.first_s for one in benchmarks) and not any(one.batch_s for one in benchmarks):
        notes.append(
            "no benchmark tells prefill apart (--max-concurrency 1, or vllm bench latency): it costs 0"
        )
    drafted = {round(one.tokens) for one in benchmarks if one.tokens}
    if len(drafted) == 1:
        notes.append(
            f"drafting was measured with {drafted.pop()} tokens alone, and is taken to grow with their number"
        )
    if accepted is not None:
        notes.append(
            f"acceptance length {accepted.length:.3f} = 1 + {accepted.accepted:.0f} / {accepted.drafts:.0f} "
            f"with {accepted.tokens:.1f} drafted tokens; one probability for every position"
        )
    if accepted is not None and not speculating:
        raise InputError("no benchmark speculates; one with the drafter, for its costs", key="--from")
    probability = None if accepted is None else chance(accepted.length - 1, round(accepted.tokens))
    return Calibration(terms, draft if speculating else None, held_out, accepted, probability, tuple(notes))


def chance(accepted: float, tokens: int) -> float:
    """The probability p with p + p^2 + ... + p^tokens = ``accepted``, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if sum(middle**i for i in range(1, tokens + 1)) < accepted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def predicted(terms: dict[str, float], one: Benchmark) -> float:
    """Seconds of a benchmark's step, or of its whole batch."""
    row = dict(zip(TERMS, _row(one), strict=True))
    return sum(terms[name] * row[name] for name in TERMS)


def _row(one: Benchmark) -> list[float]:
    """How often each term counts in what the benchmark measured."""
    context = one.input_tokens + one.output_tokens / 2
    queries, kv = one.batch * (one.tokens + 1), one.batch * context
    step = [1.0, queries, kv]
    drafting = [1.0, one.tokens, one.batch * one.tokens] if one.tokens else [0.0, 0.0, 0.0]
    if one.batch_s is None:
        return [*step, *drafting, 0.0, 0.0]
    steps = one.output_tokens - 1
    return [*(steps * n for n in step), *drafting, 1.0, one.batch * one.input_tokens]


def _first(one: Benchmark) -> list[float]:
    return [0.0] * 6 + [1.0, one.input_tokens]


def _fit(benchmarks: Sequence[Benchmark]) -> dict[str, float]:
    """Least squares of relative errors, with no term below 0."""
    rows, values = [], []
    for one in benchmarks:
        rows.append(_row(one))
        values.append(_measured(one))
        if one.first_s is not None:
            rows.append(_first(one))
            values.append(one.first_s)
    matrix, seconds = np.array(rows), np.array(values)
    if len({round(one.tokens) for one in benchmarks if one.tokens}) == 1:
        # One number of tokens does not tell a proposal's passes from the rest: all of it grows with them.
        matrix[:, TERMS.index("draft.base_s")] = 0.0
    weighted: Floats = matrix / seconds[:, None]
    scale = np.maximum(np.abs(weighted).max(axis=0), 1e-30)
    found, _ = nnls(weighted / scale, np.ones(len(seconds)))
    return {name: float(value) for name, value in zip(TERMS, found / scale, strict=True)}


def _measured(one: Benchmark) -> float:
    seconds = one.step_s if one.batch_s is None else one.batch_s
    assert seconds is not None
    return seconds


def _error(terms: dict[str, float], one: Benchmark) -> float:
    return abs(predicted(terms, one) / _measured(one) - 1)


def _counted(benchmarks: Sequence[Benchmark]) -> Accepted | None:
    """The counters of the benchmark that drafted most, whose positions reach furthest."""
    counted = [one.accepted for one in benchmarks if one.accepted is not None]
    return max(counted, key=lambda accepted: accepted.tokens, default=None)


def _pass(terms: dict[str, float], name: str) -> dict[str, float]:
    return {key.partition(".")[2]: value for key, value in terms.items() if key.startswith(f"{name}.")}
