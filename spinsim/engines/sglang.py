"""SGLang: ``--speculative-*`` flags (ServerArgs), and a JSON file for tokens by batch size."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from spinsim.engines.base import Engine, Field, comments, named
from spinsim.engines.plan import Plan

COMMIT = "001067fffe33427bee0ed2f007fb7551a1d76b44"
_METHODS = {
    "draft_model": "STANDALONE",
    "eagle": "EAGLE",
    "eagle3": "EAGLE3",
    "mtp": "NEXTN",
    "ngram": "NGRAM",
}
_FIELDS = {
    "speculative_algorithm": Field(str, choices=tuple(_METHODS.values())),
    "speculative_draft_model_path": Field(str),
    "speculative_num_steps": Field(int, least=1),
    "speculative_eagle_topk": Field(int, least=1),
    "speculative_num_draft_tokens": Field(int, least=2),
    "speculative_adaptive": Field(bool),
    "speculative_adaptive_config": Field(str),
}
ADAPTIVE = "sglang-adaptive.json"


def _settings(plan: Plan) -> dict[str, Any]:
    # A chain: each step has one candidate, and the target's own token is verified with them.
    found: dict[str, Any] = {
        "speculative_algorithm": _METHODS[plan.method],
        "speculative_num_steps": plan.tokens,
        "speculative_eagle_topk": 1,
        "speculative_num_draft_tokens": plan.tokens + 1,
    }
    if plan.method in ("draft_model", "eagle", "eagle3"):
        found["speculative_draft_model_path"] = named(plan.draft)
    if plan.method == "ngram":
        found.pop("speculative_eagle_topk")
        found.pop("speculative_num_steps")
    if not plan.constant:
        found |= {"speculative_adaptive": True, "speculative_adaptive_config": ADAPTIVE}
    return found


def _files(plan: Plan, settings: Mapping[str, Any]) -> dict[str, str]:
    command = ["python", "-m", "sglang.launch_server", "--model-path", plan.target.name]
    if plan.devices > 1:
        command += ["--tp-size", str(plan.devices)]
    for key, value in settings.items():
        flag = f"--{key.replace('_', '-')}"
        command += [flag] if value is True else [flag, str(value)]
    files = {"sglang.sh": comments(plan) + shlex.join(command) + "\n"}
    if settings.get("speculative_adaptive"):
        # A slot serves the batches from its key up to the next key, and has one candidate: nothing to adapt.
        slots = {str(step.first): {"candidate_steps": [step.tokens]} for step in plan.schedule}
        files[ADAPTIVE] = json.dumps(slots, indent=2) + "\n"
    return files


SGLANG = Engine(
    "sglang",
    COMMIT,
    "sgl-project/sglang: python/sglang/srt/server_args.py, speculative/adaptive_spec_params.py (015c8726)",
    _METHODS,  # type: ignore[arg-type]
    ("eagle", "eagle3"),
    _FIELDS,
    _settings,
    _files,
)
