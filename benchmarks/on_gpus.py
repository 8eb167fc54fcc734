"""What a deployment is held to beside its speed, on models that are loaded once.

    python -m benchmarks.on_gpus scenarios/two-gpus.yaml --soak 2000 --agreement 64 --generate --out FILE

``--soak N`` serves N requests with random arrivals and impatient clients, at 70 % of the rate that a closed
loop has just reached. ``--agreement N`` holds the tokens of N requests against the target, teacher-forced
(:mod:`benchmarks.agreement`). ``--generate`` times transformers' own generate at the same batch, and assisted
generation at batch 1. ``--timelines DIR`` keeps Perfetto timelines of the scenario, serial and with two
micro-batches. Speeds of policies are the business of ``spinsim ladder --live``.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.agreement import agreement, serve
from benchmarks.generation import generate
from benchmarks.live_runs import Figures, measure
from benchmarks.policies import SERIAL, depth, packing
from benchmarks.soak import soak
from spinsim.files import write_atomically
from spinsim.live.deployment import deploy
from spinsim.packings import kinds
from spinsim.scenario_file import LoadedScenario, load

TIMELINES = {"ragged": [packing("ragged"), SERIAL], "ragged-2": [packing("ragged"), depth(2)]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; the file is written after each part."""
    options = parsed(arguments)

    loaded = load(options.scenario, options.overrides, options.device)
    layout = f"kv.reserve={loaded.scenario.kv.reserve}"  # the deployment's

    def variant(overrides: Sequence[str]) -> LoadedScenario:
        return load(options.scenario, [*options.overrides, layout, *overrides], options.device)

    deployment = deploy(loaded.scenario, loaded.base_dir, packings=kinds())
    found: dict[str, Any] = {
        "command": "python -m benchmarks.on_gpus",
        "scenario": loaded.scenario.name,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "models": deployment.models.notes,
        "kv_slots": deployment.kv_slots,
    }

    def keep(part: str, value: Any) -> None:
        found[part] = value
        write_atomically(options.out, json.dumps(found, indent=1) + "\n")

    options.out.parent.mkdir(parents=True, exist_ok=True)
    keep("timelines", {})
    for name, changes in TIMELINES.items() if options.timelines else ():
        figures = measure(variant(changes), deployment, options.timelines / f"timeline-{name}.json")
        keep("timelines", found["timelines"] | {name: figures})
    if options.soak:
        keep("soak", soak(variant, deployment, options.soak, loaded.scenario.limits.batch))
        print(soak_text(found["soak"]), flush=True)
    if options.agreement:
        few = variant([f"workload.requests={options.agreement}"])
        agreed = agreement(deployment.models.target, serve(few, deployment))
        keep("agreement", {**asdict(agreed), "holds": agreed.holds})
        print(f"agreement: {found['agreement']}", flush=True)
    if options.generate:  # last: our attention is gone afterwards
        keep("transformers", generate(loaded, deployment))
        print(f"transformers: {found['transformers']}", flush=True)
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.on_gpus",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--soak", type=int, default=0, metavar="REQUESTS")
    parser.add_argument("--agreement", type=int, default=0, metavar="REQUESTS")
    parser.add_argument("--generate", action="store_true")
    parser.add_argument("--timelines", type=Path, metavar="DIR")
    return parser.parse_args(arguments)


def soak_text(found: Figures) -> str:
    """A few lines of it."""
    return (
        f"soak: {found['arrivals_per_s']:.1f} requests/s ({found['load']:.0%} of a closed loop's "
        f"{found['closed_loop_requests_per_s']:.1f}): {found['completed']} completed, "
        f"{found['cancelled']} cancelled, {found['rejected']} rejected, {found['lost']} lost, "
        f"{found['run']['slots_held']} slots held\n"
        f"before {found['held_before']}\nafter  {found['held_after']}"
    )


if __name__ == "__main__":
    sys.exit(main())
