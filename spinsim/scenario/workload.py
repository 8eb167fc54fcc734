"""The section ``workload``: when requests come, and how long they are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from spinsim.scenario.base import NaturalInt, Positive, PositiveInt, Rate, Section, says


class Fixed(Section):
    distribution: Literal["fixed"] = "fixed"
    value: Positive


class Uniform(Section):
    """Every integer (or real) from ``min`` to ``max`` alike."""

    distribution: Literal["uniform"]
    min: Positive
    max: Positive


class Lognormal(Section):
    """exp(Normal(ln median, sigma)), redrawn nowhere: values are clipped to [min, max]."""

    distribution: Literal["lognormal"]
    median: Positive
    sigma: Annotated[float, Field(ge=0)]
    min: Positive = 1
    max: Positive | None = None


class Empirical(Section):
    """``values`` drawn with ``weights`` (equal when left out)."""

    distribution: Literal["empirical"]
    values: Annotated[tuple[Positive, ...], Field(min_length=1)]
    weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None


Distribution = Annotated[Fixed | Uniform | Lognormal | Empirical, Field(discriminator="distribution")]


class Poisson(Section):
    process: Literal["poisson"]
    rate_per_s: Rate


class Gamma(Section):
    """Independent gamma gaps with mean 1/rate and the given coefficient of variation."""

    process: Literal["gamma"]
    rate_per_s: Rate
    cv: Annotated[float, Field(ge=1e-6, le=1e6)]


class ClosedLoop(Section):
    """``concurrency`` clients, each sending its next request when its last one ended."""

    process: Literal["closed"]
    concurrency: PositiveInt


class AllAtOnce(Section):
    process: Literal["at_once"]


class Replay(Section):
    """The source's own arrival times, ``rate_scale`` times as fast."""

    process: Literal["replay"]
    rate_scale: Rate = 1.0


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

    format: Literal[
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
        "spinsim",  # an acceptance trace: the prompts that it was recorded over
    ]
    path: str  # relative to the scenario; ``$NAME`` is taken from the environment
    columns: Annotated[
        Columns | None, says("Of csv and jsonl: left out, columns have the names of these keys.")
    ] = None
    skip: NaturalInt = 0
    limit: PositiveInt | None = None
    copies: PositiveInt = 1  # of every row, one after the other
    resample: bool = False  # draw rows by the seed, with replacement: seeds then differ as samples would
    start_s: Annotated[float, Field(ge=0)] | None = None
    end_s: PositiveFloat | None = None
    max_prompt_tokens: PositiveInt | None = None  # longer ones are cut to this
    max_output_tokens: PositiveInt | None = None


class WorkloadSpec(Section):
    arrivals: Arrivals
    requests: PositiveInt | None = None  # required without a source; with one, a cap (text sources repeat)
    prompt_tokens: Distribution | None = None  # with a source: replaces its prompt lengths
    output_tokens: Distribution | None = None
    source: Source | None = None
    patience_s: Distribution | None = None  # clients give up after this long; None: never
    # tokens still to come of requests that are met in the middle of their outputs; None: all begin anew
    mid_flight: Distribution | None = None
