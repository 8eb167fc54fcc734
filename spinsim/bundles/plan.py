"""What a study's YAML says: parts by name, each a command with that command's own options."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from spinsim.errors import InputError, InputErrors, did_you_mean
from spinsim.scenario import Name, Section
from spinsim.scenario.messages import explain, one_of, show
from spinsim.scenario.yaml_places import parse
from spinsim.scenario_file import Places, read_text
from spinsim.scenario_file.variants import override

OWN = ("command", "title", "description")  # a part's keys that are no option of its command
INPUTS = "inputs"  # the bundle's folder of what its parts read, so no part's
SHARED = ("scenario", "set", "seed", "seeds", "metrics", "plugins")  # what the file says for every part


@dataclass(frozen=True)
class Key:
    """An option of a command as a key of the YAML.

    ``kind``: what a word is; ``several``: a list of them does, too; ``mapping``: so does a mapping.
    ``flag``: how errors of the command name it. ``least`` and ``most`` are allowed themselves.
    """

    name: str
    flag: str
    kind: type
    several: bool = False
    mapping: bool = False
    required: bool = False
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class PartCommand:
    """A command that a part may name.

    ``run(**options, out=FOLDER, goes_on=..., progress=...)`` gives the summary, and raises
    :class:`~spinsim.studies.failed.CellsFailed` where cells failed. ``check(**options)`` raises InputError
    for what it would refuse. ``live``: its results come from real devices, and differ by themselves.
    """

    keys: Mapping[str, Key]
    run: Callable[..., Mapping[str, Any]]
    check: Callable[..., object]
    live: bool = False


@dataclass(frozen=True)
class Part:
    """A part. ``said``: its keys in the file, shared ones included; ``options``: what its command gets."""

    name: str
    command: str
    title: str
    description: str
    said: Mapping[str, Any]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class StudyPlan:
    """A study's file, checked: its parts in order. Their paths start at the file's folder."""

    path: Path
    name: str
    description: str
    parts: tuple[Part, ...]
    places: Places

    def part(self, name: str) -> Part:
        """The part of this name. Raises InputError where there is none."""
        for part in self.parts:
            if part.name == name:
                return part
        names = [part.name for part in self.parts]
        raise InputError(f"no part {name!r}; one of {one_of(names)}{did_you_mean(name, names)}", key="--only")

    def error(self, part: Part, message: str, *key: str) -> InputError:
        """An InputError at the line of a part, or of a key of it, which the top of the file may say."""
        whole = ("parts", part.name)
        shared = ("scenario" if key[:1] == ("scenarios",) else key[0], *key[1:]) if key else ()
        given = [(*whole, *key), shared, (*whole, *key[:1]), shared[:1], whole]
        path = next(path for path in given if path in self.places.places)
        return self.places.error(path, message)


class StudyFile(Section):
    """The top of the file. ``parts`` are read by their commands' options."""

    name: Name
    description: str = ""
    scenario: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    seed: Annotated[int, Field(ge=0)] | None = None
    seeds: Annotated[int, Field(ge=1)] | None = None
    metrics: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    parts: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]


def read_study(path: Path, commands: Mapping[str, PartCommand]) -> StudyPlan:
    """The plan that a study's YAML states. ``commands``: what a part may be, by name.

    ``scenario``, ``set``, ``seed``, ``seeds``, ``metrics`` and ``plugins`` at the top, as a sweep's file has
    them, hold for every part whose command takes them and that does not say otherwise; of ``set``, a part's
    keys come after. Raises InputError with a line for each key that is wrong; no scenario is read.
    """
    if not path.is_file():
        raise InputError("no such file; give the path of a study's YAML", file=str(path))
    document = parse(read_text(path), str(path))
    places = Places(document.places)
    if not isinstance(document.data, Mapping) or not {"parts", "name"} & document.data.keys():
        raise places.error((), "is no study; a mapping with at least name and parts")
    if "workload" in document.data:
        raise places.error(
            "workload", "of a scenario, not of a study, which has parts; `spinsim simulate` takes it"
        )
    try:
        content = StudyFile.model_validate(document.data, strict=True)
    except ValidationError as error:
        raise _together([places.error(key, said) for key, said in explain(error, StudyFile)]) from None
    shared = {key: value for key in SHARED if (value := getattr(content, key))}
    parts, problems = [], []
    for name, given in content.parts.items():
        found = list(_problems(name, given, shared, commands, places))
        if name == INPUTS:
            found.append(places.error(("parts", name), "is the folder of what a study reads; another name"))
        problems += found
        if not found:
            parts.append(_part(name, given, shared, commands[given["command"]], path.parent))
    if problems:
        raise _together(problems)
    return StudyPlan(path, content.name, content.description, tuple(parts), places)


def _together(errors: Sequence[InputError]) -> InputError:
    ordered = sorted(errors, key=lambda error: error.line)
    return ordered[0] if len(ordered) == 1 else InputErrors(ordered)


