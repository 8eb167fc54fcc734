"""Builds the predictor that a scenario asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from spinsim.buckets import USUAL, Buckets
from spinsim.costs.base import Predictor
from spinsim.costs.constant import ConstantPredictor
from spinsim.costs.linear import LinearPredictor
from spinsim.costs.links import Link, link_between
from spinsim.costs.operators import PassCosts
from spinsim.costs.profiled.collectives import fitted_collectives
from spinsim.costs.profiled.profile import Profile, read_profile
from spinsim.costs.roofline import RooflineLoads, RooflinePredictor
from spinsim.costs.sheets.hardware import UNCOMPARED, Hardware
from spinsim.costs.sheets.own_hardware import hardware_sheet
from spinsim.costs.sheets.shapes import ModelShape, shape_of
from spinsim.errors import InputError
from spinsim.packings import PACKINGS
from spinsim.scenario import ConstantCosts, LinearCosts, ModelSpec, ProfileCosts, RooflineCosts, Scenario

if TYPE_CHECKING:
    from spinsim.costs.profiled.predictors import ProfilePredictor

T = TypeVar("T")


def _keyed(key: str, ask: Callable[[], T]) -> T:
    """``ask()``; an InputError leaves with the scenario's key."""
    try:
        return ask()
    except InputError as error:
        raise InputError(error.message, key=error.key or key, file=error.file, line=error.line) from None


CHECKPOINTS = Path(__file__).parents[1] / "family" / "checkpoints"  # of the embedded family
EMBEDDED = "embedded:"
TARGET = "target"  # the name of the target among models


def executed_shape(
    scenario: Scenario, spec: ModelSpec, device: str, base_dir: str | Path | None
) -> ModelShape:
    """The shape of what runs: on a CPU, where nothing is widened, embedded weights have their own."""
    cpu = device in scenario.devices and scenario.devices[device].on_cpu
    if spec.weights.startswith(EMBEDDED) and cpu:
        config = CHECKPOINTS / spec.weights.removeprefix(EMBEDDED) / "config.json"
        if config.is_file():
            found = shape_of(str(config))
            name = f"family-{spec.weights.removeprefix(EMBEDDED)}"
            return replace(found, name=name, source="the procedural family's checkpoint")
    return shape_of(spec.shape, base_dir)


def target_shape(scenario: Scenario, base_dir: str | Path | None) -> ModelShape:
    """The target's executed shape. Raises InputError at ``models.target.shape``."""
    target, device = scenario.models.target, scenario.placement.target[0]
    return _keyed("models.target.shape", lambda: executed_shape(scenario, target, device, base_dir))


def draft_shapes(scenario: Scenario, base_dir: str | Path | None) -> dict[str, ModelShape]:
    """The drafts' executed shapes by name, in the scenario's order. Raises InputError at the draft's key."""
    devices = scenario.placement.drafts
    return {
        name: _keyed(
            f"models.drafts.{name}.shape",
            lambda spec=spec, name=name: executed_shape(  # type: ignore[misc]
                scenario, spec, devices.get(name, ""), base_dir
            ),
        )
        for name, spec in scenario.models.draft_models.items()
    }


def device_hardware(scenario: Scenario, device: str, key: str) -> Hardware:
    """The sheet of a device of the scenario. ``key`` names the place that mentions it.

    Raises InputError for a device that the scenario does not have, or hardware without a sheet.
    """
    spec = scenario.devices.get(device)
    if spec is None:
        raise InputError(f"unknown device {device!r}; allowed: {', '.join(scenario.devices)}", key=key)
    return _keyed(f"devices.{device}.hardware", lambda: hardware_sheet(spec.hardware))


def draft_device(scenario: Scenario, name: str) -> str:
    """The device on which a draft is placed. Raises InputError when it is placed nowhere."""
    device = scenario.placement.drafts.get(name)
    if device is None:
        raise InputError(
            f"draft {name!r} is not placed; allowed: one of {', '.join(scenario.devices)}",
            key="placement.drafts",
        )
    return device


