"""Hardware sheets: what a device can do, and where each figure comes from."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

from spinsim.costs.collectives import FUSED, ONE_SHOT, RING, TWO_SHOT, Collective, Interconnect
from spinsim.errors import InputError

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Hardware:
    """One device. Bytes, bytes/s, flop/s and seconds.

    ``rate`` and ``bandwidth`` are the data sheet's peaks; the efficiencies say which share of them a model's
    passes reach. ``kv_efficiency`` is that share of the bandwidth where attention reads cached K and V, and
    ``prompt_attention_efficiency`` that of the rate where prompts attend (None: as everything else).
    ``row_token_s``: what a program of attention takes in each layer for a K/V token of the row, or piece,
    that it reads from end to end, however idle the rest of the device is. ``ridge``: how sharply a matrix
    product goes over from being bound by memory to being bound by the rate, (bytes_s^ridge +
    flops_s^ridge)^(1/ridge): the larger of the two far from the ridge, and everywhere for an infinite one.
    ``launch_s`` is what the host pays to launch one kernel eagerly through Python, ``graph_kernel_s`` the gap
    that one kernel costs inside a replayed CUDA graph, and ``graph_launch_s`` the replay itself. The host
    spends ``operation_s`` on an operation's inputs and outputs, ``hosted_s`` more where the operation is that
    of a draft in the process of another rank of a divided target, ``hop_s`` from one thread to another, and
    ``handle_s`` and ``handle_row_s`` (for each row) between an operation's end and the next one's submission.
    ``link_bandwidth`` is the interconnect to a neighbour in one direction, ``link_latency_s`` one further
    step of a ring over it, and ``copy_latency_s`` a small copy issued from the host. ``collectives``: the
    all-reduces that equal devices have, of which the fastest is taken. ``reserved_bytes`` is what a process
    takes before it holds any tensor.
    """

    name: str
    memory_bytes: int
    bandwidth: float
    rate: Mapping[str, float]
    bandwidth_efficiency: float
    compute_efficiency: float
    launch_s: float
    graph_kernel_s: float
    graph_launch_s: float
    link_bandwidth: float
    link_latency_s: float
    copy_latency_s: float
    reserved_bytes: int
    graphs: bool
    collectives: tuple[Collective, ...]
    source: str
    kv_efficiency: float | None = None
    prompt_attention_efficiency: float | None = None
    row_token_s: float = 0.0
    ridge: float = math.inf
    operation_s: float = 0.0
    hosted_s: float = 0.0
    hop_s: float = 10e-6  # waking the thread at the other end of a queue; this and the next two are ours
    handle_s: float = 45e-6  # a completion queue under simpy was seen to add 45 us at the median
    handle_row_s: float = 0.5e-6  # bookkeeping of a row in Python

    @property
    def interconnect(self) -> Interconnect:
        """What a model over several such devices sums and gathers across."""
        return Interconnect(self.link_bandwidth, self.link_latency_s, self.collectives)

    def achieved_bandwidth(self, efficiency: float | None = None) -> float:
        """Bytes/s that large operators reach; ``efficiency`` replaces the sheet's own."""
        return self.bandwidth * (self.bandwidth_efficiency if efficiency is None else efficiency)

    def achieved_rate(self, dtype: str, efficiency: float | None = None) -> float:
        """flop/s of large matrix products; ``efficiency`` (0 to 1) replaces the sheet's own.

        Raises InputError for a dtype of which the sheet has no rate.
        """
        if dtype not in self.rate:
            raise InputError(f"{self.name} has no rate for dtype {dtype!r}; allowed: {', '.join(self.rate)}")
        return self.rate[dtype] * (self.compute_efficiency if efficiency is None else efficiency)


