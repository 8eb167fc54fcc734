"""Orders of the waiting room: the smallest key is admitted first."""

from __future__ import annotations

from dataclasses import dataclass

from spinsim.policies.base import PolicyContext, RequestView
from spinsim.policies.registry import ADMISSIONS


@ADMISSIONS.register("fcfs")
class FirstComeFirstServed:
    """By arrival; ties by id."""

    native = "arrival"

    @dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, params: Params, context: PolicyContext) -> None:
        pass

    def key(self, request: RequestView) -> tuple[int, ...]:
        return (request.arrival_ns, request.id)


@ADMISSIONS.register("shortest_prompt")
class ShortestPromptFirst:
    """The least prefill first (shortest job first on what a server can see). Long prompts may starve."""

    native = "shortest prompt"

    @dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, params: Params, context: PolicyContext) -> None:
        pass

    def key(self, request: RequestView) -> tuple[int, ...]:
        return (request.prompt_tokens, request.arrival_ns, request.id)
