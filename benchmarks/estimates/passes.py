"""Measured passes with their executed shapes: from profiles, live halves, and cells at long contexts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.estimates.shipped import Host
from benchmarks.long_context_cells import SECTIONS, Size, cell_of, write_scenario
from spinsim.buckets import bucket_tokens, prompt_passes
from spinsim.costs.for_scenario import ModelOnDevices, build_roofline, models_on_devices
from spinsim.costs.profiled.executed import (
    PassShape,
    causal_shape,
    pass_shape,
    step_rows,
    step_shape,
    verify_shape,
)
from spinsim.costs.profiled.predictors import fitted_points, part_of
from spinsim.costs.profiled.profile import Point, Profile
from spinsim.costs.roofline import RooflinePredictor
from spinsim.costs.sheets.shapes import ModelShape
from spinsim.operations import KINDS, Packing
from spinsim.scenario import RooflineCosts, Scenario
from spinsim.serving import trusting
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.validation.folder import LiveCell
from spinsim.studies.validation.operations import OperationTable, times

MOST_SHAPES = 12  # of a cell's operations of one kind, evenly
BLOCKS_APART = "2026-11-29T00:40"  # when profiles were measured with blocks of their own first
GROUPED_KV, MULTI_HEAD_KV = 163_840, 61_440  # tokens of K/V memory in scenarios/evidence
FEWEST = 20  # operations of a group of a live cell


@dataclass(frozen=True)
class Timed:
    """``passes`` of one model, which together took ``seconds``, within ``operations`` operations.

    ``source``: where it was measured (``profile``, ``live`` or ``long contexts``), ``part``: of a
    verification its packing, of a draft's step whether it is the first.
    """

    host: str
    source: str
    model: ModelShape
    dtype: str
    hardware: str
    operation: str
    part: str
    passes: tuple[PassShape, ...]
    operations: float
    seconds: float
    weight: float = 1.0  # operations that it is the mean of

    @property
    def group(self) -> tuple[str, str, str, str]:
        """What has one weight: as a whole as much as any other."""
        return self.source, self.hardware, self.operation, self.part


def of_profile(host: str, profile: Profile) -> Iterator[Timed]:
    """Its points of models' operations, but for those whose rows shared K/V."""
    for point in fitted_points(profile):
        if _shared_kv(profile, point):
            continue
        model, part = profile.models[point.model], part_of(point)
        within = 0.0 if part == "later" else 1.0
        yield Timed(
            host,
            "profile",
            model.shape,
            model.dtype,
            model.hardware,
            point.operation,
            part,
            (_as_charged(point),),
            within,
            point.seconds,
        )


def _shared_kv(profile: Profile, point: Point) -> bool:
    """Whether it has more K/V than the grid of evidence states memory for.

    Until rows had blocks of their own, long ones shared them, and were read faster than a run's.
    """
    if not profile.kv_block_tokens or profile.created >= BLOCKS_APART:
        return False
    target = max((model.shape for model in profile.models.values()), key=lambda shape: shape.layers)
    memory = MULTI_HEAD_KV if target.kv_heads == target.heads else GROUPED_KV
    return point.features.get("kv_tokens", 0.0) > memory


def _as_charged(point: Point) -> PassShape:
    """Sheets take decomposed K/V for whole pieces, as the paper has them."""
    features = {name: value for name, value in point.features.items() if name != "read_tokens"}
    return pass_shape(replace(point, features=features))


def of_live(host: Host) -> Iterator[Timed]:
    """Means of the operations of live runs, by cell, kind, model and rows. Packings other than ragged do not
    say how many pieces they had, and are left out."""
    for cell in host.cells():
        if set(cell.scenario.placement.target) & set(cell.scenario.placement.drafts.values()):
            continue  # the lanes of a GPU slow each other down
        models = models_on_devices(cell.scenario, host.live)
        for table in cell.operations[:1]:
            yield from _groups(host.name, cell, models, table)


def _groups(
    host: str, cell: LiveCell, models: Sequence[ModelOnDevices], table: OperationTable
) -> Iterator[Timed]:
    c = table.columns
    numbers = np.stack([c["kind"], c["model"], c["rows"]])
    took = c["finished_ns"] - c["started_ns"]
    for kind, model, rows in np.unique(numbers, axis=1).T.tolist():
        chosen = (numbers == np.array([[kind], [model], [rows]])).all(0)
        if chosen.sum() < FEWEST:
            continue
        tokens, kv = float(c["tokens"][chosen].mean()), float(c["kv_tokens"][chosen].mean())
        made = _live_passes(KINDS[kind], rows, tokens, kv, cell.scenario)
        if made is None:
            continue
        part, passes = made
        on = models[model + 1]
        seconds = float(took[chosen].mean()) * 1e-9
        yield Timed(
            host,
            "live",
            on.shape,
            on.dtype,
            on.hardware.name,
            KINDS[kind],
            part,
            passes,
            1.0,
            seconds,
            float(chosen.sum()),
        )


@dataclass(frozen=True)
class Handover:
    """The mean time of ``count`` operations of equal ``rows`` from what led to them to their start, where
    their lane stood idle, on the host's side."""

    hardware: str
    rows: int
    seconds: float
    count: int


