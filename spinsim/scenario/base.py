"""What the sections of a scenario are made of: the base of every mapping, and numbers with their limits."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
]  # goes into dotted keys and file names

# No duration (31 years), length or size is larger: 64 bits count nanoseconds up to 9.2e9 s.
MOST = 1e9
MOST_REQUESTS = 10_000_000  # of one run, which holds all of them in memory


def _whole(value: object) -> object:
    """``1e3`` is a whole number, as it is to JSON Schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


PositiveInt = Annotated[int, Field(gt=0, le=10**9), BeforeValidator(_whole)]
NaturalInt = Annotated[int, Field(ge=0, lt=1 << 63), BeforeValidator(_whole)]  # as YAML is read
Positive = Annotated[float, Field(gt=0, le=MOST)]
NotNegative = Annotated[float, Field(ge=0, le=MOST)]
Rate = Annotated[float, Field(ge=1 / MOST, le=MOST)]
Logit = Annotated[float, Field(ge=-MOST, le=MOST)]
MOST_WEIGHT = 1e300  # a sum of weights is still a number
Weight = Annotated[float, Field(ge=0, le=MOST_WEIGHT)]
Factor = Annotated[float, Field(ge=1, le=1e6)]
Share = Annotated[float, Field(ge=1e-6, le=1)]


class Section(BaseModel):
    """A mapping of the YAML: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def says(text: str, unit: str = "") -> Any:
    """The description of a key for editors and docs/scenario.md, and the unit of its value.

    It goes into the key's ``Annotated``.
    """
    return Field(description=text, json_schema_extra={"unit": unit} if unit else None)
