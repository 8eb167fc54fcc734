"""Scenarios and synthetic profiles for the cost tests."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from spinsim.buckets import row_buckets
from spinsim.costs.operators import PassCosts
from spinsim.costs.profiled.profile import SCHEMA, Point, Profile, ProfiledModel
from spinsim.costs.sheets.hardware import hardware_of
from spinsim.costs.sheets.shapes import shape_of
from spinsim.scenario import Scenario

TARGET, DRAFT = "llama-3-8b", "llama-68m"


def scenario_of(**sections: Any) -> Scenario:
    """A valid scenario on two H200s, with top-level sections replaced."""
    base: dict[str, Any] = {
        "name": "test",
        "workload": {"requests": 1, "arrivals": {"process": "at_once"}},
        "models": {"target": {"shape": TARGET}, "drafts": {"small": {"shape": DRAFT}}},
        "devices": {"gpu0": {"hardware": "h200"}, "gpu1": {"hardware": "h200"}},
        "placement": {"target": ["gpu0"], "drafts": {"small": "gpu1"}},
        "costs": {"model": "roofline"},
        "acceptance": {"model": "constant", "probability": 0.5},
    }
    return Scenario.model_validate(base | sections)


class Truth:
    """A known law that synthetic profiles are drawn from: an H200 sheet with other efficiencies."""

    def __init__(self, shape: str, devices: int = 1) -> None:
        hardware = hardware_of("h200")
        self.costs = PassCosts(
            shape_of(shape), "bf16", hardware, devices=devices, efficiency=0.6, greedy=devices > 1
        )

    def seconds(self, tokens: int, head: int, queries: int, kv: int, pairs: float) -> float:
        costs = self.costs
        return (
            costs.overhead_s
            + costs.body(tokens)
            + costs.output(head)
            + costs.attention.seconds(kv, queries, pairs)
        )


def synthetic_profile(noise: float = 0.0, seed: int = 0, devices: int = 1) -> Profile:
    """Points on buckets, for a target and a draft, from :class:`Truth` plus relative noise.

    The target is on so many ``devices``.
    """
    rng = np.random.default_rng(seed)
    points: list[Point] = []

    def add(
        operation: str, seconds: float, features: dict[str, float], model: str = "", packing: str = ""
    ) -> None:
        noisy = seconds * float(np.exp(rng.normal(0.0, noise))) if noise else seconds
        points.append(
            Point(
                operation=operation,
                seconds=noisy,
                spread_s=noise * seconds,
                repetitions=5,
                features=features,
                model=model,
                packing=packing,
            )
        )

    target, draft = Truth(TARGET, devices), Truth(DRAFT)
    contexts = (64, 256, 512, 1024, 2048)
    for rows in [r for r in row_buckets(64) if r in (1, 2, 4, 8, 16, 32, 64)]:
        for context in contexts:
            kv = rows * context
            for tokens in (rows, 2 * rows):
                seconds = draft.seconds(tokens, rows, tokens, kv, kv * tokens / rows)
                add("draft_step", seconds, {"rows": rows, "tokens": tokens, "kv_tokens": kv}, "draft")
            for queries in (rows, 4 * rows, 8 * rows):
                seconds = target.seconds(queries, queries, queries, kv, kv * queries / rows)
                features = {"rows": rows, "query_tokens": queries, "tokens": queries, "kv_tokens": kv}
                for packing in ("ragged", "padded"):
                    add("verify", seconds, features, "target", packing)
    for tokens in (1, 8, 64, 256, 512, 1024, 2048, 4096):
        for start in (0, 512, 2048):
            kv, pairs = start + tokens, tokens * start + tokens * (tokens + 1) // 2
            features = {"rows": 1, "tokens": tokens, "kv_tokens": kv, "pairs": pairs}
            add("prefill", target.seconds(tokens, 1, tokens, kv, pairs), features, "target")
            add("catch_up", draft.seconds(tokens, tokens, tokens, kv, pairs), features, "draft")
    for rows in (1, 8, 64):
        add("orchestrator", 30e-6 + rows * 1e-6, {"rows": rows})
    add("hop", 8e-6, {})
    for size in (8, 1024, 65536, 2**25):
        add("transfer", 30e-6 + size / 400e9, {"bytes": size})
    for lane, factor in ((1, 1.1), (0, 1.9)):
        add("lane_slowdown", 0.01 * factor, {"target_lane": lane, "alone_s": 0.01})
    return Profile(
        schema=SCHEMA,
        hardware="h200",
        created="2025-01-01T00:00:00Z",
        graphs=True,
        versions={"torch": "2.11.0"},
        clocks={"sm": 1980.0},
        models={
            "target": ProfiledModel(shape_of(TARGET), "bf16", "h200", devices),
            "draft": ProfiledModel(shape_of(DRAFT), "bf16", "h200"),
        },
        points=tuple(points),
    )


NOISE = 0.01


@cache
def measured() -> Profile:
    """A profile whose points scatter about the law by a hundredth."""
    return synthetic_profile(NOISE)
