"""The models of a scenario, loaded where they are placed and checked to fit together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.costs.sheets.shapes import shape_of
from spinsim.drafters.base import HOST
from spinsim.drafters.for_scenario import drafters_of
from spinsim.drafters.head import HeadDrafter
from spinsim.errors import InputError
from spinsim.live import generation
from spinsim.progress import Progress
from spinsim.runner.head import random_head
from spinsim.runner.loaded_model import LoadedModel
from spinsim.runner.loading import (
    DTYPES,
    load_model,
    prepare,
    random_model,
    require_shared_vocabulary,
    speaking_as,
)
from spinsim.scenario import ModelSpec, Scenario

EMBEDDED = "embedded:"


@dataclass(frozen=True, slots=True)
class Models:
    """``drafts``: those that keep K/V, models and heads, in the scenario's order.

    ``notes``: what each model is, in a line, for the summary.
    """

    target: LoadedModel
    drafts: dict[str, LoadedModel]
    notes: dict[str, str]


def torch_device(scenario: Scenario, device: str) -> torch.device:
    """The torch device behind a device of the scenario: GPUs are numbered in the scenario's order.

    Raises InputError where this machine has no such GPU.
    """
    if device == HOST or scenario.devices[device].on_cpu:
        return torch.device("cpu")
    gpus = [name for name, spec in scenario.devices.items() if not spec.on_cpu]
    index = gpus.index(device)
    if index >= torch.cuda.device_count():
        raise InputError(
            f"GPU {index} is not on this machine, which has {torch.cuda.device_count()}; "
            "place the models on what there is, or use --device cpu",
            key=f"devices.{device}",
        )
    return torch.device("cuda", index)


def found_devices(scenario: Scenario) -> dict[str, str]:
    """What each device with a model is called on this machine: the driver's word for a GPU, or "cpu"."""
    used = dict.fromkeys((*scenario.placement.target, *scenario.placement.drafts.values()))
    places = {name: torch_device(scenario, name) for name in used}
    return {
        name: torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        for name, device in places.items()
    }


def other_hardware(scenario: Scenario) -> dict[str, str]:
    """By device: why it is not the hardware that the scenario names.

    Devices without a sheet, and those that the scenario describes itself, are let be.
    """
    return {
        name: f"{scenario.devices[name].hardware}, but this machine has a {found}; {sheet}"
        for name, found in found_devices(scenario).items()
        if isinstance(scenario.devices[name].hardware, str)
        and (sheet := sheet_of_device(found)) not in (None, scenario.devices[name].hardware_name)
    }


def load_models(scenario: Scenario, base_dir: Path, progress: Progress | None = None) -> Models:
    """Load target and draft models. Raises InputError for what cannot be run, before anything runs."""
    if len(scenario.placement.target) > 1:
        raise InputError(
            "several devices for one target; a live run places it on one: "
            "tensor parallelism is simulated only",
            key="placement.target",
        )
    for drafter in drafters_of(scenario).values():
        drafter.check_live(scenario)
    drafts = scenario.models.draft_models
    specs: list[tuple[str, str, ModelSpec, str]] = [
        ("target", "models.target", scenario.models.target, scenario.placement.target[0]),
        *((name, f"models.drafts.{name}", drafts[name], scenario.placement.drafts[name]) for name in drafts),
    ]
    loaded: dict[str, LoadedModel] = {}
    notes: dict[str, str] = {}
    for done, (name, key, spec, device) in enumerate(specs):
        if progress is not None:
            progress(f"load {name}", done, len(specs))
        loaded[name], notes[name] = _load(
            scenario, base_dir, spec, torch_device(scenario, device), key, seed=scenario.seed + done
        )
    if progress is not None:
        progress("load", len(specs), len(specs))
    target = loaded.pop("target")
    notes["target"] += _settings_note(scenario, target)
    require_shared_vocabulary(target, loaded)
    speaking = {name: speaking_as(target, draft) for name, draft in loaded.items()}
    heads = _heads(scenario, target)
    notes |= dict.fromkeys(heads, "a head with random weights: cost stand-in")
    both = speaking | heads
    return Models(target, {name: both[name] for name in scenario.models.drafts if name in both}, notes)


