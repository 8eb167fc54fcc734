"""The page of a study of several parts: what each found, and where its own page is."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from spinsim.bundles.check import manifest_of
from spinsim.bundles.manifest import DONE, LIVE, Record
from spinsim.errors import InputError
from spinsim.lab.store import experiment_kind
from spinsim.pages import capacity, comparison, load, run, simulated_ladder, sweep, tuning, validation
from spinsim.pages.figures import studies
from spinsim.pages.render import Cell, Drawn, Stat, page
from spinsim.pages.run_terminal import duration
from spinsim.results.read import read_folder
from spinsim.studies.capacity import Capacity
from spinsim.studies.compare import Comparison
from spinsim.studies.kept import read_result
from spinsim.studies.sweep import Sweep
from spinsim.studies.tuning.tune import Tuning

METRICS = 2  # of a sweep that the page draws


@dataclass(frozen=True)
class Found:
    """What a part's folder tells in short: a headline, a figure with its caption, or a table."""

    stats: Sequence[Stat] = ()
    figure: Drawn | None = None
    caption: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str | Cell]] = ()
    notes: Sequence[str] = ()


def write_study_index(folder: Path) -> Path:
    """Write report.html into the folder of a study, from its manifest and the parts' folders; its path.

    Same files in, same bytes out. Raises InputError for a folder that is none.
    """
    manifest = manifest_of(folder)
    target = folder / "report.html"
    target.write_text(study_index(folder, manifest), encoding="utf-8")
    return target


def study_index(folder: Path, manifest: Record) -> str:
    """The whole page."""
    study, parts = manifest["study"], manifest["parts"]
    done = sum(part["state"] == DONE for part in parts.values())
    planned = study["parts"]
    count = f"study of {len(planned)} part{'s' if len(planned) > 1 else ''}"
    live = [f"{name}, {LIVE}" for name, part in parts.items() if part["live"]]
    return page(
        "study_index.html",
        title=study["name"],
        kicker=count if done == len(planned) else f"{count}, {done} finished",
        heading=study["name"],
        lede=study["description"],
        contents=[
            _line(folder, name, parts[name]) if name in parts else [title, "", "", "not run"]
            for name, title in planned.items()
        ],
        sections=[_section(folder, name, part) for name, part in parts.items()],
        made_with=_made_with(manifest),
        inputs=_inputs(parts),
        file=study.get("path", study["file"]),
        copied="path" in study,
        left_out=[*(f"{name} ({why})" for name, why in manifest["not_compared"].items()), *live],
    )


def found_in(folder: Path) -> Found:
    """What a part's folder tells, whichever command wrote it; nothing where it is not finished."""
    try:
        return _found_in(folder)
    except (OSError, InputError):
        return Found()


def _found_in(folder: Path) -> Found:
    kind = experiment_kind(folder)
    if kind == "ladder":
        return _of_ladder(json.loads((folder / "summary.json").read_text(encoding="utf-8")))
    if kind is not None:
        result = read_result(folder)
        match result:
            case Comparison():
                return _of_comparison(result)
            case Sweep():
                return _of_sweep(result)
            case Capacity():
                return _of_capacity(result)
            case Tuning():
                return _of_tuning(result)
    if (folder / "validation.json").is_file():
        return _of_validation(json.loads((folder / "validation.json").read_text(encoding="utf-8")))
    return _of_run(folder)


def _of_comparison(c: Comparison) -> Found:
    names = list(c.effects)
    drawn = Drawn(studies.bars("means", [(c.metrics[0].title, comparison.means_of(c, names, 0))]))
    caption = f"Means over {len(c.seeds)} seeds, with 95 % intervals."
    return Found(
        comparison.verdicts(c, [name for name in names if name != c.baseline]), drawn, caption, notes=c.notes
    )


def _of_sweep(s: Sweep) -> Found:
    few = replace(s, metrics=s.metrics[:METRICS])
    good = [row for row in s.rows if row.summary is not None]
    drawn = sweep.figures_of(few, good)
    return Found(sweep.best_and_worst(s, good), drawn["metrics"], drawn.get("metrics_text", ""))


