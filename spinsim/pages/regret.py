"""What the selector's choices cost against an oracle's, for the page of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spinsim.pages.figures import runs
from spinsim.pages.render import Drawn
from spinsim.results.read import RunFolder

_UNSEEN = "a live run sees the acceptance of the drafts that were chosen"
_STYLES = {
    "selector": ("ink", "solid"),
    "best_fixed": ("s1", "dashed"),
    "best_per_request": ("s2", "dashed"),
    "random": ("none", "dotted"),
}


class Regret(NamedTuple):
    """A figure and what it compares as (key, title, colour); or why it is unknown; or neither."""

    drawn: Drawn | None = None
    chosen: Sequence[tuple[str, str, str]] = ()
    why: str = ""


def regret(run: RunFolder) -> Regret:
    """Nothing where nothing was decided, and a reason where acceptance is known of chosen drafts alone."""
    told = run.summary.get("regret", {"known": False})
    if not told["known"] or not run.regret:
        live = run.summary["mode"] == "live" and run.drafts
        return Regret(why=told.get("why", _UNSEEN) if live else "")
    names = {
        "selector": f"the selector ({run.scenario.get('policies', {}).get('selector', {}).get('name', '')})",
        "best_fixed": f"best draft for everybody ({told['best_fixed']})",
        "best_per_request": "best draft for each request",
        "random": "a draft at random",
    }
    by_round, over_run = run.regret["by_round"], run.regret["over_run"]
    svg = runs.regret(
        np.array(by_round["rounds"]),
        {name: 1e3 * np.array(by_round[name]) for name in names},
        over_run["end_s"],
        {name: 1e3 * np.array(over_run[name], dtype=float) for name in names},
        _STYLES,
    )
    chosen = [(name, title, _STYLES[name][0]) for name, title in names.items()]
    return Regret(Drawn(svg, [(title, colour) for _, title, colour in chosen]), chosen)
