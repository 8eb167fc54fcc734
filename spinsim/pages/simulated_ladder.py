"""The page of a ladder of one's own scenario, simulated or live, from its summary.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spinsim.pages.figures import studies
from spinsim.pages.render import Drawn, Stat, page
from spinsim.pages.run_terminal import number
from spinsim.pages.study_parts import described

Step = Mapping[str, Any]
_RATIOS = {
    "ratio_to_vanilla": "vanilla",
    "ratio_to_best_serial": "the best serial plan",
    "ratio_to_best_alternative": "the better of replicas and sharded",
}


def simulated_ladder_report(summary: Mapping[str, Any], scenario: str) -> str:
    """The page. ``summary``: of schema ``spinsim.ladder/1``; ``scenario``: resolved YAML, or nothing."""
    ran = [step for step in summary["steps"] if step["goodput"] is not None]
    live = summary.get("world") == "live"
    times = f"{len(summary['seeds'])} runs" if live else f"{len(summary['seeds'])} seeds"
    return page(
        "simulated_ladder.html",
        title=f"ladder of {summary['scenario']}",
        kicker=f"{'live' if live else 'simulated'} ladder, {times}",
        heading=summary["scenario"],
        lede="Every step serves the same requests. Goodput is that of all GPUs of a step together.",
        stats=stats_of(ran),
        behind=(),
        notes=summary["notes"],
        failed=summary["failed"],
        cells=summary["cells"],
        scenarios=described({summary["scenario"]: scenario} if scenario else {}),
        goodput=Drawn(studies.bars("ladder", [("goodput, tokens/s", spans_of(ran))])) if ran else None,
        steps=summary["steps"],
        live=live,
        ratios=_RATIOS,
        definitions=summary["definitions"],
    )


def stats_of(ran: list[Step]) -> list[Stat]:
    """The best step's goodput, and what it is of the others that are compared with."""
    if not ran:
        return []
    best = max(ran, key=lambda step: float(step["goodput_tokens_per_s"]))
    goodput = f"{number(best['goodput_tokens_per_s'], 4)} tokens/s"
    stats = [Stat(goodput, f"best: {best['name']}", best["what"])]
    for key, name in _RATIOS.items():
        if best[key] is not None:
            stats.append(Stat(f"{best[key]:.2f}\N{MULTIPLICATION SIGN}", f"of {name}", best["name"]))
    return stats


def spans_of(ran: list[Step]) -> list[studies.Span]:
    """A bar for each step, and above it what was predicted, where it ran live."""
    found = []
    for step in ran:
        mean, told = step["goodput"], (step.get("predicted") or {}).get("goodput_tokens_per_s")
        if told:
            found.append(studies.Span(f"{step['name']}, predicted", told, None, None, "none"))
        found.append(studies.Span(step["name"], mean["estimate"], mean["low"], mean["high"]))
    return found
