"""What a target over several devices is, and drafts beside it, before any weights are in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from spinsim.costs.sheets.shapes import ModelShape, shape_of
from spinsim.errors import InputError
from spinsim.live.places import torch_device
from spinsim.runner.fused import is_lean
from spinsim.runner.loading import DTYPES
from spinsim.runner.sharded.outline import Outline, drawn, of_checkpoint
from spinsim.runner.sharded.shape import require_divisible
from spinsim.scenario import ModelSpec, Scenario

EMBEDDED = "embedded:"
CPU_BYTES = 2**31  # of random weights on a CPU


def outline_target(scenario: Scenario, base_dir: Path) -> tuple[Outline, str]:
    """The target in outline, and what it is in a line.

    Raises InputError for a model that cannot be divided over its devices, or run at all.
    """
    devices = scenario.placement.target
    found, note = _outline(
        scenario, base_dir, scenario.models.target, devices[0], "models.target", scenario.seed
    )
    require_divisible(found.model, len(devices))
    model = replace(found.model, devices=len(devices))
    return replace(found, model=model), f"{note}, divided over {' and '.join(devices)}"


def outline_draft(scenario: Scenario, base_dir: Path, name: str, seed: int) -> tuple[Outline, str]:
    """A draft beside a share of the target, in outline, and what it is in a line.

    Raises InputError for an architecture that only transformers' own modules run.
    """
    device, key = scenario.placement.drafts[name], f"models.drafts.{name}"
    found, note = _outline(scenario, base_dir, scenario.models.draft_models[name], device, key, seed)
    if not is_lean(found.model):
        raise InputError(
            f"{found.model.name} ({found.model.config.model_type}) runs through transformers' own modules, "
            f"which are not run beside a share of the target; allowed on {device}: plain llama, mistral, "
            f"qwen2 and qwen3; anything on {scenario.placement.target[0]}",
            key=f"placement.drafts.{name}",
        )
    return found, note


def _outline(
    scenario: Scenario, base_dir: Path, spec: ModelSpec, place: str, key: str, seed: int
) -> tuple[Outline, str]:
    context = scenario.limits.context_tokens
    dtype, device = DTYPES[spec.dtype], torch_device(scenario, place)
    if spec.weights.startswith(EMBEDDED):
        from spinsim.family import family
        from spinsim.family.widen_parts import outline as widened

        name = spec.weights.removeprefix(EMBEDDED)
        folder = str(family.folder(name, key=f"{key}.weights"))
        if not (scenario.live.widen and device.type == "cuda"):
            outlined = of_checkpoint(folder, context_tokens=context, dtype=dtype, key=key)
            return outlined, f"procedural family, {name}, as trained"
        shape = shape_of(spec.shape, base_dir)
        note = f"procedural family, {name}, widened to {shape.name}: cost stand-in"
        return widened(folder, shape, dtype=dtype, seed=seed), note
    if spec.weights == "random":
        from spinsim.live.random_weights import config_of

        shape = shape_of(spec.shape, base_dir)
        require_small_on_cpu(shape, spec.dtype, device, key)
        config = config_of(shape, context, f"{key}.shape")
        outlined = drawn(config, seed, context_tokens=context, dtype=dtype, key=key)
        return outlined, f"random weights of shape {shape.name}"
    path = base_dir / spec.weights
    source = str(path) if path.is_dir() else spec.weights
    outlined = of_checkpoint(source, context_tokens=context, dtype=dtype, key=f"{key}.weights")
    return outlined, f"weights of {spec.weights}"


def require_small_on_cpu(shape: ModelShape, dtype: str, device: torch.device, key: str) -> None:
    """Raises InputError for random weights that a CPU would take too long over."""
    if device.type == "cpu" and shape.weight_bytes(dtype) > CPU_BYTES:
        raise InputError(
            f"random weights of {shape.name} take {shape.weight_bytes(dtype) / 2**30:.1f} GiB; "
            "on a CPU at most 2 GiB: use embedded weights or a small config.json as the shape",
            key=f"{key}.weights",
        )
