"""An answer that an engine takes, and what its benchmarks say of costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from spinsim.api import options
from spinsim.api.common import Where, at_least, imported, lab, overrides, texts
from spinsim.api.options import Argument, Option, PathLike, Texts
from spinsim.errors import InputError
from spinsim.files import check_file, check_writable

if TYPE_CHECKING:
    from spinsim.studies.calibrate import Calibration
    from spinsim.studies.export import Export


@dataclass(frozen=True, repr=False)
class Exported:
    """``result.plan`` is the plan in terms that engines share; ``files`` hold it in the engine's own."""

    result: Export

    def __repr__(self) -> str:
        return f"Exported({self.result.scenario} for {self.result.engine}: {self.result.plan.method})"

    @property
    def settings(self) -> Mapping[str, Any]:
        """The engine's settings by its own names."""
        return self.result.exported.settings

    @property
    def files(self) -> Mapping[str, str]:
        """Texts by file name."""
        return self.result.exported.files

    @property
    def summary(self) -> dict[str, Any]:
        """As plain values."""
        found, plan = self.result, self.result.plan
        return {
            "schema": "spinsim.export/1",
            "scenario": found.scenario,
            "engine": found.engine,
            "method": plan.method,
            "draft": None if plan.draft is None else plan.draft.name,
            "tokens": plan.tokens,
            "schedule": [
                {
                    "first": step.first,
                    "last": step.last,
                    "tokens": step.tokens,
                    "gain": None
                    if step.gain is None
                    else {"estimate": step.gain.estimate, "low": step.gain.low, "high": step.gain.high},
                }
                for step in plan.schedule
            ],
            "refused": [{"key": r.key, "what": r.what, "nearest": r.nearest} for r in found.refused],
            "settings": dict(found.exported.settings),
            "files": dict(found.exported.files),
            "notes": list(found.notes),
        }

    def write(self, folder: PathLike) -> list[Path]:
        """Write the files; returns their paths. Raises InputError where one is there already."""
        place = Path(folder)
        check_writable(place)
        wanted = {place / name: text for name, text in self.files.items()}
        for path in wanted:
            if path.exists():
                raise InputError("exists already; another folder, or remove it", file=str(path))
        place.mkdir(parents=True, exist_ok=True)
        for path, text in wanted.items():
            path.write_text(text, encoding="utf-8")
        return list(wanted)


def export(
    scenario: Annotated[
        PathLike, Argument("A tuned plan, or any scenario with its policies.", metavar="PLAN")
    ],
    *,
    engine: Annotated[
        str, Option("The engine to write it for.", flag="--for", choices=("vllm", "sglang", "tensorrt-llm"))
    ],
    method: Annotated[
        str | None,
        Option(
            "How the draft drafts [by its name, else draft_model].",
            choices=("draft_model", "eagle", "eagle3", "mtp", "ngram"),
        ),
    ] = None,
    nearest: Annotated[
        bool, Option("Exports the nearest that the engine can do, where it cannot do the plan.")
    ] = False,
    schedule: Annotated[bool, Option("Searches tokens by batch; else the plan's own.")] = True,
    tokens: Annotated[str, Option("Numbers of tokens to search.", metavar="N,N")] = "1,2,3,4,5,7",
    seeds: Annotated[int, Option("Simulations of each number of tokens and batch.", min=1)] = 5,
    seed: options.FirstSeed = None,
    write: Annotated[PathLike | None, Option("A folder for the engine's files.", metavar="DIR")] = None,
    set: options.Set = (),
    plugins: options.Plugins = (),
    **where: Unpack[Where],
) -> Exported:
    """Write a plan in an engine's own terms: method, draft, tokens by batch, with predicted gains.

    What the engine cannot do is refused by name, with the nearest that it can and its predicted loss.
    ``where``: see :class:`spinsim.api.Where`. Raises InputError, also for an unknown engine.
    """
    at_least(1, seeds=seeds)
    from spinsim.studies.export import ExportPlan
    from spinsim.studies.export import export as _export

    plan = ExportPlan(
        Path(scenario),
        engine,
        overrides(set),
        method,
        nearest,
        schedule,
        _numbers(tokens),
        seeds,
        seed,
        imported(plugins),
    )
    with lab("export", **where) as place:
        done = Exported(_export(plan, place))
    if write is not None:
        done.write(write)
    return done


@dataclass(frozen=True, repr=False)
class Calibrated:
    """``result.costs()`` is what a scenario's ``costs`` may be; ``text`` is the YAML."""

    result: Calibration
    text: str

    def __repr__(self) -> str:
        return f"Calibrated({self.result.label})"

    @property
    def summary(self) -> dict[str, Any]:
        """As plain values."""
        found = self.result
        return {
            "schema": "spinsim.calibration/1",
            "label": found.label,
            "costs": found.costs(),
            "acceptance": found.acceptance,
            "held_out": dict(found.held_out),
            "notes": list(found.notes),
        }


def calibrate(
    files: Annotated[Texts, Argument("Files, or FILE:batch=8,input=32,output=128.", metavar="FILE")],
    *,
    source: Annotated[
        str, Option("What the files are.", flag="--from", choices=("vllm-bench",))
    ] = "vllm-bench",
    metrics: Annotated[
        PathLike | None, Option("/metrics of the server that speculated.", metavar="FILE")
    ] = None,
    draft: Annotated[str, Option("The drafter's name in the scenario.", metavar="NAME")] = "draft",
    scenario: Annotated[
        PathLike | None, Option("A scenario that gets these costs and this acceptance.", metavar="SCENARIO")
    ] = None,
    write: Annotated[PathLike | None, Option("Writes the YAML there.", metavar="FILE")] = None,
    force: options.ForceFile = False,
    set: options.Set = (),
) -> Calibrated:
    """Fit target and drafter costs, and acceptance, to an engine's own benchmarks; with held-out errors.

    Without ``scenario``, the YAML is the sections ``costs`` and ``acceptance``. Raises InputError for files
    that are no benchmarks, or that do not tell the terms apart.
    """
    from spinsim.studies.calibrate import calibrate as _calibrate

    found = _calibrate(
        texts(files), source=source, metrics=None if metrics is None else Path(metrics), draft=draft
    )
    text = found.text() if scenario is None else found.scenario(Path(scenario), overrides(set))
    if write is not None:
        path = Path(write)
        if path.exists() and not force:
            raise InputError("exists already; --force replaces it", file=str(path))
        check_file(path, "--write")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Calibrated(found, text)


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) for part in parts):
        raise InputError(f"{text!r} is not allowed; numbers from 1 on with commas", key="--tokens")
    return tuple(int(part) for part in parts)
