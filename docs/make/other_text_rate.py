"""How often outputs depart from recorded text: ``python docs/make/other_text_rate.py VALIDATION_FOLDER``.

    mkdir -p results && tar -xzf docs/measurements/h100-validate-live.tgz -C results
    python docs/make/other_text_rate.py results/validate

Of cells with one fixed draft and a fixed length, whose rounds are blind to time: while a request's text is
the recorded one, its rounds are what the recording says. The first that is not shows where the text has
departed at the latest: a new token that the draft misses as it missed the old one does not show. Each output
position departs with the same probability (a geometric distribution), whose maximum-likelihood estimate is
departures over positions until the departure or the end.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np

from spinsim.acceptance.for_scenario import build_field
from spinsim.studies.validation.folder import Folder, LiveCell

Round = tuple[int, int, int]


@dataclass(frozen=True)
class Seen:
    """Of some requests: how many departed, and the output positions until then or the end."""

    requests: int
    departed: int
    positions: int

    @property
    def rate(self) -> float:
        """The maximum-likelihood estimate."""
        return self.departed / self.positions


def fixed_draft(cell: LiveCell) -> tuple[int, int] | None:
    """The draft and the length that every round has; None where policies choose or nothing was recorded."""
    policies, drafts = cell.scenario.policies, list(cell.scenario.models.drafts)
    draft = policies.selector.params.get("draft")
    if not cell.recorded or (policies.selector.name, policies.length.name) != ("fixed", "fixed"):
        return None
    return (drafts.index(draft), int(policies.length.params["tokens"])) if draft in drafts else None


def departure(made: Sequence[Round], runs: Sequence[int], output: int, length: int) -> int | None:
    """The first output position whose acceptance is not the recorded one; None where all is."""
    position = 1  # prefill gives the first token
    for _, _, accepted in made:
        expected = min(runs[position], length, output - position)  # the end cuts it
        if accepted != expected:
            return position + min(accepted, expected)
        position += accepted + 1
    return None


def seen(cell: LiveCell, root: Path, draft: int, length: int) -> Seen:
    """What one cell's first live run shows."""
    field = build_field(cell.scenario, cell.workload, root)
    departed = positions = 0
    for request, made in cell.rounds.items():
        output = cell.workload.requests[request].output_tokens
        at = departure(made, field.runs(request, draft), output, length)
        departed += at is not None
        positions += output if at is None else at + 1
    return Seen(len(cell.rounds), departed, positions)


def line(name: str, found: Seen) -> str:
    """An estimate with one standard error, as of a Poisson count."""
    error = found.rate / sqrt(found.departed or 1)
    return (
        f"{name:60s} {found.departed:5d} of {found.requests:5d} depart in {found.positions:7,d} positions: "
        f"{1e3 * found.rate:6.2f} +- {1e3 * error:.2f} of 1,000"
    )


def main(root: str) -> None:
    """Print the estimate of every cell, their scatter, and that of all."""
    folder = Folder(Path(root), resume=True)
    found: list[Seen] = []
    for key in folder.plan()["cells"]:
        cell = folder.get(key)
        fixed = fixed_draft(cell) if cell else None
        if cell is None or fixed is None:
            continue
        found.append(seen(cell, folder.root, *fixed))
        print(line(cell.name, found[-1]))
    rates = [cell.rate for cell in found]
    total = Seen(
        sum(cell.requests for cell in found),
        sum(cell.departed for cell in found),
        sum(cell.positions for cell in found),
    )
    print(line("all", total))
    # against one rate for all cells: a count's variance is its mean
    expected = [total.rate * cell.positions for cell in found]
    chi2 = sum((cell.departed - e) ** 2 / e for cell, e in zip(found, expected, strict=True))
    print(
        f"over {len(found)} cells: {1e3 * min(rates):.2f} to {1e3 * max(rates):.2f} of 1,000, standard "
        f"deviation {1e3 * np.std(rates, ddof=1):.2f}; dispersion of the counts "
        f"{chi2 / (len(found) - 1):.2f} (1: one rate)"
    )


if __name__ == "__main__":
    main(sys.argv[1])
