"""Figures of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from spinsim.pages.figures.chart import Panel, Values, percent, side_by_side, stacked, stairs, ticks

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
DASHES = {"solid": "", "dashed": "5 2.5", "dotted": "1.3 1.9"}


def _share_panel(title: str, x: tuple[float, float], label: str, *, top: float = 1.0, most: int = 5) -> Panel:
    """Shares from 0 to 1 over ``x``, at most ``most`` ticks apart."""
    return Panel(
        title,
        x,
        (0.0, top),
        label=label,
        x_ticks=ticks(x, most),
        y_ticks=SHARES,
        y_text=lambda share: f"{100 * share:g}" + (" %" if share == 1 else ""),
    )


def latency(samples: Sequence[tuple[str, Values, float | None]]) -> Markup:
    """Cumulative shares of requests by latency; a panel per (name, seconds, limit or None)."""
    drawn = [_latency(*sample) for sample in samples]
    return side_by_side("latency", drawn, height=147.6)


def _latency(name: str, values: Values, limit: float | None) -> Panel:
    values = np.sort(values[np.isfinite(values)])
    top = float(values[-1]) if values.size else 1.0
    shown = max(float(np.percentile(values, 99.5)) if values.size else 1.0, limit or 0.0)
    factor, unit = (1e3, "ms") if shown < 1 else (1.0, "s")
    right = min(shown, max(top, limit or 0.0)) * factor * 1.04 or 1.0
    panel = _share_panel(name, (0.0, right), unit, top=1.13)
    if not values.size:
        return panel
    share = np.arange(1, values.size + 1) / values.size
    keep = np.unique(np.linspace(0, values.size - 1, 400).astype(int))
    inside = keep[values[keep] * factor <= right]
    panel.line(np.repeat(values[inside] * factor, 2)[1:], np.repeat(share[inside], 2)[:-1], "s0")
    for p in (50, 99):
        at = float(np.percentile(values, p)) * factor
        panel.dots(at, p / 100, "s0")
        # The curve climbs to the right: what is below a point to its right is free, and above 100 %.
        late = p == 99 and at > 0.6 * right
        move = (5.0, 9.0) if p == 50 else (2.0 if late else 4.0, -5.0)
        panel.text(
            at, p / 100, f"p{p}  {at:.3g} {unit}", move=move, anchor="end" if late else "start", size=7.0
        )
    if limit is not None:
        panel.line([limit * factor] * 2, [0, 1.13], "ink", width=0.7, dash="2.1 1.4")
        near = limit * factor < 0.12 * right  # where the other side is the axis
        panel.text(
            limit * factor, 0.03, "objective", move=(8.5 if near else -3.0, 0.0), colour="muted", size=6.8,
            turned=True,
        )  # fmt: skip
    return panel


def over_time(
    edges: Values,
    rate: Values,
    mean: float | None,
    waiting: Values,
    served: Values,
    window: tuple[float, float],
) -> Markup:
    """Tokens committed per second between ``edges``, and requests waiting and being served at them."""
    span = float(edges[0]), float(edges[-1])
    most = max(float(rate.max(initial=0.0)) * 1.08, 1e-9)
    top = Panel("Committed tokens per second", span, (0.0, most), numbered=False)
    top.area(window, 0, most, "soft")
    top.line(*stairs(edges, rate), "s0")
    if mean is not None:
        top.line(window, [mean, mean], "ink", width=0.7, dash="2.1 1.4")
    most = max(float((served + waiting).max(initial=0.0)) * 1.08, 1.0)
    limits = (0.0, most)
    low = Panel(
        "Requests in the system", span, limits, label="seconds of the run",
        y_ticks=ticks(limits, 3, whole=True),
    )  # fmt: skip
    low.area(window, 0, most, "soft")
    low.area(edges, 0, served, "s0", 0.7)
    low.area(edges, served, served + waiting, "s1", 0.75)
    return stacked("over-time", (top, low), (112.0, 97.0))


def occupancy(
    edges: Values,
    admitted: Values,
    waiting: Sequence[tuple[str, str, Values]],
    held: Values | None,
    window: tuple[float, float],
) -> Markup:
    """Mean requests admitted, and above them those that wait, a layer a reason; and shares of K/V memory."""
    span = float(edges[0]), float(edges[-1])
    layers = [("s0", 0.7, admitted), *((shade, 0.75, values) for _, shade, values in waiting)]
    most = max(float(np.sum([values for *_, values in layers], axis=0).max(initial=0.0)) * 1.08, 1.0)
    title, label = "Requests admitted and waiting", "seconds of the run"
    above = Panel(
        title, span, (0.0, most), label="" if held is not None else label,
        y_ticks=ticks((0.0, most), 4, whole=True), numbered=held is None,
    )  # fmt: skip
    above.area(window, 0, most, "soft")
    floor = np.zeros_like(admitted)
    for shade, opacity, values in layers:
        x, low = stairs(edges, floor)
        floor = floor + values
        above.area(x, low, stairs(edges, floor)[1], shade, opacity)
    if held is None:
        return stacked("occupancy", (above,), (118.8,))
    below = _share_panel("K/V memory of the target that is held", span, label, top=1.03)
    below.area(window, 0, 1.03, "soft")
    below.line(*stairs(edges, held), "s2")
    return stacked("occupancy", (above, below), (96.0, 106.8))


def acceptance(curves: Sequence[tuple[str, str, Values]], longest: int, histogram: Values) -> Markup:
    """How far proposals got.

    ``curves`` are (name, colour, share of proposals whose first i tokens stood, i = 1, 2, ...);
    ``histogram[n]`` counts the proposals of which n tokens stood.
    """
    reach = (0.8, longest + 0.2)
    title = "Proposals whose first i tokens were accepted"
    stood = Panel(
        title, reach, (0.0, 1.0), label="i, tokens", x_ticks=ticks(reach, min(longest, 10), whole=True),
        y_ticks=SHARES, y_text=lambda share: f"{100 * share:g}" + (" %" if share == 1 else ""),
    )  # fmt: skip
    for _, shade, share in curves:
        stood.line(np.arange(1, share.size + 1), share, shade)
        stood.dots(np.arange(1, share.size + 1), share, shade, size=2.6)
    share = histogram / max(int(histogram.sum()), 1)
    bars = Panel(
        "Proposals by tokens accepted",
        (-0.6, histogram.size - 0.4),
        (0.0, float(share.max(initial=0.0)) * 1.12 or 1.0),
        label="accepted tokens",
        x_ticks=range(0, histogram.size, 1 + histogram.size // 12),
        y_text=percent,
    )
    for count, part in enumerate(share.tolist()):
        bars.area([count - 0.33, count + 0.33], 0, part, "muted")
    return side_by_side("acceptance", (stood, bars), height=140.4)


def choices(panels_data: Sequence[tuple[str, str, Values, Values]], shades: Sequence[str]) -> Markup:
    """Stacked shares of arms; panels are (title, x label, n + 1 edges, shares of shape (arms, n))."""
    drawn = []
    for title, label, edges, shares in panels_data:
        panel = _share_panel(title, (float(edges[0]), float(edges[-1])), label, most=6)
        floor = np.zeros(shares.shape[1])
        for shade, part in zip(shades, shares, strict=True):
            x, low = stairs(edges, floor)
            floor = floor + part
            if part.any():
                panel.area(x, low, stairs(edges, floor)[1], shade, 0.9)
        drawn.append(panel)
    return side_by_side("choices", drawn, height=154.8)


def padding(x: Values, real: Values, padded: Values) -> Markup:
    """KV tokens read by the mean verification over time, real and executed."""
    span = (float(x[0]), float(x[-1])) if x.size > 1 else (float(x[0]) - 0.5, float(x[0]) + 0.5)
    most = max(float(padded.max(initial=0.0)) * 1.08, 1.0)
    panel = Panel("KV tokens read per verification", span, (0.0, most), label="seconds of the run")
    middles = (x[1:] + x[:-1]) / 2
    edges = np.concatenate((span[:1], middles, span[1:]))
    across, read = stairs(edges, real)
    panel.area(across, 0, read, "s0", 0.75)
    panel.area(across, read, stairs(edges, padded)[1], "s1", 0.75)
    return stacked("padding", (panel,), (122.4,))


def slices(x: Values, y: Values, label: str, mean: tuple[float, float], spans: Sequence[Values]) -> Markup:
    """Goodput (tokens per second) against latency (``label``): a dot a slice of the window, the whole
    window as a cross with ``spans``, (low, high) or nothing, of x and of y."""
    across = np.concatenate((x, mean[:1], spans[0]))
    up = np.concatenate((y, mean[1:], spans[1]))
    margin = 0.06 * float(np.ptp(across)) or 0.05 * abs(mean[0]) or 1.0
    limits = float(across.min()) - margin, float(across.max()) + margin
    top = float(up.max()) + (0.12 * float(np.ptp(up)) or 0.05 * abs(mean[1]) or 1.0)
    panel = Panel(
        "Goodput, tokens/s", limits, (0.0, top), label=label, x_ticks=ticks(limits, 6),
        y_ticks=ticks((0.0, top), 6), both=True,
    )  # fmt: skip
    panel.dots(x, y, "s0", size=3.4, opacity=0.55)
    panel.cross(*mean, "ink")
    for i, ends in enumerate(spans):
        if ends.size == 2:
            x_ends, y_ends = (ends, [mean[1]] * 2) if i == 0 else ([mean[0]] * 2, ends)
            panel.line(x_ends, y_ends, "ink", width=1.1)
    return stacked("slices", (panel,), (172.8,))


def regret(
    rounds: Values, behind: Mapping[str, Values], ended_s: float, lost: Mapping[str, Values],
    styles: Mapping[str, tuple[str, str]],
) -> Markup:  # fmt: skip
    """Milliseconds lost to the oracle so far by a request's n-th round; and by a round, over the run.

    ``styles``: colour variable and dashes of each line, which both mappings name.
    """
    bins = len(next(iter(lost.values())))
    middles = (np.arange(bins) + 0.5) * ended_s / bins

    def most(values: Mapping[str, Values]) -> float:
        return max(float(np.nanmax(line, initial=0.0)) for line in values.values()) * 1.05 or 1.0

    span = (0.0, float(rounds[-1]) if len(rounds) else 1.0)
    left = Panel("Lost so far, ms a request", span, (0.0, most(behind)), label="rounds of the request")
    right = Panel("Lost by a round, ms", (0.0, ended_s), (0.0, most(lost)), label="seconds of the run")
    for name, (shade, dash) in styles.items():
        width = 2.0 if dash == "solid" else 1.2
        so_far = np.concatenate(([0], behind[name]))
        left.line(np.concatenate(([0], rounds)), so_far, shade, width=width, dash=DASHES[dash])
        seen = np.isfinite(np.asarray(lost[name], float))
        line = middles[seen], np.asarray(lost[name])[seen]
        right.line(*line, shade, width=width, dash=DASHES[dash])
    return side_by_side("regret", (left, right), height=165.6)
