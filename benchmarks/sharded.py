"""A target on two GPUs: ``python -m benchmarks.sharded --out DIR`` on a machine that has them.

Parts, in this order, each in a process of its own, so that one that hangs takes no other with it:

``collectives``   a sum over both GPUs by the number of tokens: NCCL, and two ways over symmetric memory
``correct``       a small fp32 model over both GPUs says what transformers' ``generate`` says: drafts on both
                  that switch, every packing, two micro-batches
``pages``         the same with K/V in pages, which are preempted
``soak``          many requests with drafts on both of the target's GPUs: every one must complete
``llama-3-8b``, ``llama-13b``
                  verification of these shapes (random weights, bf16) at batch 1, 8 and 32 x 5 tokens after
                  1,000: over both GPUs, on one, and the floor
``again``         two divided deployments of one process, one after the other
``apart``, ``in-one``
                  the 8B shape over both GPUs: sums apart from residual and norm, and all three in one kernel

Every part writes ``DIR/PART.json`` as it goes. ``--tiny`` runs small shapes, on CPUs where there is no GPU.
A floor is that of one GPU (operators, each at its bytes or its flops, at rates that are measured first),
halved, and the sums between the GPUs as they were measured.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.sharded_parts import PARTS

LIMITS_S: Mapping[str, int] = {
    "collectives": 60,
    "correct": 100,
    "pages": 100,
    "soak": 90,
    "llama-3-8b": 80,
    "llama-13b": 90,
    "again": 80,
    "apart": 45,
    "in-one": 45,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts, or one of them in this process; returns how many failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharded", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/sharded"), help="where the files go")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS), help="which, in this order")
    parser.add_argument("--seconds", type=float, default=500, help="start no part later than this")
    parser.add_argument("--tiny", action="store_true", help="small shapes, for a CPU")
    parser.add_argument("--here", choices=PARTS, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.here:
        faulthandler.dump_traceback_later(0.9 * LIMITS_S[asked.here])  # of one that hangs: where
        PARTS[asked.here](asked.out / f"{asked.here}.json", asked.tiny)
        print(f"{asked.here}: all is closed", flush=True)
        os._exit(0)  # what CUDA does as a process ends is measured nowhere
    begun, failed = time.monotonic(), 0
    for part in asked.parts:
        left = asked.seconds - (time.monotonic() - begun)
        if left < 10:
            print(f"{part}: no time left", flush=True)
            failed += 1
            continue
        failed += _run(part, asked.out, asked.tiny, min(LIMITS_S[part], left))
    return failed


def _run(part: str, out: Path, tiny: bool, limit_s: float) -> bool:
    """One part in a process group of its own; did it fail?"""
    command = [sys.executable, "-m", "benchmarks.sharded", "--here", part, "--out", str(out)]
    begun = time.monotonic()
    child = subprocess.Popen([*command, *(["--tiny"] if tiny else [])], start_new_session=True)
    try:
        code: object = child.wait(limit_s)
    except subprocess.TimeoutExpired:
        code = "too late"
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    print(f"{part}: {time.monotonic() - begun:.1f} s, {code or 'done'}", flush=True)
    return code != 0


if __name__ == "__main__":
    sys.exit(main())
