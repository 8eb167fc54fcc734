"""What a scenario may say: one YAML for both worlds.

Pure data: building a scenario opens no file but the YAML itself. Reading, line numbers and
overrides are in :mod:`spinsim.scenario_file`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PositiveFloat, Tag

from spinsim.scenario.base import Factor, Name, NaturalInt, NotNegative, Positive, PositiveInt, Section, says
from spinsim.scenario.hardware_sheet import HardwareSheet
from spinsim.scenario.workload import WorkloadSpec

# --- models, devices, placement ---------------------------------------------------------------


class ModelSpec(Section):
    """A model: the shape that costs time and memory, and the weights that a live run loads."""

    shape: str  # a name of spinsim.costs.sheets.shapes, or the path of a transformers config.json
    weights: str = (
        "random"  # "random", "embedded:<name>", or what transformers loads (local folder or hub name)
    )
    dtype: Literal["bf16", "fp16", "fp32"] = "bf16"


class DraftSpec(ModelSpec):
    """A draft that is a model of its own."""

    kind: Literal["model"] = Field("model", exclude=True)  # a file that does not say so means it
    capacity: PositiveInt | None = None  # b_j: requests it may serve in one micro-batch


class DrafterChoice(BaseModel):
    """A draft of another ``kind``: one of :mod:`spinsim.drafters`, which says what other keys it has."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    kind: str
    capacity: PositiveInt | None = None

    @property
    def keys(self) -> dict[str, Any]:
        """The kind's own keys as given."""
        return dict(self.model_extra or {})


def _shape_of_draft(value: object) -> str:
    kind = value.get("kind", "model") if isinstance(value, Mapping) else getattr(value, "kind", "model")
    return "model" if kind == "model" else "other"


AnyDraft = Annotated[
    Annotated[DraftSpec, Tag("model")] | Annotated[DrafterChoice, Tag("other")],
    Discriminator(_shape_of_draft),
]


class ModelsSpec(Section):
    target: ModelSpec
    drafts: dict[Name, AnyDraft] = Field(default_factory=dict)

    @property
    def draft_models(self) -> dict[str, DraftSpec]:
        """The drafts that are models, with a shape and weights."""
        return {name: spec for name, spec in self.drafts.items() if isinstance(spec, DraftSpec)}


class DeviceSpec(Section):
    hardware: str | HardwareSheet  # a name of spinsim.costs.sheets.hardware, "cpu" for the host; or one's own
    memory_gib: Annotated[float, Field(gt=0, le=1e5)] | None = None  # None: from the sheet
    price_per_hour: Annotated[
        NotNegative | None, says("Price of an hour, in any currency; null: the sheet's.", "currency/h")
    ] = None

    @property
    def hardware_name(self) -> str:
        """What results and profiles call the hardware."""
        if isinstance(self.hardware, str):
            return self.hardware.lower()
        return self.hardware.name or self.hardware.base or "own"

    @property
    def on_cpu(self) -> bool:
        """Is it the host's processor?"""
        sheet = self.hardware
        return (sheet if isinstance(sheet, str) else sheet.base or "").lower() == "cpu"


class PlacementSpec(Section):
    target: Annotated[tuple[str, ...], Field(min_length=1)]  # several: tensor parallel
    drafts: dict[str, str] = Field(default_factory=dict)
    # on a GPU: a lane for each draft, or one in which its drafts take turns; a CPU has one lane for all
    draft_lanes: Literal["own", "shared"] = "own"


# --- costs and acceptance -----------------------------------------------------------------------


class ConstantCosts(Section):
    """Every operation takes the same time whatever its shape: for teaching and closed forms."""

    model: Literal["constant"]
    prefill_s: NotNegative = 0.0
    verify_s: NotNegative
    draft_step_s: NotNegative | dict[str, NotNegative] = 0.0
    catch_up_s: NotNegative = 0.0
    transfer_s: NotNegative = 0.0
    orchestrator_s: NotNegative = 0.0
    hop_s: NotNegative = 0.0
    slowdown: Factor = 1.0


class RooflineCosts(Section):
    """From hardware sheets and model shapes: overhead + sum of max(bytes/bandwidth, flops/rate)."""

    model: Literal["roofline"]
    efficiency: Annotated[float, Field(ge=1e-6, le=1)] | None = None  # None: the sheet's own defaults
    graphs: bool = True  # CUDA graphs: launches cost little, shapes are bucketed
    slowdown: Factor = 1.8  # of the target and a draft, both busy on one GPU; ours


