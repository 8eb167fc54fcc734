"""One scenario: predicted, executed, replayed; and the results folders that this leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

from spinsim.api import options, reports
from spinsim.api.common import imported, loaded, overrides, several
from spinsim.api.frames import frame, parquet
from spinsim.api.options import Option, PathLike, Progress
from spinsim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from spinsim.studies.replay import Replayed


@dataclass(frozen=True, repr=False)
class Results:
    """One run: ``summary`` as in summary.json, and the tables of a results folder as frames."""

    summary: dict[str, Any]
    _table: Callable[[str], pd.DataFrame]

    def __repr__(self) -> str:
        s = self.summary
        ended = f"{s['requests']['completed']} of {s['requests']['submitted']} requests"
        name = f"{s['scenario']}, {s['mode']}, seed {s['seed']}"
        return f"Results({name}: {self.goodput:,.0f} tokens/s, {ended})"

    def _repr_html_(self) -> str:
        from spinsim.api.notebook import run_shown

        return run_shown(self.summary)

    @property
    def goodput(self) -> float:
        """Committed tokens per second."""
        return float(self.summary["goodput_tokens_per_s"] or 0.0)

    @property
    def latency(self) -> pd.DataFrame:
        """Seconds: a row for each of TTFT, TPOT, E2E, ...; columns count, mean, p50, p90, p99."""
        return frame([{"latency": k, **v} for k, v in self.summary["latency"].items()]).set_index("latency")

    @property
    def drafts(self) -> pd.DataFrame:
        """A row a draft: share of rounds, tokens drafted and accepted, seconds of drafting, ..."""
        found = self.summary["speculation"]["per_draft"]
        return frame([{"draft": k, **v} for k, v in found.items()]).set_index("draft")

    @property
    def intervals(self) -> pd.DataFrame:
        """A row a metric, with the bounds of its 90 % interval. Raises InputError where there are none."""
        found = self.summary.get("intervals")
        if not found:
            raise InputError("has none; simulate with intervals=N", key="intervals")
        return frame([{"metric": k, **v} for k, v in found["metrics"].items()]).set_index("metric")

    @cached_property
    def requests(self) -> pd.DataFrame:
        """A row a request; times in seconds from the start of the run."""
        return self._table("requests")

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """A row a request and round: draft, drafted, accepted, times."""
        return self._table("rounds")

    @cached_property
    def outputs(self) -> pd.DataFrame:
        """A row a request of a live run: token ids of prompt and answer, and the answer's text."""
        return self._table("outputs")

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """A row a micro-batch's round."""
        return self._table("decisions")


def simulate(
    scenario: options.Scenario,
    *,
    set: options.Set = (),
    seed: options.Seed = None,
    device: options.Device = None,
    intervals: Annotated[int, Option("90 % intervals from N runs with noise.", metavar="N", min=0)] = 0,
    plugins: options.Plugins = (),
    engine: options.Engine = "auto",
    out: options.Out = None,
    force: options.Force = False,
    progress: Progress | None = None,
) -> Results:
    """Predict a scenario from costs and acceptance.

    ``intervals``: so many further runs with other seeds and noise, for 90 % intervals. ``device``
    ``cpu`` places every model on one CPU. ``engine``: ``python``, ``native``, or ``auto`` for the native
    one where it covers the scenario; results are the same. With ``out`` the results folder is written, too;
    ``force`` lets it replace earlier results. Raises InputError. An interruption (Ctrl-C) ends the simulated
    run early: ``summary["interrupted"]`` says so. Its partial results do not replace complete ones: they go
    to ``OUT.partial-results``.
    """
    several(intervals=intervals)
    given = loaded(scenario, set, seed, device, plugins)
    from spinsim.results.publish import check_out
    from spinsim.studies.simulate import simulate_and_publish

    if out is not None:
        check_out(Path(out), force=force)
    try:
        simulated, summary = simulate_and_publish(
            given,
            None if out is None else Path(out),
            progress,
            intervals=intervals,
            report=reports.of_run,
            engine=engine,
        )
    except InputError as error:
        raise given.places.locate(error) from None

    def table(name: str) -> pd.DataFrame:
        from spinsim.results import tables

        if name == "outputs":
            raise InputError("a simulation generates no text; run has outputs", key="outputs")
        with TemporaryDirectory() as folder:
            getattr(tables, f"write_{name}")(Path(folder), simulated.records)
            return parquet(Path(folder) / f"{name}.parquet")

    return Results(summary, table)


