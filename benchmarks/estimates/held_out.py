"""Sheets judged on hosts that their fit did not see: whole runs simulated beside the live ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.estimates.shipped import Host
from benchmarks.long_context_cells import SECTIONS, Size, cell_of, figures, write_scenario
from spinsim.costs.for_scenario import build_roofline
from spinsim.drafters.costs import build_predictor
from spinsim.scenario import HardwareSheet, RooflineCosts, Scenario
from spinsim.serving import trusting
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.validation.simulated_cells import compare_cell

Numbers = dict[str, Any]
MEASURED = ("goodput_tokens_per_s", "tpot_p50_s")


def on_sheets(scenario: Scenario, efficiencies: Mapping[str, float]) -> Scenario:
    """The scenario with costs from its devices' sheets, which have these efficiencies."""
    devices = {
        name: device.model_copy(
            update={
                "hardware": HardwareSheet(
                    base=device.hardware_name, name=device.hardware_name, **dict(efficiencies)
                )
            }
        )
        for name, device in scenario.devices.items()
    }
    return scenario.model_copy(update={"devices": devices, "costs": RooflineCosts(model="roofline")})


def compared_cells(host: Host, efficiencies: Mapping[str, float] | None, every: int = 1) -> Iterator[Numbers]:
    """Every so many of a host's live cells beside their prediction; None: by the sheets as they ship."""
    for cell in list(host.cells())[::every]:
        assert host.live is not None
        scenario = on_sheets(cell.scenario, efficiencies or {})
        yield compare_cell(cell, scenario, host.live, build_predictor(scenario, host.live), 0)


def errors_of(cells: Sequence[Numbers]) -> dict[str, list[float]]:
    """Relative errors of what is measured, by cell."""
    return {
        name: [cell["metrics"][name]["error"] for cell in cells if name in cell["metrics"]]
        for name in MEASURED
    }


def long_context_errors(path: Path, efficiencies: Mapping[str, float]) -> dict[str, list[float]]:
    """Of the cells of ``benchmarks.long_contexts``: goodput with prefill, and the time by token while all
    decode.

    That is clients / decoded tokens a second, which is what TPOT is where every request decodes.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    size = Size(**{k: tuple(v) if isinstance(v, list) else v for k, v in data["size"].items()})
    found: dict[str, list[float]] = {name: [] for name in MEASURED}
    with TemporaryDirectory() as scratch:
        base = write_scenario(Path(scratch), size, "h200", len(data["cards"]), {"model": "roofline"})
        for row in (row for row in data["runs"] if row["cell"] != "decomposed"):
            loaded = cell_of(base, size, row["context"], SECTIONS[row["section"]][row["cell"]])
            scenario = trusting(on_sheets(loaded.scenario, efficiencies))
            sheets = build_roofline(scenario, loaded.base_dir, RooflineCosts(model="roofline"))
            told = figures(simulate_scenario(scenario, loaded.base_dir, predictor=sheets).records)
            found["goodput_tokens_per_s"].append(told["tokens_per_s"] / row["tokens_per_s"] - 1)
            found["tpot_p50_s"].append(row["decode_tokens_per_s"] / told["decode_tokens_per_s"] - 1)
    return found