def handovers(host: Host) -> Iterator[Handover]:
    """Of the live cells with a fixed draft: no time is spent on choosing one."""
    for cell in host.cells():
        if cell.scenario.policies.selector.name != "fixed":
            continue
        for table in cell.operations[:1]:
            rows, waited = table.columns["rows"], times(table)["handover"]
            for count in np.unique(rows).tolist():
                chosen = waited[(rows == count) & ~np.isnan(waited)]
                if len(chosen) >= FEWEST:
                    yield Handover(host.gpu, count, float(chosen.mean()), len(chosen))


def _live_passes(
    kind: str, rows: int, tokens: float, kv: float, scenario: Scenario
) -> tuple[str, tuple[PassShape, ...]] | None:
    if kind == "prefill":
        each = [round(tokens / rows)] * rows
        return "", _prompts(each, [0] * rows, head=True)
    if kv < 0:
        return None
    if kind == "catch_up":
        each = [max(1, round(tokens / rows))] * rows
        return "", _prompts(each, [max(0, round(kv / rows) - each[0])] * rows, head=False)
    if kind == "propose":
        return "", proposal(rows, round(tokens), kv)  # its tokens are its steps
    packing = scenario.policies.packing.name
    if packing != "ragged":
        return None
    executed = bucket_tokens(round(tokens))
    return packing, (PassShape(rows, executed, executed, tokens, kv, kv * tokens / rows),)


def _prompts(tokens: Sequence[int], starts: Sequence[int], *, head: bool) -> tuple[PassShape, ...]:
    passes = prompt_passes(tokens, starts)
    return tuple(causal_shape(one.tokens, one.starts, True, head=head) for one in passes)


def proposal(rows: int, steps: int, kv: float) -> tuple[PassShape, ...]:
    """The passes of a proposal of ``steps`` tokens a row, over contexts of ``kv`` tokens in all."""
    executed = step_rows(rows, True)
    first = step_shape(executed, 2 * executed, kv)
    return first, *(step_shape(executed, executed, kv + rows * step) for step in range(1, steps))


class _Asked(RooflinePredictor):
    """Sheets that remember what they were asked."""

    def __init__(self, inner: RooflinePredictor) -> None:
        self.__dict__.update(inner.__dict__)
        self.asked: dict[tuple[str, int, str], list[tuple[int, tuple[PassShape, ...]]]] = {}

    def _note(self, kind: str, model: int, part: str, rows: int, passes: tuple[PassShape, ...]) -> None:
        self.asked.setdefault((kind, model, part), []).append((rows, passes))

    def prefill(self, tokens: Sequence[int], starts: Sequence[int]) -> Any:
        self._note("prefill", -1, "", len(tokens), _prompts(tokens, starts, head=True))
        return super().prefill(tokens, starts)

    def propose(self, draft: int, lengths: Sequence[int], contexts: Sequence[int]) -> Any:
        passes = proposal(len(lengths), max(lengths, default=0), sum(contexts))
        self._note("propose", draft, "", len(lengths), passes)
        return super().propose(draft, lengths, contexts)

    def verify(self, packing: Packing) -> Any:
        self._note("verify", -1, packing.kind, packing.rows, (verify_shape(packing, True),))
        return super().verify(packing)


def of_long_contexts(path: Path) -> Iterator[Timed]:
    """The means of ``benchmarks.long_contexts``: shapes are those that a simulation of the cell asks for.

    Of decoding, those with every request in them. Drafts that are not alike have one mean, and are left out.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    size = Size(**{k: tuple(v) if isinstance(v, list) else v for k, v in data["size"].items()})
    with TemporaryDirectory() as scratch:
        base = write_scenario(Path(scratch), size, "h200", len(data["cards"]), {"model": "roofline"})
        for row in (row for row in data["runs"] if row["cell"] != "decomposed"):
            loaded = cell_of(base, size, row["context"], SECTIONS[row["section"]][row["cell"]])
            scenario = trusting(loaded.scenario)
            sheets = _Asked(build_roofline(scenario, Path(scratch), RooflineCosts(model="roofline")))
            simulate_scenario(scenario, Path(scratch), predictor=sheets)
            models = models_on_devices(scenario, Path(scratch))
            drafts = {model for kind, model, _ in sheets.asked if kind == "propose"}
            for (kind, model, part), asked in sheets.asked.items():
                if f"{kind}_s" not in row or (kind == "propose" and len(drafts) > 1):
                    continue
                most = max(rows for rows, _ in asked) if kind != "prefill" else 0
                shapes = [passes for rows, passes in asked if rows >= most]
                kept = [
                    shapes[i]
                    for i in np.linspace(0, len(shapes) - 1, min(MOST_SHAPES, len(shapes))).astype(int)
                ]
                on = models[model + 1]
                yield Timed(
                    "h200-x2 long contexts",
                    "long contexts",
                    on.shape,
                    on.dtype,
                    on.hardware.name,
                    kind,
                    part,
                    tuple(one for passes in kept for one in passes),
                    float(len(kept)),
                    row[f"{kind}_s"] * len(kept),
                )
