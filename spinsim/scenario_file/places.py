"""Where a scenario's keys were given, and errors that point there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spinsim.errors import InputError, InputErrors, reason_of
from spinsim.scenario import Scenario
from spinsim.scenario.messages import Problem
from spinsim.scenario.yaml_places import KeyPath, Place


@dataclass(frozen=True, slots=True)
class Places:
    """Where each key of a scenario was given: a line of its file, or an override."""

    places: Mapping[KeyPath, Place]

    def of(self, key: str | KeyPath) -> Place:
        """The place of ``key``, or of the nearest key around it."""
        path = tuple(key.split(".")) if isinstance(key, str) else key
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place("", 0))

    def error(self, key: str | KeyPath, message: str) -> InputError:
        """An InputError about ``key`` at its place."""
        file, line = self.of(key)
        return InputError(message, key=key if isinstance(key, str) else ".".join(key), file=file, line=line)

    def locate(self, error: InputError) -> InputError:
        """``error`` at the place of its key, where that is a key of the scenario.

        A place of its own, in another file that the scenario names, becomes part of the message.
        """
        if error.key.split(".")[0] not in Scenario.model_fields:
            return error
        place = self.of(error.key)
        if error.file in ("", place.file):
            return error if error.line else self.error(error.key, error.message)
        return self.error(error.key, str(InputError(error.message, file=error.file, line=error.line)))


def read_text(path: Path) -> str:
    """A YAML file's text. Raises InputError for a file that cannot be read as UTF-8."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError("no such file; give the path of a scenario's YAML", file=str(path)) from None
    except IsADirectoryError:
        own = path / "scenario.yaml"  # of a results folder
        such = f", such as {own}" if own.is_file() else ""
        raise InputError(f"is a folder; give the path of a scenario's YAML{such}", file=str(path)) from None
    except (OSError, ValueError) as error:
        message = f"cannot be read: {reason_of(error)}; give a readable YAML file"
        raise InputError(message, file=str(path)) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError("not UTF-8 text; save it as UTF-8", file=str(path), line=line) from None


def together(places: Places, found: Iterable[Problem]) -> InputError:
    """One error for all of ``found``, in the order of their lines."""
    errors = sorted(
        (places.error(path, message) for path, message in found), key=lambda e: (e.line == 0, e.line)
    )
    return errors[0] if len(errors) == 1 else InputErrors(errors)
