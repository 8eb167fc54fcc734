"""Entropies of drafts beside their acceptance, measured on the family that ships::

    python -m spinsim.family.entropies            # a minute on a CPU

Prints what ``spinsim.acceptance.entropies`` draws from: quantiles of the entropy (in nats) of a draft's
distribution where its token was accepted, where it was refused, and behind a refused token of the same
proposal. Beside them stands how often tokens are accepted by entropy, and the bound that AdaEDL reckons with.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from spinsim.acceptance.entropies import LEVELS
from spinsim.family import family
from spinsim.family.record import forced_logits, generate
from spinsim.recording import load_trace
from spinsim.runner.sampling import entropy

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "profiles" / "ngram-and-models.npz"
DRAFTS = ("tiny", "code", "maths", "small", "large")
PROPOSAL, EVERY, BATCH = 8, 16, 32  # tokens of a proposal, positions between two, proposals at once
GAMMA = 0.2  # AdaEDL's
EDGES = (0.0, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, float("inf"))
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """Entropies of proposed tokens, in nats."""

    accepted: Floats
    refused: Floats
    behind: Floats  # a refused token of the same proposal


def measured(draft: str, recording: Path, requests: int) -> Seen:
    """Proposals of a draft of the family from every so many tokens of recorded outputs."""
    trace, model = load_trace(recording), family.load(draft, dtype=torch.float32)
    assert trace.prompts is not None
    assert trace.outputs is not None
    prefixes, said = [], []
    for row in range(min(requests, len(trace.keys))):
        prompt, output = trace.prompts.row(row).tolist(), trace.outputs.row(row).tolist()
        for at in range(1, len(output) - PROPOSAL, EVERY):
            prefixes.append(prompt + output[:at])
            said.append(output[at : at + PROPOSAL])
    found: dict[str, list[float]] = {"accepted": [], "refused": [], "behind": []}
    for begin in range(0, len(prefixes), BATCH):
        part = prefixes[begin : begin + BATCH]
        proposed = generate(model, part, [PROPOSAL] * len(part))
        for tokens, wanted, logits in zip(
            proposed, said[begin : begin + BATCH], forced_logits(model, part, proposed), strict=True
        ):
            own = entropy(logits, None).tolist()
            run = 0
            while run < PROPOSAL and tokens[run] == wanted[run]:
                run += 1
            found["accepted"] += own[:run]
            found["refused"] += own[run : run + 1]
            found["behind"] += own[run + 1 :]
    return Seen(*(np.array(values) for values in found.values()))


def together(parts: Sequence[Seen]) -> Seen:
    """The drafts' proposals as one set."""
    return Seen(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in Seen.__dataclass_fields__)
    )


def main() -> None:
    """Print the quantiles, and acceptance by entropy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--recording", type=Path, default=RECORDING, help="a trace of the family's target")
    parser.add_argument("--requests", type=int, default=64)
    given = parser.parse_args()
    parts = {draft: measured(draft, given.recording, given.requests) for draft in DRAFTS}
    for draft, seen in parts.items():
        rate = len(seen.accepted) / (len(seen.accepted) + len(seen.refused))
        means = ", ".join(f"{name} {getattr(seen, name).mean():.2f}" for name in Seen.__dataclass_fields__)
        print(f"{draft}: {100 * rate:.0f} % accepted; mean entropy {means}")
    seen = together(list(parts.values()))
    for name in Seen.__dataclass_fields__:
        values = getattr(seen, name)
        quantiles = ", ".join(f"{value:.3f}" for value in np.quantile(values, LEVELS))
        print(f"{name.upper()} = ({quantiles})  # of {len(values):,} tokens")
    for low, high in pairwise(EDGES):
        good = int(((seen.accepted >= low) & (seen.accepted < high)).sum())
        bad = int(((seen.refused >= low) & (seen.refused < high)).sum())
        if good + bad:
            middle = np.concatenate([seen.accepted, seen.refused])
            middle = middle[(middle >= low) & (middle < high)].mean()
            bound, share = 1 - np.sqrt(GAMMA * middle), good / (good + bad)
            print(f"entropy {low:g} to {high:g}: {share:.2f} accepted of {good + bad:,}; bound {bound:.2f}")


if __name__ == "__main__":
    main()
