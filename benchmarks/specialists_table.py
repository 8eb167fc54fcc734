"""What ``benchmarks.specialists`` foretells and measures, in lines and ratios; in which order it serves."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.specialists_variants import ORACLES

RIVAL = 0.97  # of the best fixed draft, foretold: one further behind is served once
Numbers = dict[str, Any]


def turns(
    predicted: Mapping[str, Numbers], fixed: Sequence[str], best: str, repetitions: int
) -> Iterator[str]:
    """The order of live runs: one to warm up, then repetitions of what is judged, to and fro, then once what
    is no rival. A fixed draft that is foretold to be far behind is not served."""
    rates = {name: one["tokens_per_s"] / predicted[best]["tokens_per_s"] for name, one in predicted.items()}
    judged = [name for name in fixed if rates[name] > RIVAL] + ["spin", "contextual"]
    yield best
    for turn in range(repetitions):
        yield from judged if turn % 2 else reversed(judged)
    others = [name for name in predicted if name not in judged and name not in ORACLES]
    yield from (name for name in others if name not in fixed or rates[name] > 0.75)


def bounds(predicted: Mapping[str, Numbers], fixed: Sequence[str]) -> str:
    """Prints what is foretold of every variant, over the best fixed draft; returns that one's name."""
    rates = {name: one["tokens_per_s"] for name, one in predicted.items()}
    best = max(fixed, key=rates.__getitem__)
    for name in sorted(rates, key=rates.__getitem__, reverse=True):
        what = "bound" if name in ORACLES else "foretold"
        length = predicted[name]["acceptance_length"]
        print(
            f"{what:8} {name:18} {rates[name]:8,.0f} tokens/s, {rates[name] / rates[best]:.3f} of {best}; "
            f"acceptance length {length:.2f}",
            flush=True,
        )
    return best


def report(data: Numbers, fixed: Sequence[str]) -> dict[str, float]:
    """Prints a line a variant; returns live tokens per second over those of the best fixed draft."""
    rates = {name: [run["tokens_per_s"] for run in runs] for name, runs in data["live"].items() if runs}
    means = {name: statistics.mean(values) for name, values in rates.items()}
    rivals = [name for name in fixed if name in means]
    if not rivals:
        return {}
    best = max(rivals, key=means.__getitem__)
    ratios = {name: mean / means[best] for name, mean in means.items()}
    for name in sorted(means, key=means.__getitem__, reverse=True):
        foretold, values = data["predicted"][name]["tokens_per_s"], rates[name]
        error = 100 * (foretold / means[name] - 1)
        print(
            f"{name:12} {means[name]:8,.0f} tokens/s live ({min(values):,.0f} to {max(values):,.0f}), "
            f"{ratios[name]:.3f} of {best}; foretold {foretold:,.0f} ({error:+.1f} %); "
            f"acceptance length {data['live'][name][0]['acceptance_length']:.2f}"
        )
    return ratios
