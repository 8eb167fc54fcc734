"""Sections of a scenario: what operations cost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spinsim.scenario.base import Factor, NotNegative, Section, Share, says


class ConstantCosts(Section):
    """Every operation takes the same time whatever its shape: for teaching and closed forms."""

    model: Literal["constant"]
    prefill_s: Annotated[NotNegative, says("A pass of the target over prompts.", "s")] = 0.0
    verify_s: Annotated[NotNegative, says("A verification.", "s")]
    draft_step_s: Annotated[
        NotNegative | dict[str, NotNegative], says("A draft's step, of all drafts or by draft.", "s")
    ] = 0.0
    catch_up_s: Annotated[NotNegative, says("A draft's catch-up.", "s")] = 0.0
    transfer_s: Annotated[NotNegative, says("Proposals sent to the target's device.", "s")] = 0.0
    orchestrator_s: Annotated[NotNegative, says("The host's work on an event.", "s")] = 0.0
    hop_s: Annotated[NotNegative, says("From a lane's thread to the orchestrator's.", "s")] = 0.0
    slowdown: Annotated[Factor, says("Of two lanes of a device, both busy.")] = 1.0


class RooflineCosts(Section):
    """From hardware sheets and model shapes: overhead + sum of max(bytes/bandwidth, flops/rate)."""

    model: Literal["roofline"]
    efficiency: Annotated[
        Share | None, says("Share of peak bandwidth and rate that is reached; left out, the sheet's.")
    ] = None
    graphs: Annotated[bool, says("CUDA graphs: launches cost little, shapes are bucketed.")] = True
    slowdown: Annotated[
        Factor | None,
        says("Of the target and a draft, both busy on one GPU; left out, by the law of contention."),
    ] = None


class ProfileCosts(Section):
    """Measured points of this or another machine, fitted."""

    model: Literal["profile"]
    path: Annotated[str, says("A file of `spinsim profile`, from the scenario's folder.")]
    allow_roofline: Annotated[bool, says("Beyond the profiled range: flag instead of refusing.")] = False


class LinearPass(Section):
    """Seconds of a pass: ``base_s`` + ``token_s`` * tokens + ``kv_token_s`` * KV tokens.

    Of a draft's proposal also ``pass_s`` * the longest row's tokens: it takes as many passes.
    """

    base_s: Annotated[NotNegative, says("Each pass takes.", "s")] = 0.0
    token_s: Annotated[NotNegative, says("Each token of the pass adds.", "s")] = 0.0
    kv_token_s: Annotated[NotNegative, says("Each KV token that the pass reads adds.", "s")] = 0.0
    pass_s: Annotated[NotNegative, says("Of each pass of a proposal; drafts alone.", "s")] = 0.0


class LinearCosts(Section):
    """Fits that others published. A draft's pass is a whole proposal; ``step_s`` is added to every
    verification.
    """

    model: Literal["linear"]
    target: Annotated[LinearPass, says("The target's verification.")]
    drafts: Annotated[dict[str, LinearPass], says("A proposal, by draft.")] = Field(default_factory=dict)
    prefill: Annotated[LinearPass | None, says("The target's prefill; left out, as its verification.")] = None
    catch_up: Annotated[LinearPass, says("A draft's catch-up.")] = LinearPass()
    step_s: Annotated[NotNegative, says("Added to every verification.", "s")] = 0.0


Costs = Annotated[ConstantCosts | RooflineCosts | ProfileCosts | LinearCosts, Field(discriminator="model")]