def target_hardware(scenario: Scenario) -> Hardware:
    """The sheet of the target's devices. Raises InputError where these differ: each holds an equal share."""
    sheets = [device_hardware(scenario, device, "placement.target") for device in scenario.placement.target]
    if any(sheet != sheets[0] for sheet in sheets):
        names = ", ".join(sheet.name for sheet in sheets)
        raise InputError(
            f"the target's devices differ ({names}); tensor parallelism needs equal ones",
            key="placement.target",
        )
    return sheets[0]


@dataclass(frozen=True, slots=True)
class ModelOnDevices:
    """A model of the scenario as it runs: the shape that executes, and where. ``key`` in the scenario."""

    key: str
    name: str
    shape: ModelShape
    dtype: str
    hardware: Hardware
    devices: tuple[str, ...]
    quantization: str = ""  # of the weights; empty: as ``dtype`` says


def models_on_devices(scenario: Scenario, base_dir: str | Path | None) -> list[ModelOnDevices]:
    """The target, then the drafts that are models, in the scenario's order.

    Shapes, sheets and devices are looked up here, for costs and memory alike. Raises InputError with the key
    of what is unknown, placed nowhere or unequal.
    """
    models, placement = scenario.models, scenario.placement
    found = [
        ModelOnDevices(
            "models.target",
            TARGET,
            target_shape(scenario, base_dir),
            models.target.dtype,
            target_hardware(scenario),
            placement.target,
            models.target.quantization or "",
        )
    ]
    for name, shape in draft_shapes(scenario, base_dir).items():
        device, spec = draft_device(scenario, name), models.draft_models[name]
        sheet = device_hardware(scenario, device, f"placement.drafts.{name}")
        if device in placement.target[1:]:  # in that rank's process, which is told and answers
            sheet = replace(sheet, operation_s=sheet.operation_s + sheet.hosted_s)
        found.append(
            ModelOnDevices(
                f"models.drafts.{name}", name, shape, spec.dtype, sheet, (device,), spec.quantization or ""
            )
        )
    return found


def priced_alike(scenario: Scenario) -> str:
    """Equal for scenarios of one folder whose predictors are alike, so that one may serve for all of them."""
    priced = scenario.model_dump_json(include={"models", "devices", "placement", "costs", "sampling"})
    packing = scenario.policies.packing.name
    searched = packing if getattr(PACKINGS.get(packing), "divided", False) else ""
    return f"{priced} {scenario.policies.selector.name} {searched}"  # whose thinking a profile charges


def build_predictor(scenario: Scenario, base_dir: str | Path | None = None) -> Predictor:
    """The predictor that ``costs`` describes, drafts in the scenario's order.

    ``base_dir`` is the folder that relative paths count from. Raises InputError with the key of
    what is unknown, missing or out of range.
    """
    costs = scenario.costs
    if isinstance(costs, ConstantCosts):
        return _constant(costs, tuple(scenario.models.drafts))
    if isinstance(costs, RooflineCosts):
        return build_roofline(scenario, base_dir, costs)
    if isinstance(costs, LinearCosts):
        return _linear(costs, tuple(scenario.models.drafts))
    return _profiled(scenario, base_dir, costs)


def _profiled(scenario: Scenario, base_dir: str | Path | None, costs: ProfileCosts) -> Predictor:
    profile = _read(costs, base_dir)
    return build_profiled(scenario, base_dir, profile, allow_roofline=costs.allow_roofline)


def profile_of(scenario: Scenario, base_dir: str | Path | None) -> Profile | None:
    """The profile that the scenario's costs come from; None where they come from none."""
    return _read(scenario.costs, base_dir) if isinstance(scenario.costs, ProfileCosts) else None


def _read(costs: ProfileCosts, base_dir: str | Path | None) -> Profile:
    path = Path(costs.path) if base_dir is None else Path(base_dir) / costs.path
    return _keyed("costs.path", lambda: read_profile(path))