def run(
    scenario: options.Scenario,
    out: options.OutNeeded,
    *,
    set: options.Set = (),
    seed: options.Seed = None,
    device: options.Device = None,
    graphs: Annotated[bool, Option("CUDA graphs; without them only for debugging.")] = True,
    plugins: options.Plugins = (),
    force: options.Force = False,
    progress: Progress | None = None,
) -> Results:
    """Execute a scenario with real models on real devices.

    Its results go into the folder ``out``; ``force`` lets it replace earlier results. Those of an interrupted
    run do not replace complete ones: they go to ``OUT.partial-results``. ``graphs=False`` does without CUDA
    graphs, for debugging. Needs the extra ``live``. Raises InputError before anything runs for
    what cannot be run, and what a worker raised after the partial results were written.
    """
    settings = (*overrides(set), *(() if graphs else ("live.graphs=false",)))
    given = loaded(scenario, settings, seed, device, plugins)
    from spinsim.results.place import place_of
    from spinsim.results.publish import check_out

    check_out(Path(out), force=force)
    from spinsim.studies.run import run as experiment

    try:
        summary = experiment(given, Path(out), progress, report=reports.of_run)
    except InputError as error:
        raise given.places.locate(error) from None
    return open_results(place_of(Path(out), summary))


def replay(folder: options.Folder, *, plugins: options.Plugins = ()) -> Replayed:
    """Feed a live run's inputs through the engine again.

    Every decision is compared with the run's. ``plugins``: those that the run had. ``difference`` of the
    answer is empty where all were the same. Raises InputError where ``folder`` holds no live run.
    """
    imported(plugins)
    from spinsim.studies.replay import replay as experiment

    return experiment(Path(folder))


def open_results(folder: PathLike) -> Results:
    """The results folder of an earlier simulate or run. Raises InputError where it is none."""
    path = Path(folder)
    try:
        summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
        if not str(summary["schema"]).startswith("spinsim.summary/"):
            raise ValueError("an experiment's folder")
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            "is no results folder; give one that simulate or run wrote", file=str(folder)
        ) from None
    return Results(summary, lambda name: parquet(path / f"{name}.parquet"))


def tables(
    folder: options.Folder,
    *,
    out: Annotated[PathLike | None, Option("Where they go [DIR/tables].", metavar="DIR")] = None,
) -> tuple[Path, ...]:
    """Write the tables of a results folder as CSV and Markdown, and its page's figures as SVG.

    Any command's folder has some. The answer is the files' paths. Tables of more than 1,000 rows are CSV
    alone. Raises InputError.
    """
    from spinsim.files import check_writable
    from spinsim.results.export import export

    to = Path(folder) / "tables" if out is None else Path(out)
    check_writable(to)
    return (*export(Path(folder), to), *reports.figures(Path(folder), to))


def report(
    folder: options.Folder,
    *,
    cell: Annotated[
        str | None, Option("Opens a study's cell as the page of a run; its key, or how it begins.")
    ] = None,
    request_tracks: Annotated[
        bool, Option("Also writes requests.timeline.json, a track for each request.")
    ] = False,
    timeline: Annotated[
        bool, Option("Also writes timeline.json of the whole run; it is of its first 20,000 operations.")
    ] = False,
    plugins: options.Plugins = (),
) -> Path:
    """Write a results folder's report.html again.

    It is made from the other files of a run's, an experiment's, a study's or a validation's folder. Returns
    its path. A file is taken for a validation's or a live ladder's JSON, and its page goes beside it. A
    ``cell`` is simulated once more, with the ``plugins`` that its experiment had, and the experiment's page
    links to it. Raises InputError for what has no page.
    """
    from spinsim.bundles.manifest import read_manifest
    from spinsim.lab.store import experiment_kind
    from spinsim.pages.run import write_report
    from spinsim.pages.saved import is_saved, write_saved, write_study

    path = Path(folder)
    if read_manifest(path) is not None and cell is None:
        return reports.of_study(path)
    study = experiment_kind(path) is not None
    if cell is not None:
        if (whole := read_manifest(path)) is not None:
            parts = ", ".join(whole["parts"])
            raise InputError(f"is a study of parts; give the folder of one: {parts}", file=str(folder))
        if not study:
            raise InputError("holds no study, whose cells could be opened", file=str(folder))
        from spinsim.studies.cell_run import simulate_cell

        imported(plugins)
        bundle = path.resolve().parent
        run = simulate_cell(path, cell, bundle) if read_manifest(bundle) else simulate_cell(path, cell)
        write_study(path)
        path, study = run, False
    if request_tracks:
        from spinsim.results.request_tracks import write_request_tracks

        write_request_tracks(path)
    if timeline:
        from spinsim.results.read_records import write_whole_timeline

        write_whole_timeline(path)
    if study:
        return write_study(path)
    return write_saved(path) if is_saved(path) else write_report(path)


def schema() -> dict[str, Any]:
    """Print the JSON Schema of a scenario, for editors."""
    from spinsim.scenario_file.schema import scenario_schema

    return scenario_schema()