class ProfileCosts(Section):
    """Measured points of this or another machine, fitted."""

    model: Literal["profile"]
    path: str
    allow_roofline: bool = False  # beyond the profiled range: flag instead of refusing


class LinearPass(Section):
    """Seconds of a pass: ``base_s`` + ``token_s`` * tokens + ``kv_token_s`` * KV tokens."""

    base_s: NotNegative = 0.0
    token_s: NotNegative = 0.0
    kv_token_s: NotNegative = 0.0


class LinearCosts(Section):
    """Fits that others published. A draft's pass is a whole proposal; ``step_s`` is added to every
    verification.
    """

    model: Literal["linear"]
    target: LinearPass
    drafts: dict[str, LinearPass] = Field(default_factory=dict)
    prefill: LinearPass | None = None  # None: as the target's
    catch_up: LinearPass = LinearPass()
    step_s: NotNegative = 0.0


Costs = Annotated[ConstantCosts | RooflineCosts | ProfileCosts | LinearCosts, Field(discriminator="model")]


class ConstantAcceptance(Section):
    """Each proposed token is accepted with the same probability, independently."""

    model: Literal["constant"]
    probability: Annotated[float, Field(ge=0, le=1)] | dict[str, Annotated[float, Field(ge=0, le=1)]]


class LogisticDomain(Section):
    weight: PositiveFloat = 1.0
    difficulty: float = 0.0  # added to the request's own
    affinity: dict[str, float] = Field(default_factory=dict)  # added to a draft's strength here


class LogisticAcceptance(Section):
    """p = sigmoid(strength + affinity - difficulty - drift), ours.

    A request's difficulty is Normal(``difficulty_mean``, ``difficulty_sd``); the drift is a
    stationary AR(1) along the output with standard deviation ``drift_sd`` and correlation
    length ``drift_tokens``.
    """

    model: Literal["logistic"]
    strength: dict[str, float]
    difficulty_mean: float = 0.0
    difficulty_sd: Annotated[float, Field(ge=0)] = 1.0
    drift_sd: Annotated[float, Field(ge=0)] = 0.0
    drift_tokens: Positive = 64.0
    domains: dict[str, LogisticDomain] = Field(default_factory=dict)


class TraceAcceptance(Section):
    """Recorded runs. ``drafts`` maps a draft of the scenario to a draft of the recording."""

    model: Literal["trace"]
    path: str
    format: Literal["spinsim", "specdecode_bench"] = "spinsim"
    drafts: dict[str, str] = Field(default_factory=dict)


Acceptance = Annotated[
    ConstantAcceptance | LogisticAcceptance | TraceAcceptance, Field(discriminator="model")
]


# --- policies, limits, metrics --------------------------------------------------------------------


