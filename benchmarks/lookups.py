"""What looking proposals up costs on this host: seconds of a lookup over its context, by kind::

    python -m benchmarks.lookups [RECORDING ...]

Without a recording of SpecDecode-Bench the texts are random ones that repeat themselves. Prints the law of
``cost`` (row_s + token_s * context tokens) that a drafter's keys may state, reading of prompts included.
"""

from __future__ import annotations

import argparse
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
from scipy.optimize import nnls

from spinsim.acceptance.known_text import Text
from spinsim.acceptance.specdecode_bench import load_specdecode_bench
from spinsim.drafters.for_scenario import drafter_of
from spinsim.scenario import DrafterChoice

LENGTH = 4  # tokens asked for
REQUESTS = 60


def texts(files: list[Path]) -> Iterator[Text]:
    """Recorded ones, or random ones of 100 to 4,000 tokens out of few phrases."""
    for path in files:
        trace = load_specdecode_bench(path)
        assert trace.prompts is not None
        assert trace.outputs is not None
        for row in range(min(REQUESTS, len(trace.keys))):
            yield Text.of(trace.prompts.row(row), trace.outputs.row(row))
    if not files:
        draw = Random(0)
        phrases = [[draw.randrange(100_000) for _ in range(draw.randint(4, 20))] for _ in range(200)]
        for number in range(REQUESTS):
            words = [token for _ in range(10 + 6 * number) for token in draw.choice(phrases)]
            yield Text(array("i", words[: len(words) // 2]), array("i", words[len(words) // 2 :][:400]))


def measured(kind: str, given: list[Text]) -> tuple[float, float, float]:
    """Seconds a lookup, and a context token, and the mean of all lookups."""
    lookup = drafter_of(kind, DrafterChoice(kind=kind)).lookup()
    assert lookup is not None
    contexts, seconds = [], []
    for request, text in enumerate(given):
        whole, start = text.prompt + text.output, len(text.prompt)
        began = time.perf_counter()
        rounds = range(start + 1, len(whole), 2)
        for end in rounds:
            lookup.propose(request, whole[:end], LENGTH)
        if rounds:
            seconds.append((time.perf_counter() - began) / len(rounds))
            contexts.append(sum(rounds) / len(rounds))
        lookup.ended(request, text.output)
    matrix = np.array([np.ones(len(contexts)), contexts]).T
    weight = 1 / np.array(seconds)
    (row_s, token_s), _ = nnls(matrix * weight[:, None], np.array(seconds) * weight)
    return float(row_s), float(token_s), float(np.mean(seconds))


def main() -> None:
    """Print a line a kind."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path)
    given = list(texts(parser.parse_args().files))
    for kind in ("ngram", "suffix"):
        row_s, token_s, mean_s = measured(kind, given)
        law = f"row_s {1e6 * row_s:.1f} us, token_s {1e9 * token_s:.2f} ns"
        print(f"{kind:8s} {law}, mean {1e6 * mean_s:.1f} us")


if __name__ == "__main__":
    main()
