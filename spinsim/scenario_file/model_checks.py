"""Can these models run together, on these devices, at this context? Judged alike in both worlds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from spinsim.costs.sheets.vocabulary import Vocabulary, disagreement
from spinsim.errors import InputError, reason_of
from spinsim.scenario import ModelSpec, ProfileCosts, Scenario
from spinsim.scenario.messages import Problem

if TYPE_CHECKING:
    from spinsim.costs.sheets.shapes import ModelShape

EMBEDDED, RANDOM = "embedded:", "random"


def model_problems(scenario: Scenario, base_dir: Path) -> Iterator[Problem]:
    """What is wrong with the shapes: unreadable, not priced, too short, or of another vocabulary.

    Weights that are loaded have a vocabulary of their own, and beside a shape known by name a context, too:
    there the shape stands for a cost alone. A live run judges such weights when it loads them.
    """
    models: dict[str, ModelSpec] = {"models.target": scenario.models.target}
    drafts = scenario.models.draft_models.items()
    models.update((f"models.drafts.{name}", spec) for name, spec in drafts)
    shapes: dict[str, ModelShape] = {}
    for key, spec in models.items():
        yield from asked(lambda key=key, spec=spec: _keep(shapes, key, spec, base_dir), f"{key}.shape")  # type: ignore[misc]
    for key, shape in shapes.items():
        yield from _priced(scenario, key, shape)
        if not _stands_for_a_cost(models[key]):
            yield from _long_enough(scenario, key, shape)
    if (target := shapes.get("models.target")) is not None:
        yield from _divisible(scenario, target)
        for key, shape in shapes.items():
            if models[key].weights == scenario.models.target.weights == RANDOM:
                yield from _same_vocabulary(key, target, shape)


def _keep(shapes: dict[str, ModelShape], key: str, spec: ModelSpec, base_dir: Path) -> None:
    from spinsim.costs.sheets.shapes import shape_of

    shapes[key] = shape_of(spec.shape, base_dir)


def _stands_for_a_cost(spec: ModelSpec) -> bool:
    """Is the shape that of another model than the one whose weights run?"""
    from spinsim.costs.sheets.shapes import shape_names

    named = spec.weights != RANDOM and spec.shape in shape_names()
    return named or spec.weights.startswith(EMBEDDED)


def _priced(scenario: Scenario, key: str, shape: ModelShape) -> Iterator[Problem]:
    """Weights need a size that is known; costs that were measured need a model that a machine has run."""
    why = shape.without_cost_model()
    if why:
        yield Problem(_path(f"{key}.shape"), f"{shape.name} {why}")
    if isinstance(scenario.costs, ProfileCosts) and (odd := _unmeasured(scenario, shape)):
        yield Problem(
            _path(f"{key}.shape"),
            f"{shape.name} has {odd}, which no profile measures; costs of model roofline, constant or linear",
        )


def _unmeasured(scenario: Scenario, shape: ModelShape) -> str:
    """What of the shape the runner behind profiles cannot execute."""
    return ", ".join(shape.never_compared(scenario.limits.context_tokens))


def _long_enough(scenario: Scenario, key: str, shape: ModelShape) -> Iterator[Problem]:
    context = scenario.limits.context_tokens
    if shape.context is not None and shape.context < context:
        yield Problem(
            _path(f"{key}.shape"),
            f"{shape.name} was made for {shape.context} tokens, limits.context_tokens is {context}; "
            f"a model for longer contexts, or at most {shape.context}",
        )


def _divisible(scenario: Scenario, target: ModelShape) -> Iterator[Problem]:
    """Tensor parallelism splits attention by heads; K/V heads fewer than devices are copied."""
    devices = len(scenario.placement.target)
    heads, kv_heads = target.heads, target.kv_heads
    if heads % devices:
        wrong = f"{heads} attention heads"
    elif target.latent is None and kv_heads % devices and devices % kv_heads:
        wrong = f"{kv_heads} key/value heads"
    else:
        return
    fitting = [str(n) for n in range(1, heads + 1) if not heads % n and not (kv_heads % n and n % kv_heads)]
    yield Problem(
        ("placement", "target"),
        f"{wrong} of {target.name} over {devices} devices; must divide evenly: {', '.join(fitting)}",
    )


def _same_vocabulary(key: str, target: ModelShape, draft: ModelShape) -> Iterator[Problem]:
    why = disagreement(Vocabulary(target.vocab), Vocabulary(draft.vocab))
    if why:
        yield Problem(
            _path(f"{key}.shape"),
            f"draft {draft.name} {why} ({target.name}); target and drafts must share a vocabulary",
        )


def asked(question: Callable[[], object], key: str = "") -> Iterator[Problem]:
    """The problem that ``question`` raises, if any; ``key`` where it names none."""
    try:
        question()
    except InputError as error:
        if error.file:  # its key is one of that file
            yield Problem(tuple(key.split(".")), str(error))
        else:
            yield Problem(tuple((error.key or key).split(".")), error.message)
    except (OSError, ValueError) as error:  # a path too long for the system, or with a null byte
        message = f"cannot be read: {reason_of(error)}; a known name, or a file's path"
        yield Problem(tuple(key.split(".")), message)


def _path(key: str) -> tuple[str, ...]:
    return tuple(key.split("."))
