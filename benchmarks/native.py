"""Does the kernel leave the same records as the Python engine, and how much sooner?

    python -m benchmarks.native [--many 300] [--first 0]    # random scenarios, each played by both
    python -m benchmarks.native --speed 1000                # the first requests of Azure's trace, in CASES

The first prints how many the kernel played, why not the others, and which differ. The second prints CPU
seconds of either, and needs the trace in $SPINSIM_DATA. Exit code 1 where any records differ.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from time import process_time
from typing import Any

from spinsim.drafters.costs import build_predictor
from spinsim.errors import InputError
from spinsim.scenario import Scenario
from spinsim.scenario_file import load
from spinsim.simulated.simulation import simulate_scenario
from spinsim.workload.for_scenario import build_workload

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "scenarios"  # paths of drawn scenarios count from there
# Of a target, its drafts and their devices: priced by data sheets, or measured in a profile that we ship.
PRICED = "llama-3-8b", ("llama-3-117m", "llama-3-330m", "llama-3-716m", "llama-3-1b"), "h200"
MEASURED = "llama-7b", ("llama-68m", "llama-265m", "llama-1.1b"), "h100"
PROFILE = "../profiles/two-gpus-h100-x2.json"

AZURE, QUICKSTART = HERE / "azure-conversation.yaml", HERE / "quickstart.yaml"
CASES: dict[str, tuple[Path, tuple[str, ...]]] = {
    "fixed draft": (AZURE, ("policies.selector={name: fixed}",)),
    "no speculation": (
        AZURE,
        ("policies.selector={name: fixed, draft: none}", "policies.length={name: none}"),
    ),
    "SPIN's selector": (AZURE, ()),
    "SPIN's, two micro-batches": (AZURE, ("policies.pipeline={name: fixed, micro_batches: 2}",)),
    "SPIN's selector and packing": (AZURE, ("policies.packing={name: decomposed}",)),
    "SPIN's three, depth asked": (
        AZURE,
        ("policies.packing={name: decomposed}", "policies.pipeline={name: spin}"),
    ),
    "SPIN's, profile and recording": (QUICKSTART, ()),
    "ucb1 (asked)": (AZURE, ("policies.selector={name: ucb1}",)),
    "joint (asked)": (AZURE, ("policies.selector={name: joint}",)),
    "planned (asked)": (AZURE, ("policies.selector={name: planned}",)),
}


def drawn(number: int) -> dict[str, Any]:
    """The ``number``-th random scenario: small, and with queues, preemptions and evictions in many."""
    rng = random.Random(f"native/{number}")
    names = [f"d{i}" for i in range(rng.choice((1, 2, 2, 3, 4)))]
    context = rng.choice((256, 512, 1024))
    length = {"distribution": "lognormal", "sigma": rng.choice((0.2, 0.9))}
    one_gpu = rng.random() < 0.3
    placed = {name: "gpu0" if one_gpu else rng.choice(("gpu1", "gpu1", "gpu2")) for name in names}
    tensor_parallel = rng.random() < 0.15
    profiled = rng.random() < 0.25
    target, sizes, hardware = MEASURED if profiled else PRICED
    policies = _policies(rng, names)
    merged = policies["pipeline"]["name"] == "serial" and rng.random() < 0.4
    return {
        "name": f"drawn-{number}",
        "seed": number,
        "workload": {
            "requests": rng.choice((5, 20, 40)),
            "arrivals": _arrivals(rng),
            "prompt_tokens": {**length, "median": rng.choice((20, 100, 300)), "max": context},
            "output_tokens": {**length, "median": rng.choice((2, 40, 90)), "max": context // 2},
        }
        | ({"patience_s": {"distribution": "uniform", "min": 0.01, "max": 2}} if rng.random() < 0.2 else {}),
        "models": {
            "target": {"shape": target},
            "drafts": {name: {"shape": rng.choice(sizes), **_capacity(rng)} for name in names},
        },
        "devices": {device: {"hardware": hardware} for device in ("gpu0", "gpu1", "gpu2", "gpu3")},
        "placement": {
            "target": ["gpu0", "gpu3"] if tensor_parallel else ["gpu0"],
            "drafts": placed,
            "draft_lanes": rng.choice(("own", "own", "shared")),
        },
        "costs": {"model": "profile", "path": PROFILE, "allow_roofline": True}
        if profiled
        else _costs(rng, names),
        "acceptance": _acceptance(rng, names),
        "policies": policies,
        "limits": {
            "batch": rng.choice((1, 3, 8, 40)),
            "context_tokens": context,
            "prefill_chunk_tokens": rng.choice((64, 256, 4096)),
            "prefill": "merged" if merged else "apart",
            "max_length": 8,
        },
        "kv": _kv(rng, context),
        "noise": rng.choice(
            (
                {},
                {},
                {},
                {"per_run_sd": 0.1},
                {"per_run_sd": {"hop": 0.3, "handling": 0.2}, "per_call_sd": 0.2},
            )
        ),
    }


def _arrivals(rng: random.Random) -> dict[str, Any]:
    return rng.choice(
        (
            {"process": "poisson", "rate_per_s": rng.choice((2, 20, 500))},
            {"process": "gamma", "rate_per_s": 30, "cv": 3},
            {"process": "at_once"},
            {"process": "closed", "concurrency": rng.choice((1, 4, 30))},
        )
    )


def _capacity(rng: random.Random) -> dict[str, int]:
    return {"capacity": rng.choice((1, 3, 50))} if rng.random() < 0.15 else {}


def _costs(rng: random.Random, names: list[str]) -> dict[str, Any]:
    roofline = {"model": "roofline", "graphs": rng.random() < 0.8, "slowdown": rng.choice((1.0, 1.8))}
    if rng.random() < 0.7:
        return roofline
    constant = {
        "model": "constant",
        "verify_s": 0.01,
        "draft_step_s": {name: rng.choice((0.0, 0.001, 0.002)) for name in names},
        "prefill_s": rng.choice((0.0, 0.01)),
        "catch_up_s": rng.choice((0.0, 0.003)),
        "transfer_s": 0.0001,
        "orchestrator_s": rng.choice((0.0, 0.0005)),
        "hop_s": rng.choice((0.0, 0.0001)),
        "slowdown": rng.choice((1.0, 1.5)),
    }
    a_pass = {"base_s": 0.001, "token_s": 1e-5, "kv_token_s": 1e-7}
    linear = {"model": "linear", "target": a_pass, "drafts": dict.fromkeys(names, a_pass), "step_s": 0.001}
    return rng.choice((constant, constant, linear))


def _acceptance(rng: random.Random, names: list[str]) -> dict[str, Any]:
    if rng.random() < 0.2:
        return {"model": "constant", "probability": {name: rng.choice((0.0, 0.5, 1.0)) for name in names}}
    strength = {name: round(rng.uniform(-1, 3), 2) for name in names}
    drift = {"drift_sd": 0.5, "drift_tokens": 20.0} if rng.random() < 0.3 else {}
    return {"model": "logistic", "strength": strength, "difficulty_sd": 1.0, **drift}


def _policies(rng: random.Random, names: list[str]) -> dict[str, Any]:
    allow_none = rng.random() < 0.3
    rewards = ("tokens_per_round_second",)
    spin = {
        "name": "spin",
        "explore": rng.choice((0.1, 0.1, 0.5, 2.0)),
        "share": rng.choice(("none", "prior", "prior")),
        "switch_margin": rng.choice((0.0, 0.2)),
        "reward": rng.choice(rewards if allow_none else (*rewards, "tokens_per_draft_second", "tokens")),
    }
    fixed = {"name": "fixed", "draft": rng.choice((*names, "smallest", "none"))}
    selector = rng.choice(
        (
            spin,
            spin,
            fixed,
            *({"name": name} for name in ("random", "round_robin", "ucb1", "joint", "planned", "oracle")),
            {"name": "contextual", "explore": 0.5, "hold": 2},
        )
    )
    lengths = (
        {"name": "fixed", "tokens": rng.choice((1, 4, 7))},
        {"name": "per_draft", "tokens": {names[0]: 2}, "default": 5},
        {"name": "goodput"},
    )
    depth = {"name": "fixed", "micro_batches": rng.choice((2, 3))}
    return {
        "selector": selector,
        "length": lengths[0] if selector["name"] == "joint" else rng.choice(lengths),
        "packing": {"name": rng.choice(("ragged", "ragged", "padded", "decomposed"))},
        "pipeline": rng.choice(({"name": "serial"}, depth, depth, {"name": "spin", "window_rounds": 1})),
        "composition": {"name": rng.choice(("round_robin", "round_robin", "balanced", "grouped"))},
        "admission": {"name": rng.choice(("fcfs", "fcfs", "shortest_prompt"))},
        "switching": "blocking" if selector["name"] == "oracle" else rng.choice(("blocking", "overlapped")),
        "allow_none": allow_none,
    }


def _kv(rng: random.Random, context: int) -> dict[str, Any]:
    kv: dict[str, Any] = {
        "reserve": rng.choice(("full", "grow", "grow")),
        "block_tokens": rng.choice((16, 64)),
    }
    if rng.random() < 0.7:
        kv["target_tokens"] = context * rng.choice((1, 1, 2, 6))
    if rng.random() < 0.4:
        kv["draft_tokens"] = context * rng.choice((1, 2, 6))
    return kv


def leaves(thing: Any) -> Iterator[Any]:
    """What records hold, in order: columns as bytes, all else by its text."""
    if is_dataclass(thing) and not isinstance(thing, type):
        for field in fields(thing):
            yield field.name
            yield from leaves(getattr(thing, field.name))
    elif isinstance(thing, dict):
        for key, value in thing.items():
            yield key
            yield from leaves(value)
    elif hasattr(thing, "tobytes"):
        yield thing.tobytes()
    else:
        yield repr(thing if isinstance(thing, str) or not isinstance(thing, Sequence) else list(thing))


def digest(records: Any) -> str:
    """Of all that a run recorded."""
    made = hashlib.sha256()
    for leaf in leaves(records):
        made.update(leaf if isinstance(leaf, bytes) else str(leaf).encode())
        made.update(b"\0")
    return made.hexdigest()


def played(number: int, engine: str) -> str:
    """The digest of a drawn scenario's records. Raises InputError where ``engine`` cannot play it."""
    scenario = Scenario.model_validate(drawn(number))
    return digest(simulate_scenario(scenario, HERE, engine=engine).records)


