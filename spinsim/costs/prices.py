"""What the devices of a scenario cost to rent."""

from __future__ import annotations

from spinsim.scenario import DeviceSpec, HardwareSheet, Scenario


def device_price(device: DeviceSpec) -> float | None:
    """An hour's price of one device, in the currency that the scenario uses; None where it says none."""
    if device.price_per_hour is not None:
        return device.price_per_hour
    return device.hardware.price_per_hour if isinstance(device.hardware, HardwareSheet) else None


def price_per_hour(scenario: Scenario) -> float | None:
    """An hour's price of all devices together; None where one of them has none."""
    prices = [device_price(device) for device in scenario.devices.values()]
    known = [price for price in prices if price is not None]
    return sum(known) if len(known) == len(prices) else None
