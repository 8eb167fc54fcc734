"""What a scenario's parts must say together, each problem with its key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spinsim.drafters.for_scenario import drafter_problems
from spinsim.errors import InputError
from spinsim.scenario import (
    MOST_REQUESTS,
    AllAtOnce,
    ConstantAcceptance,
    ConstantCosts,
    Distribution,
    DraftSpec,
    Empirical,
    Fixed,
    Gamma,
    HardwareSheet,
    LogisticAcceptance,
    Lognormal,
    Poisson,
    ProfileCosts,
    Replay,
    RooflineCosts,
    Scenario,
    Section,
    Source,
    TraceAcceptance,
    Uniform,
)
from spinsim.scenario.messages import Problem, one_of
from spinsim.scenario.yaml_places import KeyPath
from spinsim.scenario_file.model_checks import asked, model_problems
from spinsim.scenario_file.placement_checks import placement_problems, unknown

if TYPE_CHECKING:
    from spinsim.costs.sheets.hardware import Hardware

TIMED_FORMATS = ("azure", "mooncake", "burstgpt")  # sources that record arrival times
OWN_FORMATS = ("csv", "jsonl")  # sources that do where a column says so
# Of one request with 128 output tokens, simulated with four proposed tokens a round on one core of a server.
REQUEST_S, REQUEST_BYTES = 0.5e-3, 5_000
RESERVED = ("target", "none", "smallest", "all")  # words that mean something where drafts are named


def problems(scenario: Scenario, base_dir: Path) -> Iterator[Problem]:
    """Everything that contradicts, is missing, or would have no effect.

    Opens no file but the config.json that a model's shape may name, relative to ``base_dir``.
    """
    yield from _workload(scenario)
    yield from _request_sizes(scenario)
    yield from _models(scenario, base_dir)
    yield from placement_problems(scenario)
    yield from _costs(scenario)
    yield from _acceptance(scenario)
    yield from _policies(scenario)
    yield from _limits(scenario)
    yield from _metrics(scenario)


# --- workload ---------------------------------------------------------------------------------


def _workload(scenario: Scenario) -> Iterator[Problem]:
    workload, at = scenario.workload, ("workload",)
    source = workload.source
    if costly := _many(workload.requests or 0):
        yield Problem((*at, "requests"), costly)
    if source is None:
        for name in ("requests", "prompt_tokens", "output_tokens"):
            if getattr(workload, name) is None:
                yield Problem((*at, name), "missing; required when workload.source gives no requests")
    if isinstance(workload.arrivals, Replay):
        wrong = "replays no source" if source is None else f"replays a {source.format} source without times"
        if source is None or not _timed(source):
            yield Problem(
                (*at, "arrivals", "process"),
                f"{wrong}; replay needs a workload.source of format {one_of(TIMED_FORMATS)}, "
                "or of csv or jsonl with columns.arrival, else use poisson, gamma, closed or at_once",
            )
    if source is not None:
        here = (*at, "source")
        timed = _timed(source)
        yield from _columns(source, here)
        for name in ("start_s", "end_s"):
            if getattr(source, name) is not None and not timed:
                yield Problem(
                    (*here, name),
                    f"{source.format} records no times; slices by time need "
                    f"{one_of(TIMED_FORMATS)}, or csv or jsonl with columns.arrival, else use skip and limit",
                )
        if source.end_s is not None and source.end_s <= (source.start_s or 0.0):
            yield Problem(
                (*here, "end_s"), f"ends at {source.end_s:g} s, where it starts; must be above start_s"
            )
        for name in ("prompt_tokens", "output_tokens"):
            cap = f"max_{name}"
            if getattr(source, cap) is not None and getattr(workload, name) is not None:
                yield Problem(
                    (*here, cap),
                    f"has no effect, workload.{name} replaces the source's lengths; give one of the two",
                )
    for name in ("prompt_tokens", "output_tokens", "patience_s", "mid_flight"):
        distribution = getattr(workload, name)
        if distribution is not None:
            yield from _distribution(distribution, (*at, name), whole=name != "patience_s")


def _timed(source: Source) -> bool:
    """May it record times? Traffic of one's own does where it names a column for them, or names none."""
    own = source.format in OWN_FORMATS and (source.columns is None or source.columns.arrival is not None)
    return own or source.format in TIMED_FORMATS