class PolicyChoice(BaseModel):
    """``name`` is a registered policy; every other key is one of its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    name: str

    @property
    def params(self) -> dict[str, Any]:
        """The parameters as given."""
        return dict(self.model_extra or {})


class PoliciesSpec(Section):
    selector: PolicyChoice = PolicyChoice(name="fixed")
    length: PolicyChoice = PolicyChoice(name="fixed")
    packing: PolicyChoice = PolicyChoice(name="ragged")
    pipeline: PolicyChoice = PolicyChoice(name="serial")
    composition: PolicyChoice = PolicyChoice(name="round_robin")
    admission: PolicyChoice = PolicyChoice(name="fcfs")
    switching: Literal["blocking", "overlapped"] = "blocking"
    allow_none: bool = False  # is "no draft" among the arms?


class LimitsSpec(Section):
    batch: PositiveInt = 32  # requests decoding at once, over all micro-batches
    context_tokens: PositiveInt = 4096  # prompt + output; longer requests are rejected
    prefill_chunk_tokens: PositiveInt = 512
    max_length: PositiveInt = 8  # longest proposal


class KvSpec(Section):
    reserve: Literal["full", "grow"] = "full"
    block_tokens: PositiveInt = 16
    memory_fraction: Annotated[float, Field(gt=0, le=1)] = 0.9
    target_tokens: PositiveInt | None = None  # None: from memory
    draft_tokens: PositiveInt | None = None  # per draft

    def block(self, context_tokens: int) -> int:
        """Tokens that are handed out together: a slot of the whole context, or with ``grow`` a block."""
        return context_tokens if self.reserve == "full" else self.block_tokens

    def least(self, context_tokens: int) -> int:
        """The fewest tokens that hold one request of the whole context, which takes whole blocks."""
        return -(-context_tokens // self.block(context_tokens)) * self.block(context_tokens)

    def shortage(self, tokens: int, context_tokens: int) -> str:
        """Why a cache of ``tokens`` holds no request of the whole context, or empty where it does."""
        least, block = self.least(context_tokens), self.block(context_tokens)
        if tokens >= least:
            return ""
        blocks, whole = tokens // block, f"one request of limits.context_tokens, {context_tokens}"
        if self.reserve == "full":
            return f"{tokens} KV tokens do not hold {whole}; at least {least}"
        made = f"{blocks} block{'' if blocks == 1 else 's'} of kv.block_tokens, {block}"
        return f"{tokens} KV tokens are {made}, and do not hold {whole}; at least {least}"


class SloSpec(Section):
    ttft_s: PositiveFloat | None = None
    tpot_s: PositiveFloat | None = None


class MetricsSpec(Section):
    warmup_s: NotNegative = 0.0


GREEDY_BELOW = 1e-5  # temperatures below are 0: a logit divided by them may exceed what float32 holds


class SamplingSpec(Section):
    """How the target chooses tokens, in both worlds.

    ``generation_config``: a target's own settings (of generation_config.json) say where text ends. Those by
    which other tokens would be chosen, as by a repetition penalty, no run applies: ``follow`` refuses such a
    target, ``ignore`` runs it without them.
    """

    temperature: Annotated[float, Field(ge=0)] = 0.0  # below 1e-5: greedy
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    stop_at_end_of_text: bool = True  # live only; workloads of lengths only never stop early
    generation_config: Literal["follow", "ignore"] = "follow"  # live only

    @property
    def greedy(self) -> bool:
        """Is the most likely token taken, whatever ``top_p``?"""
        return self.temperature < GREEDY_BELOW


class LiveSpec(Section):
    # who says what is accepted: the models, or ``acceptance`` (every kernel runs, its verdict is replaced)
    acceptance: Literal["models", "field"] = "models"
    graphs: bool = True
    prompt_graphs: bool = True  # with graphs: prefill and catch-up too
    widen: bool = False  # run embedded weights at the cost of ``shape`` (a cost stand-in)


Deviation = Annotated[float, Field(ge=0, le=10)]  # e^10: beyond it is no noise
NoisyOperation = Literal["prefill", "catch_up", "propose", "verify"]
NoisyPart = Literal["prefill", "catch_up", "propose", "verify", "hop", "handling"]  # the host's as well


class NoiseSpec(Section):
    """What predictions are multiplied by: a factor per operation and run, and one per call.

    Standard deviations of the factors' logarithms, one for all operations or by operation (0 where
    left out). The host has a factor per run where it is named: ``hop`` (from thread to thread) and
    ``handling`` (all that the orchestrator does).

    ``other_text``: probability that a request's output departs, at any one of its tokens, from the recorded
    one. Acceptance is then drawn from blocks of the rest of its recording. Modelled acceptance is another
    text's with every seed, and is left as it is. Unsaid, a run has the recorded text, and intervals reckon
    with a rate of their own.
    """

    per_run_sd: Deviation | dict[NoisyPart, Deviation] = 0.0
    per_call_sd: Deviation | dict[NoisyOperation, Deviation] = 0.0
    other_text: Annotated[float, Field(ge=0, le=1)] | None = None


class Scenario(Section):
    name: Name
    description: str = ""
    seed: NaturalInt = 0
    workload: WorkloadSpec
    models: ModelsSpec
    devices: Annotated[dict[Name, DeviceSpec], Field(min_length=1)]
    placement: PlacementSpec
    costs: Costs
    acceptance: Acceptance
    policies: PoliciesSpec = PoliciesSpec()
    limits: LimitsSpec = LimitsSpec()
    kv: KvSpec = KvSpec()
    slo: SloSpec | None = None
    metrics: MetricsSpec = MetricsSpec()
    sampling: SamplingSpec = SamplingSpec()
    live: LiveSpec = LiveSpec()
    noise: NoiseSpec = NoiseSpec()
