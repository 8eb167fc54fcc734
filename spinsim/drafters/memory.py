"""K/V memory of a scenario whose drafts are of several kinds."""

from __future__ import annotations

from pathlib import Path

from spinsim.costs import memory
from spinsim.costs.for_scenario import TARGET
from spinsim.drafters.for_scenario import drafters_of, models_alone
from spinsim.scenario import Scenario


def kv_capacity(scenario: Scenario, base_dir: str | Path | None = None) -> dict[str, int]:
    """KV tokens of ``"target"`` and of every draft that keeps K/V, in the scenario's order.

    Raises InputError as :func:`spinsim.costs.memory.kv_capacity`.
    """
    base = None if base_dir is None else Path(base_dir)
    drafters = drafters_of(scenario)
    beside = [placed for drafter in drafters.values() if (placed := drafter.placed(scenario, base))]
    found = memory.kv_capacity(models_alone(scenario), base_dir, beside)
    return {name: found[name] for name in (TARGET, *drafters) if name in found}
