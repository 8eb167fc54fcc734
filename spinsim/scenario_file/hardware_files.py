"""Hardware sheets in files of their own: read when the scenario is loaded, and part of it from then on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from spinsim.errors import InputError
from spinsim.scenario import HardwareSheet, Scenario
from spinsim.scenario.messages import Problem, explain
from spinsim.scenario.yaml_places import parse
from spinsim.scenario_file.model_checks import asked
from spinsim.scenario_file.places import Places, read_text, together

ENDINGS = (".yaml", ".yml", ".json")


def with_hardware_files(scenario: Scenario, base_dir: Path, places: Places) -> Scenario:
    """``scenario`` with the sheets that its devices name by path; relative paths start at ``base_dir``.

    Raises InputError at the device for a file that cannot be read, and at the file's own line for what is
    wrong in it.
    """
    devices = dict(scenario.devices)
    for name, device in devices.items():
        named = device.hardware
        if not isinstance(named, str) or not named.lower().endswith(ENDINGS):
            continue
        try:
            sheet = read_hardware_sheet(base_dir / Path(named).expanduser())
        except FileNotFoundError:
            raise places.error(
                f"devices.{name}.hardware",
                f"no such file, {base_dir / named}; the path of a hardware sheet, or a shipped sheet's name",
            ) from None
        devices[name] = device.model_copy(update={"hardware": sheet})
    return scenario.model_copy(update={"devices": devices})


def read_hardware_sheet(path: Path) -> HardwareSheet:
    """The sheet in a YAML file, named after the file unless it has a name.

    Raises FileNotFoundError, and InputError with a line per problem.
    """
    from spinsim.costs.sheets.own_hardware import hardware_sheet

    if not path.exists():
        raise FileNotFoundError(path)
    document = parse(read_text(path), str(path))
    places = Places(document.places)
    if not isinstance(document.data, Mapping):
        wrong = "is empty" if document.data is None else "is not a mapping"
        raise InputError(f"{wrong}; a hardware sheet is a mapping, as devices.NAME.hardware", file=str(path))
    try:
        sheet = HardwareSheet.model_validate({"name": path.stem, **document.data}, strict=True)
    except ValidationError as error:
        raise together(places, explain(error, HardwareSheet)) from None
    problems: list[Problem] = list(asked(partial(hardware_sheet, sheet)))
    if problems:
        raise together(places, problems)
    return sheet
