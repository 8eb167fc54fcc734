"""A device's hardware sheet: a shipped one by name, or the user's own over the one that it is based on."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from spinsim.costs.collectives import VOLUME, Collective
from spinsim.costs.sheets.hardware import GIB, MIB, Hardware, hardware_names, hardware_of
from spinsim.errors import InputError, did_you_mean
from spinsim.scenario import HardwareSheet

USUAL = "h100"  # whose host overheads, efficiencies and link are an own sheet's unless it has a base
NEEDED = ("memory_gib", "bandwidth_gb_per_s", "tflops")  # without a base
_SAME = (
    "bandwidth_efficiency",
    "compute_efficiency",
    "kv_efficiency",
    "prompt_attention_efficiency",
    "row_token_s",
    "launch_s",
    "graph_kernel_s",
    "graph_launch_s",
    "operation_s",
    "hosted_s",
    "hop_s",
    "handle_s",
    "handle_row_s",
    "link_latency_s",
    "copy_latency_s",
    "graphs",
)  # keys that a sheet and Hardware share


def hardware_sheet(hardware: str | HardwareSheet) -> Hardware:
    """The sheet behind ``devices.*.hardware``.

    Raises InputError for an unknown name (a path is read when the scenario is loaded), an unknown base, or
    figures that are missing. Its key is that within the sheet.
    """
    if isinstance(hardware, HardwareSheet):
        return _own(hardware)
    if hardware.lower() not in hardware_names():
        names = ", ".join(hardware_names())
        raise InputError(
            f"unknown hardware {hardware!r}; allowed: {names}, a sheet of your own as a mapping, or the "
            f"path of a YAML file that holds one{did_you_mean(hardware, hardware_names())}"
        )
    return hardware_of(hardware)


def _own(sheet: HardwareSheet) -> Hardware:
    if sheet.base is None:
        missing = [name for name in NEEDED if getattr(sheet, name) is None]
        if missing:
            raise InputError(f"missing; a figure, or a base: {', '.join(hardware_names())}", key=missing[0])
    elif sheet.base.lower() not in hardware_names():
        hint = did_you_mean(sheet.base, hardware_names())
        raise InputError(f"no sheet {sheet.base!r}; one of {', '.join(hardware_names())}{hint}", key="base")
    base = hardware_of(sheet.base or USUAL)
    changes: dict[str, Any] = {name: given for name in _SAME if (given := getattr(sheet, name)) is not None}
    for name, given, unit in (
        ("memory_bytes", sheet.memory_gib, GIB),
        ("reserved_bytes", sheet.reserved_gib, GIB),
    ):
        if given is not None:
            changes[name] = int(given * unit)
    if sheet.bandwidth_gb_per_s is not None:
        changes["bandwidth"] = sheet.bandwidth_gb_per_s * 1e9
    if sheet.link_gb_per_s is not None:
        changes["link_bandwidth"] = sheet.link_gb_per_s * 1e9
    if sheet.tflops is not None:
        peaks = {dtype: getattr(sheet.tflops, dtype) for dtype in type(sheet.tflops).model_fields}
        given_rates = {dtype: peak * 1e12 for dtype, peak in peaks.items() if peak is not None}
        if not given_rates:
            raise InputError("is empty; a rate for bf16, fp16, fp32 or fp8", key="tflops")
        known = {} if sheet.base is None else dict(base.rate)
        changes["rate"] = MappingProxyType({**known, **given_rates})
    if sheet.collectives is not None:
        laws = {name: getattr(sheet.collectives, name) for name in VOLUME}
        known_laws = [
            Collective(name, law.latency_s, law.efficiency, (law.most_mib or math.inf) * MIB)
            for name, law in laws.items()
            if law
        ]
        if not known_laws:
            raise InputError(f"is empty; a law for {', '.join(VOLUME)}", key="collectives")
        changes["collectives"] = tuple(known_laws)
    return replace(
        base,
        name=sheet.name or sheet.base or "own",
        source=sheet.source or f"the scenario's own, over the sheet of {base.name}",
        **changes,
    )
