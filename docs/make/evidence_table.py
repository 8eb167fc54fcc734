"""What can be configured, what a simulation covers, and how accurate it was measured to be.

``python docs/make/evidence_table.py`` writes three tables of docs/fidelity.md between their markers. Live
cells of every host that ships are predicted anew: from the profile of the same host where there is one that
has the models, and from sheets that were fitted without that kind of GPU. It takes some minutes. ``--fast``
writes the other two alone: the sheets' errors by host, from fitted.json, and the coverage of intervals.
Runs that are kept as figures have the errors of what was foretold for them then.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.estimates.held_out import compared_cells, long_context_errors  # noqa: E402
from benchmarks.estimates.kept_predictions import Kept, kept, of_kind  # noqa: E402
from benchmarks.estimates.shipped import (  # noqa: E402
    LONG_CONTEXTS,
    MEASUREMENTS,
    Host,
    hosts,
)
from spinsim.costs.sheets.hardware import FITTED, hardware_names  # noqa: E402
from spinsim.drafters.costs import build_predictor  # noqa: E402
from spinsim.errors import InputError  # noqa: E402
from spinsim.packings import kinds  # noqa: E402
from spinsim.policies.build import KINDS  # noqa: E402
from spinsim.scenario import ProfileCosts, Scenario  # noqa: E402
from spinsim.studies.validation.folder import LiveCell  # noqa: E402
from spinsim.studies.validation.simulated_cells import compare_cell  # noqa: E402

PAGE = ROOT / "docs" / "fidelity.md"
COVERAGE = ROOT / MEASUREMENTS / "interval-coverage.json"  # of python -m benchmarks.estimates.coverage
CORNER_EVERY = 3  # of the 49 cells of the corner's two GPUs
KEPT_SELECTORS = ("contextual",)  # of runs that are kept as figures
Numbers = Mapping[str, Any]
Errors = tuple[float, float]  # of TPOT p50 and goodput, relative


@dataclass(frozen=True)
class Judged:
    """A live cell; errors by each way of predicting it, where it can be."""

    scenario: Scenario
    gpu: str
    profile: Errors | None
    sheets: Errors | None


def judged(known: Sequence[Host]) -> Iterator[Judged]:
    """Every live cell that ships, decomposed ones that recorded graphs within the run left out."""
    for host in known:
        every = CORNER_EVERY if host.name == "h100-x2" else 1
        cells = list(host.cells())[::every]
        told = FITTED["held_out"][host.gpu]["efficiencies"]
        sheets = list(compared_cells(host, told, every))
        for cell, by_sheets in zip(cells, sheets, strict=True):
            yield Judged(cell.scenario, host.gpu, by_profile(host, cell), errors(by_sheets))


def by_profile(host: Host, cell: LiveCell) -> Errors | None:
    """By the first of the host's own profiles that has what the cell runs."""
    for path in host.profiles:
        costs = ProfileCosts(model="profile", path=str(path.resolve()))
        scenario = cell.scenario.model_copy(update={"costs": costs})
        assert host.live is not None
        try:
            return errors(compare_cell(cell, scenario, host.live, build_predictor(scenario, host.live), 0))
        except InputError:
            continue
    return None


def errors(compared: Numbers) -> Errors:
    """Of a compared cell."""
    metrics = compared["metrics"]
    return metrics["tpot_p50_s"]["error"], metrics["goodput_tokens_per_s"]["error"]


def longest(scenario: Scenario) -> int:
    """The longest prompt that a scenario may draw."""
    prompts = scenario.workload.prompt_tokens
    return int(getattr(prompts, "max", None) or getattr(prompts, "value", 0) or 0)


def placed(scenario: Scenario) -> str:
    """Where the drafts are."""
    target = set(scenario.placement.target)
    if len(target) > 1:
        return "several"
    return "same" if target & set(scenario.placement.drafts.values()) else "other"


Is = Callable[[Judged], bool]


