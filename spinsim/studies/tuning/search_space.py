"""What ``tune`` may vary: declared policy parameters, alternatives, and ranges of any key."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from spinsim.errors import InputError, did_you_mean
from spinsim.policies.build import KINDS, tunables
from spinsim.scenario import Scenario
from spinsim.scenario_file import load
from spinsim.scenario_file.variants import override, said_by

LIMITS = "limits"  # beside the kinds of policies: limits.batch


class Suggester(Protocol):
    """The part of an Optuna trial that is needed."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> Any: ...


@dataclass(frozen=True, slots=True)
class Dimension:
    """A numeric key of the scenario and its range, both ends included."""

    key: str
    low: float
    high: float
    log: bool = False
    integer: bool = False

    def suggest(self, trial: Suggester) -> int | float:
        """Ask the trial for a value."""
        if self.integer:
            return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)


@dataclass(frozen=True, slots=True)
class Space:
    """``policies[kind]``: names to choose from, and the dimensions of each; ``others``: of any key."""

    policies: Mapping[str, Mapping[str, tuple[Dimension, ...]]]
    others: tuple[Dimension, ...]
    given: Mapping[str, Mapping[str, Any]]  # by kind, the scenario's own choice and parameters
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # values of keys that are no numbers

    def dimensions(self) -> list[str]:
        """Every key that may vary, for people."""
        found = [f"policies.{kind}.name" for kind, names in self.policies.items() if len(names) > 1]
        for names in self.policies.values():
            found += [dimension.key for dimensions in names.values() for dimension in dimensions]
        others = [dimension.key for dimension in self.others]
        return list(dict.fromkeys([*found, *others, *self.choices]))

    def suggest(self, trial: Suggester) -> list[str]:
        """Overrides of one trial."""
        found = []
        for kind, names in self.policies.items():
            name = next(iter(names))
            if len(names) > 1:
                name = trial.suggest_categorical(f"policies.{kind}.name", list(names))
            own = self.given[kind]
            values: dict[str, Any] = dict(own) if own["name"] == name else {"name": name}
            for dimension in names[name]:
                values[dimension.key.rpartition(".")[2]] = dimension.suggest(trial)
            found.append(override(f"policies.{kind}", values))
        found += [override(d.key, d.suggest(trial)) for d in self.others]
        chosen = {key: trial.suggest_categorical(key, values) for key, values in self.choices.items()}
        return [*found, *(override(key, value) for key, value in chosen.items())]

    def start(self, scenario: Scenario) -> dict[str, Any]:
        """The scenario's own settings as parameters of a first trial, where they lie in the ranges."""
        found: dict[str, Any] = {}
        for kind, names in self.policies.items():
            own = getattr(scenario.policies, kind)
            if own.name not in names:
                continue
            if len(names) > 1:
                found[f"policies.{kind}.name"] = own.name
            defaults = KINDS[kind].get(own.name).Params
            for dimension in names[own.name]:
                parameter = dimension.key.rpartition(".")[2]
                current = own.params.get(parameter, getattr(defaults, parameter, None))
                if isinstance(current, int | float) and dimension.low <= current <= dimension.high:
                    found[dimension.key] = current
        for dimension in self.others:
            value = _current(scenario, dimension.key)
            if isinstance(value, int | float) and dimension.low <= value <= dimension.high:
                found[dimension.key] = value
        for key, values in self.choices.items():
            value = _current(scenario, key)
            if value in values:
                found[key] = value
        return found