def of_large_operators(hardware: Hardware) -> Hardware:
    """The device with what its largest operators reach, probed on an H200 one by one: 0.9 of the bandwidth,
    0.8 of the rate, and little host. The law of contention was fitted with these."""
    if not hardware.graphs:
        return hardware
    return replace(
        hardware,
        bandwidth_efficiency=0.9,
        compute_efficiency=0.8,
        graph_kernel_s=2e-6,
        graph_launch_s=10e-6,
        kv_efficiency=None,
        prompt_attention_efficiency=None,
        row_token_s=0.0,
        ridge=math.inf,
        operation_s=0.0,
        hosted_s=0.0,
    )


def without_collectives(hardware: Hardware) -> Hardware:
    """The device with a link over which sums and gatherings take no time."""
    free = Collective(ONE_SHOT, 0.0, 1.0)
    return replace(hardware, link_bandwidth=math.inf, collectives=(free,))


# Shares of the peaks that passes reach, and overheads of graphs and host: fitted to every profile, host card
# and live run that ships (H100 and H200). The file says how far off a kind of GPU is that the fit did not
# see. It is made by ``python -m benchmarks.estimates sheets``. Launching eagerly was measured on an H200
# host with torch 2.11: 7B through transformers at batch 1 takes 23 ms, 20 us for each of about 36 kernels a
# layer.
FITTED = json.loads(Path(__file__).with_name("fitted.json").read_text(encoding="utf-8"))
# With it, rather than a sharp ridge, verifications of 80 to 240 tokens are told twice as well on the kind of
# GPU that the fit did not see. H200s take 12 % longer for 160 tokens than a sharp ridge says. (3 is as good.)
RIDGE = 4.0
_OVERHEADS = (
    "efficiencies and overheads: fitted to H100s and H200s (fitted.json); collectives: carried over from the "
    "H200 probe, ours"
)

# Fitted to all-reduces of 8 KiB to 10 MiB between two H200s in a CUDA graph, torch 2.11, as ``python -m
# benchmarks.sharded --parts collectives llama-13b`` has them: NCCL's, and those of torch's symmetric memory,
# into which the tensor is copied first, without NVLink multicast. The law is 3 % off in the mean for the
# latter two and 8 % for NCCL, which changes its protocol with the size (31 % at worst). On another host a
# probe without the copy saw 6.3 and 6.2 us for the smallest tensor, and 15 by NCCL; shares of the link's
# bandwidth were alike. Symmetric memory needs peers that read each other's memory: cards on PCIe have NCCL's
# ring alone, and so has the V100, on which torch's kernels were never tried.
# The sum in the kernel of residual and norm (``--parts in-one``) adds 3.2 to 9.3 us to it for 8 KiB to 2 MiB.
# It was not measured beyond. The law is 2 % off in the mean. A further step of the ring took NCCL 1.6 to
# 1.9 us over four H200s (``python -m benchmarks.sharded_cells --gpus 4 --parts 1``).
_NCCL = Collective(RING, 7.3e-6, 0.405)
_PEERS = (
    _NCCL,
    Collective(ONE_SHOT, 8.1e-6, 0.37),
    Collective(TWO_SHOT, 8.4e-6, 0.667),
    Collective(FUSED, 3.33e-6, 0.766, 2 * MIB),
)

# What proposals and catch-ups of the two drafts on the second GPU took longer than the sheet says, less what
# those on the first did: one client of 13B over two H200s. The same cell of 30B over four says 0.50 ms, of 8B
# over two 0.31 (``python -m benchmarks.sharded_cells``).
_HOSTED_S = 0.47e-3


def _gpu(
    name: str,
    memory_mib: int,
    bandwidth: float,
    half: float,
    single: float,
    link: float,
    source: str,
    *,
    bf16: bool = True,
    fp8: float | None = None,
    collectives: tuple[Collective, ...] = (_NCCL,),
) -> Hardware:
    rates = {"bf16": half if bf16 else single, "fp16": half, "fp32": single}
    return Hardware(
        name=name,
        memory_bytes=memory_mib * MIB,
        bandwidth=bandwidth,
        rate=MappingProxyType(rates if fp8 is None else {**rates, "fp8": fp8}),
        launch_s=20e-6,
        link_bandwidth=link,
        link_latency_s=1.7e-6 if collectives is _PEERS else 3e-6,
        copy_latency_s=31e-6,
        reserved_bytes=GIB // 2,
        graphs=True,
        hosted_s=_HOSTED_S,
        collectives=collectives,
        source=source,
        ridge=RIDGE,
        **FITTED["efficiencies"],
    )


