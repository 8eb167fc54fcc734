"""vLLM: ``--speculative-config``, a JSON object (SpeculativeConfig in vllm/config/speculative.py)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from spinsim.engines.base import Engine, Field, comments, named
from spinsim.engines.plan import Plan

COMMIT = "002e77c1f0ef9b19cff8b9e21cfbd6feb3d6b443"
_METHODS = {
    "draft_model": "draft_model",
    "eagle": "eagle",
    "eagle3": "eagle3",
    "mtp": "mtp",
    "ngram": "ngram",
}
# Only what an export may hold. A batch's range is inclusive; a gap has the tokens of the range before it.
_FIELDS = {
    "method": Field(str, choices=tuple(_METHODS.values())),
    "model": Field(str),
    "num_speculative_tokens": Field(int, least=1),
    "num_speculative_tokens_per_batch_size": Field(list),
    "draft_tensor_parallel_size": Field(int, least=1),
    "prompt_lookup_max": Field(int, least=1),
    "prompt_lookup_min": Field(int, least=1),
}
LOOKED_UP = {"prompt_lookup_max": 4, "prompt_lookup_min": 2}  # the n-gram drafter's window, in tokens


def _settings(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = {"method": _METHODS[plan.method], "num_speculative_tokens": plan.tokens}
    if plan.method in ("draft_model", "eagle", "eagle3"):
        found["model"] = named(plan.draft)
        found["draft_tensor_parallel_size"] = 1
    if plan.method == "ngram":
        found |= LOOKED_UP
    if not plan.constant:
        found["num_speculative_tokens_per_batch_size"] = [[s.first, s.last, s.tokens] for s in plan.schedule]
    return found


def _files(plan: Plan, settings: Mapping[str, Any]) -> dict[str, str]:
    command = ["vllm", "serve", plan.target.name]
    if plan.devices > 1:
        command += ["--tensor-parallel-size", str(plan.devices)]
    if settings:
        command += ["--speculative-config", json.dumps(settings)]
    return {"vllm.sh": comments(plan) + shlex.join(command) + "\n"}


VLLM = Engine(
    "vllm",
    COMMIT,
    "vllm-project/vllm: vllm/config/speculative.py",
    _METHODS,  # type: ignore[arg-type]
    ("draft_model", "eagle", "eagle3", "mtp", "ngram"),
    _FIELDS,
    _settings,
    _files,
)
