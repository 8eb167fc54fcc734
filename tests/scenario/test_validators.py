"""Every validator, through the command: exit code 2, the line, the key, and nothing but lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from spinsim.cli import app

ARRIVALS = "  arrivals: {process: poisson, rate_per_s: 4}"
SOURCE = "  source: {format: gsm8k, path: x.jsonl}"

# what to replace, by what, the key of the error, and its line
CASES = {
    # the schema
    "unknown key at the top": ("seed: 3", "sede: 3", "sede", 2),
    "unknown key deeper": ("batch: 8", "bach: 8", "limits.bach", 31),
    "missing section": ("costs: {model: roofline}\n", "", "costs", 1),
    "missing key": ("{hardware: h200}\n  gpu1", "{memory_gib: 3}\n  gpu1", "devices.gpu0.hardware", 17),
    "missing discriminator": ("process: poisson, ", "", "workload.arrivals.process", 5),
    "unknown discriminator": ("process: poisson", "process: fish", "workload.arrivals.process", 5),
    "unknown choice": ("seed: 3", "seed: 3\nkv: {reserve: some}", "kv.reserve", 3),
    "too small": ("batch: 8", "batch: 0", "limits.batch", 31),
    "too large": ("seed: 3", "seed: 3\nkv: {memory_fraction: 1.5}", "kv.memory_fraction", 3),
    "more than 63 bits, written with an exponent": ("seed: 3", "seed: 9.223372036854776e+18", "seed", 2),
    "fraction for a whole number": ("batch: 8", "batch: 8.5", "limits.batch", 31),
    "text for a number": ("rate_per_s: 4", "rate_per_s: fast", "workload.arrivals.rate_per_s", 5),
    "truth for a number": ("batch: 8", "batch: yes", "limits.batch", 31),
    "number for text": ("name: small", "name: 3", "name", 1),
    "list for a mapping": ("slo: {ttft_s: 0.5}", "slo: [0.5]", "slo", 32),
    "text for a mapping": ("selector: {name: fixed}", "selector: fixed", "policies.selector", 29),
    "text for a list": ("target: [gpu0]", "target: gpu0", "placement.target", 20),
    "empty list": ("target: [gpu0]", "target: []", "placement.target", 20),
    "no device": (
        "devices:\n  gpu0: {hardware: h200}\n  gpu1: {hardware: h200}",
        "devices: {}",
        "devices",
        16,
    ),
    "not a name": ("name: small", "name: a/b", "name", 1),
    "draft that is no name": (
        "    tiny: {shape: llama-68m}",
        "    a b: {shape: llama-68m}",
        "models.drafts.a b",
        14,
    ),
    "infinite number": ("rate_per_s: 4", "rate_per_s: .inf", "workload.arrivals.rate_per_s", 5),
    "nothing for a section": ("costs: {model: roofline}", "costs:", "costs", 24),
    # a number or a mapping
    "negative step": (
        "costs: {model: roofline}",
        "costs: {model: constant, verify_s: 1, draft_step_s: -1}",
        "costs.draft_step_s",
        24,
    ),
    "negative step of one draft": (
        "costs: {model: roofline}",
        "costs:\n  model: constant\n  verify_s: 1\n  draft_step_s:\n    tiny: -1\n    large: 1",
        "costs.draft_step_s.tiny",
        28,
    ),
    "list of steps": (
        "costs: {model: roofline}",
        "costs: {model: constant, verify_s: 1, draft_step_s: [1, 2]}",
        "costs.draft_step_s",
        24,
    ),
    # workload
    "no requests": ("  requests: 20\n", "", "workload.requests", 3),
    "no prompts": (
        "  prompt_tokens:\n    distribution: uniform\n    min: 8\n    max: 64\n",
        "",
        "workload.prompt_tokens",
        3,
    ),
    "no outputs": (
        "  output_tokens: {distribution: fixed, value: 32}\n",
        "",
        "workload.output_tokens",
        3,
    ),
    "replay of nothing": (ARRIVALS, "  arrivals: {process: replay}", "workload.arrivals.process", 5),
    "replay without times": (
        ARRIVALS,
        f"  arrivals: {{process: replay}}\n{SOURCE}",
        "workload.arrivals.process",
        5,
    ),
    "slice by time without times": (
        ARRIVALS,
        f"{ARRIVALS}\n  source: {{format: gsm8k, path: x.jsonl, start_s: 3}}",
        "workload.source.start_s",
        6,
    ),
    "empty slice": (
        ARRIVALS,
        f"{ARRIVALS}\n  source: {{format: azure, path: x.csv, start_s: 3, end_s: 3}}",
        "workload.source.end_s",
        6,
    ),
    "cap that is ignored": (
        ARRIVALS,
        f"{ARRIVALS}\n  source:\n    format: azure\n    path: x.csv\n    max_prompt_tokens: 9",
        "workload.source.max_prompt_tokens",
        9,
    ),
    "max below min": ("max: 64", "max: 6", "workload.prompt_tokens.max", 9),
    "lognormal max below min": (
        "{distribution: fixed, value: 32}",
        "{distribution: lognormal, median: 9, sigma: 1, min: 9, max: 8}",
        "workload.output_tokens.max",
        10,
    ),
    "weights of another length": (
        "{distribution: fixed, value: 32}",
        "{distribution: empirical, values: [1, 2], weights: [1]}",
        "workload.output_tokens.weights",
        10,
    ),
    "weights of nothing": (
        "{distribution: fixed, value: 32}",
        "{distribution: empirical, values: [1, 2], weights: [0, 0]}",
        "workload.output_tokens.weights",
        10,
    ),
    "half a token": ("value: 32", "value: 32.5", "workload.output_tokens.value", 10),
    "half a token in a list": (
        "{distribution: fixed, value: 32}",
        "\n    distribution: empirical\n    values:\n    - 3\n    - 3.5",
        "workload.output_tokens.values.1",
        14,
    ),
    "context below the shortest request": (
        "context_tokens: 256",
        "context_tokens: 39",
        "limits.context_tokens",
        31,
    ),
    "target memory below one request": (
        "seed: 3",
        "seed: 3\nkv:\n  target_tokens: 255",
        "kv.target_tokens",
        4,
    ),
    "draft memory below one request": ("seed: 3", "seed: 3\nkv:\n  draft_tokens: 255", "kv.draft_tokens", 4),
    "blocks round below one request": (
        "seed: 3",
        "seed: 3\nkv:\n  reserve: grow\n  block_tokens: 100\n  target_tokens: 299",  # 256 take 3
        "kv.target_tokens",
        6,
    ),
    "a block larger than the cache": (
        "seed: 3",
        "seed: 3\nkv:\n  reserve: grow\n  block_tokens: 3000\n  draft_tokens: 2500",
        "kv.draft_tokens",
        6,
    ),
    # models, devices, placement
    "unknown shape": ("shape: llama-68m", "shape: llama-69m", "models.drafts.tiny.shape", 14),
    "unknown target shape": ("shape: llama-7b", "shape: llama-9b", "models.target.shape", 12),
    "unknown hardware": ("gpu1: {hardware: h200}", "gpu1: {hardware: h201}", "devices.gpu1.hardware", 18),
    "draft not placed": ("    large: gpu1\n", "", "placement.drafts.large", 21),
    "unknown draft placed": (
        "    large: gpu1\n",
        "    large: gpu1\n    huge: gpu1\n",
        "placement.drafts.huge",
        24,
    ),
    "draft on an unknown device": ("    tiny: gpu1", "    tiny: gpu2", "placement.drafts.tiny", 22),
    "target on an unknown device": ("target: [gpu0]", "target: [gpu0, gpu2]", "placement.target.1", 20),
    "target twice on a device": ("target: [gpu0]", "target: [gpu0, gpu0]", "placement.target.1", 20),
    "tensor parallel over unlike devices": (
        "gpu1: {hardware: h200}\nplacement:\n  target: [gpu0]",
        "gpu1: {hardware: h100}\nplacement:\n  target: [gpu0, gpu1]",
        "placement.target",
        20,
    ),
    "device of nobody": (
        "  gpu1: {hardware: h200}",
        "  gpu1: {hardware: h200}\n  gpu2: {hardware: l4}",
        "devices.gpu2",
        19,
    ),
    "reserved name": (
        "    large: {shape: llama-1.1b}",
        "    large: {shape: llama-1.1b}\n    target: {shape: llama-1.1b}",
        "models.drafts.target",
        16,
    ),
    # costs and acceptance
    "cost of an unknown draft": (
        "costs: {model: roofline}",
        "costs: {model: constant, verify_s: 1, draft_step_s: {tiny: 1, large: 1, huge: 1}}",
        "costs.draft_step_s.huge",
        24,
    ),
    "no cost of a draft": (
        "costs: {model: roofline}",
        "costs: {model: constant, verify_s: 1, draft_step_s: {tiny: 1}}",
        "costs.draft_step_s.large",
        24,
    ),
    "strength of an unknown draft": ("large: 1.0}", "large: 1.0, huge: 1}", "acceptance.strength.huge", 27),
    "no strength of a draft": (", large: 1.0}", "}", "acceptance.strength.large", 27),
    "probability of an unknown draft": (
        "  model: logistic\n  strength: {tiny: 0.0, large: 1.0}",
        "  model: constant\n  probability: {tiny: 0.5, large: 0.5, huge: 0.5}",
        "acceptance.probability.huge",
        27,
    ),
    "affinity of an unknown draft": (
        "  strength: {tiny: 0.0, large: 1.0}",
        "  strength: {tiny: 0.0, large: 1.0}\n  domains:\n    code:\n      affinity: {huge: 1}",
        "acceptance.domains.code.affinity.huge",
        30,
    ),
    "length of a drift that is none": (
        "  strength: {tiny: 0.0, large: 1.0}",
        "  strength: {tiny: 0.0, large: 1.0}\n  drift_tokens: 8",
        "acceptance.drift_tokens",
        28,
    ),
    "recording for an unknown draft": (
        "  model: logistic\n  strength: {tiny: 0.0, large: 1.0}",
        "  model: trace\n  path: x\n  drafts: {huge: eagle}",
        "acceptance.drafts.huge",
        28,
    ),
    # policies
    "unknown policy": ("selector: {name: fixed}", "selector: {name: fixt}", "policies.selector.name", 29),
    "unknown parameter": (
        "selector: {name: fixed}",
        "selector: {name: fixed, x: 1}",
        "policies.selector.x",
        29,
    ),
    "bad parameter": ("tokens: 4", "tokens: 0", "policies.length.tokens", 30),
    "fixed on an unknown draft": (
        "selector: {name: fixed}",
        "selector: {name: fixed, draft: huge}",
        "policies.selector.draft",
        29,
    ),
    "length beyond the limit": ("tokens: 4", "tokens: 9", "policies.length.tokens", 30),
    "a selector with nothing drafted": (
        "selector: {name: fixed}\n  length: {name: fixed, tokens: 4}",
        "selector: {name: random}\n  length: {name: none}",
        "policies.selector.name",
        29,
    ),
    # limits, metrics
    "length beyond the context": (
        "batch: 8, context_tokens: 256",
        "batch: 8, context_tokens: 256, max_length: 256",
        "limits.max_length",
        31,
    ),
    "blocks of slots": ("seed: 3", "seed: 3\nkv: {reserve: full, block_tokens: 8}", "kv.block_tokens", 3),
    "top-p of greedy": ("seed: 3", "seed: 3\nsampling: {top_p: 0.9}", "sampling.top_p", 3),
    "slo of nothing": ("slo: {ttft_s: 0.5}", "slo: {}", "slo", 32),
    "warm-up beyond the arrivals": ("seed: 3", "seed: 3\nmetrics: {warmup_s: 5}", "metrics.warmup_s", 3),
    "warm-up with all at once": (
        f"workload:\n  requests: 20\n{ARRIVALS}",
        "metrics: {warmup_s: 1}\nworkload:\n  requests: 20\n  arrivals: {process: at_once}",
        "metrics.warmup_s",
        3,
    ),
    # the YAML itself
    "duplicate key": ("seed: 3", "seed: 3\nseed: 4", "seed", 3),
    "duplicate key deeper": ("batch: 8", "batch: 8, batch: 9", "limits.batch", 31),
    "broken flow": ("target: [gpu0]", "target: [gpu0", "", 21),
    "tab": ("  requests: 20", "\trequests: 20", "", 4),
    "object": ("seed: 3", "seed: !!python/object:os.system 3", "seed", 2),
    "set": ("target: [gpu0]", "target: !!set {gpu0}", "placement.target", 20),
    "key that is no text": ("seed: 3", "seed: 3\n7: 3", "", 3),
    "truth as a key": ("    tiny: {shape: llama-68m}", "    on: {shape: llama-68m}", "models.drafts", 14),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_a_line_with_its_place_and_exit_code_2(
    case: str, scenario_text: str, tmp_path: Path
) -> None:
    old, new, key, line = CASES[case]
    assert old in scenario_text
    text = scenario_text.replace(old, new, 1)
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["simulate", str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    place = f"{path}:{line}: {key}: " if key else f"{path}:{line}: "
    matching = [text for text in lines if text.startswith(place)]
    assert matching, result.stderr
    assert all(text.startswith(f"{path}:") and "; " in text for text in lines), result.stderr
    assert not (tmp_path / "out").exists()


def test_the_text_that_the_cases_change_is_valid(scenario_path: Path) -> None:
    from spinsim.scenario_file import load

    assert load(scenario_path).scenario.name == "small"
