"""What a scenario's parts must say together, each problem with its key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spinsim.drafters.for_scenario import drafter_problems
from spinsim.errors import InputError
from spinsim.scenario import (
    AllAtOnce,
    ConstantAcceptance,
    ConstantCosts,
    DraftSpec,
    Gamma,
    HardwareSheet,
    LogisticAcceptance,
    Poisson,
    ProfileCosts,
    RooflineCosts,
    Scenario,
    TraceAcceptance,
)
from spinsim.scenario.messages import Problem, one_of
from spinsim.scenario.yaml_places import KeyPath
from spinsim.scenario_file.model_checks import asked, model_problems
from spinsim.scenario_file.placement_checks import placement_problems, unknown
from spinsim.scenario_file.workload_checks import changed, workload_problems

if TYPE_CHECKING:
    from spinsim.costs.sheets.hardware import Hardware

RESERVED = ("target", "none", "smallest", "all")  # words that mean something where drafts are named


def problems(scenario: Scenario, base_dir: Path) -> Iterator[Problem]:
    """Everything that contradicts, is missing, or would have no effect.

    Opens no file but the config.json that a model's shape may name, relative to ``base_dir``.
    """
    yield from workload_problems(scenario)
    yield from _models(scenario, base_dir)
    yield from placement_problems(scenario)
    yield from _costs(scenario)
    yield from _acceptance(scenario)
    yield from _policies(scenario)
    yield from _limits(scenario)
    yield from _metrics(scenario)


# --- models, devices, placement ---------------------------------------------------------------


def _models(scenario: Scenario, base_dir: Path) -> Iterator[Problem]:
    from spinsim.costs.sheets.own_hardware import hardware_sheet

    models, placement = scenario.models, scenario.placement
    for name in models.drafts:
        if name in RESERVED:
            yield Problem(("models", "drafts", name), f"{name!r} has a meaning of its own; another name")
    yield from model_problems(scenario, base_dir)
    yield from drafter_problems(scenario, base_dir)
    for name, device in scenario.devices.items():
        here = ("devices", name, "hardware")
        for problem in asked(partial(hardware_sheet, device.hardware)):
            yield Problem((*here, *filter(None, problem.path)), problem.message)
    on = [scenario.devices[name] for name in placement.target if name in scenario.devices]
    if len({device.hardware for device in on}) > 1:
        names = dict.fromkeys(device.hardware_name for device in on)
        yield Problem(
            ("placement", "target"),
            f"tensor parallel over {one_of(sorted(names))}; all devices must be alike",
        )
    yield from _rates(scenario)
    yield from _prices(scenario)


def _rates(scenario: Scenario) -> Iterator[Problem]:
    """Derived costs need the rate of each model's dtype, which a sheet of the user's own may lack."""
    if not isinstance(scenario.costs, RooflineCosts | ProfileCosts):
        return
    models, placement = scenario.models, scenario.placement
    placed = [("models.target", models.target, placement.target[0])]
    placed += [
        (f"models.drafts.{d}", spec, placement.drafts.get(d, "")) for d, spec in models.draft_models.items()
    ]
    for key, spec, device in placed:
        hardware = scenario.devices[device].hardware if device in scenario.devices else "cpu"
        if isinstance(hardware, HardwareSheet):
            for sheet in _readable(hardware):
                if spec.dtype not in sheet.rate:
                    yield Problem(
                        (*key.split("."), "dtype"),
                        f"{spec.dtype}, for which the sheet of {device} has no rate; {one_of(sheet.rate)}, "
                        f"or devices.{device}.hardware.tflops.{spec.dtype}",
                    )


def _readable(sheet: HardwareSheet) -> list[Hardware]:
    """The sheet, unless something in it is wrong: that has a problem of its own."""
    from spinsim.costs.sheets.own_hardware import hardware_sheet

    try:
        return [hardware_sheet(sheet)]
    except InputError:
        return []


def _prices(scenario: Scenario) -> Iterator[Problem]:
    """A cost needs the price of every device."""
    from spinsim.costs.prices import device_price

    prices = {name: device_price(device) for name, device in scenario.devices.items()}
    if any(price is not None for price in prices.values()):
        for name, price in prices.items():
            if price is None:
                yield Problem(
                    ("devices", name, "price_per_hour"),
                    "missing, where another device has one; a price for every device, 0 where it is free",
                )


# --- costs and acceptance -----------------------------------------------------------------------


def _costs(scenario: Scenario) -> Iterator[Problem]:
    costs = scenario.costs
    if isinstance(costs, ConstantCosts) and isinstance(costs.draft_step_s, Mapping):
        yield from _per_draft(costs.draft_step_s, scenario, ("costs", "draft_step_s"), models=True)


def _acceptance(scenario: Scenario) -> Iterator[Problem]:
    acceptance, drafts = scenario.acceptance, scenario.models.drafts
    if isinstance(acceptance, ConstantAcceptance) and isinstance(acceptance.probability, Mapping):
        yield from _per_draft(acceptance.probability, scenario, ("acceptance", "probability"))
    elif isinstance(acceptance, LogisticAcceptance):
        yield from _per_draft(acceptance.strength, scenario, ("acceptance", "strength"))
        for domain, spec in acceptance.domains.items():
            for draft in spec.affinity:
                if draft not in drafts:
                    yield Problem(
                        ("acceptance", "domains", domain, "affinity", draft), unknown("draft", draft, drafts)
                    )
        if changed(acceptance, "drift_tokens") and not acceptance.drift_sd:
            yield Problem(
                ("acceptance", "drift_tokens"), "has no effect without a drift; give drift_sd above 0"
            )
    elif isinstance(acceptance, TraceAcceptance):
        for draft in acceptance.drafts:
            if draft not in drafts:
                yield Problem(("acceptance", "drafts", draft), unknown("draft", draft, drafts))


def _per_draft(
    values: Mapping[str, float], scenario: Scenario, at: KeyPath, *, models: bool = False
) -> Iterator[Problem]:
    """A mapping that must name every draft of the scenario (``models``: that is a model), and no other."""
    drafts = scenario.models.drafts
    for draft in values:
        if draft not in drafts:
            yield Problem((*at, draft), unknown("draft", draft, drafts))
    for draft, spec in drafts.items():
        if draft not in values and (not models or isinstance(spec, DraftSpec)):
            yield Problem((*at, draft), "missing; one number for every draft of models.drafts")


# --- policies, limits, metrics --------------------------------------------------------------------


def _policies(scenario: Scenario) -> Iterator[Problem]:
    from spinsim.policies.build import KINDS, validate_choice, validate_policies

    spec, found = scenario.policies, False
    for kind in KINDS:
        for problem in asked(partial(validate_choice, kind, getattr(spec, kind))):
            found = True
            yield problem
    if not found:  # each is valid alone
        drafts = tuple(scenario.models.drafts)
        yield from asked(partial(validate_policies, spec, drafts, scenario.limits.max_length))


def _limits(scenario: Scenario) -> Iterator[Problem]:
    if scenario.limits.prefill == "merged" and scenario.policies.pipeline.name != "serial":
        yield Problem(
            ("limits", "prefill"),
            "merged has one pass for all; policies.pipeline serial, or limits.prefill apart",
        )
    source = scenario.workload.source
    if scenario.kv.prefix_cache and (source is None or source.format != "mooncake"):
        yield Problem(
            ("kv", "prefix_cache"),
            "nothing says which prompts begin alike; a workload.source of format mooncake, or false",
        )
    limits, kv, sampling = scenario.limits, scenario.kv, scenario.sampling
    if limits.max_length >= limits.context_tokens:
        yield Problem(
            ("limits", "max_length"),
            f"{limits.max_length} proposed tokens do not fit the context; below limits.context_tokens, "
            f"{limits.context_tokens}",
        )
    if kv.reserve == "full" and changed(kv, "block_tokens"):
        yield Problem(("kv", "block_tokens"), "has no effect with reserve: full; leave one of the two out")
    if changed(sampling, "top_p") and sampling.greedy:
        yield Problem(
            ("sampling", "top_p"),
            f"has no effect at temperature {sampling.temperature:g}, which is greedy; "
            "set temperature above 0",
        )


def _metrics(scenario: Scenario) -> Iterator[Problem]:
    workload, slo, warmup = scenario.workload, scenario.slo, scenario.metrics.warmup_s
    if slo is not None and slo.ttft_s is None and slo.tpot_s is None:
        yield Problem(("slo",), "sets no limit; give ttft_s, tpot_s or both")
    if warmup > 0 and isinstance(workload.arrivals, AllAtOnce):
        yield Problem(
            ("metrics", "warmup_s"),
            "leaves nothing to measure, all requests arrive at 0 s; 0 with process: at_once",
        )
    if isinstance(workload.arrivals, Poisson | Gamma) and workload.requests and workload.source is None:
        span = workload.requests / workload.arrivals.rate_per_s
        if warmup >= span:
            yield Problem(
                ("metrics", "warmup_s"),
                f"{warmup:g} s leave nothing to measure, the last request arrives at about {span:.3g} s; "
                "shorter than the arrivals",
            )
