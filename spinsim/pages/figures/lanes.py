"""What the lanes did over a few rounds: a drawing from a template of its own."""

from __future__ import annotations

from dataclasses import dataclass
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
    o = run.operations
    kinds, lanes = run.labels["inputs.kind"], run.labels["inputs.lane"]
    verify = np.flatnonzero(o["kind"] == kinds.index("verify")) if "verify" in kinds else np.zeros(0, int)
    if not verify.size:
        return [], 0.0, 0.0
    start = np.sort(o["started_ns"][verify])
    middle = sum(run.window) / 2 * 1e9
    first = int(np.clip(np.searchsorted(start, middle), 0, max(start.size - verifications, 0)))
    low = float(start[first])
    last = min(first + verifications, start.size) - 1
    ends = o["finished_ns"][verify][np.argsort(o["started_ns"][verify], kind="stable")]
    high = float(ends[last])
    chosen = np.flatnonzero((o["finished_ns"] > low) & (o["started_ns"] < high))
    slices = []
    for i in chosen[np.argsort(o["started_ns"][chosen], kind="stable")]:
        kind, model = kinds[o["kind"][i]], int(o["model"][i])
        draft = run.drafts[model] if 0 <= model < len(run.drafts) else ""
        spent = (int(o["finished_ns"][i]) - int(o["started_ns"][i])) / 1e6
        batch = int(o["micro_batch"][i])
        rows, tokens = int(o["rows"][i]), int(o["tokens"][i])
        title = (
            f"{kind.replace('_', '-')} {draft}".strip()
            + f": {spent:.3g} ms, {rows} requests, {tokens} {'steps' if kind == 'propose' else 'tokens'}"
            + (f", micro-batch {batch}" if batch >= 0 else "")
        )
        span = (float(o["started_ns"][i]) / 1e6, float(o["finished_ns"][i]) / 1e6)
        slices.append(Slice(int(o["lane"][i]), kind, draft, batch, *span, title))
    used = sorted({s.lane for s in slices})
    assert all(lane < len(lanes) for lane in used)
    return slices, low / 1e6, high / 1e6


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
    indices = {i: name for i, name in enumerate(run.labels["inputs.lane"]) if name in run.summary["lanes"]}
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
