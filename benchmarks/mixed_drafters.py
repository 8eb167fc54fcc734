"""Head, lookup and none, mixed live: does a GPU take what a simulation foretells of them?

    python -m benchmarks.mixed_drafters --out mixed.json                        # one GPU, a minute and a half
    python -m benchmarks.mixed_drafters --tiny --device cpu --out mixed.json    # a rehearsal

One deployment of ``scenarios/head-and-lookup.yaml`` is profiled: the target, the head, the lookup, and what
the host takes with each selector. Every variant is then simulated with that profile, and the predictions are
written before anything is served. Then every variant is served live, with given acceptance.

Two sets of requests: those that ship with the scenario, whose text repeats itself little, and made ones
(``copying``), in which stretches of new tokens take turns with copies of earlier ones. ``in turn`` chooses
without looking at the clock: both worlds decide alike there, and its error is one of time alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.field import decided, figures
from benchmarks.gpu_state import gpu_states
from spinsim.acceptance.runs import runs_of
from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.engine.records import Records
from spinsim.files import write_atomically
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.live_run import run_scenario
from spinsim.profiling.session import Session
from spinsim.profiling.timing import QUICK
from spinsim.profiling.workplace import Workplace
from spinsim.recording import Ragged, Recording, Trace, save_trace
from spinsim.results.environment import environment
from spinsim.runner.head import HeadRunner
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.rows import DraftRows
from spinsim.scenario import PolicyChoice
from spinsim.scenario_file import load
from spinsim.scenario_file.variants import override
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.profile import measure_beside_models, measure_host, rehearse_selectors

SCHEMA = "spinsim.mixed-drafters/1"
SCENARIO = Path(__file__).parents[1] / "scenarios" / "head-and-lookup.yaml"
PACKING = ("ragged",)
REHEARSED = 32  # tokens of an output in the short runs that show what the host takes
TINY = (  # the family's own target: for a CPU
    "models.target={shape: llama-7b, weights: 'embedded:target', dtype: fp32}",
    "workload.requests=4",
    "workload.arrivals={process: closed, concurrency: 2}",
    "limits.batch=2",
    "limits.context_tokens=256",
)
COPYING = 24  # requests of the made set
NEW, COPIED = (6, 24), (8, 40)  # tokens of a stretch, from and to
ACCEPTED = {"new": 0.6, "copied": 0.75}  # of the head's tokens, each by itself
Numbers = dict[str, Any]


def fixed(draft: str, tokens: int) -> list[str]:
    """One draft for everybody."""
    selector = {"name": "fixed", "draft": draft}
    length = {"name": "fixed", "tokens": tokens} if tokens else {"name": "none"}
    return [override("policies.selector", selector), override("policies.length", length)]


VARIANTS = {
    "contextual": [],
    "head 3": fixed("head", 3),
    "n-gram 8": fixed("ngram", 8),
    "none": fixed("none", 0),
    "in turn": [
        override("policies.selector", {"name": "round_robin"}),
        override("policies.length", {"name": "fixed", "tokens": 3}),
    ],
}


def copying(requests: int, prompt: int, output: int, vocabulary: int, seed: int = 0) -> Trace:
    """Texts of new stretches and copies, with token ids, and what a head ("tiny") would have accepted."""
    draw = np.random.default_rng(seed)
    texts, runs = [], []
    for _ in range(requests):
        text = draw.integers(vocabulary, size=prompt).tolist()
        accepted: list[bool] = []
        while len(accepted) < output:
            kind = "copied" if draw.random() < 0.5 else "new"
            length = int(draw.integers(*(COPIED if kind == "copied" else NEW)))
            begin = int(draw.integers(max(1, len(text) - length)))
            text += (
                text[begin : begin + length]
                if kind == "copied"
                else draw.integers(vocabulary, size=length).tolist()
            )
            accepted += (draw.random(length) < ACCEPTED[kind]).tolist()
        texts.append(text[: prompt + output])
        runs.append(runs_of(np.array(accepted[:output])).tolist())
    return Trace(
        target="made",
        keys=tuple(f"copying-{number}" for number in range(requests)),
        prompt_tokens=(prompt,) * requests,
        drafts={"tiny": Recording.of_runs(runs)},
        prompts=Ragged.of([text[:prompt] for text in texts], np.uint32),
        outputs=Ragged.of([text[prompt:] for text in texts], np.uint32),
    )


def shown(records: Records) -> Numbers:
    """Tokens per second of the whole run, and seconds of its parts."""
    tokens = sum(record.output_tokens for record in records.requests.values())
    found: Numbers = figures(records)
    rounds = records.rounds
    shares = {name: rounds.draft.count(number) for number, name in enumerate(records.drafts)}
    return found | {
        "tokens_per_s": tokens / found["run"],
        "rounds": len(rounds.size),
        "rows": {**shares, "none": rounds.draft.count(-1)},
        "drafted": sum(rounds.drafted),
        "accepted": sum(rounds.accepted),
    }


def measured(place: Workplace, path: Path) -> float:
    """The profile of a deployment, the same points on every machine; returns the seconds that it took."""
    begun = replace(place.empty_profile(), rehearsed_tokens=REHEARSED)
    session = Session(begun, path, QUICK, place.guess(), None)
    measure_host(session, place, quick=True)
    session.measure(place.bench, place.design(quick=True, packings=PACKING).core)
    measure_beside_models(session, place, quick=True)
    selectors = {
        "contextual": place.whole.policies.selector,
        "fixed": PolicyChoice.model_validate({"name": "fixed", "draft": "head"}),
        "round_robin": PolicyChoice(name="round_robin"),
    }
    rehearse_selectors(session, place, selectors, runs=1)
    session.write()
    return session.elapsed_s


def captured_alike(deployment: Deployment, rows: int, length: int) -> float:
    """The share of tokens that a head proposes alike from captured passes and from the same passes called."""
    head = next(runner for runner in deployment.drafts if isinstance(runner, HeadRunner))
    plan = RunnerPlan(rows, length, kernel=head.kernel)
    again = HeadRunner(head.decoder, head.cache, plan, parallel=head.parallel)
    again.recorder.device = torch.device("cpu")  # what is recorded is then called
    slots, lengths = list(range(rows)), [1 + row % length for row in range(rows)]
    contexts = [20 + 7 * row for row in range(rows)]
    head.follow(slots, slots)
    asked = DraftRows(slots, [3 + row for row in slots], [5 + row for row in slots], contexts, lengths)
    one, other = head.propose(asked).tokens, again.propose(asked).tokens
    same = [one[row, :count] == other[row, :count] for row, count in enumerate(lengths)]
    return float(np.concatenate(same).mean())


def alike(ours: Records, theirs: Records) -> float:
    """The share of rows of rounds with the same draft, length and verdict."""
    one, other = set(decided(ours)), set(decided(theirs))
    return len(one & other) / max(1, len(one | other))


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile, predictions, live runs, and how far they are apart; 1 where a cell failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixed_drafters", description=__doc__)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--tiny", action="store_true", help="a small target and few requests")
    parser.add_argument("--repetitions", type=int, default=2, help="live runs of each cell (default 2)")
    parser.add_argument("--seconds", type=float, default=600.0, help="begin no live run after so many")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    overrides = [*(TINY if options.tiny else ()), *options.overrides]
    if torch.cuda.is_available() and options.device != "cpu":
        found = sheet_of_device(torch.cuda.get_device_name(0))
        overrides += [f"devices.gpu.hardware={found}"] if found else []
    base = load(SCENARIO, overrides, options.device)
    data: Numbers = {"schema": SCHEMA, "environment": environment(), "clocks": [gpu_states()]}
    profile = options.out.with_name(f"{options.out.stem}-profile.json").resolve()

    def save(**more: Any) -> None:
        data.update(more)
        data["clocks"].append(gpu_states())
        write_atomically(options.out, json.dumps(data, indent=1) + "\n")

    deployment = deploy(base.scenario, base.base_dir, packings=PACKING)
    save(models=deployment.models.notes, deployed_s=time.perf_counter() - began)
    with Workplace(base.scenario, base.base_dir, deployment) as place:
        save(profiled_s=measured(place, profile))
        limits = base.scenario.limits
        try:
            save(captured_alike=captured_alike(deployment, place.batch, limits.max_length))
        except Exception as error:  # the runs tell as much without it
            save(captured_alike=f"{type(error).__name__}: {error}")
    costs = override("costs", {"model": "profile", "path": str(profile)})

    made = options.out.with_name(f"{options.out.stem}-copying.npz").resolve()
    vocabulary = deployment.models.target.used_vocabulary
    save_trace(copying(4 if options.tiny else COPYING, 96, 128, vocabulary), made)
    sets = {
        "family": [],
        "copying": [
            override("workload.source", {"format": "spinsim", "path": str(made)}),
            override("acceptance", {"model": "trace", "path": str(made), "drafts": {"head": "tiny"}}),
            f"workload.requests={4 if options.tiny else COPYING}",
        ],
    }
    cells = {
        f"{title}, {name}": load(SCENARIO, [*overrides, costs, *requests, *policies], options.device)
        for title, requests in sets.items()
        for name, policies in VARIANTS.items()
    }
    simulated = {
        name: simulate_scenario(loaded.scenario, loaded.base_dir).records for name, loaded in cells.items()
    }
    save(predicted={name: shown(records) for name, records in simulated.items()}, live={})
    live: dict[str, list[Numbers]] = {name: [] for name in cells}
    failed: dict[str, str] = {}
    turns = [
        ["family, in turn"],
        *([*cells] if turn % 2 else [*reversed(cells)] for turn in range(options.repetitions)),
    ]
    for number, names in enumerate(turns):  # the first is to warm up, and does not count
        for name in names:
            if name in failed or time.perf_counter() - began > options.seconds:
                continue
            ran = run_scenario(cells[name].scenario, cells[name].base_dir, deployment)
            if ran.error is not None:
                failed[name] = str(ran.error)
            elif number:
                live[name].append(shown(ran.records) | {"alike": alike(ran.records, simulated[name])})
            save(live=live, failed=failed)
    save(errors=report(data))
    return 1 if failed else 0


def report(data: Numbers) -> dict[str, float]:
    """Prints a line a cell; returns predicted over live goodput, less one."""
    errors = {}
    for name, runs in data["live"].items():
        if not runs:
            continue
        there, here = data["predicted"][name]["tokens_per_s"], _rate(data, name)
        errors[name] = there / here - 1
        rates = [run["tokens_per_s"] for run in runs]
        rows = ", ".join(f"{draft} {count}" for draft, count in runs[0]["rows"].items())
        print(
            f"{name:20} {here:8,.0f} tokens/s live (within {100 * (max(rates) / min(rates) - 1):.1f} %), "
            f"{there:8,.0f} foretold ({100 * errors[name]:+.1f} %); rows: {rows}; "
            f"{100 * runs[0]['alike']:.0f} % decided alike"
        )
    return errors


def _rate(data: Numbers, name: str) -> float:
    runs = data["live"][name]
    return sum(run["tokens_per_s"] for run in runs) / len(runs) if runs else 0.0


if __name__ == "__main__":
    raise SystemExit(main())
