"""transformers' own generate on a deployment's target: the yardstick from outside."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.live_runs import Figures
from spinsim.live.deployment import Deployment
from spinsim.live.prompts import materialise
from spinsim.scenario_file import LoadedScenario
from spinsim.workload.for_scenario import build_workload


def greedy_outputs(
    loaded: LoadedScenario, deployment: Deployment, reference: Any | None = None
) -> dict[int, list[int]]:
    """What transformers' greedy generation answers to the scenario's prompts, request by request.

    ``reference``: a model with the target's weights. Without one it is the target's own module, whose
    attention is no longer ours afterwards.
    """
    target = deployment.models.target
    if reference is None:
        reference = target.module
        reference.set_attn_implementation("eager")
    prompted = materialise(loaded.scenario, build_workload(loaded.scenario, loaded.base_dir), target)
    tokens = {}
    for request in prompted.workload.requests:
        ids = torch.tensor([list(prompted.prompts[request.id])])
        out = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=request.output_tokens,
            min_new_tokens=request.output_tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        tokens[request.id] = out[0, ids.shape[1] :].tolist()
    return tokens


def generate(loaded: LoadedScenario, deployment: Deployment, new: int = 64) -> Figures:
    """Tokens per second at the scenario's concurrency and at batch 1, and assisted at batch 1.

    Afterwards the models' attention is no longer ours: nothing else can run.
    """
    models = deployment.models
    target, scenario = models.target.module, loaded.scenario
    prompted = materialise(scenario, build_workload(scenario, loaded.base_dir), models.target)
    requests = prompted.workload.requests[: prompted.workload.concurrency or scenario.limits.batch]
    longest = max(request.prompt_tokens for request in requests)
    ids = torch.zeros(len(requests), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, request in enumerate(requests):
        ids[row, longest - request.prompt_tokens :] = torch.tensor(prompted.prompts[request.id])
        mask[row, longest - request.prompt_tokens :] = 1
    ids, mask = ids.to(target.device), mask.to(target.device)
    target.set_attn_implementation("sdpa")
    options: dict[str, Any] = {
        "max_new_tokens": new,
        "min_new_tokens": new,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 0,
    }

    def timed(**more: Any) -> float:
        begin = time.perf_counter()
        target.generate(**options, **more)
        return time.perf_counter() - begin

    timed(input_ids=ids[:, -8:], attention_mask=mask[:, -8:])
    found: Figures = {"batch": len(requests), "new_tokens": new}
    found["generate_tokens_per_s"] = len(requests) * new / timed(input_ids=ids, attention_mask=mask)
    one = {"input_ids": ids[:1], "attention_mask": mask[:1]}
    found["generate_batch_1_tokens_per_s"] = new / timed(**one)
    assistant = next(iter(models.drafts.values())).module
    assistant.to(target.device).set_attn_implementation("sdpa")
    found["assisted_batch_1_tokens_per_s"] = new / timed(**one, assistant_model=assistant)
    return found
