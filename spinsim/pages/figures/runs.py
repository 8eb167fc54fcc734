"""Figures of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from spinsim.pages.figures.canvas import Values, colour, drawing, panels, percent_axis, plain, tidy


def latency(samples: Sequence[tuple[str, Values, float | None]]) -> Markup:
    """Cumulative shares of requests by latency; a panel per (name, seconds, limit or None)."""

    def draw(axes: list[Axes]) -> None:
        for ax, (name, values, limit) in zip(axes, samples, strict=True):
            values = np.sort(values[np.isfinite(values)])
            top = float(values[-1]) if values.size else 1.0
            shown = max(float(np.percentile(values, 99.5)) if values.size else 1.0, limit or 0.0)
            factor, unit = (1e3, "ms") if shown < 1 else (1.0, "s")
            tidy(ax, name, unit)
            percent_axis(ax, 1.13)
            ax.set_xlim(0, min(shown, max(top, limit or 0.0)) * factor * 1.04 or 1.0)
            ax.xaxis.set_major_locator(MaxNLocator(5))
            if not values.size:
                continue
            share = np.arange(1, values.size + 1) / values.size
            keep = np.unique(np.linspace(0, values.size - 1, 400).astype(int))
            ax.plot(values[keep] * factor, share[keep], color=colour("s0"), drawstyle="steps-post")
            for p in (50, 99):
                at = float(np.percentile(values, p)) * factor
                ax.plot([at], [p / 100], "o", color=colour("s0"), markersize=2.8, clip_on=False)
                # The curve climbs to the right: what is below a point to its right is free, and above 100 %.
                place: dict[str, Any] = {"xytext": (5, -8), "ha": "left"}
                if p == 99:
                    late = at > 0.6 * ax.get_xlim()[1]
                    place = {"xytext": (2 if late else 4, 5), "ha": "right" if late else "left"}
                ax.annotate(
                    f"p{p}  {at:.3g} {unit}", (at, p / 100), textcoords="offset points", size=7, **place
                )
            if limit is not None:
                ax.axvline(limit * factor, color=colour("ink"), linewidth=0.7, linestyle=(0, (3, 2)))
                near = limit * factor < 0.12 * ax.get_xlim()[1]  # where the other side is the axis
                ax.annotate(
                    "objective", (limit * factor, 0.03), (3 if near else -3, 0), textcoords="offset points",
                    ha="left" if near else "right", size=6.8, color=colour("muted"), rotation=90, va="bottom",
                )  # fmt: skip

    return panels("latency", draw, len(samples), columns=len(samples), height=2.05)


def over_time(
    edges: Values,
    rate: Values,
    mean: float | None,
    waiting: Values,
    served: Values,
    window: tuple[float, float],
) -> Markup:
    """Tokens committed per second between ``edges``, and requests waiting and being served at them."""

    def draw(axes: list[Axes]) -> None:
        top, low = axes
        for ax in axes:
            ax.axvspan(*window, color=colour("soft"), linewidth=0, zorder=0)
        tidy(top, "Committed tokens per second")
        top.stairs(rate, edges, color=colour("s0"), linewidth=1.25, baseline=None)
        if mean is not None:
            top.plot(window, [mean, mean], color=colour("ink"), linewidth=0.7, linestyle=(0, (3, 2)))
        top.set_ylim(0, max(float(rate.max(initial=0.0)) * 1.08, 1e-9))
        top.yaxis.set_major_formatter(FuncFormatter(plain))
        top.yaxis.set_major_locator(MaxNLocator(4))
        tidy(low, "Requests in the system", "seconds of the run")
        low.fill_between(edges, 0, served, color=colour("s0"), alpha=0.7, linewidth=0)
        low.fill_between(edges, served, served + waiting, color=colour("s1"), alpha=0.75, linewidth=0)
        low.set_ylim(0, max(float((served + waiting).max(initial=0.0)) * 1.08, 1.0))
        low.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        low.set_xlim(float(edges[0]), float(edges[-1]))

    return drawing("over-time", draw, rows=2, height=2.9, sharex=True, height_ratios=[1.5, 1])


def occupancy(
    edges: Values,
    admitted: Values,
    waiting: Sequence[tuple[str, str, Values]],
    held: Values | None,
    window: tuple[float, float],
) -> Markup:
    """Mean requests admitted, and above them those that wait, a layer a reason; and shares of K/V memory."""

    def draw(axes: list[Axes]) -> None:
        for ax in axes:
            ax.axvspan(*window, color=colour("soft"), linewidth=0, zorder=0)
            ax.set_xlim(float(edges[0]), float(edges[-1]))
        tidy(axes[0], "Requests admitted and waiting", "" if held is not None else "seconds of the run")
        floor = admitted
        axes[0].stairs(admitted, edges, fill=True, color=colour("s0"), alpha=0.7, linewidth=0)
        for _, shade, values in waiting:
            axes[0].stairs(
                floor + values, edges, baseline=floor, fill=True, color=colour(shade), alpha=0.75, linewidth=0
            )
            floor = floor + values
        axes[0].set_ylim(0, max(float(floor.max(initial=0.0)) * 1.08, 1.0))
        axes[0].yaxis.set_major_locator(MaxNLocator(4, integer=True))
        if held is not None:
            tidy(axes[1], "K/V memory of the target that is held", "seconds of the run")
            axes[1].stairs(held, edges, color=colour("s2"), linewidth=1.25, baseline=None)
            percent_axis(axes[1], 1.03)

    rows = 1 if held is None else 2
    return drawing("occupancy", draw, rows=rows, height=0.4 + 1.25 * rows, sharex=True)


def acceptance(curves: Sequence[tuple[str, str, Values]], longest: int, histogram: Values) -> Markup:
    """How far proposals got.

    ``curves`` are (name, colour, share of proposals whose first i tokens stood, i = 1, 2, ...);
    ``histogram[n]`` counts the proposals of which n tokens stood.
    """

    def draw(axes: list[Axes]) -> None:
        ax, bars = axes
        tidy(ax, "Proposals whose first i tokens were accepted", "i, tokens")
        percent_axis(ax)
        for _, shade, share in curves:
            ax.plot(np.arange(1, share.size + 1), share, "o-", color=colour(shade), markersize=2.6)
        ax.set_xlim(0.8, longest + 0.2)
        ax.xaxis.set_major_locator(MaxNLocator(min(longest, 10), integer=True))
        tidy(bars, "Proposals by tokens accepted", "accepted tokens")
        share = histogram / max(int(histogram.sum()), 1)
        bars.bar(np.arange(histogram.size), share, width=0.66, color=colour("muted"), linewidth=0)
        bars.set_xlim(-0.6, histogram.size - 0.4)
        bars.set_ylim(0, float(share.max(initial=0.0)) * 1.12 or 1.0)
        bars.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.3g} %"))
        bars.yaxis.set_major_locator(MaxNLocator(4))
        bars.set_xticks(range(0, histogram.size, 1 + histogram.size // 12))

    return panels("acceptance", draw, 2, columns=2, height=1.95)


def choices(panels_data: Sequence[tuple[str, str, Values, Values]], shades: Sequence[str]) -> Markup:
    """Stacked shares of arms; panels are (title, x label, n + 1 edges, shares of shape (arms, n))."""

    def draw(axes: list[Axes]) -> None:
        for ax, (title, label, edges, shares) in zip(axes, panels_data, strict=True):
            tidy(ax, title, label)
            percent_axis(ax)
            ax.stackplot(
                edges,
                np.concatenate((shares, shares[:, -1:]), axis=1),
                step="post",
                colors=[colour(s) for s in shades],
                linewidth=0,
                alpha=0.9,
            )
            ax.set_xlim(float(edges[0]), float(edges[-1]))
            ax.xaxis.set_major_locator(MaxNLocator(6))

    return panels("choices", draw, len(panels_data), columns=len(panels_data), height=2.15)


def padding(x: Values, real: Values, padded: Values) -> Markup:
    """KV tokens read by the mean verification over time, real and executed."""

    def draw(axes: list[Axes]) -> None:
        (ax,) = axes
        tidy(ax, "KV tokens read per verification", "seconds of the run")
        ax.fill_between(x, 0, real, color=colour("s0"), alpha=0.75, linewidth=0, step="mid")
        ax.fill_between(x, real, padded, color=colour("s1"), alpha=0.75, linewidth=0, step="mid")
        ax.set_ylim(0, max(float(padded.max(initial=0.0)) * 1.08, 1.0))
        ax.yaxis.set_major_formatter(FuncFormatter(plain))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        if x.size > 1:
            ax.set_xlim(float(x[0]), float(x[-1]))

    return drawing("padding", draw, height=1.7)


def slices(x: Values, y: Values, label: str, mean: tuple[float, float], spans: Sequence[Values]) -> Markup:
    """Goodput (tokens per second) against latency (``label``): a dot a slice of the window, the whole
    window as a cross with ``spans``, (low, high) or nothing, of x and of y."""

    def draw(axes: list[Axes]) -> None:
        (ax,) = axes
        tidy(ax, "Goodput, tokens/s", label)
        ax.grid(True, axis="both")
        ax.plot(x, y, "o", color=colour("s0"), alpha=0.55, markersize=3.4, markeredgewidth=0)
        ax.plot(*([v] for v in mean), "+", color=colour("ink"), markersize=8, markeredgewidth=1.1)
        for i, ends in enumerate(spans):
            if ends.size == 2:
                across, up = (ends, [mean[1]] * 2) if i == 0 else ([mean[0]] * 2, ends)
                ax.plot(across, up, color=colour("ink"), linewidth=1.1)
        ax.margins(0.06, 0.12)
        ax.set_ylim(0, ax.get_ylim()[1])
        ax.yaxis.set_major_formatter(FuncFormatter(plain))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(6))

    return drawing("slices", draw, height=2.4)


def regret(
    rounds: Values, behind: Mapping[str, Values], ended_s: float, lost: Mapping[str, Values],
    styles: Mapping[str, tuple[str, str]],
) -> Markup:  # fmt: skip
    """Milliseconds lost to the oracle so far by a request's n-th round; and by a round, over the run.

    ``styles``: colour variable and dashes of each line, which both mappings name.
    """
    pattern: dict[str, Any] = {"solid": "-", "dashed": (0, (4, 2)), "dotted": (0, (1, 1.5))}

    def draw(axes: list[Axes]) -> None:
        left, right = axes
        tidy(left, "Lost so far, ms a request", "rounds of the request")
        left.margins(x=0)
        tidy(right, "Lost by a round, ms", "seconds of the run")
        middles = (np.arange(len(next(iter(lost.values())))) + 0.5) * ended_s / len(next(iter(lost.values())))
        for name, (shade, dash) in styles.items():
            own = {
                "color": colour(shade),
                "linestyle": pattern[dash],
                "linewidth": 2 if dash == "solid" else 1.2,
            }
            left.plot(np.concatenate(([0], rounds)), np.concatenate(([0], behind[name])), **own)
            right.plot(middles, lost[name], **own)
        right.set_xlim(0, ended_s)
        for ax in axes:
            ax.set_ylim(0, ax.get_ylim()[1])
            ax.yaxis.set_major_locator(MaxNLocator(5))
            ax.yaxis.set_major_formatter(FuncFormatter(plain))

    return panels("regret", draw, 2, columns=2, height=2.3)
