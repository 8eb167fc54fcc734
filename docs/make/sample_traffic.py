"""Writes the sample of traffic that ships: ``python docs/make/sample_traffic.py``.

The prompts are questions of the project's procedural corpus (held out from training), the times and lengths
are drawn: a load that rises and falls, with bursts. A test fails when the file is stale.
"""

from __future__ import annotations

import csv
import io
import math
import random
from pathlib import Path

from spinsim.family.corpus import HELD_OUT, MIXES, example

FILE = Path(__file__).parents[2] / "scenarios" / "own-traffic.csv"
COLUMNS = ("time_ms", "category", "question", "answer_tokens")
REQUESTS, MEAN_GAP_S, PERIOD_S = 120, 0.25, 20.0
KINDS = ("code", "maths", "prose")


def sample() -> str:
    """The CSV: milliseconds from the start, kind of request, prompt, output length."""
    draw = random.Random("sample traffic")
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    now = 0.0
    for number in range(REQUESTS):
        slow = 1.0 + 0.8 * math.sin(2 * math.pi * now / PERIOD_S)
        burst = draw.random() < 0.3
        now += MEAN_GAP_S * slow * (0.05 if burst else 1.4) * -math.log(1.0 - draw.random())
        kind = KINDS[int(draw.random() * len(KINDS))]
        domains = tuple(MIXES[kind])
        domain = domains[int(draw.random() * len(domains))]
        question = example(domain, HELD_OUT + (1 << 36) + number).question
        tokens = round(math.exp(math.log(80) + 0.5 * _normal(draw)))
        rows.writerow((round(now * 1e3), kind, question, min(max(tokens, 8), 256)))
    return text.getvalue()


def _normal(draw: random.Random) -> float:
    """Box and Muller (1958)."""
    return math.sqrt(-2 * math.log(1.0 - draw.random())) * math.cos(2 * math.pi * draw.random())


if __name__ == "__main__":
    FILE.write_text(sample(), encoding="utf-8")
