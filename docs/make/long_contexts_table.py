"""Prints the table of docs/live.md: each mechanism alone at long contexts, measured and foretold.

python docs/make/long_contexts_table.py docs/measurements/h200-x2-long-contexts.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

PAIRS = (
    ("two micro-batches / serial", "two micro-batches", "serial"),
    ("a lane for each draft / drafts in turn", "a lane for each", "drafts in turn"),
    ("decomposed / padded", "decomposed", "padded"),
    ("ragged / padded", "ragged", "padded"),
)


def main(path: Path) -> None:
    """Ratios of tokens per second while every request decodes; the whole run's in brackets."""
    data = json.loads(path.read_text())
    contexts = sorted({run["context"] for run in data["runs"]})
    print("| decoding alone | " + " | ".join(f"{context:,} tokens" for context in contexts) + " |")
    print("|---|" + "---|" * len(contexts))
    for title, cell, base in PAIRS:
        row = [_shown(data, context, cell, base) for context in contexts]
        print(f"| {title} | " + " | ".join(row) + " |")


def _shown(data: dict[str, Any], context: int, cell: str, base: str) -> str:
    measured = _ratio(data["runs"], context, cell, base)
    foretold = _ratio(data["predicted"], context, cell, base)
    return "not run" if measured is None or foretold is None else f"{measured:.2f} (foretold {foretold:.2f})"


def _ratio(rows: list[dict[str, Any]], context: int, cell: str, base: str) -> float | None:
    def rate(name: str) -> float | None:
        here = [row for row in rows if (row["context"], row["cell"]) == (context, name)]
        return median(row["decode_tokens_per_s"] for row in here) if here else None

    upper, lower = rate(cell), rate(base)
    return None if upper is None or lower is None else upper / lower


if __name__ == "__main__":
    main(Path(sys.argv[1]))