def _columns(source: Source, here: KeyPath) -> Iterator[Problem]:
    """A mapping of columns belongs to traffic of one's own, and says how long prompts are."""
    columns = source.columns
    if columns is None:
        return
    if source.format not in OWN_FORMATS:
        yield Problem(
            (*here, "columns"),
            f"has no effect, {source.format} has columns of its own; leave it out, or format "
            f"{one_of(OWN_FORMATS)}",
        )
    if columns.prompt is None and columns.text is None:
        yield Problem((*here, "columns"), "says nothing of the prompts; give prompt, text or both")
    if columns.arrival is None and _changed(columns, "arrival_unit"):
        yield Problem((*here, "columns", "arrival_unit"), "has no effect without arrival; give arrival, too")


def _many(requests: int) -> str:
    """What a run of so many requests costs, where that is more than anybody waits for; else empty."""
    if requests <= MOST_REQUESTS:
        return ""
    hours, gigabytes = requests * REQUEST_S / 3600, requests * REQUEST_BYTES / 1e9
    return (
        f"{requests:,} requests would take some {hours:,.0f} hours and {gigabytes:,.0f} GB of memory "
        f"(0.5 ms and 5 kB each, at 128 output tokens); at most {MOST_REQUESTS:,}"
    )


def _distribution(distribution: Distribution, at: KeyPath, *, whole: bool) -> Iterator[Problem]:
    if isinstance(distribution, Empirical):
        weights = distribution.weights
        if weights is not None and len(weights) != len(distribution.values):
            yield Problem(
                (*at, "weights"),
                f"{len(weights)} weights for {len(distribution.values)} values; as many weights as values",
            )
        elif weights is not None and not sum(weights) > 0:
            yield Problem((*at, "weights"), "all weights are 0; at least one must be above 0")
    if isinstance(distribution, Uniform | Lognormal):
        low, high = distribution.min, distribution.max
        if high is not None and high < low:
            yield Problem((*at, "max"), f"{high:g} is below min {low:g}; must be at least min")
    if whole:
        for path, value in _bounds(distribution, at):
            if value != int(value):
                yield Problem(path, f"{value:g} is not a whole number of tokens; whole numbers from 1")


def _bounds(distribution: Distribution, at: KeyPath) -> Iterator[tuple[KeyPath, float]]:
    """Every value that is a length itself, with its key."""
    match distribution:
        case Fixed(value=value):
            yield (*at, "value"), value
        case Empirical(values=values):
            for i, value in enumerate(values):
                yield (*at, "values", str(i)), value
        case _:
            yield (*at, "min"), distribution.min
            if distribution.max is not None:
                yield (*at, "max"), distribution.max


def _shortest(distribution: Distribution | None) -> float:
    """The shortest length the distribution can draw; 1 where a source decides."""
    return 1.0 if distribution is None else min(value for _, value in _bounds(distribution, ()))


def _request_sizes(scenario: Scenario) -> Iterator[Problem]:
    """Some request must fit the context, and the KV memory one request of the whole context."""
    workload, context = scenario.workload, scenario.limits.context_tokens
    needed = _shortest(workload.prompt_tokens) + _shortest(workload.mid_flight or workload.output_tokens)
    if needed > context:
        yield Problem(
            ("limits", "context_tokens"),
            f"{context} cannot hold the shortest request; at least {needed:g} (shortest prompt and output)",
        )
    for name in ("target_tokens", "draft_tokens"):
        tokens = getattr(scenario.kv, name)
        if tokens is not None and (shortage := scenario.kv.shortage(tokens, context)):
            yield Problem(("kv", name), shortage)


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
        if _changed(acceptance, "drift_tokens") and not acceptance.drift_sd:
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
    limits, kv, sampling = scenario.limits, scenario.kv, scenario.sampling
    if limits.max_length >= limits.context_tokens:
        yield Problem(
            ("limits", "max_length"),
            f"{limits.max_length} proposed tokens do not fit the context; below limits.context_tokens, "
            f"{limits.context_tokens}",
        )
    if kv.reserve == "full" and _changed(kv, "block_tokens"):
        yield Problem(
            ("kv", "block_tokens"), "has no effect with reserve: full; leave it out, or reserve: grow"
        )
    if _changed(sampling, "top_p") and sampling.greedy:
        yield Problem(
            ("sampling", "top_p"),
            f"has no effect at temperature {sampling.temperature:g}, which is greedy; "
            "set temperature above 0",
        )


def _changed(section: Section, key: str) -> bool:
    """Is ``key`` other than its default? A resolved scenario states defaults, too."""
    return bool(getattr(section, key) != type(section).model_fields[key].default)


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