_V100 = (
    "NVIDIA V100 SXM2 data sheet: 900 GB/s, 125 TFLOP/s fp16, 15.7 fp32, NVLink 300 GB/s both ways; "
    "no bf16 tensor cores, so bf16 runs at the fp32 rate; memory as nvidia-smi reports it; " + _OVERHEADS
)
_A100 = (
    "NVIDIA A100 SXM data sheet: 1555 (40 GB) or 2039 GB/s (80 GB), 312 TFLOP/s bf16 and fp16 dense, "
    "19.5 fp32, NVLink 600 GB/s both ways; memory as nvidia-smi reports it; " + _OVERHEADS
)
_H100 = (
    "NVIDIA H100 SXM data sheet: 3.35 TB/s, 989 TFLOP/s bf16 and fp16 dense, 1979 fp8 dense, 67 fp32, "
    "NVLink 900 GB/s both ways; memory as nvidia-smi reports it; " + _OVERHEADS
)
_H200 = (
    "NVIDIA H200 SXM data sheet: 4.8 TB/s, 989 TFLOP/s bf16 and fp16 dense, 1979 fp8 dense, 67 fp32, "
    "NVLink 900 GB/s both ways; memory as nvidia-smi reports it; measured with torch 2.11: 31 us to copy 64 "
    "token ids to the other GPU, 20 us a kernel launched eagerly, 6 us for the smallest all-reduce of two, "
    "15 us by NCCL; " + _OVERHEADS
)
_L4 = (
    "NVIDIA L4 data sheet: 300 GB/s, 121 TFLOP/s bf16 and fp16 dense, 242 fp8 dense, 30.3 fp32, "
    "PCIe 4.0 x16 at 64 GB/s both ways; memory as nvidia-smi reports it; " + _OVERHEADS
)
_B200 = (
    "NVIDIA DGX B200 data sheet, an eighth of the system: 8 TB/s, 2.25 PFLOP/s bf16 and fp16 dense, "
    "4.5 fp8 dense, 75 TFLOP/s fp32, NVLink 1800 GB/s both ways; memory as nvidia-smi reports it; "
    + _OVERHEADS
)
_L40S = (
    "NVIDIA L40S data sheet: 864 GB/s, 362 TFLOP/s bf16 and fp16 dense, 733 fp8 dense, 91.6 fp32, "
    "PCIe 4.0 x16 at 64 GB/s both ways; memory as nvidia-smi reports it; " + _OVERHEADS
)
_A10 = (
    "NVIDIA A10 data sheet: 600 GB/s, 125 TFLOP/s bf16 and fp16 dense, 31.2 fp32, no fp8, "
    "PCIe 4.0 x16 at 64 GB/s both ways; memory as nvidia-smi reports it; " + _OVERHEADS
)
_RTX_4090 = (
    "NVIDIA Ada GPU architecture white paper, table of the GeForce RTX 4090: 1008 GB/s, 165.2 TFLOP/s bf16 "
    "and fp16 dense and 330.3 fp8 (both summed in fp32), 82.6 fp32, PCIe 4.0 x16 at 64 GB/s both ways; "
    "memory as nvidia-smi reports it; " + _OVERHEADS
)
_MI300X = (
    "AMD Instinct MI300X data sheet: 192 GB HBM3, 5.3 TB/s, 1307.4 TFLOP/s bf16 and fp16 dense, "
    "2614.9 fp8 dense, 163.4 fp32, Infinity Fabric 896 GB/s both ways over seven links, all of them used; "
    + _OVERHEADS
)
_CPU = Hardware(
    name="cpu",
    memory_bytes=16 * GIB,
    bandwidth=20e9,
    rate=MappingProxyType({"bf16": 150e9, "fp16": 1.5e9, "fp32": 75e9}),
    bandwidth_efficiency=0.8,
    compute_efficiency=0.8,
    launch_s=10e-6,
    graph_kernel_s=10e-6,
    graph_launch_s=0.0,
    link_bandwidth=20e9,
    link_latency_s=5e-6,
    copy_latency_s=10e-6,
    reserved_bytes=GIB // 2,
    graphs=False,
    collectives=(Collective(RING, 400e-6, 0.07),),
    source=(
        "a host of two cores, ours: torch 2.13 on two vCPUs of an AMD EPYC gave 120 GFLOP/s bf16, 60 fp32, "
        "1 fp16 (not native), copies at 20 GB/s and 5 us an operation; gloo between two processes there took "
        "0.4 to 0.6 ms to sum up to 128 KiB, 3.2 ms for 4 MiB; profile your own machine instead"
    ),
)