def rows() -> list[tuple[str, str, str, Is | None]]:
    """Group, value, whether a simulation covers it, and which cells measured it (None: none did)."""
    seen = ("fixed", "spin", "joint", *KEPT_SELECTORS)
    selectors = ", ".join(f"`{name}`" for name in KINDS["selector"].names() if name not in seen)
    others = ", ".join(name for name in hardware_names() if name not in ("h100", "h200", "cpu"))

    def at(low: int, high: int) -> Is:
        return lambda one: low < longest(one.scenario) <= high

    def chooses(*names: str) -> Is:
        return lambda one: one.scenario.policies.selector.name in names

    def packed(name: str) -> Is:
        return lambda one: one.scenario.policies.packing.name == name

    def arrives(process: str) -> Is:
        return lambda one: one.scenario.workload.arrivals.process == process

    def deep(one: Judged) -> bool:
        return one.scenario.policies.pipeline.name != "serial"

    def shape(one: Judged) -> str:
        return Path(one.scenario.models.target.shape).stem

    return [
        ("GPU", "H100", "yes", lambda one: one.gpu == "h100"),
        ("", "H200", "yes", lambda one: one.gpu == "h200"),
        ("", others, "yes", None),
        ("target", "7B, K/V of every head", "yes", lambda one: "7b" in shape(one)),
        ("", "8B, K/V in groups", "yes", lambda one: shape(one).startswith("llama-3-8b")),
        ("", "Qwen3 14B", "yes", lambda one: "qwen3-14b" in shape(one)),
        ("", "experts, latent attention, windows, quantized weights", "yes", None),
        ("drafts", "on a GPU of their own", "yes", lambda one: placed(one.scenario) == "other"),
        ("", "on the target's GPU", "yes", lambda one: placed(one.scenario) == "same"),
        ("", "suffix lookups", "yes", None),
        ("prompts", "up to 512 tokens", "yes", at(0, 512)),
        ("", "up to 4,096", "yes", at(512, 4096)),
        ("", "up to 16,384", "yes", at(4096, 16384)),
        ("", "up to 32,768", "yes", at(16384, 32768)),
        ("load", "closed loops", "yes", arrives("closed")),
        ("", "Poisson arrivals", "yes", arrives("poisson")),
        ("", "all at once, in mid-flight", "yes", arrives("at_once")),
        ("", "gamma gaps, recorded arrivals", "yes", None),
        ("acceptance", "by the models", "recorded", lambda one: one.scenario.live.acceptance == "models"),
        ("", "by a field", "yes", lambda one: one.scenario.live.acceptance == "field"),
        *(("packing" if not i else "", f"`{name}`", "yes", packed(name)) for i, name in enumerate(kinds())),
        ("pipeline", "serial", "yes", lambda one: not deep(one)),
        ("", "micro-batches", "yes", deep),
        ("selector", "`fixed`", "yes", chooses("fixed")),
        ("", "`spin`", "yes", chooses("spin")),
        ("", "`joint`", "yes", chooses("joint")),
        ("", selectors, "yes", None),
    ]


