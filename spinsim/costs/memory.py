"""How many KV tokens each model's cache may hold on its devices.

On every device: memory * ``kv.memory_fraction``, less what a process takes before any tensor, the
weights placed there and a workspace, is the K/V budget. Models that share a device get caches of
equally many tokens, so that a request served by the target can be served by any draft beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spinsim.costs.for_scenario import TARGET, device_hardware, models_on_devices
from spinsim.costs.sheets.hardware import GIB
from spinsim.costs.sheets.shapes import ModelShape, dtype_bytes
from spinsim.errors import InputError
from spinsim.packings import reads_copies
from spinsim.scenario import LimitsSpec, Scenario


@dataclass(frozen=True, slots=True)
class Placed:
    """A model's share of each of its devices. Bytes are per device."""

    name: str
    key: str
    devices: tuple[str, ...]
    weights: float
    kv_bytes: float  # of one token
    workspace: float
    override: int | None
    override_key: str


def workspace_bytes(shape: ModelShape, dtype: str, limits: LimitsSpec, head_tokens: int) -> int:
    """Activations of the largest pass, and its logits.

    The pass holds, for as many tokens as a prefill chunk or a full batch of proposals, the hidden
    state twice and the wider of the projections and the MLP; ``head_tokens`` positions have logits,
    once in the model's dtype and once in fp32 for the choice of a token. The rule is ours.
    """
    tokens = max(limits.prefill_chunk_tokens, limits.batch * (limits.max_length + 1))
    mlp = shape.intermediate
    if shape.experts is not None:  # every token is copied to each of its experts
        mlp = max(mlp, shape.experts.active * shape.experts.intermediate + shape.experts.shared)
    widest = max(shape.attention_width + 2 * shape.kv_width, (shape.mlp_inputs + 1) * mlp)
    size = dtype_bytes(dtype)
    return tokens * (2 * shape.hidden + widest) * size + head_tokens * shape.vocab * (size + 4)


def padded_workspace(tokens: int, limits: LimitsSpec) -> int:
    """KV tokens of padded copies beside a cache of ``tokens``.

    Padded attention reads one rectangle of K/V a layer, batch by longest request, and the rectangles
    live as long as the batch does, beside the caches that they were gathered from: at most a second
    copy of the cache, and no more than ``limits.batch`` requests of ``limits.context_tokens``. This is
    our reading of why SPIN's padded baseline runs out of memory at batch 32 (arXiv 2503.15921);
    decomposed and ragged attention read the caches in place.
    """
    return min(tokens, limits.batch * limits.context_tokens)


def kv_capacity(
    scenario: Scenario, base_dir: str | Path | None = None, beside: Sequence[Placed] = ()
) -> dict[str, int]:
    """KV tokens of each model: ``"target"``, then every draft by name, then what is placed ``beside`` them.

    ``kv.target_tokens`` and ``kv.draft_tokens`` replace the computed figures, and must fit. Raises
    InputError with the key and the numbers where weights do not fit or a cache cannot hold one
    request of ``limits.context_tokens``.
    """
    placed = [*_placed(scenario, base_dir), *beside]
    capacity: dict[str, int] = {}
    for device in scenario.devices:
        here = [model for model in placed if device in model.devices]
        if not here:
            continue
        for name, tokens in _share(scenario, device, here).items():
            capacity[name] = min(tokens, capacity.get(name, tokens))
    return {model.name: capacity[model.name] for model in placed}


