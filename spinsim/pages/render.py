"""A page from its template: one HTML file with its styles, which asks for nothing else.

Jinja2 is imported when the first page is written, so that a command without pages starts no slower.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from spinsim.pages.palette import DARK, LIGHT
from spinsim.pages.run_terminal import NOTHING, duration, number, percent
from spinsim.user_cache import writable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment
    from markupsafe import Markup

_UNITS = re.compile(r" (?=(?:%|ms|s|us)\b|%)")


class Stat(NamedTuple):
    """One number of a headline. A unit behind the last space of ``value`` is set small, a number is not."""

    value: str
    label: str
    detail: str

    @property
    def parts(self) -> tuple[str, str]:
        """The figure, and its unit or nothing."""
        figure, _, unit = self.value.rpartition(" ")
        return (figure, unit) if figure and not unit[:1].isdigit() else (self.value, "")


class Cell(NamedTuple):
    """A table's cell that is more than text: ``colour`` puts a swatch before it."""

    text: str
    colour: str = ""
    css: str = ""
    style: str = ""
    title: str = ""
    href: str = ""


class Drawn(NamedTuple):
    """A figure: its SVG, and (name, colour) pairs of a legend below it."""

    svg: Markup
    legend: Sequence[tuple[str, str]] = ()


def page(template: str, **context: Any) -> str:
    """The page of a template of this package. Values are escaped unless they are ``Markup``.

    Raises jinja2.UndefinedError for a name that the template uses and ``context`` lacks.
    """
    return _environment().get_template(template).render(context)


def fragment(template: str, **context: Any) -> Markup:
    """As :func:`page`, for a part that goes into one."""
    from markupsafe import Markup

    return Markup(page(template, **context))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined

    compiled = writable("templates")  # compiling takes half of a page's time
    made = Environment(
        loader=PackageLoader("spinsim.pages"),
        bytecode_cache=FileSystemBytecodeCache(str(compiled)) if compiled else None,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": number,
        "percent": percent,
        "duration": duration,
        "thousands": lambda value: f"{value:,}",
        "unbroken": lambda text: _UNITS.sub("\N{NO-BREAK SPACE}", text),
        "sentence": lambda text: f"{text[:1].upper()}{text[1:]}.",
    }
    made.globals |= {"light": LIGHT, "dark": DARK, "nothing": NOTHING}
    return made
