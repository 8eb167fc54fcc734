"""A scenario in a few lines of plain text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


def describe(scenario: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(term, text) pairs from a resolved scenario, as a mapping."""
    models, placement = scenario["models"], scenario["placement"]
    drafts = [
        f"{name} ({_draft(draft, (placement.get('drafts') or {}).get(name))})"
        for name, draft in (models.get("drafts") or {}).items()
    ]
    devices = [f"{name} ({hardware_named(device)})" for name, device in scenario["devices"].items()]
    rows = [
        ("workload", _workload(scenario["workload"])),
        ("target", f"{models['target']['shape']} on {', '.join(placement['target'])}"),
        ("drafts", ", ".join(drafts) or "none"),
        ("devices", ", ".join(devices)),
        ("costs", _choice(scenario["costs"], "model")),
        ("acceptance", scenario["acceptance"]["model"]),
    ]
    policies = scenario.get("policies") or {}
    chosen = [
        f"{kind}: {_choice(value, 'name')}" if isinstance(value, Mapping) else f"{kind}: {_plain(value)}"
        for kind, value in policies.items()
    ]
    rows.append(("policies", "; ".join(chosen) or "defaults"))
    if scenario.get("limits"):
        rows.append(("limits", _pairs(scenario["limits"])))
    return rows


def _draft(draft: Mapping[str, Any], device: str | None) -> str:
    """A model and its device, or another kind of drafter and its keys."""
    return f"{draft['shape']} on {device or '?'}" if "shape" in draft else _choice(draft, "kind")


def described_run(scenario: Mapping[str, Any], summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """:func:`describe`, with what a live run really executed, and what became of the requests."""
    rows = describe(scenario)
    if summary["mode"] == "live":
        given = summary["acceptance"].get("decided_by") == "field"
        others = {"costs": "costs, believed"} | ({} if given else {"acceptance": "acceptance, simulated"})
        rows = [(others.get(term, term), text) for term, text in rows]
        if ran := summary.get("models"):
            rows.append(("really ran", "; ".join(f"{name}: {what}" for name, what in ran.items())))
    counts = summary["requests"]
    return [*rows, ("requests", ", ".join(f"{n:,} {name}" for name, n in counts.items() if n))]


def hardware_named(device: Mapping[str, Any]) -> str:
    """What a device of a resolved scenario is called: its sheet's name, also where that is its own."""
    hardware = device["hardware"]
    if isinstance(hardware, Mapping):
        return str(hardware.get("name") or hardware.get("base") or "own")
    return str(hardware)


def _workload(spec: Mapping[str, Any]) -> str:
    parts = [_choice(spec["arrivals"], "process")]
    if spec.get("requests"):
        parts.insert(0, f"{spec['requests']:,} requests")
    if spec.get("source"):
        parts.append(f"from {spec['source']['format']}")
    for name in ("prompt_tokens", "output_tokens", "patience_s"):
        if spec.get(name):
            parts.append(f"{name.replace('_', ' ')} {_choice(spec[name], 'distribution')}")
    return "; ".join(parts)


def _choice(spec: Mapping[str, Any], naming: str) -> str:
    """The kind of thing, and its plain parameters in brackets."""
    rest = _pairs({k: v for k, v in spec.items() if k != naming})
    return f"{spec.get(naming, '')} ({rest})" if rest else str(spec.get(naming, ""))


def value_text(value: object) -> str:
    """A value of a key in words: a choice by its name with its parameters, a list with commas.

    Text that holds such a value as JSON, as labels of cells do, is read first.
    """
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            value = yaml.safe_load(value)
        except yaml.YAMLError:
            return str(value)
    if isinstance(value, Mapping):
        naming = next((key for key in ("name", "model", "process", "distribution") if key in value), None)
        return _choice(value, naming) if naming else _pairs(value)
    return ", ".join(map(value_text, value)) if isinstance(value, list) else _plain(value)


def _pairs(values: Mapping[str, Any]) -> str:
    shown = {k: v for k, v in values.items() if v is not None and not isinstance(v, (Mapping, list))}
    return ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in shown.items())


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
