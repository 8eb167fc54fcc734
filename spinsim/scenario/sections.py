"""A scenario as a whole, and its sections of models, policies, limits and both worlds.

Pure data: building a scenario opens no file but the YAML itself. Reading, line numbers and
overrides are in :mod:`spinsim.scenario_file`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PositiveFloat, Tag

from spinsim.scenario.acceptance import Acceptance
from spinsim.scenario.base import Name, NaturalInt, NotNegative, PositiveInt, Section, says
from spinsim.scenario.costs import Costs
from spinsim.scenario.hardware_sheet import HardwareSheet
from spinsim.scenario.workload import WorkloadSpec


class ModelSpec(Section):
    """A model: the shape that costs time and memory, and the weights that a live run loads."""

    shape: Annotated[str, says("A name of `spinsim list shapes`, or the path of a transformers config.json.")]
    weights: Annotated[
        str,
        says(
            "`random` (a shape of LLaMA, Qwen2 or Qwen3), `embedded:NAME` of the family, "
            "or what transformers loads (a folder, a name)."
        ),
    ] = "random"
    dtype: Annotated[Literal["bf16", "fp16", "fp32"], says("Of weights and K/V.")] = "bf16"
    quantization: Annotated[
        Literal["fp8", "int4"] | None,
        says("How the matrices of the layers are stored; null: in dtype, or as config.json says. Simulated."),
    ] = None


class DraftSpec(ModelSpec):
    """A draft that is a model of its own."""

    kind: Annotated[Literal["model"], says("A model; left out, it is one.")] = Field(
        "model", exclude=True
    )  # a file that does not say so means it
    capacity: Annotated[
        PositiveInt | None, says("Requests it may serve in one micro-batch (SPIN's b_j).", "requests")
    ] = None


class DrafterChoice(BaseModel):
    """A draft of another ``kind``: one of :mod:`spinsim.drafters`, which says what other keys it has."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    kind: Annotated[str, says("The kind: `ngram`, `suffix`, `head`, or a plugin's.")]
    capacity: Annotated[
        PositiveInt | None, says("Requests it may serve in one micro-batch (SPIN's b_j).", "requests")
    ] = None

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
    """The models."""

    target: Annotated[ModelSpec, says("The model whose output is served.")]
    drafts: Annotated[dict[Name, AnyDraft], says("Models that propose, by the name that policies use.")] = (
        Field(default_factory=dict)
    )

    @property
    def draft_models(self) -> dict[str, DraftSpec]:
        """The drafts that are models, with a shape and weights."""
        return {name: spec for name, spec in self.drafts.items() if isinstance(spec, DraftSpec)}


