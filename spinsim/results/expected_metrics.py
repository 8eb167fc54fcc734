"""The numbers that a scenario's summary will have, known before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spinsim.costs.prices import price_per_hour
from spinsim.engine.records import Records
from spinsim.errors import InputError, did_you_mean
from spinsim.results.metrics import OPTIONAL, Metric, metric
from spinsim.results.metrics import names as metric_names
from spinsim.results.summary import summarise
from spinsim.scenario import Scenario
from spinsim.serving import lay_out


def empty_summary(scenario: Scenario) -> dict[str, Any]:
    """The summary of a run that served nobody: every key that does not depend on what happened."""
    drafts = tuple(scenario.models.drafts)
    records = Records(lay_out(scenario).lanes, drafts)
    records.kv_capacity_tokens = dict.fromkeys(("target", *drafts), 0)
    summary = summarise(records, scenario, mode="simulated", acceptance_source="")
    per_draft = summary["speculation"]["per_draft"]
    if drafts:
        per_draft["none"] = per_draft[drafts[0]]  # there when a request only decoded
    return summary


def kind(scenario: Scenario) -> tuple[str, ...]:
    """Scenarios of one kind have summaries of the same keys."""
    names = (*scenario.models.drafts, *scenario.devices, *scenario.placement.target)
    return (*names, *scenario.placement.drafts.values(), *sorted(optional_sections(scenario)))


def optional_sections(scenario: Scenario) -> set[str]:
    """The optional sections that the scenario's summaries have."""
    here = {"slo": scenario.slo is not None, "cost": price_per_hour(scenario) is not None}
    return {section for section, there in here.items() if there}


def check_metrics(
    names: Sequence[str], scenarios: Sequence[Scenario], option: str, *, everywhere: bool = True
) -> list[Metric]:
    """Metrics by name, all of which the summary of each scenario has (or of one, unless ``everywhere``).

    Raises InputError that begins with ``option`` for one that is missing, or that is no number.
    """
    if not names:
        return []
    kinds = {kind(scenario): scenario for scenario in scenarios}
    summaries = [empty_summary(scenario) for scenario in kinds.values()]
    for name in names:
        errors = [error for summary in summaries if (error := _problem(summary, name, option)) is not None]
        if errors and (everywhere or len(errors) == len(summaries)):
            raise errors[0]
    return [metric(name) for name in names]


def _problem(summary: Mapping[str, Any], name: str, option: str) -> InputError | None:
    path = metric(name).path
    here: Any = summary
    for part in path.split("."):
        if isinstance(here, Mapping) and not here:
            return None  # filled by what happens, such as the packings that were used
        if not isinstance(here, Mapping) or part not in here:
            return _unknown(summary, name, path, option)
        here = here[part]
    if _number(here):
        return None
    inside = list(_numbers(here, f"{path}.")) if isinstance(here, Mapping) else []
    allowed = f"a path to one, such as {inside[0]}" if inside else "a dotted path to a number"
    return InputError(f"{name!r} is no number; {allowed}", key=option)


def _unknown(summary: Mapping[str, Any], name: str, path: str, option: str) -> InputError:
    section = metric(name).section
    if section and section not in summary:
        return InputError(f"{name!r} needs {OPTIONAL[section]}", key=option)
    hint = did_you_mean(name, [*metric_names(), *_numbers(summary)], most=3)
    return InputError(
        f"no number of a summary is called {name!r}; allowed: {', '.join(metric_names())}, "
        f"or a dotted path of summary.json{hint}",
        key=option,
    )


def _numbers(summary: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, item in summary.items():
        if isinstance(item, Mapping):
            yield from _numbers(item, f"{prefix}{key}.")
        elif _number(item) and key != "seed":
            yield f"{prefix}{key}"


def _number(item: Any) -> bool:
    return item is None or (isinstance(item, int | float) and not isinstance(item, bool))
