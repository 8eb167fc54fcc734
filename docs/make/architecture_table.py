"""Writes the table of architectures.md: ``python docs/make/architecture_table.py``.

Every model of ``public_architectures.json`` is counted from its hyper-parameters, and built by transformers
without weights (on torch's meta device). A test fails when the table is stale.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spinsim.costs.sheets.shapes import ModelShape, shape_from_config
from spinsim.errors import InputError

HERE = Path(__file__).parent
PAGE = HERE.parent / "architectures.md"
MODELS = HERE / "public_architectures.json"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
FUSED = ("qkv_proj", "query_key_value", "c_attn", "Wqkv")
OUTPUTS = ("o_proj", "dense", "c_proj", "out_proj")


class Counts(NamedTuple):
    """Parameters in all, those that serve one token, and bytes of K/V a token in bf16."""

    total: int
    active: int
    kv_bytes: int


def models() -> dict[str, dict[str, Any]]:
    """By name, what a public model's config.json says."""
    found: dict[str, dict[str, Any]] = json.loads(MODELS.read_text(encoding="utf-8"))
    return found


def counted(config: Mapping[str, Any]) -> tuple[ModelShape, Counts]:
    """As spinsim counts it. Raises InputError where it is refused."""
    shape = shape_from_config(config, name="", source="")
    return shape, Counts(shape.parameters(), shape.active_parameters(), shape.kv_bytes_per_token("bf16"))


def true_counts(config: Mapping[str, Any]) -> Counts:
    """As the modules of transformers have it."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    text = dict(config.get("text_config", config))
    made = CONFIG_MAPPING[text.pop("model_type")](**text)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16)
    total = idle = 0
    for name, weight in model.named_parameters():
        total += weight.numel()
        if ".experts." in name:
            count = weight.shape[0]
            idle += weight.numel() * (count - made.num_experts_per_tok) // count
    kv = sum(_kv_width(module) for name, module in model.named_modules() if name.endswith(ATTENTION))
    return Counts(total, total - idle, 2 * kv)


ATTENTION = (".self_attn", ".attention", ".attn", ".self_attention")


def _kv_width(attention: Any) -> int:
    """Numbers that one token leaves in the cache of one layer, from the widths of its projections."""
    parts = dict(attention.named_children())
    if "kv_a_proj_with_mqa" in parts:
        return int(parts["kv_a_proj_with_mqa"].weight.shape[0])
    if "k_proj" in parts:
        return int(parts["k_proj"].weight.shape[0] + parts["v_proj"].weight.shape[0])
    fused = next(parts[name] for name in FUSED if name in parts)
    output = next(parts[name] for name in OUTPUTS if name in parts)
    # GPT-2 keeps its matrices the other way round
    turned = type(fused).__name__ == "Conv1D"
    queries = output.weight.shape[0 if turned else 1]
    return int(fused.weight.shape[1 if turned else 0] - queries)


def table() -> str:
    """A row for each model."""
    rows = [
        "| model | `model_type` | parameters | true | active | K/V bytes a token | off | in `simulate` |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, config in models().items():
        kind = config["model_type"]
        try:
            shape, ours = counted(config)
        except InputError as error:
            reason = error.message.partition("; ")[0]
            rows.append(f"| {name} | {kind} | | | | | | refused: {reason} |")
            continue
        true = true_counts(config)
        off = max(abs(a - b) / b for a, b in zip(ours, true, strict=True))
        rows.append(
            f"| {name} | {kind} | {ours.total / 1e9:.3f} B | {true.total / 1e9:.3f} B | "
            f"{ours.active / 1e9:.3f} B | {ours.kv_bytes:,} | {100 * off:.3f} % | "
            f"{_brief(shape)} |"
        )
    return "\n".join(rows)


def _brief(shape: ModelShape) -> str:
    """Is it priced from sheets, and what of it was never compared with a machine?"""
    if shape.without_cost_model():
        return "counted only"
    odd = shape.never_compared()
    return f"yes; never compared with a machine: {', '.join(odd)}" if odd else "yes"


def page(text: str) -> str:
    """The page with its table brought up to date."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {PAGE}")