class DeviceSpec(Section):
    """A device. Live, GPUs are numbered in the scenario's order."""

    hardware: Annotated[
        str | HardwareSheet,
        says("A name of `spinsim list hardware`, a sheet of one's own, or the path of a YAML file with one."),
    ]
    memory_gib: Annotated[
        Annotated[float, Field(gt=0, le=1e5)] | None, says("Memory; left out, the sheet's.", "GiB")
    ] = None
    price_per_hour: Annotated[
        NotNegative | None,
        says("Price of an hour, in any currency; left out, the sheet's.", "currency/h"),
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
    """Which model is on which device."""

    target: Annotated[tuple[str, ...], Field(min_length=1), says("Its device; several are tensor parallel.")]
    drafts: Annotated[dict[str, str], says("A device for each draft.")] = Field(default_factory=dict)
    draft_lanes: Annotated[
        Literal["own", "shared"],
        says(
            "On a GPU: a lane for each draft, or one in which its drafts take turns. A CPU has one for all."
        ),
    ] = "own"


class PolicyChoice(BaseModel):
    """``name`` is a registered policy; every other key is one of its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    name: str

    @property
    def params(self) -> dict[str, Any]:
        """The parameters as given."""
        return dict(self.model_extra or {})


class PoliciesSpec(Section):
    """The policies, by name and parameters: docs/policies.md describes each."""

    selector: Annotated[PolicyChoice, says("Which draft for which request.")] = PolicyChoice(name="fixed")
    length: Annotated[PolicyChoice, says("How many tokens a proposal has.")] = PolicyChoice(name="fixed")
    packing: Annotated[PolicyChoice, says("How a verification's rows are laid out.")] = PolicyChoice(
        name="ragged"
    )
    pipeline: Annotated[PolicyChoice, says("How many micro-batches there are.")] = PolicyChoice(name="serial")
    composition: Annotated[PolicyChoice, says("Which requests share a micro-batch.")] = PolicyChoice(
        name="round_robin"
    )
    admission: Annotated[PolicyChoice, says("Which waiting request is admitted next.")] = PolicyChoice(
        name="fcfs"
    )
    switching: Annotated[
        Literal["blocking", "overlapped"],
        says("A new draft catches up before the next round, or beside the current drafting (SPIN's way)."),
    ] = "blocking"
    allow_none: Annotated[bool, says("Is `no draft` among the selector's choices?")] = False


class LimitsSpec(Section):
    """What is served at once, and how large it may be."""

    batch: Annotated[
        PositiveInt, says("Requests that decode at once, over all micro-batches.", "requests")
    ] = 32
    context_tokens: Annotated[
        PositiveInt, says("Prompt and output together; longer requests are rejected.", "tokens")
    ] = 4096
    prefill_chunk_tokens: Annotated[PositiveInt, says("Prompt tokens of one pass.", "tokens")] = 512
    prefill: Annotated[
        Literal["apart", "merged"],
        says("Prompts' chunks have passes of their own, or go into those that verify. merged: simulated."),
    ] = "apart"
    max_length: Annotated[PositiveInt, says("The longest proposal.", "tokens")] = 8


class KvSpec(Section):
    """Memory for keys and values."""

    reserve: Annotated[
        Literal["full", "grow"],
        says(
            "A slot of the whole context at admission, or blocks as needed, which may preempt. "
            "Left out with the packing `padded`, it is `full`."
        ),
    ] = "grow"
    block_tokens: Annotated[PositiveInt, says("Size of a block, with `reserve: grow`.", "tokens")] = 16
    memory_fraction: Annotated[
        Annotated[float, Field(gt=0, le=1)], says("Share of a device's memory that may be used.")
    ] = 0.9
    target_tokens: Annotated[
        PositiveInt | None, says("The target's cache; left out, what memory allows.", "tokens")
    ] = None
    draft_tokens: Annotated[
        PositiveInt | None, says("Each draft's cache; left out, what memory allows.", "tokens")
    ] = None
    prefix_cache: Annotated[
        bool, says("Do prompts that begin alike (hash_ids of a source) share their K/V? Simulated.")
    ] = False
    dtype: Annotated[
        Literal["model", "fp8"], says("What K and V are kept in: the model's dtype, or a byte. Simulated.")
    ] = "model"

    @property
    def paged_by(self) -> int:
        """Tokens of a block with ``grow``; 0: whole slots."""
        return self.block_tokens if self.reserve == "grow" else 0

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
    """Objectives that a request meets or not; at least one of them."""

    ttft_s: Annotated[PositiveFloat | None, says("Time to the first token, at most.", "s")] = None
    tpot_s: Annotated[PositiveFloat | None, says("Time per output token after it, at most.", "s")] = None


class MetricsSpec(Section):
    """What is measured."""

    warmup_s: Annotated[NotNegative, says("Metrics begin after this long.", "s")] = 0.0


GREEDY_BELOW = 1e-5  # temperatures below are 0: a logit divided by them may exceed what float32 holds


class SamplingSpec(Section):
    """How the target chooses tokens, in both worlds.

    ``generation_config``: a target's own settings (of generation_config.json) say where text ends. Those by
    which other tokens would be chosen, as by a repetition penalty, no run applies: ``follow`` refuses such a
    target, ``ignore`` runs it without them.
    """

    temperature: Annotated[NotNegative, says("Of the target's distribution; below 1e-5 is greedy.")] = 0.0
    top_p: Annotated[
        Annotated[float, Field(gt=0, le=1)], says("The most likely tokens that make up this probability.")
    ] = 1.0
    stop_at_end_of_text: Annotated[
        bool, says("May text end before its output length? Workloads of lengths only never stop early.")
    ] = True
    generation_config: Annotated[
        Literal["follow", "ignore"],
        says("A target whose own settings would choose other tokens is refused, or run without them."),
    ] = "follow"

    @property
    def greedy(self) -> bool:
        """Is the most likely token taken, whatever ``top_p``?"""
        return self.temperature < GREEDY_BELOW


class LiveSpec(Section):
    """How models run live."""

    acceptance: Annotated[
        Literal["models", "field"],
        says("Who says what is accepted: the models, or `acceptance`; every kernel runs all the same."),
    ] = "models"
    graphs: Annotated[bool, says("CUDA graphs.")] = True
    prompt_graphs: Annotated[bool, says("With graphs: of prefill and catch-up, too.")] = True
    widen: Annotated[bool, says("On GPUs: embedded weights as large as `shape` (a cost stand-in).")] = False


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

    per_run_sd: Annotated[
        Deviation | dict[NoisyPart, Deviation], says("Of a factor per run: of all, or by operation.")
    ] = 0.0
    per_run_shift: Annotated[
        dict[NoisyPart, Annotated[float, Field(ge=-10, le=10)]],
        says("Logarithm of a further factor per run that is known, by operation."),
    ] = Field(default_factory=dict)
    per_call_sd: Annotated[
        Deviation | dict[NoisyOperation, Deviation], says("Of a factor per call: of all, or by operation.")
    ] = 0.0
    other_text: Annotated[
        Annotated[float, Field(ge=0, le=1)] | None,
        says("Probability, at each token, that an output departs from the recorded one."),
    ] = None


class Scenario(Section):
    """One YAML for both worlds."""

    name: Annotated[Name, says("What results are called.")]
    description: Annotated[str, says("What it shows, for people.")] = ""
    seed: Annotated[NaturalInt, says("Of every random stream.")] = 0
    workload: Annotated[WorkloadSpec, says("The requests.")]
    models: Annotated[ModelsSpec, says("Target and drafts.")]
    devices: Annotated[dict[Name, DeviceSpec], Field(min_length=1), says("Devices by name.")]
    placement: Annotated[PlacementSpec, says("Which model is on which device.")]
    costs: Annotated[Costs, says("What operations cost.")]
    acceptance: Annotated[Acceptance, says("How many proposed tokens are accepted.")]
    policies: Annotated[PoliciesSpec, says("What decides.")] = PoliciesSpec()
    limits: Annotated[LimitsSpec, says("What is served at once, and how large it may be.")] = LimitsSpec()
    kv: Annotated[KvSpec, says("Memory for keys and values.")] = KvSpec()
    slo: Annotated[SloSpec | None, says("Objectives; left out, none.")] = None
    metrics: Annotated[MetricsSpec, says("What is measured.")] = MetricsSpec()
    sampling: Annotated[SamplingSpec, says("How the target chooses tokens.")] = SamplingSpec()
    live: Annotated[LiveSpec, says("How models run live.")] = LiveSpec()
    noise: Annotated[NoiseSpec, says("What predictions are multiplied by.")] = NoiseSpec()
