"""A hand-made SVG of what the lanes did over a few rounds."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np

from spinsim.results.read import RunFolder

VERIFICATIONS = 9  # shown in the excerpt
_WIDTH, _LEFT, _ROW, _GAP = 960.0, 132.0, 30.0, 9.0
_KIND_COLOUR = {"prefill": "muted", "verify": "ink"}


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


def lane_strip(run: RunFolder, colours: dict[str, str]) -> str:
    """The excerpt as SVG: a row per lane; empty where nothing was verified."""
    slices, low, high = excerpt(run)
    if not slices:
        return ""
    lanes = [name for name in run.labels["inputs.lane"] if name in run.summary["lanes"]]
    height = len(lanes) * (_ROW + _GAP) + 34
    scale = (_WIDTH - _LEFT) / (high - low)
    parts = [f'<svg viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" aria-label="lanes over a few rounds">']
    bottom = height - 30
    for tick in _ticks(high - low):
        x = _LEFT + tick * scale
        parts.append(f'<path d="M{x:.2f} 0V{bottom:.0f}" stroke="var(--rule)" fill="none"/>')
        anchor = "start" if tick == 0 else "middle"
        label = f"{tick:g}" + (" ms" if tick == 0 else "")
        parts.append(
            f'<text x="{x:.2f}" y="{bottom + 16:.0f}" font-size="12" fill="var(--muted)" '
            f'text-anchor="{anchor}">{label}</text>'
        )
    for row, name in enumerate(lanes):
        y = row * (_ROW + _GAP)
        devices = ", ".join(run.summary["lanes"][name]["devices"])
        parts.append(
            f'<text x="0" y="{y + 14:.0f}" font-size="13" fill="var(--ink)">{escape(_short(name))}</text>'
            f'<text x="0" y="{y + 28:.0f}" font-size="11" fill="var(--muted)">'
            f"{escape(_short(devices))}</text>"
        )
        index = run.labels["inputs.lane"].index(name)
        for s in slices:
            if s.lane == index:
                parts.append(_rectangle(s, y, low, high, scale, colours))
    return "\n".join(parts) + "\n</svg>"


def _rectangle(s: Slice, y: float, low: float, high: float, scale: float, colours: dict[str, str]) -> str:
    x = _LEFT + (max(s.start, low) - low) * scale
    width = max((min(s.end, high) - max(s.start, low)) * scale - 0.8, 0.6)
    shade = _KIND_COLOUR.get(s.kind) or colours.get(s.draft, "none")
    opacity = {"catch_up": 0.4, "prefill": 0.45, "verify": 0.82}.get(s.kind, 0.95)
    box = (
        f'<rect x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" height="{_ROW:.0f}" rx="1.5" '
        f'fill="var(--{shade})" fill-opacity="{opacity}"/>'
    )
    text = ""
    if s.kind == "verify" and width > 26:
        text = (
            f'<text x="{x + width / 2:.2f}" y="{y + 19:.1f}" font-size="11.5" fill="var(--paper)" '
            f'text-anchor="middle">{s.micro_batch}</text>'
        )
    return f"<g><title>{escape(s.title)}</title>{box}{text}</g>"


def _ticks(span_ms: float) -> list[float]:
    """Round values from 0 below ``span_ms``, about eight of them."""
    step = 10.0 ** np.floor(np.log10(span_ms / 8)) if span_ms > 0 else 1.0
    step = next(step * m for m in (1, 2, 5, 10) if span_ms / (step * m) <= 9)
    return [round(i * step, 9) for i in range(int(span_ms / step) + 1)]


def _short(text: str, letters: int = 17) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "\N{HORIZONTAL ELLIPSIS}"