def build_profiled(
    scenario: Scenario, base_dir: str | Path | None, profile: Profile, *, allow_roofline: bool
) -> ProfilePredictor:
    """Costs from ``profile``, whatever ``scenario.costs`` is. Raises InputError for a model that it lacks."""
    # Fitting needs scipy: loaded only here, so that other costs start fast.
    from spinsim.costs.profiled.predictors import Operation, ProfiledPass, ProfilePredictor, fit_operations

    models = models_on_devices(scenario, base_dir)
    fitted: dict[str | None, dict[Operation, ProfiledPass]] = {
        None: {}
    }  # drafts of one shape share their fits
    operations, names, buckets = [], [], []
    for wanted in models:
        shape, dtype, devices = wanted.shape, wanted.dtype, len(wanted.devices)
        hardware = wanted.hardware.name
        model = profile.find_model(shape, dtype, hardware, devices)
        if model is None and not allow_roofline:
            _require_hardware(profile, wanted)
            raise InputError(
                f"{shape.name} in {dtype} on {devices} x {hardware} is not in the profile; "
                f"allowed: {', '.join(profile.models) or 'none'}, or costs.allow_roofline: true",
                key=f"{wanted.key}.shape",
            )
        if model is not None and model not in fitted:
            fitted[model] = fit_operations(profile, model)
        operations.append({} if model is None else fitted[model])
        names.append(model or "")
        buckets.append(USUAL if model is None else profile.models[model].buckets)
    sheets = RooflineCosts(model="roofline", graphs=profile.graphs)
    # How lanes load a device, and what lies beyond.
    roofline = _roofline(scenario, [summing_as(profile, model) for model in models], sheets)
    return ProfilePredictor(
        profile,
        operations[0],
        operations[1:],
        names[1:],
        link=_link(scenario, models),
        fallback=roofline if allow_roofline else None,
        selector=scenario.policies.selector.name,
        packing=scenario.policies.packing.name,
        loads=RooflineLoads(roofline),
        buckets=buckets,
        target_name=names[0],
    )


def buckets_of(scenario: Scenario, base_dir: str | Path | None) -> dict[str, Buckets]:
    """What models execute under CUDA graphs, by name, where a profile says so: else it is the usual rule."""
    profile = profile_of(scenario, base_dir)
    if profile is None:
        return {}
    found: dict[str, Buckets] = {}
    for model in models_on_devices(scenario, base_dir):
        key = profile.find_model(model.shape, model.dtype, model.hardware.name, len(model.devices))
        if key is not None:
            found[model.name] = profile.models[key].buckets
    return found


def summing_as(profile: Profile, model: ModelOnDevices) -> ModelOnDevices:
    """The model on devices that sum as the profile measured it, where it measured as many."""
    laws = fitted_collectives(profile, model.hardware, len(model.devices))
    return replace(model, hardware=replace(model.hardware, collectives=laws)) if laws else model


def _require_hardware(profile: Profile, wanted: ModelOnDevices) -> None:
    """Raises InputError at the device where the model was profiled, but on other hardware alone."""
    sheets = sorted({model.hardware for model in profile.models.values()})
    devices = len(wanted.devices)
    elsewhere = any(profile.find_model(wanted.shape, wanted.dtype, sheet, devices) for sheet in sheets)
    if wanted.hardware.name not in sheets and elsewhere:
        raise InputError(
            f"{wanted.hardware.name}, but the profile is of {', '.join(sheets)}; "
            "allowed: that, another profile in costs.path, or costs.allow_roofline: true",
            key=f"devices.{wanted.devices[0]}.hardware",
        )


def _linear(costs: LinearCosts, drafts: tuple[str, ...]) -> LinearPredictor:
    _require_drafts(costs.drafts, drafts, "costs.drafts")
    return LinearPredictor(
        costs.target,
        [costs.drafts[name] for name in drafts],
        prefill=costs.prefill or costs.target,
        catch_up=costs.catch_up,
        step_s=costs.step_s,
    )


