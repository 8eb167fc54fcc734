"""Sections of a scenario: what requests there are, when they come, and how long they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveFloat

from spinsim.scenario.base import (
    NaturalInt,
    NotNegative,
    Positive,
    PositiveInt,
    Rate,
    Section,
    Weight,
    says,
)


class Fixed(Section):
    """Always ``value``; a number alone says the same."""

    distribution: Literal["fixed"] = "fixed"
    value: Annotated[Positive, says("The value.")]


class Uniform(Section):
    """Every integer (or real) from ``min`` to ``max`` alike."""

    distribution: Literal["uniform"]
    min: Annotated[Positive, says("The least value.")]
    max: Annotated[Positive, says("The largest value.")]


class Lognormal(Section):
    """exp(Normal(ln median, sigma)), redrawn nowhere: values are clipped to [min, max]."""

    distribution: Literal["lognormal"]
    median: Annotated[Positive, says("Half of the values are below it.")]
    sigma: Annotated[NotNegative, says("Standard deviation of the logarithm.")]
    min: Annotated[Positive, says("Lesser values become this.")] = 1
    max: Annotated[Positive | None, says("Larger values become this.")] = None


class Empirical(Section):
    """``values`` drawn with ``weights`` (equal when left out)."""

    distribution: Literal["empirical"]
    values: Annotated[tuple[Positive, ...], Field(min_length=1), says("What is drawn from.")]
    weights: Annotated[tuple[Weight, ...] | None, says("One for each value; left out, all alike.")] = None


def _fixed(given: object) -> object:
    """A number alone, or as ``value`` alone, is that number always."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        given = {"value": given}
    if isinstance(given, Mapping) and "value" in given:
        return {"distribution": "fixed", **given}
    return given


_Drawn = Annotated[Fixed | Uniform | Lognormal | Empirical, Field(discriminator="distribution")]
Distribution = Annotated[_Drawn, BeforeValidator(_fixed, json_schema_input_type=_Drawn | Positive)]


class Poisson(Section):
    """Independent exponential gaps: an open loop."""

    process: Literal["poisson"]
    rate_per_s: Annotated[Rate, says("Mean rate.", "requests/s")]


class Gamma(Section):
    """Independent gamma gaps with mean 1/rate and the given coefficient of variation."""

    process: Literal["gamma"]
    rate_per_s: Annotated[Rate, says("Mean rate.", "requests/s")]
    cv: Annotated[
        Annotated[float, Field(ge=1e-6, le=1e6)], says("Of the gaps: above 1 requests come in bursts.")
    ]


class ClosedLoop(Section):
    """``concurrency`` clients, each sending its next request when its last one ended."""

    process: Literal["closed"]
    concurrency: Annotated[PositiveInt, says("How many clients.")]


class AllAtOnce(Section):
    """Every request at 0 s."""

    process: Literal["at_once"]


class Replay(Section):
    """The source's own arrival times, ``rate_scale`` times as fast."""

    process: Literal["replay"]
    rate_scale: Annotated[Rate, says("How many times as fast as recorded.")] = 1.0


Arrivals = Annotated[Poisson | Gamma | ClosedLoop | AllAtOnce | Replay, Field(discriminator="process")]


class Columns(Section):
    """Which column (CSV) or key (JSON Lines; dotted where nested) of one's own traffic holds what."""

    arrival: Annotated[
        str | None, says("When the request arrives: a number, or a date and time (ISO 8601).")
    ] = None
    arrival_unit: Annotated[
        Literal["s", "ms", "us", "ns"], says("What an arrival that is a number counts.")
    ] = "s"
    prompt: Annotated[
        str | None, says("Prompt length; left out, four bytes of text are a token.", "tokens")
    ] = None
    output: Annotated[str | None, says("Output length.", "tokens")] = None
    text: Annotated[str | None, says("The prompt's text, which a live run feeds to the models.")] = None
    domain: Annotated[str | None, says("The request's category.")] = None
    id: Annotated[str | None, says("The request's name; left out, its number in the file.")] = None


class Source(Section):
    """A public trace or data set on the user's disk, or traffic of the user's own (csv, jsonl)."""

    format: Annotated[
        Literal[
            "csv",
            "jsonl",
            "azure",
            "mooncake",
            "burstgpt",
            "sharegpt",
            "spec_bench",
            "alpaca",
            "gsm8k",
            "prompt_csv",
            "specdecode_bench",
            "spinsim",
        ],
        says("How the file is read: `spinsim list formats`; `spinsim` is a recording of `spinsim trace`."),
    ]
    path: Annotated[str, says("The file, from the scenario's folder; `$NAME` is taken from the environment.")]
    columns: Annotated[
        Columns | None, says("Of csv and jsonl: left out, columns have the names of these keys.")
    ] = None
    skip: Annotated[NaturalInt, says("Rows left out at the beginning.", "rows")] = 0
    limit: Annotated[PositiveInt | None, says("Rows kept at most; left out, all.", "rows")] = None
    copies: Annotated[PositiveInt, says("How often each row is taken, one after the other.")] = 1
    resample: Annotated[
        bool, says("Draw rows by the seed, with replacement: seeds then differ as samples would.")
    ] = False
    start_s: Annotated[
        Annotated[float, Field(ge=0)] | None, says("Rows from this time of the file on.", "s")
    ] = None
    end_s: Annotated[PositiveFloat | None, says("Rows before this time of the file.", "s")] = None
    max_prompt_tokens: Annotated[PositiveInt | None, says("Longer prompts are cut to this.", "tokens")] = None
    max_output_tokens: Annotated[PositiveInt | None, says("Longer outputs are cut to this.", "tokens")] = None


class WorkloadSpec(Section):
    """The requests. Without a source, ``requests`` and both lengths are needed."""

    arrivals: Annotated[Arrivals, says("When requests come.")]
    requests: Annotated[
        PositiveInt | None,
        says("How many; a source with fewer is repeated, but a replay takes it as a cap.", "requests"),
    ] = None
    prompt_tokens: Annotated[
        Distribution | None, says("Prompt lengths; with a source, in place of its own.", "tokens")
    ] = None
    output_tokens: Annotated[
        Distribution | None, says("Output lengths; with a source, in place of its own.", "tokens")
    ] = None
    source: Annotated[Source | None, says("A file of requests.")] = None
    patience_s: Annotated[
        Distribution | None, says("Clients give up after this long; left out, never.", "s")
    ] = None
    mid_flight: Annotated[
        Distribution | None,
        says(
            "Tokens still to come of requests met in the middle of their outputs; left out, all begin.",
            "tokens",
        ),
    ] = None
