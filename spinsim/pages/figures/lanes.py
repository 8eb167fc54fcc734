"""What the lanes did over a few rounds: a drawing from a template of its own."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from spinsim.pages.render import Drawn, fragment
from spinsim.results.read import RunFolder

VERIFICATIONS = 9  # shown in the excerpt
_WIDTH, _ROW, _GAP = 960.0, 30.0, 9.0
_LEAST_LEFT, _LETTER, _MOST_LETTERS = 132.0, 8.2, 34  # room for the lanes' names
_KIND_COLOUR = {"prefill": "muted", "verify": "ink"}
_OPACITY = {"catch_up": 0.4, "prefill": 0.45, "verify": 0.82}


@dataclass(frozen=True)
class Slice:
    """One operation of the excerpt; times in milliseconds of the run."""

    lane: int
    kind: str
    draft: str
    micro_batch: int
    start: float
    end: float
    title: str


def excerpt(run: RunFolder, verifications: int = VERIFICATIONS) -> tuple[list[Slice], float, float]:
    """Operations around the middle of the measured window, and the span they are shown in (ms)."""
    shown = _span(run, verifications)
    if shown is None:
        return [], 0.0, 0.0
    low, high = shown
    found = []
    for number in range(run.operations.groups):
        if run.operations.bounds(number, "finished_ns")[1] <= low:
            continue
        if run.operations.bounds(number, "started_ns")[0] >= high:
            continue
        started, finished = run.operations.block(number, "started_ns", "finished_ns")
        chosen = np.flatnonzero((finished > low) & (started < high))
        if chosen.size:
            found.append([column[chosen] for column in run.operations.block(number, *_COLUMNS)])
    columns = [np.concatenate(parts).tolist() for parts in zip(*found, strict=True)]
    kinds, lanes = run.operations.labels["kind"], run.operations.labels["lane"]
    slices = []
    for start_ns, end_ns, operation, lane, kind, *rest in sorted(
        zip(*columns, strict=True), key=itemgetter(0)
    ):
        if operation < 0:
            continue  # a timer
        assert lane < len(lanes)
        slices.append(_slice(run, start_ns, end_ns, lane, kinds[kind], *rest))
    return slices, low / 1e6, high / 1e6


_COLUMNS = (
    *("started_ns", "finished_ns", "operation", "lane"),
    *("kind", "model", "micro_batch", "rows", "tokens"),
)


def _span(run: RunFolder, verifications: int) -> tuple[float, float] | None:
    """From the start of a verification in the middle of the window to the end of one some rounds later; in
    nanoseconds. None where nothing was verified. Verifications lie in the order in which they ran."""
    middle = sum(run.window) / 2 * 1e9
    before, counts = 0, []
    for number in range(run.operations.groups):
        (kind,) = run.operations.block(number, "kind")
        mine = kind == _verify(run)
        counts.append(int(mine.sum()))
        if run.operations.bounds(number, "started_ns")[1] < middle:
            before += counts[-1]
        elif run.operations.bounds(number, "started_ns")[0] < middle:
            (started,) = run.operations.block(number, "started_ns")
            before += int((started[mine] < middle).sum())
    total = sum(counts)
    if not total:
        return None
    first = min(before, max(total - verifications, 0))
    last = min(first + verifications, total) - 1
    ends = np.cumsum(counts)
    moments = []
    for rank, name in ((first, "started_ns"), (last, "finished_ns")):
        number = int(np.searchsorted(ends, rank, side="right"))
        kind, at = run.operations.block(number, "kind", name)
        moments.append(float(at[kind == _verify(run)][rank - ends[number]]))
    return moments[0], moments[1]


def _verify(run: RunFolder) -> int:
    """The code of verifications, once a block with kinds was read; -1 where there is none."""
    kinds = run.operations.labels["kind"]
    return kinds.index("verify") if "verify" in kinds else -1


def _slice(
    run: RunFolder,
    start_ns: int,
    end_ns: int,
    lane: int,
    kind: str,
    model: int,
    batch: int,
    rows: int,
    tokens: int,
) -> Slice:
    draft = run.drafts[model] if 0 <= model < len(run.drafts) else ""
    units = "steps" if kind == "propose" else "tokens"
    title = (
        f"{kind.replace('_', '-')} {draft}".strip()
        + f": {(end_ns - start_ns) / 1e6:.3g} ms, {rows} requests, {tokens} {units}"
        + (f", micro-batch {batch}" if batch >= 0 else "")
    )
    return Slice(lane, kind, draft, batch, start_ns / 1e6, end_ns / 1e6, title)


class Box(NamedTuple):
    """An operation as it is drawn."""

    x: float
    width: float
    shade: str
    opacity: float
    title: str
    number: str  # of the micro-batch, where there is room for it


class Lane(NamedTuple):
    """A row of the drawing."""

    name: str
    devices: str
    boxes: list[Box]


def lane_strip(run: RunFolder, colours: dict[str, str]) -> Drawn | None:
    """The excerpt as SVG: a row per lane; None where nothing was verified."""
    slices, low, high = excerpt(run)
    if not slices:
        return None
    indices = {
        i: name for i, name in enumerate(run.operations.labels["lane"]) if name in run.summary["lanes"]
    }
    texts = {i: (_short(name), _short(_devices(run, name))) for i, name in indices.items()}
    left = max(_LEAST_LEFT, *(_LETTER * max(map(len, pair)) for pair in texts.values()))
    scale = (_WIDTH - left) / (high - low)

    def box(s: Slice) -> Box:
        width = max((min(s.end, high) - max(s.start, low)) * scale - 0.8, 0.6)
        return Box(
            left + (max(s.start, low) - low) * scale,
            width,
            _KIND_COLOUR.get(s.kind) or colours.get(s.draft, "none"),
            _OPACITY.get(s.kind, 0.95),
            s.title,
            str(s.micro_batch) if s.kind == "verify" and width > 26 else "",
        )

    drawn = [Lane(*texts[i], [box(s) for s in slices if s.lane == i]) for i in indices]
    svg = fragment(
        "lanes.svg",
        width=_WIDTH,
        row=_ROW,
        gap=_GAP,
        ticks=[(left + tick * scale, f"{tick:g}" + ("" if tick else " ms")) for tick in _ticks(high - low)],
        lanes=drawn,
    )
    names = [(name, colours[name]) for name in run.arms if name in run.drafts]
    used = {one.shade for lane in drawn for one in lane.boxes}
    entries = [*names, ("verify (number: micro-batch)", "ink"), ("prefill", "muted")]
    return Drawn(svg, [(name, shade) for name, shade in entries if shade in used])


def _devices(run: RunFolder, lane: str) -> str:
    return ", ".join(run.summary["lanes"][lane]["devices"])


def _ticks(span_ms: float) -> list[float]:
    """Round values from 0 below ``span_ms``, about eight of them."""
    step = 10.0 ** np.floor(np.log10(span_ms / 8)) if span_ms > 0 else 1.0
    step = next(step * m for m in (1, 2, 5, 10) if span_ms / (step * m) <= 9)
    return [round(i * step, 9) for i in range(int(span_ms / step) + 1)]


def _short(text: str, letters: int = _MOST_LETTERS) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "\N{HORIZONTAL ELLIPSIS}"
