"""The models of a scenario, loaded where they are placed and checked to fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from spinsim.costs.sheets.shapes import shape_of
from spinsim.drafters.for_scenario import drafters_of
from spinsim.drafters.head import HeadDrafter
from spinsim.errors import InputError
from spinsim.live import generation
from spinsim.live.outlined import EMBEDDED, outline_draft, outline_target, require_small_on_cpu
from spinsim.live.places import torch_device
from spinsim.live.several import hosted_drafts
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
from spinsim.runner.sharded.outline import Outline
from spinsim.scenario import ModelSpec, Scenario


@dataclass(frozen=True, slots=True)
class Models:
    """``drafts``: those that keep K/V, models and heads, in the scenario's order.

    ``notes``: what each model is, in a line, for the summary. ``outlines``: of a target over several devices,
    and of drafts beside it in other processes; their weights are in memory nowhere yet.
    """

    target: LoadedModel
    drafts: dict[str, LoadedModel]
    notes: dict[str, str]
    outlines: Mapping[str, Outline] = field(default_factory=dict)


def load_models(scenario: Scenario, base_dir: Path, progress: Progress | None = None) -> Models:
    """Load target and draft models. Raises InputError for what cannot be run, before anything runs."""
    for drafter in drafters_of(scenario).values():
        drafter.check_live(scenario)
    drafts = scenario.models.draft_models
    specs: list[tuple[str, str, ModelSpec, str]] = [
        ("target", "models.target", scenario.models.target, scenario.placement.target[0]),
        *((name, f"models.drafts.{name}", drafts[name], scenario.placement.drafts[name]) for name in drafts),
    ]
    loaded: dict[str, LoadedModel] = {}
    notes: dict[str, str] = {}
    outlines: dict[str, Outline] = {}
    hosted = hosted_drafts(scenario)
    for done, (name, key, spec, device) in enumerate(specs):
        if progress is not None:
            progress(f"load {name}", done, len(specs))
        if done == 0 and len(scenario.placement.target) > 1:
            outlines[name], notes[name] = outline_target(scenario, base_dir)
        elif name in hosted:
            outlines[name], notes[name] = outline_draft(scenario, base_dir, name, scenario.seed + done)
        if name in outlines:
            loaded[name] = outlines[name].model
            continue
        loaded[name], notes[name] = _load(
            scenario, base_dir, spec, torch_device(scenario, device), key, seed=scenario.seed + done
        )
    if progress is not None:
        progress("load", len(specs), len(specs))
    target = loaded.pop("target")
    notes["target"] += _settings_note(scenario, target)
    require_shared_vocabulary(target, loaded)
    speaking = {name: speaking_as(target, draft) for name, draft in loaded.items()}
    outlines |= {name: replace(outlines[name], model=speaking[name]) for name in hosted}
    heads = _heads(scenario, target)
    notes |= dict.fromkeys(heads, "a head with random weights: cost stand-in")
    both = speaking | heads
    ordered = {name: both[name] for name in scenario.models.drafts if name in both}
    return Models(target, ordered, notes, outlines)


def placed_drafts(scenario: Scenario) -> dict[str, str]:
    """The device of every draft that keeps K/V."""
    drafters = drafters_of(scenario)
    return {name: drafter.device(scenario) for name, drafter in drafters.items() if drafter.keeps_kv}


def _heads(scenario: Scenario, target: LoadedModel) -> dict[str, LoadedModel]:
    """Heads on the target, with random weights. Raises InputError where it is on several devices."""
    found: dict[str, LoadedModel] = {}
    for number, (name, drafter) in enumerate(drafters_of(scenario).items()):
        if not isinstance(drafter, HeadDrafter):
            continue
        if target.devices > 1:
            raise InputError(
                "a head reads what its target computed; live, allowed is a target on one device",
                key=drafter.key,
            )
        found[name] = random_head(
            target,
            layers=drafter.keys.layers,
            inputs=drafter.keys.inputs,
            parallel=drafter.keys.steps == "parallel",
            rows=drafter.keys.vocabulary or 0,
            context_tokens=scenario.limits.context_tokens,
            seed=scenario.seed + 1000 + number,
            key=drafter.key,
        )
    return found


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
        folder = family.folder(name, key=f"{key}.weights")
        if not widen:
            model = family.load(name, dtype=dtype, device=device)
            model_of = prepare(model, str(folder), source=str(folder), device=device, key=key)
            return model_of, f"procedural family, {name}, as trained"
        shape = shape_of(spec.shape, base_dir)
        model = widened(folder, shape, dtype=dtype, device=device, seed=seed)
        note = f"procedural family, {name}, widened to {shape.name}: cost stand-in"
        return prepare(model, str(folder), source=str(folder), device=device, key=key), note
    if spec.weights == "random":
        from spinsim.live.random_weights import config_of

        shape = shape_of(spec.shape, base_dir)
        config = config_of(shape, context, f"{key}.shape")
        require_small_on_cpu(shape, spec.dtype, device, key)
        model_of = random_model(
            config, seed, context_tokens=context, dtype=dtype, device=device, name="random", key=key
        )
        return model_of, f"random weights of shape {shape.name}"
    path = base_dir / spec.weights
    source = str(path) if path.is_dir() else spec.weights
    model_of = load_model(source, context_tokens=context, dtype=dtype, device=device, key=f"{key}.weights")
    return model_of, f"weights of {spec.weights}"
