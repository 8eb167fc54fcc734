"""Numbers at the ends of what a float can be: a simulation, or a line with the key, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from spinsim.errors import InputError
from spinsim.policies.build import KINDS
from spinsim.results.summary import summarise
from spinsim.scenario import MOST_REQUESTS, Scenario
from spinsim.scenario_file import load
from spinsim.simulated.simulation import simulate_scenario

EXTREMES = (1e-300, 1e9, 9e99, 1e308, 10**30)
pytestmark = pytest.mark.filterwarnings("error")  # stderr is for what a reader can act on
BASE: dict[str, Any] = {
    "name": "extremes",
    "seed": 1,
    "workload": {
        "requests": 9,
        "arrivals": {"process": "poisson", "rate_per_s": 5.0},
        "prompt_tokens": {"distribution": "uniform", "min": 5, "max": 20},
        "output_tokens": {"distribution": "lognormal", "median": 8, "sigma": 0.5, "min": 1, "max": 30},
        "patience_s": {"distribution": "lognormal", "median": 8.0, "sigma": 0.5, "min": 1},
    },
    "models": {"target": {"shape": "llama-7b"}, "drafts": {"a": {"shape": "llama-68m", "capacity": 3}}},
    "devices": {"gpu0": {"hardware": "h100", "memory_gib": 80}},
    "placement": {"target": ["gpu0"], "drafts": {"a": "gpu0"}},
    "costs": {"model": "roofline", "efficiency": 0.7, "slowdown": 1.5},
    "acceptance": {
        "model": "logistic",
        "strength": {"a": 1.0},
        "difficulty_mean": 0.1,
        "difficulty_sd": 1.0,
        "drift_sd": 0.5,
        "drift_tokens": 32.0,
        "domains": {"q": {"weight": 1.0, "difficulty": 0.2, "affinity": {"a": 0.3}}},
    },
    "limits": {"batch": 4, "context_tokens": 64, "prefill_chunk_tokens": 32, "max_length": 6},
    "kv": {
        "reserve": "grow",
        "block_tokens": 8,
        "memory_fraction": 0.9,
        "target_tokens": 256,
        "draft_tokens": 256,
    },
    "slo": {"ttft_s": 1.0, "tpot_s": 0.1},
    "metrics": {"warmup_s": 0.01},
    "noise": {"per_run_sd": 0.1, "per_call_sd": 0.1, "other_text": 0.1},
}
PASS = {"base_s": 0.01, "token_s": 0.001, "kv_token_s": 1e-6}
LENGTHS = {
    "prompt_tokens": {"distribution": "fixed", "value": 9},
    "output_tokens": {"distribution": "empirical", "values": [3, 4], "weights": [1.0, 2.0]},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "sheets": {},
    "constants": {
        "costs": {
            "model": "constant", "prefill_s": 0.01, "verify_s": 0.01, "draft_step_s": 0.001,
            "catch_up_s": 0.001, "transfer_s": 0.001, "orchestrator_s": 0.0001,
            "hop_s": 0.0001, "slowdown": 1.2,
        },
        "acceptance": {"model": "constant", "probability": 0.5},
        "workload": {
            "requests": 9,
            "arrivals": {"process": "gamma", "rate_per_s": 5.0, "cv": 2.0},
            "patience_s": {"distribution": "fixed", "value": 9.0},
            **LENGTHS,
        },
    },
    "lines": {
        "costs": {
            "model": "linear", "target": PASS, "drafts": {"a": PASS}, "prefill": PASS, "catch_up": PASS,
            "step_s": 0.001,
        },
        "workload": {
            "requests": 9,
            "arrivals": {"process": "closed", "concurrency": 3},
            "patience_s": {"distribution": "uniform", "min": 1.0, "max": 30.0},
            **LENGTHS,
        },
        "kv": {},
    },
    "own hardware": {
        "devices": {
            "gpu0": {
                "hardware": {
                    "name": "mine", "memory_gib": 80, "bandwidth_gb_per_s": 2000, "tflops": {"bf16": 300},
                    "bandwidth_efficiency": 0.8, "compute_efficiency": 0.7, "launch_s": 1e-5,
                    "graph_kernel_s": 1e-6, "graph_launch_s": 1e-5, "link_gb_per_s": 100,
                    "link_latency_s": 1e-6, "copy_latency_s": 1e-5, "reserved_gib": 0.5,
                    "collectives": {name: {"latency_s": 1e-5, "efficiency": 0.5}
                                    for name in ("ring", "one_shot", "two_shot")},
                },
                "price_per_hour": 2.5,
            }
        },
    },
    "own traffic": {
        "workload": {
            "source": {
                "format": "jsonl", "path": "source", "limit": 5,
                "columns": {"arrival": "timestamp", "arrival_unit": "ms", "prompt": "input_length",
                            "output": "output_length"},
            },
            "arrivals": {"process": "replay", "rate_scale": 1.0},
        }
    },
    "a trace": {
        "workload": {
            "source": {
                "format": "mooncake", "path": "source", "skip": 0, "limit": 5, "copies": 1, "start_s": 0.0,
                "end_s": 100.0, "max_prompt_tokens": 30, "max_output_tokens": 20,
            },
            "arrivals": {"process": "replay", "rate_scale": 1.0},
        }
    },
}  # fmt: skip


def numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all numbers."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(inner, (*path, key))
    elif isinstance(value, int | float):
        yield path


def simulate(content: dict[str, Any], folder: Path) -> None:
    """Load and simulate as the command does, its results folder left out."""
    (folder / "scenario.yaml").write_text(yaml.safe_dump(content))
    loaded = load(folder / "scenario.yaml")
    done = simulate_scenario(loaded.scenario, loaded.base_dir)
    summarise(done.records, loaded.scenario, mode="simulated", acceptance_source="synthetic")


def key_blamed(content: dict[str, Any], folder: Path) -> str:
    """The key of the line that refuses ``content``; "simulated" where it is not refused."""
    try:
        simulate(content, folder)
    except InputError as error:
        return error.key
    return "simulated"


def changed(content: dict[str, Any], path: tuple[Any, ...], value: object) -> dict[str, Any]:
    content = copy.deepcopy(content)
    here = content
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    return content


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_number_of_a_scenario_may_be_extreme(name: str, tmp_path: Path) -> None:
    rows = (
        json.dumps({"timestamp": 100 * i, "input_length": 9, "output_length": 9}) + "\n" for i in range(9)
    )
    (tmp_path / "source").write_text("".join(rows))
    content = {**copy.deepcopy(BASE), **copy.deepcopy(VARIANTS[name])}
    simulate(content, tmp_path)
    for path in numbers(content):
        for extreme in EXTREMES:
            assert key_blamed(changed(content, path, extreme), tmp_path), (path, extreme)


def parameters() -> Iterator[tuple[str, str, str]]:
    for kind, registry in KINDS.items():
        for name in registry.names():
            for parameter in fields(registry.get(name).Params):
                if isinstance(parameter.default, int | float) and parameter.default is not MISSING:
                    yield kind, name, parameter.name


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_number_of_a_policy_may_be_extreme(kind: str, tmp_path: Path) -> None:
    content = copy.deepcopy(BASE) | {"acceptance": {"model": "constant", "probability": 0.5}}
    for _, name, parameter in (one for one in parameters() if one[0] == kind):
        for extreme in EXTREMES:
            choice = {"name": name, parameter: extreme}
            assert key_blamed({**content, "policies": {kind: choice}}, tmp_path), choice


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (
            ("workload", "arrivals", "rate_per_s"),
            1e-300,
            "1e-300 is not allowed; must be a number of at least 1e-09",
        ),
        (("workload", "patience_s", "max"), 9e99, "at most 1,000,000,000"),
        (("workload", "requests"), 10**9, r"1,000,000,000 requests would take some 139 hours and 5,000 GB"),
    ],
)
def test_the_key_and_what_is_allowed_are_told(
    path: tuple[str, ...], value: float, says: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        simulate(changed(BASE, path, value), tmp_path)
    assert caught.value.key == ".".join(path)
    assert caught.value.line


def test_a_slow_trickle_ends_before_the_clock_does(tmp_path: Path) -> None:
    content = changed(BASE, ("workload", "arrivals", "rate_per_s"), 1e-9)
    with pytest.raises(InputError, match=r"last request arrives after .* at most 1,000,000,000 s") as caught:
        simulate(content, tmp_path)
    assert caught.value.key == "workload.arrivals.rate_per_s"


def test_the_schema_has_the_same_bounds() -> None:
    schema = Scenario.model_json_schema()["$defs"]
    assert schema["Poisson"]["properties"]["rate_per_s"] == {
        "maximum": 1e9, "minimum": 1e-9, "title": "Rate Per S", "type": "number",
        "description": "Mean rate.", "unit": "requests/s",
    }  # fmt: skip
    assert MOST_REQUESTS == 10**7
