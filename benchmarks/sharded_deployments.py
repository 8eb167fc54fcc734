"""What is measured of targets over several GPUs: deployments, and the cells that run on each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.policies import SERIAL, depth, packing
from spinsim.packings import kinds
from spinsim.scenario import Scenario
from spinsim.scenario_file import LoadedScenario, load
from spinsim.scenario_file.variants import override
from spinsim.studies.ladder.steps import gpus, replica, sharded

SCENARIOS = Path(__file__).parents[1] / "scenarios"
ROUND_ROBIN, LENGTH = "policies.selector={name: round_robin}", "policies.length={name: fixed, tokens: 4}"
Overrides = tuple[str, ...]
Placing = Callable[[Scenario], Overrides]


def clients(count: int, requests: int) -> Overrides:
    """A closed loop."""
    return (
        f"workload.arrivals={{process: closed, concurrency: {count}}}",
        f"workload.requests={requests}",
    )


def crossed(rows: Mapping[int, int]) -> dict[str, Overrides]:
    """Clients (with the requests of a cell) by one and two micro-batches; every draft has its turn.

    One client is served in one micro-batch alone.
    """
    policies = (ROUND_ROBIN, LENGTH, packing("ragged"))
    found: dict[str, Overrides] = {}
    for count, requests in rows.items():
        found[f"{count} clients, serial"] = (*clients(count, requests), *policies, SERIAL)
        if count > 1:
            found[f"{count} clients, two micro-batches"] = (*clients(count, requests), *policies, depth(2))
    return found


@dataclass(frozen=True)
class Part:
    """One deployment. ``place``: overrides of the scenario that all its cells have.

    ``climbs``: besides its ``cells`` it serves the scenario's own clients with the paper's steps and with the
    best fixed plan. One of several ``copies`` serves its part of them, with the best fixed plan alone. It is
    not profiled: its plan and prediction are the sheet's. No cell begins that would end after ``seconds``.
    """

    name: str
    scenario: str
    cells: Mapping[str, Overrides] = field(default_factory=dict)
    climbs: bool = False
    copies: int = 1
    seconds: float = 240.0
    place: Placing = lambda scenario: ()

    @property
    def packings(self) -> tuple[str, ...]:
        """That its cells use."""
        return kinds() if self.climbs else ("ragged",)


def _three_gpus(scenario: Scenario) -> Overrides:
    """Target on its own two, all drafts on a third."""
    names = [*scenario.placement.target, next(iter(scenario.placement.drafts.values()))]
    devices = {name: scenario.devices[name].model_dump(mode="json") for name in names}
    placed = dict.fromkeys(scenario.models.drafts, names[-1])
    return override("devices", devices), override("placement.drafts", placed)


def _copies(count: int) -> Placing:
    return lambda scenario: replica(scenario, count)


FULL, FEW = crossed({1: 8, 8: 48, 32: 128}), crossed({8: 48, 32: 128})
TWO, FOUR = "spin-paper/13b-two-gpus.yaml", "spin-paper/13b-four-gpus.yaml"
PARTS: dict[int, tuple[Part, ...]] = {
    2: (
        Part("13b over two", TWO, FULL, climbs=True),
        Part("8b over two", "llama-3-8b-two-gpus.yaml", FULL, seconds=175.0),
        Part("13b, a copy on each", TWO, climbs=True, copies=2, seconds=90.0, place=_copies(2)),
    ),
    4: (
        Part("30b over four", "spin-paper/30b-four-gpus.yaml", FULL, climbs=True, seconds=340.0),
        Part("13b over two, drafts on two", FOUR, FEW, climbs=True),
        Part("13b over two, drafts on one", FOUR, FEW, climbs=True, place=_three_gpus),
        Part("13b over four", FOUR, climbs=True, place=lambda scenario: sharded(scenario, gpus(scenario))),
        Part("13b, a copy on each", FOUR, climbs=True, copies=4, seconds=90.0, place=_copies(4)),
    ),
}
_TINY: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
}


@dataclass(frozen=True)
class Size:
    """``batch``: of every deployment, whose K/V memory holds as many requests; of a copy, ``few``.

    ``shorter``: what a rehearsal changes of every cell.
    """

    batch: int = 32
    few: int = 8
    rows: tuple[int, ...] = (1, 8, 32)  # of the verifications that are held against their floor
    context: int = 512
    repetitions: int = 2
    shorter: Overrides = ()


QUICK = Size(
    batch=4,
    few=2,
    rows=(1, 4),
    context=48,
    repetitions=1,
    shorter=(
        "workload.requests=4",
        "workload.arrivals={process: closed, concurrency: 2}",
        "workload.prompt_tokens={distribution: uniform, min: 8, max: 24}",
        "workload.output_tokens={distribution: uniform, min: 8, max: 12}",
        "limits.context_tokens=96",
        "limits.prefill_chunk_tokens=64",
    ),
)


def written(part: Part, folder: Path, hardware: str | Mapping[str, Any]) -> Path:
    """The part's scenario as a file of ``folder``, on devices of ``hardware``; on a CPU with tiny models.

    ``hardware``: the name of a sheet, or a sheet of one's own.
    """
    content = yaml.safe_load((SCENARIOS / part.scenario).read_text(encoding="utf-8"))
    content["devices"] = {name: {"hardware": hardware} for name in content["devices"]}
    if hardware == "cpu":
        for name, layers in (("target", 2), ("draft", 1)):
            (folder / f"{name}.json").write_text(json.dumps(_TINY | {"num_hidden_layers": layers}))
        content["models"]["target"] = {"shape": "target.json", "dtype": "fp32"}
        drafts = content["models"]["drafts"]
        content["models"]["drafts"] = {name: {"shape": "draft.json", "dtype": "fp32"} for name in drafts}
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def loaded(path: Path, part: Part, size: Size, overrides: Sequence[str] = ()) -> LoadedScenario:
    """A cell of the part: ``overrides`` over where it is placed."""
    batch = size.batch if part.copies == 1 else size.few
    placed = [*part.place(load(path).scenario), f"limits.batch={batch}"]
    context = load(path, [*placed, *size.shorter]).scenario.limits.context_tokens
    # Stated, so that the caches leave room for whatever else a deployment takes.
    held = [f"kv.{model}_tokens={batch * context}" for model in ("target", "draft")]
    return load(path, [*placed, *held, *overrides, *size.shorter])
