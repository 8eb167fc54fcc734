"""A prediction as its file keeps it: what each step gives, and how to run it, without simulating it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spinsim.errors import InputError
from spinsim.files import write_atomically
from spinsim.lab.cell import check_fits
from spinsim.lab.store import Store
from spinsim.studies.ladder.ladder import LadderPlan, step_work
from spinsim.studies.ladder.result import Ladder, Prepared, Work
from spinsim.studies.ladder.summary import ladder_summary

PREDICTION = "prediction.json"
RUNS = "runs"  # the key of what to run


def keep_prediction(store: Store, found: Ladder, plan: LadderPlan, ready: Prepared) -> dict[str, Any]:
    """Write ``prediction.json``, what was simulated before anything ran; returns it.

    It has the workload of ``plan`` as it was cut, and the steps of ``ready`` with the fixed plans that were
    chosen: whoever has the file can run them.
    """
    runs = {
        "overrides": list(plan.overrides),
        "tokens": plan.tokens,
        "steps": [
            {
                "name": work.name,
                "what": work.what,
                "gpus": work.gpus,
                "copies": len(work.cells[0]) if work.cells else 0,
                "overrides": list(work.overrides),
                "why": work.why,
            }
            for work in ready.work
        ],
    }
    summary = ladder_summary(found) | {RUNS: runs}
    write_prediction(store, summary)
    return summary


def write_prediction(store: Store, summary: dict[str, Any]) -> None:
    """``prediction.json`` in the ladder's folder."""
    if store.folder is not None:
        write_atomically(store.folder / PREDICTION, json.dumps(summary, indent=1) + "\n")


def read_prediction(path: Path, plan: LadderPlan) -> tuple[LadderPlan, Prepared, dict[str, Any]]:
    """The plan, its steps and the prediction that :func:`keep_prediction` wrote; ``plan.steps`` (empty: all)
    says which of them.

    Raises InputError where the file is of another scenario, or says not how the steps are run.
    """
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        runs, name, seeds = summary[RUNS], summary["scenario"], summary["seeds"]
        plan = replace(plan, overrides=tuple(runs["overrides"]), tokens=runs["tokens"], seeds=len(seeds))
        steps = [step for step in runs["steps"] if not plan.steps or step["name"] in plan.steps]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", key="--predicted") from error
    except (ValueError, KeyError, TypeError) as error:
        said = "is no prediction that says how to run its steps; give a prediction.json of ladder --live"
        raise InputError(f"{path} {said}", key="--predicted") from error
    loaded = plan.load()
    if loaded.scenario.name != name:
        raise InputError(f"{path} is of {name}, not of {loaded.scenario.name}", key="--predicted")
    check_fits(loaded)
    work = tuple(_work(plan, step, seeds) for step in steps)
    return plan, Prepared(loaded, work, tuple(seeds)), summary


def _work(plan: LadderPlan, step: dict[str, Any], seeds: Sequence[int]) -> Work:
    if not step["copies"]:
        return Work(step["name"], step["what"], step["gpus"], why=step["why"])
    return step_work(plan, step["name"], step["what"], step["overrides"], seeds, copies=step["copies"])
