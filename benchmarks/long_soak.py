"""A soak of long requests whose K/V grow: none is lost, and no block is leaked.

    python -m benchmarks.long_soak --out soak.json                                 # tiny models, on the CPU
    python -m benchmarks.long_soak scenarios/long-context.yaml --out soak.json     # a GPU: whatever it takes

The scenario is served with ``kv.reserve: grow`` in memory for a third of what a full batch would hold at the
end of its outputs, so that requests are preempted. Some clients give up. Two micro-batches, and changes of
draft beside the drafting, keep operations in flight when a request ends. The exit code is 1 where a request
ended in no known way, a slot or a block is still held, or nobody was preempted.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.live_runs import resident_bytes
from benchmarks.long_context_cells import QUICK, ROUND_ROBIN, write_scenario
from benchmarks.policies import depth
from spinsim.engine.records import CANCELLED, COMPLETED, REJECTED
from spinsim.files import write_atomically
from spinsim.live.deployment import deploy
from spinsim.live.live_run import run_scenario
from spinsim.results.environment import environment
from spinsim.scenario_file import load
from spinsim.workload.for_scenario import build_workload

REQUESTS = 500
TIGHT = 1 / 3  # of a full batch's K/V
TINY = (  # long beside the models' context of a hundred tokens
    "workload.prompt_tokens={distribution: uniform, min: 8, max: 48}",
    "workload.output_tokens={distribution: uniform, min: 16, max: 40}",
    "workload.patience_s={distribution: lognormal, median: 2.0, sigma: 1.0}",
    "limits.batch=8",
    "kv.block_tokens=4",
)
Numbers = dict[str, Any]


def soak(path: Path, overrides: Sequence[str], requests: int) -> Numbers:
    """Serve ``requests`` and say what became of them, and what is held afterwards."""
    common = [*overrides, f"workload.requests={requests}", "kv.reserve=grow", "policies.switching=overlapped"]
    scenario = load(path, common).scenario
    sizes = [r.prompt_tokens + r.output_tokens for r in build_workload(scenario, path.parent).requests]
    batch, block = scenario.limits.batch, scenario.kv.block_tokens
    mean = sum(sizes) / len(sizes)
    room = max(int(TIGHT * batch * mean), scenario.kv.least(scenario.limits.context_tokens))
    tokens = -(-room // block) * block
    clients = f"workload.arrivals={{process: closed, concurrency: {batch + batch // 2}}}"
    tight = [f"kv.target_tokens={tokens}", f"kv.draft_tokens={tokens}", clients, depth(2)]
    loaded = load(path, [*common, *tight])
    deployment = deploy(loaded.scenario, loaded.base_dir)
    before = resident_bytes()
    ran = run_scenario(loaded.scenario, loaded.base_dir, deployment)
    ended = Counter(record.status for record in ran.records.requests.values())
    known = {status: ended[status] for status in (COMPLETED, CANCELLED, REJECTED)}
    return {
        "requests": requests,
        "kv_tokens": deployment.kv_tokens,
        **known,
        "lost": requests - sum(known.values()),
        "preemptions": sum(record.preemptions for record in ran.records.requests.values()),
        "slots_held": ran.slots_held,
        "blocks_held": ran.blocks_held,
        "seconds": ran.records.ended_ns * 1e-9,
        "process_bytes": [before, resident_bytes()],
        "error": str(ran.error or ""),
    }


def passed(found: Numbers) -> bool:
    """Was nothing lost or leaked, though requests were preempted?"""
    clean = not (found["lost"] or found["slots_held"] or found["blocks_held"] or found["error"])
    return clean and found["preemptions"] > 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak, print and keep what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.long_soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", type=Path, nargs="?", help="default: tiny models on the CPU")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as scratch:
        path, overrides = options.scenario, [ROUND_ROBIN, *options.overrides]
        if path is None:
            path = write_scenario(Path(scratch), QUICK, "cpu", 1, {"model": "roofline"})
            overrides = [*TINY, *overrides]
        found = soak(path, overrides, options.requests)
    write_atomically(options.out, json.dumps({"environment": environment(), **found}, indent=1) + "\n")
    print("\n".join(f"{name:14s} {value}" for name, value in found.items()))
    return 0 if passed(found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