def placed_drafts(scenario: Scenario) -> dict[str, str]:
    """The device of every draft that keeps K/V."""
    drafters = drafters_of(scenario)
    return {name: drafter.device(scenario) for name, drafter in drafters.items() if drafter.keeps_kv}


def _heads(scenario: Scenario, target: LoadedModel) -> dict[str, LoadedModel]:
    """Heads on the target, with random weights."""
    return {
        name: random_head(
            target,
            layers=drafter.keys.layers,
            inputs=drafter.keys.inputs,
            parallel=drafter.keys.steps == "parallel",
            rows=drafter.keys.vocabulary or 0,
            context_tokens=scenario.limits.context_tokens,
            seed=scenario.seed + 1000 + number,
            key=drafter.key,
        )
        for number, (name, drafter) in enumerate(drafters_of(scenario).items())
        if isinstance(drafter, HeadDrafter)
    }


def _settings_note(scenario: Scenario, target: LoadedModel) -> str:
    """What is ignored of the target's generation settings, for its note.

    Raises InputError where they would choose other tokens and the scenario does not say that they are to be
    ignored.
    """
    key = "models.target.weights"
    settings, ignored = target.module.generation_config, scenario.sampling.generation_config == "ignore"
    generation.end_of_text(settings, target.source, key)
    unmet = generation.not_applied(settings, sampled=not scenario.sampling.greedy)
    if not unmet:
        return ""
    said = ", ".join(f"{name} {value}" for name, value in unmet.items())
    if ignored:
        return f"; ignored of its generation settings: {said}"
    path = generation.settings_file(target.source) if target.source else None
    raise InputError(
        f"{said}: transformers' generate chooses other tokens by that, a live run does not apply it; "
        "allowed without, or with sampling.generation_config: ignore",
        key=key,
        file=str(path or target.source),
    )


def _load(
    scenario: Scenario, base_dir: Path, spec: ModelSpec, device: torch.device, key: str, seed: int
) -> tuple[LoadedModel, str]:
    dtype = DTYPES[spec.dtype]
    context = scenario.limits.context_tokens
    widen = scenario.live.widen and device.type == "cuda"
    if spec.weights.startswith(EMBEDDED):
        from spinsim.family import family
        from spinsim.family.widen import widen as widened

        name = spec.weights.removeprefix(EMBEDDED)
        folder = family.folder(name)
        if not widen:
            model = family.load(name, dtype=dtype, device=device)
            model_of = prepare(model, str(folder), source=str(folder), device=device, key=key)
            return model_of, f"procedural family, {name}, as trained"
        shape = shape_of(spec.shape, base_dir)
        model = widened(folder, shape, dtype=dtype, device=device, seed=seed)
        note = f"procedural family, {name}, widened to {shape.name}: cost stand-in"
        return prepare(model, str(folder), source=str(folder), device=device, key=key), note
    if spec.weights == "random":
        from spinsim.family.llama_modules import config_of

        shape = shape_of(spec.shape, base_dir)
        config = config_of(shape, max_position_embeddings=max(context, 4096))
        if device.type == "cpu" and shape.weight_bytes(spec.dtype) > 2**31:
            raise InputError(
                f"random weights of {shape.name} take {shape.weight_bytes(spec.dtype) / 2**30:.1f} GiB; "
                "on a CPU at most 2 GiB: use embedded weights or a small config.json as the shape",
                key=f"{key}.weights",
            )
        model_of = random_model(
            config, seed, context_tokens=context, dtype=dtype, device=device, name="random", key=key
        )
        return model_of, f"random weights of shape {shape.name}"
    path = base_dir / spec.weights
    source = str(path) if path.is_dir() else spec.weights
    model_of = load_model(source, context_tokens=context, dtype=dtype, device=device, key=f"{key}.weights")
    return model_of, f"weights of {spec.weights}"
