"""Running a study: the parts in order, each kept as soon as it is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from spinsim.bundles.inputs import changed, files_of, given_files, inputs
from spinsim.bundles.manifest import DONE, FAILED, Bundle, Record, asked
from spinsim.bundles.plan import Part, PartCommand, StudyPlan, in_the_file
from spinsim.errors import InputError
from spinsim.files import drop_earlier, set_earlier_aside, write_atomically
from spinsim.progress import Progress
from spinsim.studies.failed import CellsFailed

Summary = dict[str, Any]
PHASE = "parts"  # of the progress of the whole
LEFT_OUT = ("definitions", "operations", "environment")  # of a part's summary, which its folder has


def run_study(
    plan: StudyPlan,
    out: Path,
    commands: Mapping[str, PartCommand],
    *,
    only: Sequence[str] = (),
    force: bool = False,
    progress: Progress | None = None,
    report: Callable[[Path], object] | None = None,
    figures: Callable[[Path], object] | None = None,
    **where: Any,
) -> Summary:
    """Run the parts (those of ``only``, where it names some) into sub-folders of ``out``; the summary.

    A part that is done is kept, one that was interrupted goes on. ``force`` makes them anew. ``where`` goes
    to the commands that take it; ``report`` writes the study's page into the folder that it is given,
    ``figures`` those of a part. A part that fails leaves the others to go on. Raises InputError before
    anything runs or goes: for what a part's command refuses, and for a part that answers another question
    than the one in its folder. An interruption leaves summary and page of what there is, and what ``force``
    was about to replace at :func:`spinsim.files.earlier`.
    """
    chosen = [plan.part(name) for name in only] or list(plan.parts)
    bundle = Bundle(out, plan, force=force and not only)
    questions = {part.name: _asked(plan, part, commands) for part in chosen}
    work = chosen if force else [part for part in chosen if not _is_done(bundle, part, questions[part.name])]
    for part in work:
        _check(plan, part, commands)
    if force:
        _set_aside(bundle, chosen if only else None)
    try:
        for number, part in enumerate(work):
            _tell(progress, number, len(work))
            _run_part(bundle, part, questions[part.name], commands, progress, where, figures)
        _tell(progress, len(work), len(work))
        if all(record["state"] == DONE for record in bundle.records.values()):
            drop_earlier(bundle.folder)
    except BaseException:
        with suppress(Exception):  # the interruption counts; it may have left modules half imported
            _publish(bundle, report)
        raise
    return _publish(bundle, report)


def _publish(bundle: Bundle, report: Callable[[Path], object] | None) -> Summary:
    """Write manifest, summary and page of what there is; the summary."""
    bundle.write()
    summary = study_summary(bundle)
    text = json.dumps(summary, indent=2, allow_nan=False)
    write_atomically(bundle.folder / "summary.json", text + "\n")
    if report is not None:
        report(bundle.folder)
    return summary


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(PHASE, done, total)


def _asked(plan: StudyPlan, part: Part, commands: Mapping[str, PartCommand]) -> Record:
    try:
        return asked(part)
    except InputError as error:
        raise _named(error, plan, part, commands) from None


def _named(error: InputError, plan: StudyPlan, part: Part, commands: Mapping[str, PartCommand]) -> InputError:
    """A missing file at the key that names it; others where they say, or at the part."""
    for key, value in part.options.items():
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, Path) and error.file == str(path) and not error.line:
                return plan.error(part, f"{path}: {error.message}", key)
    return in_the_file(error, plan, part, commands[part.command].keys)


def _check(plan: StudyPlan, part: Part, commands: Mapping[str, PartCommand]) -> None:
    try:
        commands[part.command].check(**part.options)
    except InputError as error:
        raise _named(error, plan, part, commands) from None


def _is_done(bundle: Bundle, part: Part, question: Record) -> bool:
    """Whether the folder has the part's whole answer. Raises InputError where it has another's."""
    record = bundle.records.get(part.name)
    folder = bundle.folder / part.name
    if record is None:
        if folder.exists():
            raise bundle.plan.error(
                part, f"{folder} is there, and no part of this study; --force replaces it"
            )
        return False
    if other := _other(record, question, bundle.copies.original):
        raise bundle.plan.error(
            part,
            f"{folder} was made with other {other}; --force makes it anew (of this part alone, with "
            f"--only {part.name}), --out names another folder",
        )
    files = record.get("outputs", {})
    return record["state"] == DONE and bool(files) and all((folder / name).is_file() for name in files)


def _other(record: Record, question: Record, original: Callable[[str], str]) -> str:
    """What a part was made with that is no longer so; nothing where all is the same."""
    before = record["asked"]
    for what in ("options", "files"):
        old, new = before.get(what, {}), question[what]
        if keys := [key for key in {**new, **old} if new.get(key) != old.get(key)]:
            return f"{what}: {', '.join(keys)}"
    if before.get("command") != question["command"]:
        return f"command: {before.get('command')}"
    if before.get("code") != question["code"]:
        return "code of spinsim"
    name = changed(record.get("inputs", ()), original)
    return f"files: {name}" if name else ""


def _set_aside(bundle: Bundle, parts: Sequence[Part] | None) -> None:
    """Make room for these parts; None: for the whole study. What is there waits until they are done."""
    if parts is None:
        set_earlier_aside(bundle.folder)
        bundle.records.clear()
    for part in parts or ():
        set_earlier_aside(bundle.folder / part.name)
        bundle.records.pop(part.name, None)


def _run_part(
    bundle: Bundle,
    part: Part,
    question: Record,
    commands: Mapping[str, PartCommand],
    progress: Progress | None,
    where: Mapping[str, Any],
    figures: Callable[[Path], object] | None,
) -> None:
    command = commands[part.command]
    folder = bundle.folder / part.name
    bundle.begin(part, question, live=command.live)

    def within(phase: str, done: float, total: float) -> None:
        if progress is not None:
            progress(f"{part.name}: {phase}", done, total)

    began, error = perf_counter(), ""
    try:
        command.run(
            **part.options, out=folder, goes_on=folder.exists(), progress=progress and within, where=where
        )
        if figures is not None:
            figures(folder)
    except CellsFailed as failed:
        error = str(failed)
    except InputError as refused:
        raise _named(refused, bundle.plan, part, commands) from None
    except Exception as broken:
        error = f"{type(broken).__name__}: {' '.join(str(broken).split())}"
    given = given_files(part)
    folders = dict.fromkeys(path.resolve().parent for path in given)
    read = inputs([*files_of(folder, bundle.copies.original), *given])
    bundle.end(part, read, folders, perf_counter() - began, error)
    if not error:
        drop_earlier(folder)


def study_summary(bundle: Bundle) -> Summary:
    """summary.json of a study: every part of the plan, with the summary that its command wrote.

    ``cells`` counts simulations, ``failed`` those that failed, and parts that ended without any.
    """
    parts: Summary = {}
    failed: list[Summary] = []
    cells = 0
    for part in bundle.plan.parts:
        record = bundle.records.get(part.name, {})
        state = record.get("state", "not run")
        own = _own_summary(bundle.folder / part.name) if state in (DONE, FAILED) else None
        parts[part.name] = {
            "command": part.command,
            "title": part.title,
            "state": state,
            "seeds": record.get("seeds", []),
            "error": record.get("error") or None,
            "summary": own and {key: value for key, value in own.items() if key not in LEFT_OUT},
        }
        lost = [{**cell, "labels": {"part": part.name, **cell.get("labels", {})}} for cell in _failed(own)]
        if state == FAILED and not lost:
            lost = [{"labels": {"part": part.name}, "seed": None, "error": record["error"]}]
        failed += lost
        cells += _cells(own) or (1 if state in (DONE, FAILED) else 0)
    return {
        "schema": "spinsim.study-summary/1",
        "study": bundle.plan.name,
        "parts": parts,
        "cells": cells,
        "failed": failed,
    }


def _own_summary(folder: Path) -> Summary | None:
    for name in ("summary.json", "validation.json"):
        try:
            found: Summary = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return found
    return None


def _failed(summary: Summary | None) -> list[Summary]:
    return list((summary or {}).get("failed", ()))


def _cells(summary: Summary | None) -> int:
    found = (summary or {}).get("cells", 0)
    return found if isinstance(found, int) else len(found) + len(_failed(summary))