def _placed(scenario: Scenario, base_dir: str | Path | None) -> list[Placed]:
    limits, kv = scenario.limits, scenario.kv
    target, *drafts = models_on_devices(scenario, base_dir)
    shape, dtype, parts = target.shape, target.dtype, len(target.devices)
    workspace = workspace_bytes(shape, dtype, limits, limits.batch * (limits.max_length + 1))
    # K/V heads are split as far as they go: 8 heads over 16 devices still put one on each.
    # A latent is of no head: every device keeps it.
    kv_share = -(-shape.kv_heads // parts) / shape.kv_heads if shape.latent is None else 1.0
    placed = [
        Placed(
            name=TARGET,
            key="placement.target",
            devices=target.devices,
            weights=shape.weight_bytes(dtype, target.quantization) / parts,
            kv_bytes=_kv_bytes(shape, dtype, scenario) * kv_share,
            workspace=workspace / parts,
            override=kv.target_tokens,
            override_key="kv.target_tokens",
        )
    ]
    for draft in drafts:
        placed.append(
            Placed(
                name=draft.name,
                key=f"placement.drafts.{draft.name}",
                devices=draft.devices,
                weights=draft.shape.weight_bytes(draft.dtype, draft.quantization),
                kv_bytes=_kv_bytes(draft.shape, draft.dtype, scenario),
                workspace=workspace_bytes(draft.shape, draft.dtype, limits, limits.batch),
                override=kv.draft_tokens,
                override_key="kv.draft_tokens",
            )
        )
    return placed


def _kv_bytes(shape: ModelShape, dtype: str, scenario: Scenario) -> float:
    """Of one token. In a slot of the whole context, layers with a window keep the window alone."""
    size = shape.kv_bytes_per_token("fp8" if scenario.kv.dtype == "fp8" else dtype)
    window, context = shape.window, scenario.limits.context_tokens
    if window is None or scenario.kv.reserve != "full" or window.tokens >= context:
        return size
    return size * (1 - window.layers / shape.layers * (1 - window.tokens / context))


def _share(scenario: Scenario, device: str, here: list[Placed]) -> dict[str, int]:
    """KV tokens that ``device`` grants to each model on it."""
    spec = scenario.devices[device]
    hardware = device_hardware(scenario, device, here[0].key)
    memory = hardware.memory_bytes if spec.memory_gib is None else spec.memory_gib * GIB
    weights = sum(model.weights for model in here)
    workspace = sum(model.workspace for model in here if model.name == TARGET)
    drafting = [model.workspace for model in here if model.name != TARGET]
    # Drafts that take turns on a lane use one workspace; lanes have their own.
    in_turn = scenario.placement.draft_lanes == "shared" or spec.on_cpu
    workspace += max(drafting, default=0.0) if in_turn else sum(drafting)
    usable = memory * scenario.kv.memory_fraction
    free = usable - hardware.reserved_bytes - weights - workspace
    numbers = (
        f"{device} has {_gib(memory)} GiB, of which {_gib(usable)} usable: weights {_gib(weights)}, "
        f"workspace {_gib(workspace)}, process {_gib(hardware.reserved_bytes)}"
    )
    if free <= 0:
        raise InputError(
            f"{numbers}; nothing is left for K/V: allowed are fewer or smaller models, or more memory",
            key=here[0].key,
        )
    limits, fixed = scenario.limits, [model for model in here if model.override is not None]
    for model in fixed:
        free = _claim(model, free, scenario, numbers)
    granted = {model.name: model.override for model in fixed if model.override is not None}
    sharing = [model for model in here if model.override is None]
    if not sharing:
        return granted
    copied = any(model.name == TARGET for model in sharing) and _copied(scenario)
    tokens = _fill(free, sharing, limits, copied)
    need = limits.context_tokens
    if tokens < scenario.kv.least(need):
        names = ", ".join(model.name for model in sharing)
        raise InputError(
            f"one request of {need} tokens does not fit: {tokens} KV tokens are left for each of {names} "
            f"({numbers}); allowed: at most {_whole(scenario, tokens)}, or more memory",
            key="limits.context_tokens",
        )
    return granted | {model.name: tokens for model in sharing}


def _copied(scenario: Scenario) -> bool:
    """Does the target's attention read a padded copy of K/V?"""
    packing = scenario.policies.packing
    return reads_copies(packing.name, packing.params.get("among"))


def _claim(model: Placed, free: float, scenario: Scenario, numbers: str) -> float:
    """Bytes left of ``free`` after the capacity that the scenario fixes for ``model``."""
    tokens, limits = model.override or 0, scenario.limits
    if shortage := scenario.kv.shortage(tokens, limits.context_tokens):
        raise InputError(shortage, key=model.override_key)
    copies = padded_workspace(tokens, limits) if model.name == TARGET and _copied(scenario) else 0
    left = free - (tokens + copies) * model.kv_bytes
    if left < 0:
        raise InputError(
            f"{tokens} KV tokens of {model.name!r} need {_gib((tokens + copies) * model.kv_bytes)} GiB and "
            f"{_gib(free)} are left ({numbers}); allowed: at most {_fill(free, [model], limits, copies > 0)}",
            key=model.override_key,
        )
    return left


def _fill(free: float, sharing: list[Placed], limits: LimitsSpec, copied: bool) -> int:
    """The same number of KV tokens for each of ``sharing``, as many as ``free`` bytes hold."""
    each = sum(model.kv_bytes for model in sharing)
    if not copied:
        return int(free // each)
    target = next(model.kv_bytes for model in sharing if model.name == TARGET)
    doubled = int(free // (each + target))
    most = padded_workspace(doubled, limits)
    return doubled if most == doubled else int((free - most * target) // each)


def _whole(scenario: Scenario, tokens: int) -> int:
    """The longest context that a cache of ``tokens`` can hold."""
    kv = scenario.kv
    return tokens if kv.reserve == "full" else tokens // kv.block_tokens * kv.block_tokens


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}"
