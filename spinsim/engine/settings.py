"""What the engine needs to know of a scenario, and nothing of where it came from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Limits and the map from models to lanes."""

    drafts: tuple[str, ...]  # names, in the scenario's order
    target_lane: int
    draft_lanes: tuple[int, ...]
    batch_limit: int  # requests admitted at once
    context_tokens: int  # prompt + output; longer requests are rejected
    prefill_chunk_tokens: int
    max_length: int  # longest proposal
    overlapped: bool  # catch up with a new draft beside the current one
    reserve: str  # "full" or "grow"
    block_tokens: int
    target_kv_tokens: int
    draft_kv_tokens: tuple[int | None, ...]  # None: keeps no K/V, and reads a context where it proposes
    merged_prefill: bool = False  # prompts' chunks go into the passes that verify
    prefix_block_tokens: int = 0  # of a cache of prompts' beginnings; 0: none