def table(found: Sequence[Judged], long_contexts: Mapping[str, Sequence[float]]) -> str:
    """Markdown."""
    head = (
        "configurable",
        "",
        "covered by simulation",
        "measured: cells",
        "TPOT, own profile",
        "TPOT, sheets",
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for what, name, simulated, matches in rows():
        mine = [one for one in found if matches is not None and matches(one)]
        profile = [one.profile[0] for one in mine if one.profile is not None]
        sheets = [one.sheets[0] for one in mine if one.sheets is not None]
        cells = str(len(mine)) if mine else "none"
        lines.append(f"| {what} | {name} | {simulated} | {cells} | {told(profile)} | {told(sheets)} |")
    lines += kept_lines(kept(ROOT))
    tpot = long_contexts["tpot_p50_s"]
    session = "cells of an earlier session: H200, 0.5 to 16 thousand tokens"
    lines.append(f"| long contexts | {session} | yes | {len(tpot)} | - | {told(tpot)} |")
    return "\n".join(lines)


def kept_lines(found: Sequence[Kept]) -> Iterator[str]:
    """Live cells that are kept as figures: heads and lookups by goodput, divided targets by TPOT."""
    for name, kind in (("heads", "head"), ("n-gram lookups", "ngram")):
        mine = of_kind(found, kind)
        off = told([one.goodput["profile"] for one in mine])
        yield f"| drafts, as foretold then | {name} | yes | {len(mine)} | goodput {off} | - |"
    for name in KEPT_SELECTORS:
        mine = [one for one in found if one.name.endswith(f", {name}")]
        off = told([one.goodput["profile"] for one in mine])
        yield f"| selector, as foretold then | `{name}` | yes | {len(mine)} | goodput {off} | - |"
    for devices in sorted({one.divided for one in found if one.divided > 1}):
        mine = [one for one in found if one.divided == devices]
        by = [told([one.tpot[basis] for one in mine if basis in one.tpot]) for basis in ("profile", "sheets")]
        yield f"| target, as foretold then | over {devices} GPUs | yes | {len(mine)} | {by[0]} | {by[1]} |"


def told(values: Sequence[float]) -> str:
    """Mean of the absolute errors, and the worst."""
    if not values:
        return "-"
    sizes = np.abs(values)
    return f"{100 * sizes.mean():.1f} %, worst {100 * sizes.max():.1f} %"


def sheets_table() -> str:
    """Of every host, by a fit without its kind of GPU."""
    lines = [
        "| GPU left out | host | cells | TPOT p50 | worst | goodput | worst |",
        "|---|---|---|---|---|---|---|",
    ]
    for gpu, by_kind in FITTED["held_out"].items():
        for host, found in by_kind["hosts"].items():
            tpot, goodput = found["tpot_p50_s"], found["goodput_tokens_per_s"]
            lines.append(
                f"| {gpu} | {host} | {tpot['cells']} | {_both(tpot)} | {100 * tpot['worst']:.1f} % | "
                f"{_both(goodput)} | {100 * goodput['worst']:.1f} % |"
            )
    return "\n".join(lines)


def _both(found: Numbers) -> str:
    return f"{100 * found['mean']:+.1f} % ({100 * found['mean_absolute']:.1f} %)"


def coverage_table() -> str:
    """Of 90 % intervals, each host left out of the prior in turn."""
    data = json.loads(COVERAGE.read_text(encoding="utf-8"))
    lines = [
        "| predicted from | host | cells | values | inside | median width |",
        "|---|---|---|---|---|---|",
    ]
    for row in [*data["by_host"], *({"basis": b, "host": "all"} | r for b, r in data["in_all"].items())]:
        cells = (
            row["basis"],
            row["host"],
            row["cells"],
            row["values"],
            f"{100 * row['inside']:.0f} %",
            f"{100 * row['median_width']:.1f} %",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def write(name: str, made: str) -> None:
    """Replace a table between its markers."""
    marks = re.compile(rf"<!-- {name}: begin -->.*?<!-- {name}: end -->", re.S)
    text = PAGE.read_text(encoding="utf-8")
    block = f"<!-- {name}: begin -->\n\n{made}\n\n<!-- {name}: end -->"
    PAGE.write_text(marks.sub(lambda _: block, text), encoding="utf-8")
    print(made, end="\n\n")


def main() -> None:
    """Write the tables."""
    write("sheets", sheets_table())
    write("coverage", coverage_table())
    if "--fast" in sys.argv:
        return
    with TemporaryDirectory() as scratch:
        found = list(judged(hosts(ROOT, Path(scratch))))
    path = ROOT / MEASUREMENTS / LONG_CONTEXTS
    far = long_context_errors(path, FITTED["held_out"]["h200"]["efficiencies"])
    write("evidence", table(found, far))


if __name__ == "__main__":
    main()
