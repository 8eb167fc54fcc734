"""Sections of a scenario: how many proposed tokens the target accepts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spinsim.scenario.base import MOST_WEIGHT, Logit, NotNegative, Positive, Section, says

Probability = Annotated[float, Field(ge=0, le=1)]
Matches = Annotated[
    Literal["unknown", "modelled"],
    says(
        "What `ngram` and `suffix` find. `unknown`: as many tokens as they are asked for. `modelled`: "
        "matches that go with what is accepted, and at times nothing."
    ),
]


class ConstantAcceptance(Section):
    """Each proposed token is accepted with the same probability, independently."""

    model: Literal["constant"]
    probability: Annotated[Probability | dict[str, Probability], says("Of all drafts, or by draft.")]
    matches: Matches = "unknown"


class LogisticDomain(Section):
    """A kind of requests."""

    weight: Annotated[
        Annotated[float, Field(gt=0, le=MOST_WEIGHT)],
        says("Its share, over the sum, of requests without a domain."),
    ] = 1.0
    difficulty: Annotated[Logit, says("Added to the request's own.")] = 0.0
    affinity: Annotated[dict[str, Logit], says("Added to a draft's strength here, by draft.")] = Field(
        default_factory=dict
    )


class LogisticAcceptance(Section):
    """p = sigmoid(strength + affinity - difficulty - drift), ours.

    A request's difficulty is Normal(``difficulty_mean``, ``difficulty_sd``); the drift is a
    stationary AR(1) along the output with standard deviation ``drift_sd`` and correlation
    length ``drift_tokens``.
    """

    model: Literal["logistic"]
    strength: Annotated[dict[str, Logit], says("How often a draft is accepted, on the scale of logits.")]
    difficulty_mean: Annotated[Logit, says("Mean of the requests' difficulty.")] = 0.0
    difficulty_sd: Annotated[NotNegative, says("Standard deviation of the requests' difficulty.")] = 1.0
    drift_sd: Annotated[NotNegative, says("Standard deviation of the drift along an output.")] = 0.0
    drift_tokens: Annotated[Positive, says("Correlation length of the drift.", "tokens")] = 64.0
    domains: Annotated[dict[str, LogisticDomain], says("Kinds of requests by name.")] = Field(
        default_factory=dict
    )
    matches: Matches = "unknown"


class TraceAcceptance(Section):
    """Recorded runs. ``drafts`` maps a draft of the scenario to a draft of the recording."""

    model: Literal["trace"]
    path: Annotated[str, says("The recording, from the scenario's folder.")]
    format: Annotated[
        Literal["spinsim", "specdecode_bench"], says("`spinsim`: as `spinsim trace` writes it.")
    ] = "spinsim"
    drafts: Annotated[
        dict[str, str], says("The recording's drafts by those of the scenario, where names differ.")
    ] = Field(default_factory=dict)
    entropies: Annotated[
        Literal["recorded", "modelled"],
        says("How sure drafts were, for the length `adaedl`. `modelled`: drawn with what was accepted."),
    ] = "recorded"


Acceptance = Annotated[
    ConstantAcceptance | LogisticAcceptance | TraceAcceptance, Field(discriminator="model")
]
