"""The devices of a scenario on this machine."""

from __future__ import annotations

import torch

from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.drafters.base import HOST
from spinsim.errors import InputError
from spinsim.scenario import Scenario


def torch_device(scenario: Scenario, device: str) -> torch.device:
    """The torch device behind a device of the scenario: GPUs are numbered in the scenario's order.

    Raises InputError where this machine has no such GPU.
    """
    if device == HOST or scenario.devices[device].on_cpu:
        return torch.device("cpu")
    gpus = [name for name, spec in scenario.devices.items() if not spec.on_cpu]
    index = gpus.index(device)
    if index >= torch.cuda.device_count():
        raise InputError(
            f"GPU {index} is not on this machine, which has {torch.cuda.device_count()}; "
            "place the models on what there is, or use --device cpu",
            key=f"devices.{device}",
        )
    return torch.device("cuda", index)


def found_devices(scenario: Scenario) -> dict[str, str]:
    """What each device with a model is called on this machine: the driver's word for a GPU, or "cpu"."""
    used = dict.fromkeys((*scenario.placement.target, *scenario.placement.drafts.values()))
    places = {name: torch_device(scenario, name) for name in used}
    return {
        name: torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        for name, device in places.items()
    }


def other_hardware(scenario: Scenario) -> dict[str, str]:
    """By device: why it is not the hardware that the scenario names.

    Devices without a sheet, and those that the scenario describes itself, are let be.
    """
    return {
        name: f"{scenario.devices[name].hardware}, but this machine has a {found}; {sheet}"
        for name, found in found_devices(scenario).items()
        if isinstance(scenario.devices[name].hardware, str)
        and (sheet := sheet_of_device(found)) not in (None, scenario.devices[name].hardware_name)
    }
