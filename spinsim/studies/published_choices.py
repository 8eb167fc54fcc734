"""What we would have chosen, beside what others measured on real engines.

``python -m spinsim.studies.published_choices`` reads ``docs/measurements/published-speculation.yaml``. Of
each table it takes the acceptance lengths alone. Costs come from hardware sheets and shapes, and nothing is
fitted: an engine that takes longer than its sheet says by one factor for all passes has the same speed-ups.
It prints the number of tokens that we predict to be best, the measured best, and what our choice loses by the
measurements.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from spinsim.costs.operators import PassCosts
from spinsim.costs.roofline import RooflinePredictor
from spinsim.costs.sheets.hardware import of_large_operators
from spinsim.costs.sheets.model_shape import ModelShape
from spinsim.costs.sheets.own_hardware import hardware_sheet
from spinsim.costs.sheets.shapes import shape_from_config, shape_of
from spinsim.errors import InputError
from spinsim.operations import Packing
from spinsim.scenario import HardwareSheet

DOCS = Path(__file__).parents[2] / "docs"
TABLES = DOCS / "measurements" / "published-speculation.yaml"
ARCHITECTURES = DOCS / "make" / "public_architectures.json"
NONE = 0  # tokens: no speculation
HIT = 0.01  # a choice that loses less is no miss: repeated runs differ by as much


@dataclass(frozen=True, slots=True)
class Choice:
    """One table: tokens by what we predict and by what was measured, and speed-ups by tokens."""

    name: str
    source: str
    chosen: int
    best: int
    predicted: Mapping[int, float]
    measured: Mapping[int, float]
    experts: bool
    stand_in: str

    @property
    def loss(self) -> float:
        """Share of the measured best speed that our choice gives away."""
        return 1.0 - self.measured[self.chosen] / self.measured[self.best]


def choices(path: Path = TABLES) -> list[Choice]:
    """Every table of a file. Raises InputError where it is no such file."""
    try:
        tables = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"cannot be read: {error}", file=str(path)) from None
    return [choice(table) for table in tables]


def choice(table: Mapping[str, Any]) -> Choice:
    """Our choice for one table."""
    target = _target(table["target"])
    predicted = _speed_ups(table, target)
    measured = {row["tokens"]: float(row["speed_up"]) for row in table["rows"]}
    relative = table.get("relative_to")
    if relative is None:
        measured[NONE] = 1.0
    else:  # the source has no figure without speculation
        predicted = {tokens: speed / predicted[relative] for tokens, speed in predicted.items() if tokens}
    return Choice(
        table["name"],
        table["source"],
        max(predicted, key=lambda tokens: predicted[tokens]),
        max(measured, key=lambda tokens: measured[tokens]),
        predicted,
        measured,
        target.experts is not None,
        table.get("stand_in", ""),
    )


def _speed_ups(table: Mapping[str, Any], target: ModelShape) -> dict[int, float]:
    """Predicted speed-up by tokens: committed tokens a round over its time, against one token a step."""
    device = table["device"]
    sheet = hardware_sheet(HardwareSheet(**device) if isinstance(device, dict) else device)
    hardware = of_large_operators(sheet)  # what passes reach in other engines, our own runs do not say
    costs = PassCosts(
        target,
        "bf16",
        hardware,
        devices=table.get("devices", 1),
        quantization=table["target"].get("quantization", ""),
    )
    drafter = PassCosts(head_of(target, table["draft"].get("vocab")), "bf16", hardware)
    predictor = RooflinePredictor(costs, [drafter], None)
    batch, context = table["batch"], table["context"]

    def step(tokens: int) -> float:
        queries, kv = batch * (tokens + 1), batch * (context + tokens)
        verified = predictor.verify(Packing("ragged", batch, 0, queries, kv, queries, kv)).seconds
        return verified + predictor.propose(0, [tokens] * batch, [context] * batch).seconds

    base = step(NONE)
    rounds = {row["tokens"]: row["acceptance_length"] * base / step(row["tokens"]) for row in table["rows"]}
    return {NONE: 1.0, **rounds}


def head_of(target: ModelShape, vocab: int | None = None) -> ModelShape:
    """A drafter of one layer of the target's width, as EAGLE heads and MTP modules are.

    Experts are kept (an MTP module has its target's), attention is that of heads. ``vocab``: of its own head,
    where that is smaller.
    """
    experts = None if target.experts is None else replace(target.experts, layers=1)
    return replace(
        target,
        name=f"{target.name}-head",
        layers=1,
        vocab=vocab or target.vocab,
        experts=experts,
        latent=None,
        window=None,
        quantization="",
    )


def _target(spec: Mapping[str, Any]) -> ModelShape:
    if "shape" in spec:
        return shape_of(spec["shape"])
    config = json.loads(ARCHITECTURES.read_text(encoding="utf-8"))[spec["architecture"]]
    return shape_from_config(config, name=spec["architecture"], source=str(ARCHITECTURES))


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each table, the misses, and the loss over all."""
    parser = argparse.ArgumentParser(prog="python -m spinsim.studies.published_choices", description=__doc__)
    parser.add_argument("tables", nargs="?", type=Path, default=TABLES)
    given = parser.parse_args(argv)
    try:
        found = choices(given.tables)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(lines(found)))
    return 0


def lines(found: Sequence[Choice]) -> list[str]:
    """The table, and below it the misses with their sources."""
    shown = [f"{'':68} {'ours':>4} {'best':>4} {'predicted':>9} {'measured':>8} {'loss':>7}"]
    for one in found:
        ours = f"{one.predicted[one.chosen]:8.2f}x {one.measured[one.chosen]:7.2f}x"
        shown.append(f"{one.name:68} {one.chosen:4d} {one.best:4d} {ours} {100 * one.loss:6.1f} %")
    misses = [one for one in found if one.loss > HIT]
    mean = sum(one.loss for one in found) / len(found)
    shown.append(
        f"{len(found)} tables, {sum(one.experts for one in found)} of mixtures of experts: "
        f"mean loss {100 * mean:.1f} %, {len(misses)} misses (over {100 * HIT:.0f} %)"
    )
    shown += [f"missed: {one.name}: {one.loss * 100:.1f} %, {one.source}" for one in misses]
    shown += [f"stand-in: {one.name}: {one.stand_in}" for one in found if one.stand_in]
    return shown


if __name__ == "__main__":
    sys.exit(main())
