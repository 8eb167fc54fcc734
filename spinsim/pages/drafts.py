"""The report's sections on drafts: how far their proposals got, and how the selector chose."""

from __future__ import annotations

from html import escape

import numpy as np

from spinsim.pages import figures, shell
from spinsim.pages.run_terminal import duration, number, percent
from spinsim.results.read import BINS, Column, RunFolder

FEW = 20  # rounds below which a share is not drawn


def drafts(run: RunFolder, colours: dict[str, str]) -> str:
    per_draft = run.summary["speculation"]["per_draft"]
    rows = []
    for name, row in per_draft.items():
        rows.append(
            [
                f"{shell.key(colours[name])}{escape(name)}",
                percent(row["share"]),
                f"{row['rounds']:,}",
                f"{row['accepted']:,} / {row['drafted']:,}",
                percent(row["acceptance_rate"]),
                number(row["acceptance_length"]),
                duration(row["draft_time_s"]),
                duration(row["catch_up_time_s"]),
            ]
        )
    header = ["draft", "share", "rounds", "accepted / drafted", "rate", "length", "drafting", "catching up"]
    parts = [shell.table(header, rows)]
    arm, inside = run.arm_of_rounds, run.inside
    drafted, accepted = run.rounds["drafted"], run.rounds["accepted"]
    curves, longest = [], 0
    for i, name in enumerate(run.arms):
        mine = inside & (arm == i) & (drafted > 0)
        if mine.sum() < FEW:
            continue
        reach = np.arange(1, int(drafted[mine].max()) + 1)
        share = (accepted[mine][:, None] >= reach).mean(axis=0)
        curves.append((name, colours[name], share))
        longest = max(longest, reach.size)
    if curves:
        text = (
            "By draft, how many of its proposals got i tokens far, those shorter than i counted too; and of "
            "all drafts, how far proposals got. In all, "
            f"{run.summary['tokens']['accepted']:,} of {run.summary['tokens']['drafted']:,} "
            "drafted tokens were accepted."
        )
        histogram = np.array(run.summary["speculation"]["acceptance_histogram"])
        svg = figures.acceptance(curves, longest, histogram)
        parts.append(shell.figure(svg + shell.legend((n, c) for n, c, _ in curves), text))
    parts.append(_domains(run, colours))
    return shell.section("Drafts and acceptance", *parts)


def _domains(run: RunFolder, colours: dict[str, str]) -> str:
    """Acceptance rate by draft and domain, a shaded table; empty where there is one domain."""
    labels = run.labels["requests.domain"]
    if len(labels) < 2:
        return ""
    domain_of = np.full(int(run.requests["request"].max()) + 1, -1, dtype=np.int64)
    domain_of[run.requests["request"]] = run.requests["domain"]
    inside = run.inside
    domain, arm = domain_of[run.rounds["request"][inside]], run.arm_of_rounds[inside]
    drafts = [name for name in run.arms if name in run.drafts]
    shape = (len(labels), len(run.arms))
    cell = domain * shape[1] + arm
    sums = [
        np.bincount(cell, weights=run.rounds[name][inside], minlength=shape[0] * shape[1]).reshape(shape)
        for name in ("accepted", "drafted")
    ]
    rows = []
    for d in np.argsort(labels):
        cells = [escape(labels[d] or "(none)")]
        for name in drafts:
            accepted, drafted = (part[d, run.arms.index(name)] for part in sums)
            cells.append(_shaded(accepted, drafted))
        rows.append(cells)
    header = [
        "domain",
        *(f'<th class="cell">{shell.key(colours[name])}{escape(name)}</th>' for name in drafts),
    ]
    text = '<p class="note">Acceptance rate (accepted / drafted) by domain of the request and draft.</p>'
    return shell.table(header, rows) + text


def _shaded(accepted: float, drafted: float) -> str:
    if not drafted:
        return '<td class="cell">\N{EN DASH}</td>'
    rate = accepted / drafted
    tint = f"color-mix(in srgb,var(--s0) {60 * rate:.0f}%,transparent)"
    title = f"{accepted:,.0f} of {drafted:,.0f}"
    return f'<td class="cell" style="background:{tint}" title="{title}">{percent(rate)}</td>'


def choices(run: RunFolder, colours: dict[str, str]) -> str:
    """Which arm was chosen: by the request's own round, and over the run."""
    arm = run.arm_of_rounds
    if len(run.arms) < 2 or not arm.size:
        return ""
    turn = _turns(run.rounds["request"])
    counts = _count_pairs(arm, turn, len(run.arms), int(turn.max()) + 1)
    enough = np.flatnonzero(counts.sum(axis=0) >= min(FEW, counts.sum(axis=0)[0]))
    upto = min(int(enough[-1]) + 1, int(np.percentile(turn, 99)) + 2)
    rounds = np.arange(upto + 1) + 0.5  # bars around 1, 2, ...
    ended = max(run.summary["run"]["duration_s"], 1e-9)
    timed = _count_pairs(arm, run.bins(run.rounds["committed_s"]), len(run.arms), BINS)
    panels = [
        ("By the request's own round", "round of the request", rounds, _shares(counts[:, :upto])),
        ("Over the run", "seconds of the run", np.linspace(0, ended, BINS + 1), _shares(timed)),
    ]
    svg = figures.choices(panels, [colours[name] for name in run.arms])
    policy = run.scenario.get("policies", {}).get("selector", {}).get("name", "")
    text = (
        f"Share of rounds in which {escape(policy) or 'the selector'} gave a request to each draft. "
        "What is learned within a request shows by its own round, "
        "what is learned from others, and from a change of traffic, over the run. "
        f"{run.summary['speculation']['switches']:,} changes of draft cost "
        f"{run.summary['speculation']['catch_up_tokens']:,} tokens of catching up."
    )
    return shell.section(
        "The selector's choices", shell.figure(svg + shell.legend((n, colours[n]) for n in run.arms), text)
    )


def _turns(request: Column) -> Column:
    """For each row, how many rows of the same request came before."""
    order = np.argsort(request, kind="stable")
    begins = np.concatenate(([True], request[order][1:] != request[order][:-1]))
    starts = np.flatnonzero(begins)
    lengths = np.diff(np.append(starts, request.size))
    within = np.arange(request.size, dtype=np.int32) - np.repeat(starts.astype(np.int32), lengths)
    out = np.empty(request.size, dtype=np.int32)
    out[order] = within
    return out


def _count_pairs(row: Column, column: Column, rows: int, columns: int) -> Column:
    """How often each (row, column) occurs, of shape (rows, columns)."""
    cell = row.astype(np.int32) * columns + column
    counts: Column = np.bincount(cell, minlength=rows * columns).reshape(rows, columns)
    return counts


def _shares(counts: Column) -> Column:
    totals = counts.sum(axis=0)
    shares: Column = counts / np.where(totals > 0, totals, 1.0)
    return shares
