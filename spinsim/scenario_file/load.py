"""Reading a scenario: YAML, overrides, validation, and errors that point at the line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from yaml import YAMLError

from spinsim.errors import InputError
from spinsim.packings import reads_copies
from spinsim.scenario import DeviceSpec, PlacementSpec, Scenario
from spinsim.scenario.messages import explain
from spinsim.scenario.yaml_places import Document, KeyPath, Place, dump, parse
from spinsim.scenario_file.checks import problems
from spinsim.scenario_file.hardware_files import with_hardware_files
from spinsim.scenario_file.places import Places, read_text, together

DEVICES = ("cpu", "cuda")
IN_MEMORY = "<text>"  # how errors name a scenario that is no file


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A valid scenario and where it came from. Relative paths in it start at ``base_dir``."""

    scenario: Scenario
    path: Path
    base_dir: Path
    places: Places


def load(
    path: Path | str | Mapping[str, Any],
    overrides: Sequence[str] = (),
    device: str | None = None,
    *,
    folder: Path | None = None,
) -> LoadedScenario:
    """Read, override and validate a scenario: a file, its text, or its contents.

    ``path``: a Path, or a text that names a file; a text with a line break is the YAML itself, and a
    mapping what the YAML would hold. Relative paths start at the scenario's folder; those in a text or a
    mapping at ``folder``, which is the working directory unless it is given.
    ``overrides`` are ``key.path=value`` with values in YAML, later ones winning; naming another
    policy drops the parameters that the file gave to the old one. ``device``
    ``cpu`` places every model on one CPU; ``cuda`` asks that no model is on a CPU.
    Raises InputError, with a line per problem found.
    """
    file, given = _parsed(path)
    base = file.parent if folder is None else folder
    document = apply_overrides(given, overrides)
    places = Places(document.places)
    scenario = with_hardware_files(_with_dense_slots(_validated(document, places)), base, places)
    if found := list(problems(scenario, base)):
        raise together(places, found)
    if device is not None:
        scenario = on_device(scenario, device)
    return LoadedScenario(scenario, file, base, places)


def _with_dense_slots(scenario: Scenario) -> Scenario:
    """Whole slots where nothing is said of how K/V are handed out and a packing reads padded copies.

    Such a copy is a rectangle as long as the longest row: slots of the whole context always have room for
    it, and blocks for the rows as they are have not.
    """
    packing, kv = scenario.policies.packing, scenario.kv
    among = packing.params.get("among")
    planned = among if isinstance(among, list | tuple) and all(isinstance(one, str) for one in among) else ()
    if kv.model_fields_set & {"reserve", "block_tokens"} or not reads_copies(packing.name, planned):
        return scenario
    return scenario.model_copy(update={"kv": kv.model_copy(update={"reserve": "full"})})


def _parsed(path: Path | str | Mapping[str, Any]) -> tuple[Path, Document]:
    """The contents, and the file that relative paths start beside; a made up name where there is none."""
    if isinstance(path, Mapping):
        try:
            text = dump(dict(path))
        except (YAMLError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"holds what no YAML can: {reason}; texts, numbers, lists, mappings") from None
        return Path(IN_MEMORY), parse(text, "")
    if isinstance(path, str) and "\n" in path:
        return Path(IN_MEMORY), parse(path, IN_MEMORY)
    file = Path(path)
    return file, parse(read_text(file), str(file))


def apply_overrides(document: Document, overrides: Sequence[str]) -> Document:
    """``document`` with each ``key.path=value`` put in, mappings made where there are none."""
    places = dict(document.places)
    data = document.data
    for text in overrides:
        key, equals, value_text = text.partition("=")
        path = tuple(key.strip().split("."))
        place = Place(set_place(text), 0)
        if not equals or not all(path):
            raise InputError("not an override; write key.path=value", file=place.file)
        try:
            value = parse(value_text, place.file)
        except InputError as error:
            raise InputError(error.message, key=key.strip(), file=place.file) from None
        before = data
        data = _put(data, path, value.data, place, places, ())
        if len(path) == 3 and path[0] == "policies" and path[2] == "name" and data != before:
            data = _without_old_parameters(data, path, places)
        for inner in value.places:
            places[path + inner] = place
    return Document(data, places)