def _of_capacity(c: Capacity) -> Found:
    caption = "Dots are simulations, one a seed; upright, the capacity with its 95 % interval shaded."
    return Found(capacity.stats_of(c), capacity.attainment_of(c), caption, notes=c.notes)


def _of_tuning(t: Tuning) -> Found:
    header = ["", "", "mean", "95 % interval", "gain", "interval", "verdict"]
    return Found(tuning.gains(t), header=header, rows=tuning.held_out_rows(t), notes=t.notes)


def _of_ladder(summary: Record) -> Found:
    ran = [step for step in summary["steps"] if step["goodput"] is not None]
    bars = [("goodput, tokens/s", simulated_ladder.spans_of(ran))]
    drawn = Drawn(studies.bars("ladder", bars)) if ran else None
    caption = "Goodput of all GPUs of a step together; means, with 95 % intervals."
    return Found(simulated_ladder.stats_of(ran), drawn, caption, notes=summary["notes"])


def _of_validation(done: Record) -> Found:
    caption = "A point a cell, live across and simulated up."
    return Found(validation.stats_of(done), validation.agreement_of(done), caption)


def _of_run(folder: Path) -> Found:
    found = read_folder(folder)
    return Found(run.stats_of(found.summary), load.latency(found), "Latencies of the requests of one run.")


def _section(folder: Path, name: str, part: Record) -> dict[str, Any]:
    finished = (folder / name / "report.html").is_file()
    found = found_in(folder / name) if finished else Found()
    unfinished = part.get("error") or "Not finished; the command goes on with it."
    return {
        "name": name,
        "title": part["title"],
        "description": part["description"],
        "state": "" if part["state"] == DONE else unfinished,
        "stats": found.stats,
        "figure": found.figure and replace_ids(found.figure, name),
        "caption": found.caption,
        "header": found.header,
        "rows": found.rows,
        "notes": found.notes,
        "page": f"{name}/report.html" if finished else "",
        "seeds": _ranges(part.get("seeds", ())),
        "figures": [
            (file.name, file.relative_to(folder).as_posix())
            for file in sorted((folder / name / "figures").glob("*.svg"))
        ],
    }


def replace_ids(drawn: Drawn, name: str) -> Drawn:
    """The figure with ids of its own, as another part's may have the same."""
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", str(drawn.svg))
    return drawn._replace(svg=Markup(svg))


def _line(folder: Path, name: str, part: Record) -> list[str | Cell]:
    cells = sum(1 for _ in (folder / name / "cells").glob("*.json"))
    wall = f"{cells or 1:,} in {duration(part['wall_s'])}" if "wall_s" in part else ""
    state = "" if part["state"] == DONE else "failed" if part.get("error") else "not finished"
    return [Cell(part["title"], href=f"#{name}"), part["asked"]["command"], wall, state]


def _ranges(seeds: Sequence[int]) -> str:
    """``1 to 20``, or ``1, 5``; those of a ladder's choice lie far from the others."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{r[0]} to {r[-1]}" if len(r) > 2 else ", ".join(map(str, r)) for r in runs)


def _made_with(manifest: Record) -> list[tuple[str, str]]:
    environment = manifest["environment"]
    git = manifest["git"]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    commits = {
        title: f"{found['commit']}{', with changes' if found['changed'] else ''}"
        for title, found in (("commit", git["spinsim"]), ("commit of the study", git["study"]))
        if found
    }
    if len(set(commits.values())) == 1:
        commits = {"commit": next(iter(commits.values()))}
    machine = f"{environment['platform']} on {environment['machine']}, {environment['cpu_count']} cores"
    return [
        ("spinsim", f"{manifest['spinsim']}, code {manifest['code']}"),
        *commits.items(),
        ("Python", f"{environment['implementation']} {environment['python']}, {machine}"),
        ("packages", packages),
        ("command", " ".join(environment["command"])),
        ("date", environment["created_utc"]),
    ]


def _inputs(parts: Record) -> list[list[str]]:
    found = {(one["name"], one["sha256"]) for part in parts.values() for one in part.get("inputs", ())}
    return [list(one) for one in sorted(found)]