def speed(requests: int) -> int:
    """CPU seconds of each of CASES by either engine; how many left other records."""
    different = 0
    for name, (path, overrides) in CASES.items():
        loaded = load(path, [*overrides, f"workload.requests={requests}"])
        predictor = build_predictor(loaded.scenario, loaded.base_dir)
        workload = build_workload(loaded.scenario, loaded.base_dir)
        given = {"workload": workload, "predictor": predictor}
        found, seconds = {}, {}
        for engine in ("native", "python"):
            began = process_time()
            done = simulate_scenario(loaded.scenario, loaded.base_dir, engine=engine, **given)
            seconds[engine] = process_time() - began
            found[engine] = digest(done.records)
        same = found["native"] == found["python"]
        different += not same
        ratio = seconds["python"] / seconds["native"]
        print(
            f"{name:30} python {seconds['python']:6.2f} s, native {seconds['native']:5.2f} s, {ratio:5.1f}x"
            f"{'' if same else '  DIFFERS'}",
            flush=True,
        )
    return different


def main() -> int:
    """Compare, and tell."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.native",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--many", type=int, default=300, help="scenarios (default 300)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default 0)")
    parser.add_argument("--speed", type=int, metavar="N", help="time CASES with N requests instead")
    options = parser.parse_args()
    if options.speed:
        return 1 if speed(options.speed) else 0
    reasons: Counter[str] = Counter()
    seconds = {"native": 0.0, "python": 0.0}
    different = []
    for number in range(options.first, options.first + options.many):
        found = {}
        for engine in seconds:
            began = process_time()
            try:
                found[engine] = played(number, engine)
            except InputError as error:
                found[engine] = str(error)
                reasons[str(error)] += 1
                break
            seconds[engine] += process_time() - began
        if len(found) == 2 and found["native"] != found["python"]:
            different.append(number)
            print(f"{number} differs", flush=True)
    played_by_both = options.many - sum(reasons.values())
    print(f"{played_by_both} of {options.many} played by both; {len(different)} differ")
    print(f"seconds: native {seconds['native']:.1f}, python {seconds['python']:.1f}")
    for reason, count in reasons.most_common():
        print(f"{count} not played: {reason}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