def set_place(override: str) -> str:
    """How errors name an override: the option, shortened."""
    return f"--set {override if len(override) <= 60 else override[:57] + '...'}"


def _without_old_parameters(data: Any, path: KeyPath, places: dict[KeyPath, Place]) -> Any:
    """Another policy was named: the parameters that the file gave to the old one go with it."""
    section, kind, _ = path
    kept = {
        key: value
        for key, value in data[section][kind].items()
        if key == "name" or places[section, kind, str(key)].line == 0  # line 0: set by an override
    }
    return {**data, section: {**data[section], kind: kept}}


def _put(
    data: Any, path: KeyPath, value: Any, place: Place, places: dict[KeyPath, Place], done: KeyPath
) -> Any:
    """A copy of ``data`` with ``value`` at ``path``; forgets the places of what it replaces."""
    if not path:
        for known in [known for known in places if known[: len(done)] == done]:
            del places[known]
        return value
    here = (*done, path[0])
    if isinstance(data, tuple):
        if not path[0].isascii() or not path[0].isdigit() or int(path[0]) >= len(data):
            allowed = f"0 to {len(data) - 1}" if data else "none, the list is empty"
            raise InputError(f"no such item; allowed: {allowed}", key=".".join(here), file=place.file)
        index = int(path[0])
        return (*data[:index], _put(data[index], path[1:], value, place, places, here), *data[index + 1 :])
    if data is not None and not isinstance(data, Mapping):
        raise InputError(
            f"cannot be set, {'.'.join(done)} holds a value; set {'.'.join(done)} itself",
            key=".".join(here),
            file=place.file,
        )
    if data is None:
        places[done] = place
    return {**(data or {}), path[0]: _put((data or {}).get(path[0]), path[1:], value, place, places, here)}


def resolved_yaml(loaded: LoadedScenario) -> str:
    """The scenario as YAML with nothing left open: defaults stated, overrides in, paths absolute.

    Loading it gives the same scenario from any folder. Paths that begin with ``$`` or ``~`` stay.
    """
    values = loaded.scenario.model_dump(mode="json")
    base = loaded.base_dir.resolve()
    models = [values["models"]["target"], *values["models"]["drafts"].values()]
    paths = [
        (values["workload"]["source"], "path"),
        (values["costs"], "path"),
        (values["acceptance"], "path"),
    ]
    for section, key in [*paths, *((model, key) for model in models for key in ("shape", "weights"))]:
        path = (section or {}).get(key)
        # shapes and weights may be names instead: what is no file here is left as it is
        if path and not path.startswith(("$", "~")) and (key == "path" or os.path.exists(base / path)):
            section[key] = str(base / path)
    return dump(values)


def on_device(scenario: Scenario, device: str) -> Scenario:
    """``scenario`` with all models on one CPU, or unchanged when they are on GPUs already."""
    if device not in DEVICES:
        raise InputError(f"{device!r} is not a device; one of {', '.join(DEVICES)}", key="--device")
    if device == "cuda":
        for name, spec in scenario.devices.items():
            if spec.on_cpu:
                raise InputError(
                    f"device {name!r} is a CPU; say which GPU it becomes with --set devices.{name}.hardware=",
                    key="--device cuda",
                )
        return scenario
    placement = PlacementSpec(target=("cpu",), drafts=dict.fromkeys(scenario.placement.drafts, "cpu"))
    devices = {"cpu": DeviceSpec(hardware="cpu")}
    return scenario.model_copy(update={"devices": devices, "placement": placement})


def _validated(document: Document, places: Places) -> Scenario:
    if not isinstance(document.data, Mapping):
        wrong = "is empty" if document.data is None else "is not a mapping"
        raise places.error((), f"{wrong}; a scenario is a mapping with at least name, workload, models")
    try:
        return Scenario.model_validate(document.data, strict=True)
    except ValidationError as error:
        raise together(places, explain(error, Scenario)) from None
