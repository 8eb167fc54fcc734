"""Alternatives of a scenario: grids of overrides, and policies named on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import PurePath
from typing import Any

from spinsim.errors import InputError, InputErrors
from spinsim.policies.build import KINDS
from spinsim.scenario.yaml_places import parse
from spinsim.scenario_file import set_place

SETTINGS = ("switching", "allow_none")  # of policies:, beside the kinds
MOST_CELLS = 1_000_000


def override(key: str, value: Any) -> str:
    """``key.path=value`` as --set takes it."""
    return f"{key}={json.dumps(value, ensure_ascii=False, default=_plain_value)}"


def _plain_value(value: Any) -> Any:
    """What JSON does not know: paths as text, NumPy's arrays and numbers as Python's."""
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise InputError(f"{value!r} cannot be written as YAML; numbers, texts, lists and mappings can")


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension of a grid: for each value, its label and what it sets. ``origin``: who says so."""

    name: str
    labels: tuple[Any, ...]
    overrides: tuple[tuple[str, ...], ...]
    origin: str = ""


def axis(text: str) -> Axis:
    """``key=v1,v2,...`` with values in YAML. Raises InputError where it reads otherwise."""
    key, equals, values = text.partition("=")
    place = f"--grid {text if len(text) <= 60 else text[:57] + '...'}"
    if not equals or not key.strip() or not values.strip():
        raise InputError("not an axis; write key.path=value,value,...", file=place)
    try:
        found = parse(f"[{values}]", place).data
    except InputError as error:
        raise InputError(error.message, file=place) from None
    return axis_of(key.strip(), found, place)


def axis_of(name: str, values: Any, file: str = "", line: int = 0) -> Axis:
    """An axis of values for the key ``name``, or of ``{label: {key: value, ...}}``.

    Raises InputError where there is nothing to vary, or a value twice.
    """
    origin = f"{file}:{line}" if file and line else file or f"grid {name}"
    if isinstance(values, Mapping):
        sets = tuple(
            tuple(override(k, v) for k, v in _keys(name, settings, file, line))
            for settings in values.values()
        )
        return Axis(name, tuple(values), sets, origin)
    if hasattr(values, "tolist"):
        values = values.tolist()  # NumPy's
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise InputError(
            "not an axis; a list of values, or a mapping from labels to what they set",
            key=name, file=file, line=line,
        )  # fmt: skip
    texts = [override(name, item) for item in values]
    if len(set(texts)) < len(texts):
        twice = next(item for item, text in zip(values, texts, strict=True) if texts.count(text) > 1)
        raise InputError(f"{twice!r} is given twice; each value once", key=name, file=file, line=line)
    labels = tuple(item if _plain(item) else json.dumps(item, ensure_ascii=False) for item in values)
    return Axis(name, labels, tuple((text,) for text in texts), origin)


def _keys(name: str, settings: Any, file: str, line: int) -> Iterable[tuple[str, Any]]:
    if not isinstance(settings, Mapping):
        raise InputError(
            f"a label stands for {settings!r}; it should be a mapping from keys to values",
            key=name, file=file, line=line,
        )  # fmt: skip
    return settings.items()


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def grid(axes: Sequence[Axis]) -> list[tuple[dict[str, Any], list[str]]]:
    """(labels by axis, overrides) of every combination, the last axis running fastest."""
    names = [axis.name for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two axes are called {name!r}; each key once", key=name)
    cells = 1
    for axis in axes:
        cells *= len(axis.labels)
    if cells > MOST_CELLS:
        raise InputError(f"{cells:,} combinations; at most {MOST_CELLS:,}", key="grid")
    return [
        (
            {axis.name: axis.labels[i] for axis, i in zip(axes, place, strict=True)},
            [text for axis, i in zip(axes, place, strict=True) for text in axis.overrides[i]],
        )
        for place in product(*(range(len(axis.labels)) for axis in axes))
    ]


def policy_overrides(text: str) -> list[str]:
    """What ``kind=name,param=value,...`` sets; several kinds are joined by ``/``.

    A kind that is named is replaced as a whole. ``switching=...`` and ``allow_none=...`` are kinds
    too. Raises InputError for what reads otherwise.
    """
    found: list[str] = []
    seen: set[str] = set()
    for part in text.split("/"):
        first, *rest = part.split(",")
        kind, equals, name = (piece.strip() for piece in first.partition("="))
        place = f"--policy {text}"
        if not equals or kind not in (*KINDS, *SETTINGS):
            allowed = ", ".join((*KINDS, *SETTINGS))
            raise InputError(
                f"{kind!r} is no kind of policy; write kind=name,parameter=value with a kind of {allowed}",
                file=place,
            )
        if kind in seen:
            raise InputError(f"{kind} is given twice; each kind once", file=place)
        seen.add(kind)
        if kind in SETTINGS:
            found.append(f"policies.{kind}={name}")
            continue
        found.append(override(f"policies.{kind}", {"name": name}))
        for piece in rest:
            parameter, equals, value = (side.strip() for side in piece.partition("="))
            if not equals or not parameter:
                raise InputError(f"{piece!r} is no parameter; write parameter=value", file=place)
            if f"{kind}.{parameter}" in seen:
                raise InputError(f"{kind}'s {parameter} is given twice; each parameter once", file=place)
            seen.add(f"{kind}.{parameter}")
            found.append(f"policies.{kind}.{parameter}={value}")
    return found


@contextmanager
def said_by(origins: Mapping[str, str], otherwise: str = "") -> Iterator[None]:
    """Errors about overrides name what the user wrote instead: ``origins`` by ``key.path=value``.

    For a scenario's errors an override is ``--set TEXT``, whichever option it came from. ``otherwise`` is
    named by errors at other places: what does not fit to an override of a scenario that is right by itself.
    """
    try:
        yield
    except InputErrors as errors:
        raise InputErrors([_said_by(error, origins, otherwise) for error in errors.errors]) from None
    except InputError as error:
        raise _said_by(error, origins, otherwise) from None


def _said_by(error: InputError, origins: Mapping[str, str], otherwise: str) -> InputError:
    for text, origin in origins.items():
        if origin and error.file == set_place(text):
            return InputError(error.message, key=error.key, file=origin)
    return InputError(error.message, key=error.key, file=otherwise) if otherwise else error


def seeds_from(first: int, count: int) -> list[int]:
    """``count`` seeds from ``first`` on. Raises InputError for less than one or too many."""
    if count < 1:
        raise InputError(f"{count} is not allowed; 1 or more", key="--seeds")
    if count > MOST_CELLS:
        raise InputError(f"{count} is not allowed; at most {MOST_CELLS:,}", key="--seeds")
    return list(range(first, first + count))
