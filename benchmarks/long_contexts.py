"""What pipelining, decomposition and a lane for each draft gain at long contexts, each alone.

    python -m benchmarks.long_contexts --seconds 540 --out long.json          # one GPU or two
    python -m benchmarks.long_contexts --seconds 540 --out long.json          # again: goes on with the file
    python -m benchmarks.long_contexts --predict h200 --gpus 2 --out told.json        # nothing is run
    python -m benchmarks.long_contexts --quick --device cpu --out long.json   # a rehearsal: a minute

A target of the Llama 3 8B shape and drafts of 117M, 330M and 1.2B parameters, with random weights. What is
accepted comes from the scenario (``live.acceptance: field``). Prompts are 0.4 to 1.6 times 0.5, 2, 8 and 16
thousand tokens long. A cell has 48 requests, or as many as hold 200 thousand tokens (``--kv-tokens``).
With two GPUs the drafts are on the second one. Cells start in mid-flight: prompts carry the contexts, outputs
are 250 to 300 tokens.

Before anything is loaded every cell is simulated, from the hardware's sheet or ``--profile``, and printed.
Then repetitions go through all cells in turn. Every run reaches ``--out`` when it ends. What no longer fits
into ``--seconds`` is left out. A command that finds its file there does what is missing, on the same cards.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.gpu_state import gpu_states
from benchmarks.long_context_cells import (
    FULL,
    OVER,
    QUICK,
    SECTIONS,
    Figures,
    Size,
    cell_of,
    figures,
    write_scenario,
)
from spinsim.costs.for_scenario import build_predictor
from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.errors import InputError
from spinsim.files import write_atomically
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.live_run import run_scenario
from spinsim.results.environment import environment
from spinsim.serving import trusting
from spinsim.simulated.simulation import simulate_scenario

SCHEMA = "spinsim.long-contexts/1"
SLOWER = 1.6  # a cell that has not run is thought to take so much longer than foretold, and a second more
BRIEF = ["workload.requests=2", "workload.output_tokens={distribution: fixed, value: 8}"]  # of a warm-up
Row = dict[str, Any]


class Results:
    """The file in the making; ``runs`` has a row of figures for each context, cell and repetition."""

    def __init__(self, path: Path, cards: Sequence[str], size: Size) -> None:
        """Raises InputError where ``path`` is of other cards or sizes."""
        self.path = path
        about = {"schema": SCHEMA, "cards": list(cards), "size": json.loads(json.dumps(asdict(size)))}
        self.data: Row = {**about, "sessions": [], "predicted": [], "runs": []}
        if path.exists():
            self.data = json.loads(path.read_text())
            for key, value in about.items():
                if self.data.get(key) != value:
                    raise InputError(
                        f"has {key} {self.data.get(key)!r}, here it is {value!r}; another --out",
                        file=str(path),
                    )
        self.data["sessions"].append({"environment": environment(), "clocks": [gpu_states()]})

    def done(self, context: int, cell: str) -> int:
        """Repetitions of a cell."""
        return sum(row["context"] == context and row["cell"] == cell for row in self.data["runs"])

    def add(self, kind: str, row: Row) -> None:
        """Keep a row of ``runs`` or ``predicted``."""
        self.data[kind].append(row)
        self.write()

    def write(self) -> None:
        """Replace the file."""
        write_atomically(self.path, json.dumps(self.data, indent=1) + "\n")


def cells(size: Size, sections: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Context, section and cell, in the order in which they run."""
    for context in size.contexts:
        for section in sections:
            for cell in SECTIONS[section]:
                yield context, section, cell


def predict(results: Results, path: Path, size: Size, sections: Sequence[str]) -> None:
    """Simulate every cell that was not, and print it."""
    known = {(row["context"], row["cell"]) for row in results.data["predicted"]}
    predictor = None
    for context, section, cell in cells(size, sections):
        if (context, cell) in known:
            continue
        loaded = cell_of(path, size, context, SECTIONS[section][cell])
        scenario = trusting(loaded.scenario)
        predictor = predictor or build_predictor(scenario, loaded.base_dir)
        done = simulate_scenario(scenario, loaded.base_dir, predictor=predictor)
        row = {"context": context, "section": section, "cell": cell, **figures(done.records)}
        results.add("predicted", row)
        print(line("foretold", row), flush=True)


def line(what: str, row: Row) -> str:
    """A run in a line."""
    decode = row.get("decode_tokens_per_s")
    alone = "-" if decode is None else f"{decode:,.0f}"
    return (
        f"{what:9s} {row['context']:6d} {row['section']:15s} {row['cell']:18s} "
        f"{row['tokens_per_s']:8,.0f} tokens/s, decoding alone {alone:>8s}; {row['run_s']:6.2f} s"
    )


def measure(
    path: Path,
    size: Size,
    context: int,
    overrides: Sequence[str],
    deployment: Deployment,
) -> Figures:
    """One live run. Raises what ended it, and RuntimeError where a slot is still held."""
    loaded = cell_of(path, size, context, [*overrides, batch(size)])
    ran = run_scenario(loaded.scenario, loaded.base_dir, deployment)
    if ran.error is not None:
        raise ran.error
    if ran.slots_held:
        raise RuntimeError(f"{ran.slots_held} K/V slots are held after the run")
    return figures(ran.records)


def batch(size: Size) -> str:
    """Room for as many requests as any of the cells has."""
    return f"limits.batch={max(size.rows_of(context) for context in size.contexts)}"