_SHEETS: Mapping[str, Hardware] = MappingProxyType(
    {
        sheet.name: sheet
        for sheet in (
            _gpu("v100-16", 16160, 900e9, 125e12, 15.7e12, 150e9, _V100, bf16=False),
            _gpu("v100-32", 32510, 900e9, 125e12, 15.7e12, 150e9, _V100, bf16=False),
            _gpu("a100-40", 40536, 1555e9, 312e12, 19.5e12, 300e9, _A100, collectives=_PEERS),
            _gpu("a100-80", 81251, 2039e9, 312e12, 19.5e12, 300e9, _A100, collectives=_PEERS),
            _gpu("h100", 81559, 3.35e12, 989e12, 67e12, 450e9, _H100, fp8=1979e12, collectives=_PEERS),
            _gpu("h200", 143771, 4.8e12, 989e12, 67e12, 450e9, _H200, fp8=1979e12, collectives=_PEERS),
            _gpu("l4", 23034, 300e9, 121e12, 30.3e12, 32e9, _L4, fp8=242e12),
            _gpu("b200", 183359, 8e12, 2250e12, 75e12, 900e9, _B200, fp8=4500e12, collectives=_PEERS),
            _gpu("l40s", 46068, 864e9, 362e12, 91.6e12, 32e9, _L40S, fp8=733e12),
            _gpu("a10", 23028, 600e9, 125e12, 31.2e12, 32e9, _A10),
            _gpu("rtx4090", 24564, 1008e9, 165.2e12, 82.6e12, 32e9, _RTX_4090, fp8=330.3e12),
            _gpu("mi300x", 192 * 1024, 5.3e12, 1307.4e12, 163.4e12, 448e9, _MI300X, fp8=2614.9e12),
            _CPU,
        )
    }
)


# Sheets that no run of ours was ever compared with: their overheads and efficiencies are another device's.
UNCOMPARED = frozenset({"b200", "l40s", "a10", "rtx4090", "mi300x"})


def hardware_names() -> tuple[str, ...]:
    """The devices with a sheet."""
    return tuple(_SHEETS)


def sheet_of_device(device: str) -> str | None:
    """The sheet of what a driver calls a device, such as "NVIDIA H100 80GB HBM3"; None where there is none.

    A model of several memory sizes has a sheet for each; one whose name does not tell the size has none.
    """
    words = re.split(r"[^A-Z0-9]+", device.upper())
    words += [first + second for first, second in pairwise(words)]  # "RTX 4090"
    found = [name for name in _SHEETS if name.split("-")[0].upper() in words]
    if len(found) > 1:
        found = [name for name in found if f"{name.split('-')[1]}GB" in words]
    return found[0] if len(found) == 1 else None


def hardware_of(name: str) -> Hardware:
    """The sheet of a device, by name in any case. Raises InputError for an unknown one."""
    sheet = _SHEETS.get(name.lower())
    if sheet is None:
        raise InputError(f"unknown hardware {name!r}; allowed: {', '.join(_SHEETS)}")
    return sheet
