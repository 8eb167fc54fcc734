"""The cells of the map in docs/regimes.md, each a scenario as a mapping.

Costs are data sheets', acceptance is given. A cell holds ``clients`` requests at once, whose contexts are
``context`` tokens long in the mean of a run, and each of its runs has some 2,000 rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.planner_live_cases import DIFFERING

Content = dict[str, Any]

TOKENS = 5400  # of every client in a run: some 2,000 rounds of 2.7
WHOLE = 2048  # up to this context requests come and go; beyond, each is met in mid-flight
SMALL, LARGE = "small", "large"
TWO_DRAFTS = {SMALL: ("llama-3-117m", 0.56), LARGE: ("llama-3-1b", 0.72)}
PRICES = {"h100": 3.0, "l40s": 1.0, "a10": 0.6}  # an hour, our assumption: what clouds ask is of this order
# As scenarios/specialists.yaml: three kinds of requests, and none of the drafts is best for everybody.
SPECIALISTS = {**dict.fromkeys(("tiny", "code", "maths"), "llama-3-117m"), "large": "llama-3-1b"}


@dataclass(frozen=True)
class Cell:
    """``drafts``: shape and acceptance by name, on the last device. ``given``: acceptance in their place."""

    axis: str
    name: str
    context: int
    clients: int
    target: str = "llama-3-8b"
    target_gpus: int = 1
    draft_gpu: str = "h100"
    drafts: Mapping[str, tuple[str, float]] = field(default_factory=lambda: dict(TWO_DRAFTS))
    given: Content | None = None

    @property
    def differs(self) -> bool:
        """Do requests differ in which draft is the best for them?"""
        return self.given is not None

    @property
    def price(self) -> float:
        """Of all devices, an hour."""
        return self.target_gpus * PRICES["h100"] + PRICES[self.draft_gpu]

    def workload(self, tokens: int = TOKENS) -> Content:
        """``tokens`` of every client. Contexts are ``context`` long in the mean, whatever ``tokens`` is."""
        if self.context <= WHOLE:
            half = self.context // 2
            return {
                "arrivals": {"process": "closed", "concurrency": self.clients},
                "requests": self.clients * max(2, round(tokens / self.context)),
                "prompt_tokens": spread(half),
                "output_tokens": spread(self.context),
            }
        return {
            "arrivals": {"process": "at_once"},
            "requests": self.clients,
            "prompt_tokens": spread(self.context - tokens // 2),
            "output_tokens": {"distribution": "fixed", "value": 1},
            "mid_flight": {
                "distribution": "uniform",
                "min": round(0.95 * tokens),
                "max": round(1.05 * tokens),
            },
        }

    def scenario(self) -> Content:
        """The whole scenario, with policies that every step replaces."""
        target = [f"gpu{number}" for number in range(self.target_gpus)]
        beside = f"gpu{self.target_gpus}"
        devices = {name: {"hardware": "h100", "price_per_hour": PRICES["h100"]} for name in target}
        devices[beside] = {"hardware": self.draft_gpu, "price_per_hour": PRICES[self.draft_gpu]}
        rates = {draft: rate for draft, (_, rate) in self.drafts.items()}
        longest = round(1.5 * self.context) + (self.context if self.context <= WHOLE else TOKENS)
        return {
            "name": self.name,
            "seed": 1,
            "workload": self.workload(),
            "models": {
                "target": {"shape": self.target},
                "drafts": {draft: {"shape": shape} for draft, (shape, _) in self.drafts.items()},
            },
            "devices": devices,
            "placement": {"target": target, "drafts": dict.fromkeys(self.drafts, beside)},
            "costs": {"model": "roofline"},
            "acceptance": self.given or {"model": "constant", "probability": rates},
            "limits": {
                "batch": self.clients,
                "context_tokens": -(-longest // 64) * 64,
                "prefill_chunk_tokens": 2048,
                "max_length": 8,
            },
            "kv": {"reserve": "grow", "block_tokens": 64},
        }


def spread(mean: int) -> Content:
    """Lengths from half as long to half as long again."""
    return {"distribution": "uniform", "min": round(0.5 * mean), "max": round(1.5 * mean)}


def cells() -> list[Cell]:
    """All of them, in the order of the axes."""
    specialists = {draft: (shape, 0.5) for draft, shape in SPECIALISTS.items()}
    found = [
        Cell("context", f"{context}-tokens-{clients}-clients", context, clients)
        for clients in (4, 16, 48)
        for context in (512, 2048, 8192, 16384)
        if context * clients < 500_000
    ]
    found += [
        Cell(
            "requests differ",
            f"differ-{context}-{clients}",
            context,
            clients,
            drafts=specialists,
            given=DIFFERING,
        )
        for context, clients in ((512, 8), (512, 32), (4096, 16))
    ]
    found += [
        Cell("drafting", f"draft-{size}", 2048, 32, drafts={"draft": (f"llama-3-{size}", 0.72)})
        for size in ("117m", "330m", "1b", "3b")
    ]
    found += [
        Cell("price", f"draft-on-{gpu}-{context}", context, 16, draft_gpu=gpu)
        for context in (2048, 8192)
        for gpu in ("l40s", "a10")
    ]
    found += [
        Cell("target GPUs", f"{target}-over-{gpus}", 4096, 32, target=f"llama-3-{target}", target_gpus=gpus)
        for target, gpus in (("8b", 2), ("8b", 4), ("70b", 4), ("70b", 8))
    ]
    return found
