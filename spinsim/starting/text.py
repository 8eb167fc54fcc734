"""The YAML of a first scenario, with comments: what was assumed, and what else a key may say."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import yaml

WIDTH = 108
MODELLED = "sigmoid(strength - difficulty) a token; or {model: trace, path: ...}"


def scenario_text(content: Mapping[str, Any], assumed: Mapping[str, str], file: str) -> str:
    """``content`` as YAML. ``assumed``: sentences by the key that they are about; ``file``: where it goes."""
    models = content["models"]
    recorded = content["acceptance"]["model"] == "trace"
    return "\n".join(
        [
            *_comment("Written by `spinsim init`. What it assumed, for you to replace:"),
            "#",
            *(line for said in assumed.values() for line in _comment(said, "  - ")),
            "#",
            *_comment("docs/scenario.md has every key with its unit, default and choices. Try:"),
            "#",
            f"#     spinsim simulate {file}",
            f"#     spinsim capacity {file}{_open(content['workload'])}   # the highest rate within slo",
            f"#     spinsim compare {file}{_drawn(content['workload'])}{_alternatives(models['drafts'])}",
            f"#     spinsim sweep {file}{_lengths(models['drafts'])}   # how long to speculate",
            f"#     spinsim profile {file}    # on your GPUs: measured costs",
            f"name: {content['name']}",
            "seed: 1",
            "workload:",
            *_workload(content["workload"]),
            "models:   # a shape by name (spinsim list shapes), or the path of a config.json",
            f"  target: {flow(models['target'])}   # weights: FOLDER, for `spinsim run` with a real model",
            *_block("  drafts", models["drafts"]),
            "devices:   # hardware by name (spinsim list hardware), or a sheet of your own",
            *(f"  {name}: {flow(device)}" for name, device in content["devices"].items()),
            "placement:",
            f"  target: {flow(content['placement']['target'])}",
            f"  drafts: {flow(content['placement']['drafts'])}",
            "costs: {model: roofline}   # or {model: profile, path: ...}, as `spinsim profile` measures it",
            f"acceptance:   # {'recorded' if recorded else MODELLED}",
            *(f"  {key}: {flow(value)}" for key, value in content["acceptance"].items()),
            "policies:   # spinsim list policies; docs/policies.md says which to pick",
            f"  selector: {flow(content['selector'])}",
            f"  length: {flow(content['length'])}",
            f"limits: {flow(content['limits'])}   # requests at once; prompt + output",
            f"slo: {flow(content['slo'])}",
            "",
        ]
    )


def _open(workload: Mapping[str, Any]) -> str:
    """Capacity asks for a rate, which clients that wait for their answers do not have."""
    closed = workload["arrivals"]["process"] == "closed"
    return " --set 'workload.arrivals={process: poisson, rate_per_s: 1}'" if closed else ""


def _drawn(workload: Mapping[str, Any]) -> str:
    """Seeds differ only if a file's requests are drawn, where they come as clients are free."""
    same = "source" in workload and workload["arrivals"]["process"] == "closed"
    return " --set workload.source.resample=true" if same else ""


def _alternatives(drafts: Mapping[str, Any]) -> str:
    """Each draft for everybody, SPIN's selector and no speculation, as options of ``compare``."""
    tokens = "length=fixed,tokens=4"
    given = [f"'{name} for everybody:selector=fixed,draft={name}/{tokens}'" for name in drafts]
    given += [f"SPIN:selector=spin/{tokens}"] if len(drafts) > 1 else []
    given.append("'no speculation:selector=fixed,draft=none/length=none'")
    return "".join(f" --policy {each}" for each in given)


def _lengths(drafts: Mapping[str, Any]) -> str:
    """Drafts and lengths, as options of ``sweep``."""
    return (
        " --set 'policies.selector={name: fixed}' --set 'policies.length={name: fixed}'"
        f" --grid policies.selector.draft={','.join(drafts)} --grid policies.length.tokens=2,4,6"
    )


def _workload(workload: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, value in workload.items():
        lines += _block(f"  {key}", value) if key == "source" else [f"  {key}: {flow(value)}"]
    return lines


def _comment(text: str, lead: str = "") -> list[str]:
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"# {lead}",
        subsequent_indent=f"# {' ' * len(lead)}",
        break_on_hyphens=False,
    )
    return lines or ["#"]


def _block(key: str, mapping: Mapping[str, Any]) -> list[str]:
    indent = " " * (len(key) - len(key.lstrip()) + 2)
    return [f"{key}:", *(f"{indent}{name}: {flow(value)}" for name, value in mapping.items())]


def flow(value: object) -> str:
    """A value on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip()
