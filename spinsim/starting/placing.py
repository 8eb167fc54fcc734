"""Which models a first scenario takes, and which GPU each is placed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spinsim.costs.sheets.hardware import Hardware
from spinsim.costs.sheets.shapes import ModelShape, shape_names, shape_of
from spinsim.errors import InputError

BYTES = 2  # bf16
ROOM = 0.85  # of a device's memory for weights; the rest holds K/V and workspace
LARGEST_DRAFT = 0.25  # of the target's parameters
DRAFTS = 2


@dataclass(frozen=True)
class Placement:
    """GPUs by name: the target's (several: tensor parallel), and each draft's."""

    target: tuple[str, ...]
    drafts: dict[str, str]

    @property
    def devices(self) -> list[str]:
        """All of them, in order."""
        return sorted({*self.target, *self.drafts.values()})


def usual_drafts(target: ModelShape) -> list[str]:
    """Shapes that may draft for ``target``: its vocabulary, published before made up, the smallest first.

    Raises InputError where none has its vocabulary.
    """
    shapes = [shape_of(name) for name in shape_names()]
    largest = LARGEST_DRAFT * target.parameters()
    fitting = [shape for shape in shapes if shape.vocab == target.vocab and shape.parameters() <= largest]
    if not fitting:
        raise InputError(
            f"no shape that ships is a quarter of {target.name} or smaller and has its vocabulary of "
            f"{target.vocab}; name a draft, by the path of its config.json or one of: spinsim list shapes",
            key="--draft",
        )
    published = [shape for shape in fitting if not shape.ours]
    return [s.name for s in sorted(published or fitting, key=lambda shape: shape.parameters())[:DRAFTS]]


def place(target: ModelShape, drafts: Sequence[str], gpus: int, sheet: Hardware) -> Placement:
    """The fewest GPUs that hold the target, and the drafts in turn on those that are left.

    Where more are left than there are drafts, the target takes more of them, as far as its heads can be
    split. Raises InputError where the target does not fit, or where GPUs would have nothing to do.
    """
    kind = "cpu" if sheet.name == "cpu" else "gpu"
    names = [f"{kind}{i}" for i in range(gpus)]
    splits = [n for n in range(1, gpus + 1) if not target.heads % n and _divides(target.kv_heads, n)]
    weights = target.parameters() * BYTES
    holding = [n for n in splits if weights / n <= ROOM * sheet.memory_bytes]
    if not holding:
        raise InputError(
            f"{target.name} has {weights / 2**30:.0f} GiB of weights, which {gpus} x {sheet.name} with "
            f"{sheet.memory_bytes / 2**30:.0f} GiB each do not hold; more GPUs, or larger ones",
            key="--gpus",
        )
    used = next((n for n in holding if gpus - n <= len(drafts)), None)
    if used is None:
        most = max(holding) + len(drafts)
        raise InputError(f"{gpus} GPUs are more than these models can use; at most {most}", key="--gpus")
    rest = names[used:] or names[:1]
    placed = {draft: rest[i % len(rest)] for i, draft in enumerate(drafts)}
    return Placement(tuple(names[:used]), placed)


def _divides(kv_heads: int, devices: int) -> bool:
    """Are K/V heads split evenly, or copied evenly where there are fewer than devices?"""
    return not (kv_heads % devices and devices % kv_heads)