def _require_drafts(given: Collection[str], drafts: tuple[str, ...], key: str) -> None:
    missing = [name for name in drafts if name not in given]
    unknown = [name for name in given if name not in drafts]
    if missing or unknown:
        what = f"draft {missing[0]!r} has no cost" if missing else f"unknown draft {unknown[0]!r}"
        raise InputError(f"{what}; expected exactly: {', '.join(drafts)}", key=key)


def _constant(costs: ConstantCosts, drafts: tuple[str, ...]) -> ConstantPredictor:
    given = costs.draft_step_s
    if isinstance(given, dict):
        _require_drafts(given, drafts, "costs.draft_step_s")
    return ConstantPredictor(
        verify_s=costs.verify_s,
        draft_step_s=[given[name] if isinstance(given, dict) else given for name in drafts],
        prefill_s=costs.prefill_s,
        catch_up_s=costs.catch_up_s,
        transfer_s=costs.transfer_s,
        orchestrator_s=costs.orchestrator_s,
        hop_s=costs.hop_s,
        slowdown=costs.slowdown,
    )


def build_roofline(
    scenario: Scenario, base_dir: str | Path | None, costs: RooflineCosts
) -> RooflinePredictor:
    """Costs from sheets and shapes, whatever ``scenario.costs`` is."""
    return _roofline(scenario, models_on_devices(scenario, base_dir), costs)


def _roofline(
    scenario: Scenario, models: Sequence[ModelOnDevices], costs: RooflineCosts
) -> RooflinePredictor:
    target = models[0]
    if len(target.devices) > target.shape.heads:
        raise InputError(
            f"{len(target.devices)} devices for {target.shape.heads} attention heads; "
            "allowed: at most one a head",
            key="placement.target",
        )
    for model in models:
        _require_priced(model.shape, f"{model.key}.shape")
    passes = [
        PassCosts(
            model.shape,
            model.dtype,
            model.hardware,
            devices=len(model.devices),
            graphs=costs.graphs,
            efficiency=costs.efficiency,
            quantization=model.quantization,
            kv_fp8=scenario.kv.dtype == "fp8",
            greedy=scenario.sampling.greedy,
        )
        for model in models
    ]
    return RooflinePredictor(passes[0], passes[1:], _link(scenario, models), costs.slowdown)


def _require_priced(shape: ModelShape, key: str) -> None:
    """Raises InputError where passes of this shape have no cost model."""
    why = shape.without_cost_model()
    if why:
        raise InputError(f"{shape.name} {why}", key=key)


def never_compared(scenario: Scenario, base_dir: str | Path | None = None) -> tuple[str, ...]:
    """What of a scenario's costs comes from laws or sheets that no run of ours was ever compared with.

    Nothing where costs are measured, or are the user's own.
    """
    if not isinstance(scenario.costs, RooflineCosts):
        return ()
    context = scenario.limits.context_tokens
    models = {"target": (target_shape(scenario, base_dir), scenario.models.target)}
    drafts = draft_shapes(scenario, base_dir)
    models.update((name, (shape, scenario.models.draft_models[name])) for name, shape in drafts.items())
    found = [
        f"{name}: {what}"
        for name, (shape, spec) in models.items()
        for what in shape.never_compared(context, spec.quantization or "")
    ]
    if scenario.kv.dtype == "fp8":
        found.append("K and V in fp8")
    sheets = {spec.hardware_name: None for spec in scenario.devices.values()}
    return (*found, *(f"the sheet of {name}" for name in sheets if name in UNCOMPARED))


def _link(scenario: Scenario, models: Sequence[ModelOnDevices]) -> Link | None:
    """What proposals cross; None when every draft shares a device with the target.

    ``transfer`` does not say which draft proposed, so of several devices the slowest link counts.
    """
    target, sampling = models[0], not scenario.sampling.greedy
    links = [
        link_between(draft.hardware, target.hardware, target.shape.vocab, sampling)
        for draft in models[1:]
        if draft.devices[0] not in target.devices
    ]
    return max(links, key=lambda link: link.seconds(32, 128), default=None)