def deployed(path: Path, size: Size, sections: Sequence[str]) -> Deployment:
    """Models with the graphs that the cells will need, and no others: recording them is most of the time."""
    loaded = cell_of(path, size, size.contexts[-1], [batch(size)])
    asked = [
        cell_of(path, size, size.contexts[-1], overrides).scenario.policies.packing.name
        for section in sections
        for overrides in SECTIONS[section].values()
    ]
    began = time.monotonic()

    def ended(phase: str, done: float, total: float) -> None:
        if done == total:
            print(f"[{time.monotonic() - began:5.1f} s] {phase}: {total:.0f}", flush=True)

    return deploy(loaded.scenario, loaded.base_dir, ended, packings=tuple(dict.fromkeys(asked)))


def run_cells(
    results: Results, path: Path, size: Size, sections: Sequence[str], repetitions: int, until: float
) -> None:
    """Every cell that has fewer than ``repetitions``, as far as the time goes."""
    missing = any(results.done(context, cell) < repetitions for context, _, cell in cells(size, sections))
    if not missing:
        return
    began = time.monotonic()
    deployment = deployed(path, size, sections)
    print(f"deployed in {time.monotonic() - began:.1f} s; K/V tokens {deployment.kv_tokens}", flush=True)
    foretold = {(row["context"], row["cell"]): row["run_s"] for row in results.data["predicted"]}
    took: dict[int, float] = {}
    # Imports, caches and clocks warm up, in each section's own way of drafting.
    for section in sections:
        first = next(iter(SECTIONS[section].values()))
        measure(path, size, min(size.contexts), [*first, *BRIEF], deployment)
    for repetition in range(repetitions):
        for context, section, cell in cells(size, sections):
            if results.done(context, cell) > repetition:
                continue
            thought = took.get(context, SLOWER * foretold[context, cell] + 1)
            if time.monotonic() + thought > until:
                print(f"left out  {context:6d} {section:15s} {cell}: no time", flush=True)
                continue
            began = time.monotonic()
            found = measure(path, size, context, SECTIONS[section][cell], deployment)
            took[context] = time.monotonic() - began
            row = {"context": context, "section": section, "cell": cell, "repetition": repetition, **found}
            results.add("runs", {**row, "wall_s": took[context]})
            print(line("live", row), flush=True)
        results.data["sessions"][-1]["clocks"].append(gpu_states())


def shown(results: Results, size: Size) -> str:
    """Medians by cell beside what was foretold, and each section's ratios."""
    names = ("tokens_per_s", "decode_tokens_per_s")
    columns = ("tokens/s", "foretold", "decoding", "foretold")
    lines = [f"{'context':>7s} {'cell':18s} " + " ".join(f"{name:>9s}" for name in columns) + " runs"]
    for context in size.contexts:
        told = {row["cell"]: row for row in results.data["predicted"] if row["context"] == context}
        for section, variants in SECTIONS.items():
            found: dict[str, Figures] = {}
            for cell in variants:
                rows = [r for r in results.data["runs"] if r["context"] == context and r["cell"] == cell]
                if not rows:
                    continue
                found[cell] = {name: statistics.median(row.get(name, 0.0) for row in rows) for name in names}
                lines.append(
                    f"{context:7d} {cell:18s} "
                    + " ".join(f"{found[cell][n]:9,.0f} {told[cell].get(n, 0.0):9,.0f}" for n in names)
                    + f" {len(rows):4d}"
                )
            for cell, base in OVER.get(section, ()):
                if cell in found and base in found:
                    live, said = (
                        where[cell]["decode_tokens_per_s"] / max(where[base]["decode_tokens_per_s"], 1e-9)
                        for where in (found, told)
                    )
                    lines.append(f"{'':8s}{cell} over {base}: {live:.2f}x decoding, foretold {said:.2f}x")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict, then measure what is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.long_contexts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=540.0, help="of the whole command (default 540)")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--sections", nargs="*", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--contexts", nargs="*", type=int, help="of those that are measured, these alone")
    parser.add_argument("--kv-tokens", type=int, help="that the requests of a cell hold (default 200000)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--gpus", type=int, choices=(1, 2), help="default: two where there are two")
    parser.add_argument(
        "--profile", type=Path, help="predict from this profile (default: the hardware's sheet)"
    )
    parser.add_argument("--predict", metavar="HARDWARE", help="predict for this sheet, and measure nothing")
    parser.add_argument("--quick", action="store_true", help="tiny models and contexts, one repetition")
    options = parser.parse_args(arguments)
    until = time.monotonic() + options.seconds
    size = QUICK if options.quick else FULL
    costs: Row = {"model": "roofline"}
    if options.profile is not None:
        costs = {"model": "profile", "path": str(options.profile.resolve()), "allow_roofline": True}
    cards, hardware = _cards(options.device, options.predict)
    gpus = options.gpus or (1 if hardware == "cpu" else min(2, len(cards)))
    if options.kv_tokens:
        size = replace(size, kv_tokens=options.kv_tokens)
    results = Results(options.out, cards[:gpus], size)
    chosen = replace(size, contexts=tuple(options.contexts or size.contexts))
    with TemporaryDirectory() as scratch:
        path = write_scenario(Path(scratch), size, hardware, gpus, costs)
        predict(results, path, chosen, options.sections)
        if options.predict is None:
            repetitions = 1 if options.quick else options.repetitions
            try:
                run_cells(results, path, chosen, options.sections, repetitions, until)
            finally:
                results.write()
            print(shown(results, chosen))
    return 0


def _cards(device: str, predict: str | None) -> tuple[list[str], str]:
    """The names of the cards at hand, and the sheet that they have."""
    if predict is not None:
        return [predict, predict], predict
    if device == "cpu":
        return ["cpu"], "cpu"
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    if not names:
        raise SystemExit("no GPU here; --device cpu --quick rehearses, --predict HARDWARE only predicts")
    return names, sheet_of_device(names[0]) or "h200"


if __name__ == "__main__":
    raise SystemExit(main())
