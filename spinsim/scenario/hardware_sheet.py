"""A device of the user's own, described in the scenario or in a file of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from spinsim.scenario.base import Name, NotNegative, Section, Share, says

Peak = Annotated[float, Field(ge=1e-6, le=1e9)]


class Flops(Section):
    """The data sheet's rates of dense matrix products, without sparsity."""

    bf16: Annotated[Peak | None, says("Peak in bf16.", "TFLOP/s")] = None
    fp16: Annotated[Peak | None, says("Peak in fp16.", "TFLOP/s")] = None
    fp32: Annotated[Peak | None, says("Peak in fp32.", "TFLOP/s")] = None
    fp8: Annotated[Peak | None, says("Peak in fp8.", "TFLOP/s")] = None


class AllReduce(Section):
    """An all-reduce between two such devices; of more by the law of ``spinsim.costs.collectives``."""

    latency_s: Annotated[NotNegative, says("Of an all-reduce of nothing.", "s")]
    efficiency: Annotated[Share, says("Share of the link's bandwidth at which large tensors move.")]
    most_mib: Annotated[Peak | None, says("Larger tensors do not go this way.", "MiB")] = None


class Collectives(Section):
    """The algorithms that a model over several devices can take; the fastest for a size is charged."""

    ring: Annotated[AllReduce | None, says("As NCCL's ring.")] = None
    one_shot: Annotated[AllReduce | None, says("Each device reads the others' whole tensors.")] = None
    two_shot: Annotated[AllReduce | None, says("Each device sums a part, then reads the others'.")] = None
    fused: Annotated[
        AllReduce | None, says("As one-shot, in the kernel of the norm that follows: what it adds to that.")
    ] = None


class HardwareSheet(Section):
    """A hardware sheet. What it leaves out is taken from the shipped sheet that ``base`` names.

    Without ``base``, ``memory_gib``, ``bandwidth_gb_per_s`` and ``tflops`` are needed, and the rest is that
    of ``h100``, whose host overheads and efficiencies were fitted to what was measured.
    """

    name: Annotated[Name | None, says("What results and profiles call it.")] = None
    base: Annotated[str | None, says("The shipped sheet that it differs from.")] = None
    memory_gib: Annotated[
        Annotated[float, Field(gt=0, le=1e5)] | None, says("Memory, as the driver reports it.", "GiB")
    ] = None
    bandwidth_gb_per_s: Annotated[Peak | None, says("Peak memory bandwidth.", "GB/s")] = None
    tflops: Annotated[Flops | None, says("Peak rates by dtype; a dtype left out is the base's.")] = None
    bandwidth_efficiency: Annotated[
        Share | None, says("Share of the peak bandwidth that a model's passes reach.")
    ] = None
    compute_efficiency: Annotated[
        Share | None, says("Share of the peak rate that a model's passes reach.")
    ] = None
    kv_efficiency: Annotated[
        Share | None, says("Share of the peak bandwidth where attention reads cached K and V.")
    ] = None
    prompt_attention_efficiency: Annotated[
        Share | None, says("Share of the peak rate where prompts attend.")
    ] = None
    row_token_s: Annotated[
        NotNegative | None,
        says("Time of a K/V token of a row that one program of attention reads, in each layer.", "s"),
    ] = None
    launch_s: Annotated[
        NotNegative | None, says("Host time to launch one kernel eagerly, without CUDA graphs.", "s")
    ] = None
    graph_kernel_s: Annotated[
        NotNegative | None, says("Gap that one kernel costs inside a replayed CUDA graph.", "s")
    ] = None
    graph_launch_s: Annotated[NotNegative | None, says("Replay of a CUDA graph.", "s")] = None
    operation_s: Annotated[
        NotNegative | None, says("Host time for the inputs and outputs of an operation.", "s")
    ] = None
    hosted_s: Annotated[
        NotNegative | None,
        says(
            "More for an operation of a draft on another of a divided target's devices than the first.", "s"
        ),
    ] = None
    hop_s: Annotated[NotNegative | None, says("From one thread of the host to another.", "s")] = None
    handle_s: Annotated[
        NotNegative | None, says("Host time between an operation's end and what it leads to.", "s")
    ] = None
    handle_row_s: Annotated[NotNegative | None, says("The same, for each row.", "s")] = None
    link_gb_per_s: Annotated[Peak | None, says("Interconnect to a neighbour, one direction.", "GB/s")] = None
    link_latency_s: Annotated[
        NotNegative | None, says("A step of a ring over the link, beyond the first two.", "s")
    ] = None
    collectives: Annotated[
        Collectives | None, says("All-reduces of a target over several devices; in place of the base's.")
    ] = None
    copy_latency_s: Annotated[
        NotNegative | None, says("A small copy to a neighbour, issued from the host.", "s")
    ] = None
    reserved_gib: Annotated[
        Annotated[float, Field(ge=0, le=1e5)] | None,
        says("Memory that a process takes before it holds any tensor.", "GiB"),
    ] = None
    graphs: Annotated[bool | None, says("Can it replay CUDA graphs?")] = None
    price_per_hour: Annotated[
        NotNegative | None, says("Price of an hour, in any currency.", "currency/h")
    ] = None
    source: Annotated[str, says("Where the figures come from.")] = ""
