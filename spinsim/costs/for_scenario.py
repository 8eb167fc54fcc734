"""Builds the predictor that a scenario asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from spinsim.costs.base import Predictor
from spinsim.costs.constant import ConstantPredictor
from spinsim.costs.linear import LinearPredictor
from spinsim.costs.links import Link, link_between
from spinsim.costs.operators import PassCosts
from spinsim.costs.profiled.profile import Profile, read_profile
from spinsim.costs.roofline import RooflineLoads, RooflinePredictor
from spinsim.costs.sheets.hardware import Hardware
from spinsim.costs.sheets.own_hardware import hardware_sheet
from spinsim.costs.sheets.shapes import ModelShape, shape_of
from spinsim.errors import InputError
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
    """The sheet of a device of the scenario. ``key`` names the place that mentions it."""
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
    """The sheet of the target's devices, which must be equal under tensor parallelism."""
    sheets = [device_hardware(scenario, device, "placement.target") for device in scenario.placement.target]
    if any(sheet != sheets[0] for sheet in sheets):
        names = ", ".join(sheet.name for sheet in sheets)
        raise InputError(
            f"the target's devices differ ({names}); tensor parallelism needs equal ones",
            key="placement.target",
        )
    return sheets[0]


def priced_alike(scenario: Scenario) -> str:
    """Equal for scenarios of one folder whose predictors are alike, so that one may serve for all of them."""
    priced = scenario.model_dump_json(include={"models", "devices", "placement", "costs", "sampling"})
    return f"{priced} {scenario.policies.selector.name}"  # whose thinking a profile charges


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
    path = Path(costs.path) if base_dir is None else Path(base_dir) / costs.path
    profile = _keyed("costs.path", lambda: read_profile(path))
    return build_profiled(scenario, base_dir, profile, allow_roofline=costs.allow_roofline)


def build_profiled(
    scenario: Scenario, base_dir: str | Path | None, profile: Profile, *, allow_roofline: bool
) -> ProfilePredictor:
    """Costs from ``profile``, whatever ``scenario.costs`` is. Raises InputError for a model that it lacks."""
    # Fitting needs scipy: loaded only here, so that other costs start fast.
    from spinsim.costs.profiled.predictors import Operation, ProfiledPass, ProfilePredictor, fit_operations

    target, sheet = target_shape(scenario, base_dir), target_hardware(scenario)
    wanted = [("models.target", target, scenario.models.target.dtype, sheet, len(scenario.placement.target))]
    for name, shape in draft_shapes(scenario, base_dir).items():
        device = device_hardware(scenario, draft_device(scenario, name), f"placement.drafts.{name}")
        wanted.append((f"models.drafts.{name}", shape, scenario.models.draft_models[name].dtype, device, 1))
    fitted: dict[str | None, dict[Operation, ProfiledPass]] = {
        None: {}
    }  # drafts of one shape share their fits
    operations, names = [], []
    for key, shape, dtype, hardware, devices in wanted:
        model = profile.find_model(shape, dtype, hardware.name, devices)
        if model is None and not allow_roofline:
            _require_hardware(scenario, profile, shape, dtype, hardware.name, key)
            raise InputError(
                f"{shape.name} in {dtype} on {devices} x {hardware.name} is not in the profile; "
                f"allowed: {', '.join(profile.models) or 'none'}, or costs.allow_roofline: true",
                key=f"{key}.shape",
            )
        if model is not None and model not in fitted:
            fitted[model] = fit_operations(profile, model)
        operations.append({} if model is None else fitted[model])
        names.append(model or "")
    sheets = RooflineCosts(model="roofline", graphs=profile.graphs)
    roofline = build_roofline(scenario, base_dir, sheets)  # how lanes load a device, and what lies beyond
    return ProfilePredictor(
        profile,
        operations[0],
        operations[1:],
        names[1:],
        link=scenario_link(scenario, target.vocab),
        fallback=roofline if allow_roofline else None,
        selector=scenario.policies.selector.name,
        loads=RooflineLoads(roofline),
    )


def _require_hardware(
    scenario: Scenario, profile: Profile, shape: ModelShape, dtype: str, hardware: str, key: str
) -> None:
    """Raises InputError at the device where the model was profiled, but on other hardware alone."""
    sheets = sorted({model.hardware for model in profile.models.values()})
    placement = scenario.placement
    device = placement.target[0] if key == "models.target" else placement.drafts[key.rpartition(".")[2]]
    if hardware not in sheets and any(profile.find_model(shape, dtype, sheet, 1) for sheet in sheets):
        raise InputError(
            f"{hardware}, but the profile is of {', '.join(sheets)}; "
            "allowed: that, another profile in costs.path, or costs.allow_roofline: true",
            key=f"devices.{device}.hardware",
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
    models, placement = scenario.models, scenario.placement
    hardware = target_hardware(scenario)
    shape = target_shape(scenario, base_dir)
    if len(placement.target) > shape.heads:
        raise InputError(
            f"{len(placement.target)} devices for {shape.heads} attention heads; allowed: at most one a head",
            key="placement.target",
        )
    target = PassCosts(
        shape,
        models.target.dtype,
        hardware,
        devices=len(placement.target),
        graphs=costs.graphs,
        efficiency=costs.efficiency,
    )
    drafts = []
    _require_priced(scenario, shape, "models.target.shape")
    for name, draft_shape in draft_shapes(scenario, base_dir).items():
        _require_priced(scenario, draft_shape, f"models.drafts.{name}.shape")
        sheet = device_hardware(scenario, draft_device(scenario, name), f"placement.drafts.{name}")
        drafts.append(
            PassCosts(
                draft_shape,
                models.draft_models[name].dtype,
                sheet,
                graphs=costs.graphs,
                efficiency=costs.efficiency,
            )
        )
    return RooflinePredictor(target, drafts, scenario_link(scenario, shape.vocab), costs.slowdown)


def _require_priced(scenario: Scenario, shape: ModelShape, key: str) -> None:
    """Raises InputError where passes of this shape have no cost model."""
    why = shape.without_cost_model(scenario.limits.context_tokens)
    if why:
        raise InputError(f"{shape.name} {why}; a dense model with attention to all tokens", key=key)


def scenario_link(scenario: Scenario, vocab: int) -> Link | None:
    """What proposals cross; None when every draft shares a device with the target.

    ``transfer`` does not say which draft proposed, so of several devices the slowest link counts.
    """
    home, sampling = scenario.placement.target, not scenario.sampling.greedy
    target = target_hardware(scenario)
    links = []
    for name in scenario.models.drafts:
        device = draft_device(scenario, name)
        if device not in home:
            sheet = device_hardware(scenario, device, f"placement.drafts.{name}")
            links.append(link_between(sheet, target, vocab, sampling))
    return max(links, key=lambda link: link.seconds(32, 128), default=None)
