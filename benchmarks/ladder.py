"""The paper's ladder, live: every step side by side on models that are loaded once.

    python -m benchmarks.ladder scenarios/two-gpus.yaml --seconds 170 --resume --out FILE

Steps: autoregressive in this engine; vanilla (one fixed smallest draft, padded, serial: our reading of
the paper's baseline); the best fixed draft, chosen on another workload (the next seed); + selection;
+ decomposition; + pipeline; + ragged; then fixed numbers of micro-batches. Repetitions go round
robin over the steps, so that a drifting machine drifts for all. ``--out`` is written after every run;
``--resume`` goes on with it, in as many processes as it takes. ``--soak N`` serves N requests with random
arrivals and impatient clients at 70 % of the rate that a closed loop has just reached. ``--agreement N``
holds the tokens of N requests against the target, teacher-forced (:mod:`benchmarks.agreement`).
``--generate`` times transformers' own generate at the same batch, and assisted generation at batch 1.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks.agreement import agreement, serve
from benchmarks.generation import generate
from benchmarks.ladder_steps import BEST, BEST_RAGGED, NAMES, SERIAL, VANILLA, fixed, ladder, packing
from benchmarks.ledger import Ledger
from benchmarks.live_runs import Figures, Variant, measure
from benchmarks.soak import soak
from spinsim.live.deployment import Deployment, deploy
from spinsim.scenario import Scenario
from spinsim.scenario_file import LoadedScenario, load

PACKINGS = ("padded", "decomposed", "ragged")
TIMELINES = ("+ ragged", "ragged, 2 micro-batches")


@dataclass
class Budget:
    """Seconds since the process began; what would end later is not started."""

    seconds: float
    begun: float

    def allows(self, expected_s: float) -> bool:
        """Will it end in time?"""
        return time.perf_counter() - self.begun + expected_s <= self.seconds


def best_fixed(variant: Variant, deployment: Deployment, ledger: Ledger, budget: Budget) -> str | None:
    """The draft with the highest goodput on another workload than the one that is measured.

    Its runs are kept in the ledger; None where the time does not reach for all of them.
    """
    scenario = variant([]).scenario
    kept = ledger.data.setdefault("best_fixed", {"goodput_on_the_other_workload": {}})
    goodput: dict[str, float] = kept["goodput_on_the_other_workload"]
    slowest = 0.0
    for draft in scenario.models.drafts:
        if draft in goodput:
            continue
        if not budget.allows(slowest):
            return None
        figures = measure(
            variant([f"seed={scenario.seed + 1}", fixed(draft), packing("padded"), SERIAL]), deployment
        )
        slowest = max(slowest, float(figures["wall_s"]))
        goodput[draft] = float(figures["goodput_tokens_per_s"])
        print(f"on another workload, {draft:18s} {goodput[draft]:9.1f} tokens/s", flush=True)
        ledger.write()
    kept["draft"] = max(goodput, key=lambda draft: goodput[draft])
    return str(kept["draft"])


def climb(
    steps: dict[str, list[str]],
    repetitions: int,
    variant: Variant,
    deployment: Deployment,
    ledger: Ledger,
    budget: Budget,
    timelines: Path | None = None,
) -> list[tuple[int, str]]:
    """Measure what the ledger lacks, round robin; returns the (repetition, step) that found no time."""
    missing = [
        (repetition, name)
        for repetition in range(repetitions)
        for name in steps
        if not ledger.done(name, repetition)
    ]
    for position, (repetition, name) in enumerate(missing):
        if not budget.allows(ledger.expected_s(name)):
            return missing[position:]
        timeline = None
        if repetition == 0 and timelines and name in TIMELINES:
            timeline = timelines / f"timeline-{name.replace(' ', '').strip('+')}.json"
        figures = measure(variant(steps[name]), deployment, timeline)
        ledger.add(name, repetition, figures)
        print(
            f"{repetition} {name:32s} {figures['goodput_tokens_per_s']:9.1f} tokens/s "
            f"{figures['wall_s']:6.1f} s",
            flush=True,
        )
    return []


def identity_of(loaded: LoadedScenario) -> dict[str, str]:
    """What two processes must agree on, or their repetitions are not of one thing."""
    text = loaded.scenario.model_dump_json()
    return {
        "command": "python -m benchmarks.ladder",
        "scenario": loaded.scenario.name,
        "scenario_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    options = parsed(arguments)
    budget = Budget(options.seconds, time.perf_counter())

    def variant(overrides: Sequence[str]) -> LoadedScenario:
        return load(options.scenario, [*options.overrides, *overrides], options.device)

    loaded = variant([])
    try:
        ledger = Ledger(options.out, identity_of(loaded), resume=options.resume)
    except ValueError as error:
        print(f"{error}; without --resume the file is begun anew", file=sys.stderr)
        return 2
    deployment = deploy(loaded.scenario, loaded.base_dir, packings=PACKINGS)
    deploy_s = time.perf_counter() - budget.begun
    print(f"deployed in {deploy_s:.1f} s", flush=True)
    ledger.begin_session(deploy_s=deploy_s, python=platform.python_version(), host=platform.machine())
    ledger.data |= {"models": deployment.models.notes, "kv_slots": deployment.kv_slots}
    ledger.write()
    left = run_steps(options, loaded.scenario, variant, deployment, ledger, budget)
    if options.soak:
        found = soak(variant, deployment, options.soak, loaded.scenario.limits.batch)
        ledger.data["soak"] = found
        ledger.write()
        print(soak_text(found), flush=True)
    if options.agreement:
        few = variant([f"workload.requests={options.agreement}"])
        agreed = agreement(deployment.models.target, serve(few, deployment))
        ledger.data["agreement"] = {**asdict(agreed), "holds": agreed.holds}
        ledger.write()
        print(f"agreement: {ledger.data['agreement']}", flush=True)
    if options.generate:
        ledger.data["transformers"] = generate(loaded, deployment)
        ledger.write()
        print(f"transformers: {ledger.data['transformers']}", flush=True)
    report(ledger.steps, ledger.data.get("best_fixed", {}).get("draft"))
    if left:
        print(f"{len(left)} runs found no time; --resume goes on with {left[0][1]!r}")
    return 0


def run_steps(
    options: argparse.Namespace,
    scenario: Scenario,
    variant: Variant,
    deployment: Deployment,
    ledger: Ledger,
    budget: Budget,
) -> list[tuple[int, str]]:
    """The asked steps of the ladder; returns what found no time."""
    names = options.steps or list(NAMES)
    if not options.repetitions:
        return []
    smallest = next(iter(scenario.models.drafts))
    best: str | None = options.best or smallest
    if not options.best and {BEST, BEST_RAGGED} & set(names):
        best = best_fixed(variant, deployment, ledger, budget)
        if best is None:
            return [(0, BEST)]
    elif options.best:
        ledger.data["best_fixed"] = {"draft": options.best}
    assert best is not None
    steps = {name: changes for name, changes in ladder(smallest, best).items() if name in names}
    return climb(steps, options.repetitions, variant, deployment, ledger, budget, options.timelines)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true", help="keep the finished repetitions in --out")
    parser.add_argument("--repetitions", type=int, default=3, help="in the file, over all processes")
    parser.add_argument("--steps", nargs="+", choices=NAMES, metavar="NAME", help=f"of: {'; '.join(NAMES)}")
    parser.add_argument("--best", metavar="DRAFT", help="the best fixed draft, where it is known")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument(
        "--seconds",
        type=float,
        default=float("inf"),
        help="start no step that would end later, loading included",
    )
    parser.add_argument("--soak", type=int, default=0, metavar="REQUESTS")
    parser.add_argument("--agreement", type=int, default=0, metavar="REQUESTS")
    parser.add_argument("--generate", action="store_true")
    parser.add_argument("--timelines", type=Path, help="folder for Perfetto timelines of two steps")
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


def report(steps: dict[str, list[Figures]], best: str | None) -> None:
    """Medians with their range, and ratios to vanilla and the best fixed draft in the same repetition."""
    heads = ("runs", "tokens/s", "min", "max", "x vanilla", "min", "max", "x best", "length")
    print(f"{'step':34s} " + " ".join(f"{head:>9s}" for head in heads))
    for name, rows in steps.items():
        values = [row["goodput_tokens_per_s"] for row in rows]
        over = ratios(rows, steps.get(VANILLA, []))
        cells = [f"{len(rows):9d}", *(f"{x:9.1f}" for x in (median(values), min(values), max(values)))]
        cells += [f"{f(over):9.2f}" if over else " " * 9 for f in (median, min, max)]
        beside = ratios(rows, steps.get(BEST, []))
        cells.append(f"{median(beside):9.2f}" if beside else " " * 9)
        cells.append(f"{rows[0]['acceptance_length'] or 1:9.2f}")
        print(f"{f'{name} ({best})' if name in (BEST, BEST_RAGGED) else name:34s} " + " ".join(cells))


def ratios(rows: Sequence[Figures], base: Sequence[Figures]) -> list[float]:
    """Goodput over the base's, repetition by repetition."""
    by_repetition = {row["repetition"]: float(row["goodput_tokens_per_s"]) for row in base}
    return [
        row["goodput_tokens_per_s"] / by_repetition[row["repetition"]]
        for row in rows
        if row["repetition"] in by_repetition
    ]


if __name__ == "__main__":
    sys.exit(main())
