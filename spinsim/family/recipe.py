"""How a member is trained, and how far it has come: plain data, without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. Ends after ``steps`` or ``seconds``, whichever comes first; one must be given.

    ``distill`` is the weight of KL(teacher || student) beside the cross-entropy of the text; it
    counts only where there is a teacher.
    """

    steps: int | None = None
    seconds: float | None = None
    batch: int = 64
    warmup_steps: int = 100
    weight_decay: float = 0.1
    distill: float = 0.9
    seed: int = 0
    save_every_s: float = 30.0
    compile: bool = False

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            raise ValueError("a recipe needs steps or seconds")


@dataclass(frozen=True, slots=True)
class Progress:
    """``fraction`` of the budget spent; ``loss`` in nats per token (the text's, without distillation)."""

    step: int
    tokens: int
    fraction: float
    loss: float
    seconds: float