def space_of(
    scenario: Scenario,
    *,
    only: Sequence[str] = (),
    choose: Sequence[str] = (),
    ranges: Sequence[str] = (),
    choices: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Space:
    """The space of a scenario.

    ``only``: kinds to tune, of the policies' and ``limits`` (all of them by default). ``choose``:
    ``kind=name,name`` lets the search pick among policies. ``ranges``: ``key=low:high[:log]``
    adds any number of the scenario. ``choices``: values of
    keys that are no numbers. Raises InputError, also where there is nothing to tune.
    """
    kinds = [*KINDS, LIMITS]
    for kind in only:
        if kind not in kinds:
            raise InputError(f"{kind!r} is nothing to tune; choose from {', '.join(kinds)}", key="--only")
    picked: dict[str, tuple[str, ...]] = {}
    for text in choose:
        kind, equals, names = text.partition("=")
        if not equals or kind.strip() not in KINDS:
            raise InputError(
                f"not a choice; write kind=name,name with a kind of {', '.join(KINDS)}",
                file=f"--choose {text}",
            )
        picked[kind.strip()] = _names(kind.strip(), names, f"--choose {text}")
    policies = {}
    for kind in KINDS:
        if only and kind not in only and kind not in picked:
            continue
        names_ = picked.get(kind, (getattr(scenario.policies, kind).name,))
        of_kind = {name: _declared(kind, name, scenario) for name in names_}
        if len(of_kind) > 1 or any(of_kind.values()):
            policies[kind] = of_kind
    others = [_range(text) for text in ranges]
    for key in (keys := [dimension.key for dimension in others]):
        if keys.count(key) > 1:
            raise InputError("is given twice; each key once", key=key, file="--range")
    if (not only or LIMITS in only) and not any(d.key == "limits.batch" for d in others):
        batch = scenario.limits.batch
        others.append(Dimension("limits.batch", max(1, batch // 4), 2 * batch, log=True, integer=True))
    if not policies and not others:
        raise InputError("nothing to tune; the chosen policies declare no ranges, give --range", key="tune")
    given = {kind: getattr(scenario.policies, kind).model_dump() for kind in KINDS}
    return Space(policies, tuple(others), given, choices)


def _names(kind: str, text: str, option: str) -> tuple[str, ...]:
    """Policies of ``kind`` to choose among, each known and named once."""
    names = tuple(name.strip() for name in text.split(","))
    known = KINDS[kind].names()
    for name in names:
        if name not in known:
            allowed = ", ".join(known) + did_you_mean(name, known)
            raise InputError(f"{name!r} is no {kind} policy; allowed: {allowed}", file=option)
        if names.count(name) > 1:
            raise InputError(f"{name!r} is given twice; each policy once", file=option)
    return names


def check_ranges(space: Space, scenario: Path, overrides: Sequence[str]) -> None:
    """Raise InputError for a range whose key takes neither of its ends, whatever policy is chosen."""
    for dimension in space.others:
        kind = dimension.key.split(".")[1] if dimension.key.startswith("policies.") else ""
        names = space.policies.get(kind, {})
        chosen = [[override(f"policies.{kind}.name", name)] for name in names] or [[]]
        errors = []
        for end, choice in product((dimension.low, dimension.high), chosen):
            text = override(dimension.key, int(end) if dimension.integer else end)
            try:
                with said_by({text: f"--range {dimension.key}"}):
                    load(scenario, [*overrides, *choice, text])
                break
            except InputError as error:
                errors.append(error)
        else:
            raise errors[0]


def _declared(kind: str, name: str, scenario: Scenario) -> tuple[Dimension, ...]:
    hints = typing.get_type_hints(KINDS[kind].get(name).Params)
    found = []
    for parameter, mark in tunables(kind, name).items():
        # a proposal beyond the scenario's limit is an error of the scenario, not a trial
        high = min(mark.high, scenario.limits.max_length) if kind == "length" and mark.low >= 1 else mark.high
        integer = hints[parameter] is int
        found.append(Dimension(f"policies.{kind}.{parameter}", mark.low, high, mark.log, integer))
    return tuple(found)


def _range(text: str) -> Dimension:
    key, equals, bounds = text.partition("=")
    parts = bounds.split(":")
    wrong = InputError(
        "not a range; write key.path=low:high, or key.path=low:high:log, low below high",
        file=f"--range {text}",
    )
    if not equals or len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] != "log"):
        raise wrong
    try:
        integer = all("." not in part and "e" not in part.lower() for part in parts[:2])
        low, high = float(parts[0]), float(parts[1])
    except ValueError:
        raise wrong from None
    if not (isfinite(low) and isfinite(high) and low < high) or (len(parts) == 3 and low <= 0):
        raise wrong
    return Dimension(key.strip(), low, high, len(parts) == 3, integer)


def _current(scenario: Scenario, key: str) -> Any:
    here: Any = scenario.model_dump()
    for part in key.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return here
