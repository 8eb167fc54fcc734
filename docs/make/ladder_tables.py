"""The tables of live ladders in docs/regimes.md, from docs/measurements/ladders::

    python docs/make/ladder_tables.py

A step's row, what a round of it took, and the bounds of the comparisons.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from spinsim.lab.store import write_atomically
from spinsim.studies.ladder.bounds import bounds

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "regimes.md"
LADDERS = {  # the mark in the page, and the folder
    "reasoning": "reasoning-h200-run4",
    "long-context": "long-context-h200-run2",
}
AIMS = {  # of the comparisons, by step and what it is held against
    "vanilla": 2.28,
    "best fixed serial": 1.25,
    "replicas": 1.0,
    "+ decomposition": 1.29,
    "+ selection": 1.2,
}


def main() -> None:
    """Replace what stands between the marks."""
    text = PAGE.read_text(encoding="utf-8")
    for mark, folder in LADDERS.items():
        path = ROOT / "docs" / "measurements" / "ladders" / folder / "summary.json"
        steps = json.loads(path.read_text(encoding="utf-8"))["steps"]
        begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{rates(steps)}\n{comparisons(steps)}\n{end}{rest.split(end)[1]}"
    write_atomically(PAGE, text)


def rates(steps: list[dict[str, Any]]) -> str:
    """Tokens/s, and milliseconds of a round; what was foretold in brackets."""
    lines = [
        "| step | runs | tokens/s, live (foretold) | over vanilla | a round, ms | its verification, ms | "
        "its proposals, ms | the target works |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for step in steps:
        if not step["goodput_tokens_per_s"]:
            continue
        said = step["predicted"]
        what = f" ({step['what']})" if step["what"] else ""
        cells = [
            f"{step['name']}{what}",
            f"{step['goodput']['samples']}",
            f"{step['goodput_tokens_per_s']:,.0f} ({said['goodput_tokens_per_s']:,.0f})",
            f"{step['ratio_to_vanilla']:.2f} ({said['ratio_to_vanilla']:.2f})",
            *_parts(step["round"], said["round"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _parts(took: dict[str, float] | None, said: dict[str, float] | None) -> list[str]:
    """Of a round; a dash each where nothing was proposed."""
    if took is None or said is None:
        return ["-"] * 4
    parts = [f"{took[key]:.1f} ({said[key]:.1f})" for key in ("ms", "verify_ms", "propose_ms")]
    return [*parts, f"{min(1.0, took['target_share']):.0%}"]


def comparisons(steps: list[dict[str, Any]]) -> str:
    """What was aimed for and reached, and the most that the measured operations allow."""
    lines = ["| | aim | reached | at most | by |", "|---|---|---|---|---|"]
    for bound in bounds(steps):
        cells = [f"{bound.step} over {bound.to}", f"{AIMS[bound.to]:.2f}", f"{bound.reached:.2f}"]
        lines.append("| " + " | ".join([*cells, f"{bound.at_most:.2f}", bound.why]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
