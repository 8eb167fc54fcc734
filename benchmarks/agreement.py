"""Are the tokens of a live bf16 run the target's? ``python -m benchmarks.agreement SCENARIO --out FILE``.

In bf16 the argmax moves with the order of summation, so a run cannot be compared token for token with
another implementation. Instead prompt and output of every request go through the target once more,
teacher-forced, by transformers' own forward: in fp32 (of the same bf16 weights, converted), which we take for
exact, and in bf16.

The tolerance follows from rounding alone; nothing in it is tuned. Let z be the exact logits and z + e those
that the run saw. It emitted the token s with the largest z + e, so for the best token b of z

    gap = z_b - z_s <= e_s - e_b <= 2 E,    E = the largest |e| of a token that can have been emitted.

e of the run is not known; that of transformers' bf16 pass on the same contexts is, and both round the same
weights and activations to 8 bits. Tokens that can have been emitted are those within 2 E of the best: E is
first taken over all tokens, then over those within reach of it, until that changes nothing.

1. No emitted token may lie further below the best than 2 E.
2. The run may not miss the best token more often than that pass does, but for chance: of the positions where
   one of the two misses it, the run's share exceeds a half by at most 4 standard deviations (McNemar's test).
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from spinsim.errors import InputError
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.live_run import run_scenario
from spinsim.live.prompts import materialise
from spinsim.runner.loaded_model import LoadedModel
from spinsim.scenario_file import LoadedScenario, load
from spinsim.workload.for_scenario import build_workload

DEVIATIONS = 4.0
BEST = 64  # tokens of a position that are looked at one by one
PASS_TOKENS = 4096  # of one teacher-forced pass; its fp32 logits are kept
Output = tuple[Sequence[int], Sequence[int]]  # prompt, what was emitted


@dataclass(frozen=True)
class Agreement:
    """Of the ``tokens`` emitted; gaps, tolerance and errors in logits.

    ``argmax``: the share that is the best token in fp32; ``bf16_argmax``: of what the bf16 pass would have
    emitted on the same contexts, whose largest gap is ``bf16_gap_largest``. ``excess``: standard deviations
    by which the run misses the best token more often.
    """

    tokens: int
    argmax: float
    bf16_argmax: float
    gap_median: float | None  # of the tokens that are not the best
    gap_largest: float
    bf16_gap_largest: float
    tolerance: float
    excess: float

    @property
    def holds(self) -> bool:
        """Is everything within what rounding explains?"""
        return self.gap_largest <= self.tolerance and self.excess <= DEVIATIONS


def agreement(target: LoadedModel, outputs: Sequence[Output]) -> Agreement:
    """Teacher-forces ``outputs`` through ``target``, whose attention is ours again afterwards."""
    exact = copy.deepcopy(target.module).float()
    used = target.used_vocabulary
    judged = []
    with own_attention(target.module), own_attention(exact):
        for rows in passes(outputs):
            emitted = torch.tensor([token for _, new in rows for token in new], device=exact.device)
            judged.append(
                judge(logits(exact, rows)[:, :used], logits(target.module, rows)[:, :used], emitted)
            )
    run, other, below, error = (torch.cat(parts) for parts in zip(*judged, strict=True))
    missed, others = run > 0, other > 0
    only_run, only_other = int((missed & ~others).sum()), int((others & ~missed).sum())
    return Agreement(
        tokens=len(run),
        argmax=1 - float(missed.double().mean()),
        bf16_argmax=1 - float(others.double().mean()),
        gap_median=float(run[missed].median()) if missed.any() else None,
        gap_largest=float(run.max()),
        bf16_gap_largest=float(other.max()),
        tolerance=2 * reach(below, error),
        excess=(only_run - only_other) / math.sqrt(max(only_run + only_other, 1)),
    )


def judge(exact: torch.Tensor, rounded: torch.Tensor, emitted: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """From logits ``[n, V]`` and tokens ``[n]``: (gaps ``[n]`` of what was emitted, gaps of what ``rounded``
    would have emitted, how far the BEST best tokens are below the first ``[n, BEST]``, their errors in
    ``rounded``). The last of them has the largest error of all that are not among them, if that is larger.
    """
    values, tokens = exact.topk(min(BEST, exact.shape[1]))
    best = values[:, :1]
    gaps = [best - exact.gather(1, choice[:, None]) for choice in (emitted, rounded.argmax(-1))]
    error = (rounded - exact).abs()
    among = error.gather(1, tokens)
    among[:, -1] = torch.maximum(among[:, -1], error.scatter(1, tokens, 0.0).amax(1))
    return gaps[0][:, 0], gaps[1][:, 0], best - values, among


def reach(below: torch.Tensor, error: torch.Tensor) -> float:
    """The E of the tolerance: the largest error of a token that lies at most 2 E below its best one."""
    largest = float(error.max())
    while (inner := float(error[below <= 2 * largest].max())) < largest:
        largest = inner
    return largest


@contextmanager
def own_attention(module: Any) -> Iterator[None]:
    """The module computes attention itself, over whole sequences."""
    ours = module.config._attn_implementation
    module.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        module.set_attn_implementation(ours)


def passes(outputs: Sequence[Output]) -> Iterator[list[Output]]:
    """Requests of similar length together, at most ``PASS_TOKENS`` padded tokens a pass."""
    rows: list[Output] = []
    for output in sorted((o for o in outputs if o[1]), key=lambda o: len(o[0]) + len(o[1])):
        longest = len(output[0]) + len(output[1])  # sorted: the longest so far
        if rows and (len(rows) + 1) * longest > PASS_TOKENS:
            yield rows
            rows = []
        rows.append(output)
    if rows:
        yield rows


@torch.inference_mode()
def logits(module: Any, rows: Sequence[Output]) -> torch.Tensor:
    """Fp32 ``[emitted tokens, V]``: what the module says before each emitted token, row after row."""
    longest = max(len(prompt) + len(new) for prompt, new in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)  # padded behind, where nobody looks
    for row, (prompt, new) in enumerate(rows):
        ids[row, : len(prompt) + len(new)] = torch.tensor([*prompt, *new])
    said = module(ids.to(module.device), use_cache=False).logits
    spans = [
        said[row, len(prompt) - 1 : len(prompt) + len(new) - 1] for row, (prompt, new) in enumerate(rows)
    ]
    return torch.cat(spans).float()


def require_rounding(loaded: LoadedScenario) -> None:
    """Raises InputError unless the run is greedy and its target rounds."""
    scenario = loaded.scenario
    if scenario.sampling.temperature > 0:
        key = "sampling.temperature"
        raise loaded.places.error(key, "sampled tokens need not be the best; allowed is 0")
    if scenario.models.target.dtype == "fp32":
        key = "models.target.dtype"
        raise loaded.places.error(key, "fp32 is compared token for token (tests/live); allowed: bf16, fp16")


def serve(loaded: LoadedScenario, deployment: Deployment) -> list[Output]:
    """(prompt, output) of every request of a live run. Raises what ended it."""
    scenario = loaded.scenario
    workload = build_workload(scenario, loaded.base_dir)
    prompted = materialise(scenario, workload, deployment.models.target)
    ran = run_scenario(scenario, loaded.base_dir, deployment, prompted=prompted)
    if ran.error is not None:
        raise ran.error
    return [(prompted.prompts[request], tokens) for request, tokens in ran.outputs.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, teacher-force, print, write; 1 where rounding does not explain what was emitted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--requests", type=int, default=64)
    options = parser.parse_args(arguments)
    begun = time.perf_counter()
    overrides = [*options.overrides, f"workload.requests={options.requests}"]
    try:
        loaded = load(options.scenario, overrides, options.device)
        require_rounding(loaded)
        deployment = deploy(loaded.scenario, loaded.base_dir)
        deployed = time.perf_counter()
        outputs = serve(loaded, deployment)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    served = time.perf_counter()
    found = agreement(deployment.models.target, outputs)
    result = {
        "command": "python -m benchmarks.agreement",
        "scenario": loaded.scenario.name,
        "models": deployment.models.notes,
        "dtype": loaded.scenario.models.target.dtype,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        **asdict(found),
        "holds": found.holds,
        "deploy_s": deployed - begun,
        "run_s": served - deployed,
        "teacher_forced_s": time.perf_counter() - served,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    return 0 if found.holds else 1


if __name__ == "__main__":
    sys.exit(main())
