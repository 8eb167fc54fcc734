"""The report's section on what the selector's choices cost against an oracle's."""

from __future__ import annotations

from html import escape

import numpy as np

from spinsim.pages import figures, shell
from spinsim.pages.run_terminal import duration
from spinsim.results.read import RunFolder

_UNSEEN = "a live run sees the acceptance of the drafts that were chosen"
_REMEDY = (
    "To see regret, record every draft's acceptance with <code>spinsim trace</code>, "
    "and simulate the recording."
)
_STYLES = {
    "selector": ("ink", "solid"),
    "best_fixed": ("s1", "dashed"),
    "best_per_request": ("s2", "dashed"),
    "random": ("none", "dotted"),
}


def regret(run: RunFolder) -> str:
    """Empty where nothing was decided, and a sentence where acceptance is known of chosen drafts alone."""
    told, title = run.summary.get("regret", {"known": False}), "Regret against the oracle"
    if not told["known"] or not run.regret:
        live = run.summary["mode"] == "live" and run.drafts
        why = escape(told.get("why", _UNSEEN))
        text = f"<p>What the other drafts would have brought is not known: {why}. {_REMEDY}</p>"
        return shell.section(title, text) if live else ""
    names = {
        "selector": f"the selector ({run.scenario.get('policies', {}).get('selector', {}).get('name', '')})",
        "best_fixed": f"best draft for everybody ({told['best_fixed']})",
        "best_per_request": "best draft for each request",
        "random": "a draft at random",
    }
    by_round, over_run = run.regret["by_round"], run.regret["over_run"]
    svg = figures.regret(
        np.array(by_round["rounds"]),
        {name: 1e3 * np.array(by_round[name]) for name in names},
        over_run["end_s"],
        {name: 1e3 * np.array(over_run[name], dtype=float) for name in names},
        _STYLES,
    )
    rows = [
        [
            f"{shell.key(_STYLES[name][0])}{escape(text)}",
            duration(told["lost_per_round_s"][name]),
            f"{100 * told['share_of_oracle'][name]:.1f} %",
        ]
        for name, text in names.items()
    ]
    sampled = (
        f"{told['requests']:,} requests, evenly spaced among {told['requests_of']:,}"
        if told["requests"] < told["requests_of"]
        else f"all {told['requests']:,} requests"
    )
    text = (
        "Time lost by the choice of drafts, against an oracle that knows how many tokens each of them would "
        "get accepted. <b>Lost so far</b> flattens once a request has found its draft; <b>lost by a "
        "round</b> sinks where earlier requests taught something. The oracle foresees luck, so that no "
        "learner reaches 0: the best draft for each request, known in hindsight, is what one can hope for."
    )
    method = (
        f"{told['rounds']:,} rounds of {sampled}, at the positions where this run was. Time is the cost "
        "model's, for the run's mean batch and context; catching up after a change of draft, and waiting "
        "for neighbours with slower drafts, are not in it."
    )
    if run.summary["mode"] == "live":
        share = f"{100 * told['agreement']:.1f} %"
        method += (
            f" Acceptance is the recording's that the scenario names: {share} of the rounds went as it says."
        )
    legend = shell.legend((title_, _STYLES[name][0]) for name, title_ in names.items())
    return shell.section(
        title,
        shell.figure(svg + legend, text),
        shell.table(["", "lost by a round, mean", "of the oracle's pace"], rows),
        f'<p class="note">{method}</p>',
    )
