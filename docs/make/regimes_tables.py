"""The tables of docs/regimes.md, from the rows of docs/measurements/regimes-map.json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spinsim.lab.store import write_atomically

Row = dict[str, Any]
NOTHING = "-"
JOINT = ("joint", "joint, SPIN's pipeline")
OTHER = ("replicas", "sharded")
FIXED = ("best fixed serial", "best fixed")
HEADERS = {
    "context": "Contexts and clients: Llama 3 8B on one H100, a 117M and a 1B draft on another",
    "requests differ": "Requests that differ in which draft is best for them: four drafts on the second H100",
    "drafting": "One draft, accepted alike (0.72), of four sizes: 2,048 tokens, 32 clients",
    "price": "A cheaper card for the drafts: 16 clients",
    "target GPUs": "More GPUs for the target: 4,096 tokens, 32 clients, drafts on one more",
}


def rate(row: Row, step: str) -> float | None:
    """Of one step, in tokens/s; None where it did not run.

    The planner's is that of the best fixed plan times the mean ratio of several seeds: in one seed much
    depends on which draft happens to be accepted first.
    """
    if step == "planned" and row.get("over best"):
        best = best_of(row, FIXED)
        return best[1] * row["over best"][0] if best else None
    known: float | None = row["rates"].get(step)
    return known


def best_of(row: Row, names: Sequence[str]) -> tuple[str, float] | None:
    """The fastest of some steps, by name; None where none ran."""
    known = [(name, found) for name in names if (found := rate(row, name))]
    return max(known, key=lambda pair: pair[1], default=None)


def ratio(row: Row, step: str, *to: str) -> float | None:
    """A step's rate over the best of others; None where one did not run."""
    found, base = rate(row, step), best_of(row, to)
    return found / base[1] if found and base else None


def write_tables(rows: Sequence[Row], root: Path) -> None:
    """Replace what stands between the marks in docs/regimes.md."""
    path = root / "docs" / "regimes.md"
    text = path.read_text(encoding="utf-8")
    for mark, made in (("grid", grid(rows)), ("cells", per_cell(rows)), ("prices", prices(rows))):
        begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{made}\n{end}{rest.split(end)[1]}"
    write_atomically(path, text)


def grid(rows: Sequence[Row]) -> str:
    """The plan against vanilla, the best serial plan and the better of copies and a sharded target."""
    chosen = [row for row in rows if row["axis"] == "context"]
    clients = sorted({row["clients"] for row in chosen})
    lines = ["| tokens of context | " + " | ".join(f"{count} clients" for count in clients) + " |"]
    lines.append("|---|" + "---|" * len(clients))
    for context in sorted({row["context"] for row in chosen}):
        cells = []
        for count in clients:
            here = [row for row in chosen if (row["context"], row["clients"]) == (context, count)]
            cells.append(_three(here[0]) if here else NOTHING)
        lines.append(f"| {context:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _three(row: Row) -> str:
    return " / ".join(
        _times(ratio(row, "planned", *to)) for to in (("vanilla",), ("best fixed serial",), OTHER)
    )


def per_cell(rows: Sequence[Row]) -> str:
    """Every figure of every cell, a table for each axis."""
    columns: dict[str, Callable[[Row], str]] = {
        "vanilla, tokens/s": lambda row: _number(row["rates"].get("vanilla")),
        "+ selection": lambda row: _times(ratio(row, "+ selection", "vanilla")),
        "+ decomposition": lambda row: _times(ratio(row, "+ decomposition", "+ selection")),
        "+ pipeline": lambda row: _times(ratio(row, "+ pipeline", "+ decomposition")),
        "best fixed plan": lambda row: row["what"].get("best fixed", NOTHING),
        "it / vanilla": lambda row: _times(ratio(row, "best fixed", "vanilla")),
        "it / best serial": lambda row: _times(ratio(row, "best fixed", "best fixed serial")),
        "planned / best fixed": _over_best,
        "planned / joint": lambda row: _times(ratio(row, "planned", *JOINT)),
        "planned / other use": _other_use,
        "standard error": _error,
    }
    parts = []
    for axis, title in HEADERS.items():
        chosen = [row for row in rows if row["axis"] == axis]
        if not chosen:
            continue
        lines = [
            f"**{title}**",
            "",
            "| cell | " + " | ".join(columns) + " |",
            "|---|" + "---|" * len(columns),
        ]
        for row in chosen:
            made = " | ".join(column(row) for column in columns.values())
            lines.append(f"| {row['name'].replace('-', ' ')} | {made} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def prices(rows: Sequence[Row]) -> str:
    """Tokens for a unit of the price: plans with dear and cheap draft cards, and copies of the H100 alone."""
    lines = [
        "| | price an hour | plan, tokens/s | million tokens for 1 | against two copies |",
        "|---|---|---|---|---|",
    ]
    for cheap in (row for row in rows if row["axis"] == "price"):
        same = [
            row
            for row in rows
            if row["axis"] == "context"
            and (row["context"], row["clients"]) == (cheap["context"], cheap["clients"])
        ]
        copies = same[0]["rates"].get("replicas") if same else None
        if copies is None:
            continue
        base = copies * 3.6e-3 / same[0]["price"]
        where = f"{cheap['context']:,} tokens, {cheap['clients']} clients"
        if f"{where}: two H100s as two copies" not in "\n".join(lines):
            for name, row, made in (
                ("two H100s as two copies", same[0], copies),
                ("an H100, and an H100 for drafts", same[0], rate(same[0], "planned")),
            ):
                lines.append(_priced(f"{where}: {name}", row["price"], made or 0.0, base))
        name = f"{where}: an H100, and an {cheap['draft_gpu'].upper()} for drafts"
        lines.append(_priced(name, cheap["price"], rate(cheap, "planned") or 0.0, base))
    return "\n".join(lines) + "\n"


def _priced(name: str, price: float, made: float, base: float) -> str:
    tokens = made * 3.6e-3 / price
    return f"| {name} | {price:.2f} | {_number(made)} | {tokens:.1f} | {_times(tokens / base)} |"


def _other_use(row: Row) -> str:
    best = best_of(row, OTHER)
    return NOTHING if best is None else f"{_times(ratio(row, 'planned', *OTHER))} ({best[0]})"


def _over_best(row: Row) -> str:
    """The mean of several seeds, and its standard error."""
    mean, error = row["over best"]
    return f"{mean:.3f} ± {error:.3f}"


def _error(row: Row) -> str:
    known = [row["errors"].get(step) for step in ("vanilla", "best fixed", "planned")]
    worst = max((error for error in known if error is not None), default=None)
    return NOTHING if worst is None else f"{100 * worst:.1f} %"


def _times(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"
