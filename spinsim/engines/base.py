"""What every engine says of itself, and the check of its fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spinsim.engines.plan import Method, Plan, Weights
from spinsim.errors import InputError


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an engine's configuration: its type, the least value, and the values that it takes."""

    kind: type | tuple[type, ...]
    least: int | None = None
    choices: tuple[str, ...] = ()

    def wrong(self, value: Any) -> str:
        """Why ``value`` is not allowed; "" where it is."""
        if isinstance(value, bool) != (self.kind is bool) or not isinstance(value, self.kind):
            return f"is {value!r}, no {self.kind}"
        if self.least is not None and isinstance(value, int | float) and value < self.least:
            return f"is {value}; {self.least} or more"
        if self.choices and value not in self.choices:
            return f"is {value!r}; one of {', '.join(self.choices)}"
        return ""


@dataclass(frozen=True, slots=True)
class Exported:
    """A plan in an engine's terms: its settings, and the files that hold them, the first to be printed."""

    settings: Mapping[str, Any]
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine at a commit of its source.

    ``methods`` maps ours to the engine's own names. ``schedules``: the methods whose tokens may depend on the
    batch. ``fields``: every setting that an export may hold. ``limit``: what else a plan must meet, as the
    nearest schedule that it does (the plan's own where it meets all).
    """

    name: str
    commit: str
    source: str
    methods: Mapping[Method, str]
    schedules: tuple[Method, ...]
    fields: Mapping[str, Field]
    settings: Callable[[Plan], dict[str, Any]]
    files: Callable[[Plan, Mapping[str, Any]], dict[str, str]]
    limit: Callable[[Plan], Plan] = field(default=lambda plan: plan)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise InputError for a setting that the engine does not have, or a value that it does not take."""
        for key, value in settings.items():
            if key not in self.fields:
                raise InputError(f"is no field of {self.name} at {self.commit[:8]}", key=key)
            if why := self.fields[key].wrong(value):
                raise InputError(why, key=key)

    def export(self, plan: Plan) -> Exported:
        """The plan as the engine's settings and files. Raises InputError for what it does not take."""
        if plan.method != "none" and plan.method not in self.methods:
            raise InputError(f"{self.name} has no {plan.method}; {', '.join(self.methods)}", key="method")
        settings = self.settings(plan) if plan.tokens else {}
        self.check(settings)
        return Exported(settings, self.files(plan, settings))


def comments(plan: Plan, lines: Sequence[str] = ()) -> str:
    """The plan as comment lines, for a shell script or YAML."""
    told = [*plan.origin, *(str(step) for step in plan.schedule), *lines]
    for role, weights in (("target", plan.target), ("draft", plan.draft)):
        if weights is not None and weights.stand_in:
            told.append(f"{weights.name} is the shape that was priced: put the path of your {role}'s weights")
    return "".join(f"# {line}\n" for line in told)


def named(weights: Weights | None) -> str:
    """The name that an engine loads."""
    assert weights is not None
    return weights.name
