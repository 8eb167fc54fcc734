"""Errors that the user can mend: one line that points at the place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class InputError(Exception):
    """Bad input. ``message`` reads "what is wrong; what is allowed".

    ``key`` is a dotted path of the scenario, ``file`` and ``line`` the place, where known. All are ``args``:
    simpy, and pickling, make a copy from those.
    """

    def __init__(self, message: str, key: str = "", file: str = "", line: int = 0) -> None:
        super().__init__(message, key, file, line)
        self.message = message
        self.key = key
        self.file = file
        self.line = line

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        text = ": ".join(part for part in (place, self.key, self.message) if part)
        # input quoted in an error may hold line breaks and control characters: the line stays one
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class InputErrors(InputError):
    """Several at once: a line each. The fields are those of the first."""

    def __init__(self, errors: Sequence[InputError]) -> None:
        first = errors[0]
        super().__init__(first.message, key=first.key, file=first.file, line=first.line)
        self.errors = tuple(errors)
        self.args = (self.errors,)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


def did_you_mean(given: str, allowed: Iterable[str], quote: str = "'", most: int = 1) -> str:
    """`` (did you mean 'x'?)``, or nothing where no name is close.

    Names that begin with what was given come first ("a100" means 'a100-40' or 'a100-80', not 'a10'). Else
    the ``most`` names that are written most alike are told. Large and small letters are the same.
    """
    names = {name.casefold(): name for name in allowed}
    wanted = given.casefold()
    longer = [name for name in names if len(wanted) > 1 and name.startswith(wanted)]
    close = longer if 0 < len(longer) <= 3 else get_close_matches(wanted, list(names), most)
    said = " or ".join(f"{quote}{names[name]}{quote}" for name in close)
    return f" (did you mean {said}?)" if said else ""


def reason_of(error: Exception) -> str:
    """Why something cannot be read, in one line.

    Without the number and the path that an OSError puts around it: the place is said beside.
    """
    said = getattr(error, "strerror", None) or str(error).strip()
    return str(said).splitlines()[0] if said else type(error).__name__
