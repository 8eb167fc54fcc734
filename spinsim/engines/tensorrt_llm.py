"""TensorRT-LLM: ``speculative_config`` of the YAML that ``trtllm-serve --extra_llm_api_options`` reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from spinsim.engines.base import Engine, Field, comments, named
from spinsim.engines.plan import Plan, Step, merged

COMMIT = "0004396720054fd8e205cbf616f21f0b57c6b412"
_METHODS = {"draft_model": "Draft_Target", "eagle3": "Eagle3", "mtp": "MTP", "ngram": "NGram"}
_FIELDS = {
    "decoding_type": Field(str, choices=tuple(_METHODS.values())),
    "max_draft_len": Field(int, least=1),
    "speculative_model": Field(str),
    "draft_len_schedule": Field(dict),
    "max_matching_ngram_size": Field(int, least=1),
}


def _settings(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = {"decoding_type": _METHODS[plan.method], "max_draft_len": plan.tokens}
    if plan.method in ("draft_model", "eagle3"):
        found["speculative_model"] = named(plan.draft)
    if plan.method == "ngram":
        found["max_matching_ngram_size"] = 4
    if not plan.constant:
        # Each key is the largest batch of its range. Batches beyond the last key draft nothing.
        found["draft_len_schedule"] = {step.last: step.tokens for step in plan.schedule}
    return found


def _files(plan: Plan, settings: Mapping[str, Any]) -> dict[str, str]:
    serve = f"trtllm-serve {plan.target.name}"
    if plan.devices > 1:
        serve += f" --tp_size {plan.devices}"
    lines = (f"{serve} --extra_llm_api_options tensorrt-llm.yaml",)
    body = yaml.safe_dump({"speculative_config": dict(settings)}, sort_keys=False) if settings else "{}\n"
    return {"tensorrt-llm.yaml": comments(plan, lines) + body}


def _first_is_most(plan: Plan) -> Plan:
    """The smallest batch drafts the most: ``draft_len_schedule[smallest] == max_draft_len``."""
    most = plan.schedule[0].tokens if plan.schedule else 0
    steps = (s if s.tokens <= most else Step(s.first, s.last, most) for s in plan.schedule)
    return replace(plan, schedule=merged(tuple(steps)))


TENSORRT_LLM = Engine(
    "tensorrt-llm",
    COMMIT,
    "NVIDIA/TensorRT-LLM: tensorrt_llm/llmapi/llm_args.py, _torch/speculative/interface.py (00b6d5a2)",
    _METHODS,  # type: ignore[arg-type]
    ("draft_model", "eagle3", "mtp"),
    _FIELDS,
    _settings,
    _files,
    _first_is_most,
)