def _problems(
    name: str,
    given: Mapping[str, Any],
    shared: Mapping[str, Any],
    commands: Mapping[str, PartCommand],
    places: Places,
) -> Iterator[InputError]:
    """What is wrong with the keys of a part."""

    def at(key: str, message: str) -> InputError:
        return places.error(("parts", name, key), message)

    command = given.get("command")
    if not isinstance(command, str) or command not in commands:
        wrong = f"{show(command)} is no part" if "command" in given else "missing"
        close = did_you_mean(str(command), commands)
        yield at("command", f"{wrong}; one of {one_of(commands)}{close}")
        return
    keys = commands[command].keys
    for key in ("title", "description"):
        if not isinstance(given.get(key, ""), str):
            yield at(key, f"{show(given[key])} is not allowed; must be text")
    for key, value in given.items():
        if key in OWN:
            continue
        if key not in keys:
            allowed = [*OWN, *keys]
            yield at(
                key, f"unknown key of {command}; allowed: {', '.join(allowed)}{did_you_mean(key, allowed)}"
            )
        elif not _fits(value, keys[key]):
            yield at(key, f"{show(value)} is not allowed; must be {_wanted(keys[key])}")
    told = {*given, *(_scenarios(keys) if "scenario" in shared else ())}
    for wanted in keys.values():
        if wanted.required and wanted.name not in told:
            yield at(wanted.name, f"missing; must be {_wanted(wanted)}")


def _scenarios(keys: Mapping[str, Key]) -> list[str]:
    """What the command calls its scenario."""
    return [name for name in ("scenario", "scenarios") if name in keys]


def _fits(value: Any, key: Key) -> bool:
    """Whether a value of the YAML may be given to the option."""
    if isinstance(value, Mapping):
        return key.mapping and key.kind is not Path
    if isinstance(value, tuple):
        return key.several and all(_word_fits(each, key) for each in value)
    return _word_fits(value, key)


def _word_fits(value: Any, key: Key) -> bool:
    if key.kind is bool or isinstance(value, bool):
        return key.kind is bool and isinstance(value, bool)
    if key.kind in (int, float):
        if not isinstance(value, int | float if key.kind is float else int):
            return False
        return (key.least is None or value >= key.least) and (key.most is None or value <= key.most)
    return isinstance(value, str) and (not key.choices or value in key.choices)


def _wanted(key: Key) -> str:
    """What the option takes, in the words of a scenario's errors."""
    words = {bool: "true or false", int: "a whole number", float: "a number", Path: "the path of a file"}
    one = f"one of {one_of(key.choices)}" if key.choices else words.get(key.kind, "text")
    if key.least is not None:
        one += f" of at least {key.least:g}"
    if key.most is not None:
        one += f"{' and' if key.least is not None else ''} at most {key.most:g}"
    listed = f"{one}, or a list of such" if key.several else one
    return f"{listed}, or a mapping" if key.mapping and key.kind is not Path else listed


def _part(
    name: str, given: Mapping[str, Any], shared: Mapping[str, Any], command: PartCommand, folder: Path
) -> Part:
    own = {key: value for key, value in given.items() if key not in OWN}
    said = {key: value for key, value in shared.items() if key in command.keys and key != "scenario"}
    if "scenario" in shared:
        said |= dict.fromkeys(_scenarios(command.keys), shared["scenario"])
    said |= own
    if "set" in shared and "set" in own:
        said["set"] = (*_overrides(shared["set"]), *_overrides(own["set"]))
    options = {
        key: _below(folder, value) if command.keys[key].kind is Path else value for key, value in said.items()
    }
    return Part(name, given["command"], given.get("title", name), given.get("description", ""), said, options)


def _overrides(given: Any) -> tuple[str, ...]:
    """A ``set`` as texts, whichever way it was given."""
    if isinstance(given, Mapping):
        return tuple(override(key, value) for key, value in given.items())
    return (given,) if isinstance(given, str) else tuple(given)


def _below(folder: Path, value: Any) -> Any:
    """Paths that start at the study's folder."""
    if isinstance(value, tuple):
        return tuple(_below(folder, each) for each in value)
    return Path(os.path.normpath(folder / Path(value).expanduser()))


def in_the_file(error: InputError, plan: StudyPlan, part: Part, keys: Mapping[str, Key]) -> InputError:
    """A command's error about an option, at the key of the study's file that gave it.

    Commands name options as their command line does: ``--metric``, or ``--set KEY=VALUE``.
    """
    if isinstance(error, InputErrors):
        return InputErrors([in_the_file(each, plan, part, keys) for each in error.errors])
    flag, _, text = (error.file or error.key).partition(" ")
    flags = {key.flag: name for name, key in keys.items()} | {"grid": "grid", "slo": "slo"}
    name = flags.get(flag)
    if name is None and error.file:  # of a file that the part names, which is the place to look at
        return InputError(f"{error.message} (part {part.name})", error.key, error.file, error.line)
    if name is None:
        return plan.error(part, f"{error.key}: {error.message}" if error.key else error.message)
    inner = text.partition("=")[0].strip()
    said = error.message if not error.file or error.key in ("", inner) else f"{error.key}: {error.message}"
    return plan.error(part, said, name, inner)
