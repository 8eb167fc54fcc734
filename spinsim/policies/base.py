"""The data that policies are given, and the decisions that they return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from spinsim.acceptance.field import AcceptanceField
from spinsim.acceptance.lookups import NOT_LOOKED_UP as NOT_LOOKED_UP
from spinsim.costs.base import Predictor
from spinsim.packings.base import PackingPolicy as PackingPolicy

NO_DRAFT = -1  # the arm on which a request only decodes


class RequestView:
    """A request as a server sees it. The engine owns and updates it; policies only read.

    Never here: the output length, the domain, a future acceptance.
    """

    __slots__ = (
        "arrival_ns",
        "cached",
        "draft",
        "generated",
        "id",
        "matched",
        "offered",
        "prompt_tokens",
        "rounds",
        "slot",
    )

    def __init__(self, id: int, prompt_tokens: int, arrival_ns: int, drafts: int) -> None:
        self.id = id
        self.prompt_tokens = prompt_tokens
        self.arrival_ns = arrival_ns
        self.generated = 0  # output tokens committed so far
        self.rounds = 0  # verifications so far
        self.draft = NO_DRAFT  # the draft of the last round
        self.cached = [0] * drafts  # context tokens in each draft's KV cache
        self.slot = -1
        # By draft, where some look their proposals up in the request's tokens: tokens at the context's end
        # that were found earlier (0: none), and tokens on offer; NOT_LOOKED_UP for drafts that are models.
        self.matched: Sequence[int] = ()
        self.offered: Sequence[int] = ()

    @property
    def context(self) -> int:
        """Prompt plus committed output tokens."""
        return self.prompt_tokens + self.generated


@dataclass(slots=True)
class CyclePlan:
    """What a planning selector decides for the other policies called ``planned``, which only read it.

    ``lengths`` are of the rows that the selector assigned last. The fields up to
    ``packings`` are what the scenario's other policies leave to the plan; they are set once.
    """

    most_depth: int = 1  # micro-batches
    pipeline: PipelinePolicy | None = None  # one that is not planned, and decides the depth itself
    fixed_lengths: tuple[int, ...] | None = None  # by draft, of a length policy that is not planned
    packings: Mapping[str, PackingPolicy] = field(default_factory=dict)  # those that verifications may have
    packing: str = ""  # which of them; "": the first
    depth: int = 1
    grouped: bool = False  # micro-batches of one draft each
    lengths: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class PolicyContext:
    """What every policy is told once, before the run."""

    drafts: tuple[str, ...]
    draft_lanes: tuple[int, ...]  # lane of each draft; drafts of one lane run one after another
    draft_sizes: tuple[int, ...]  # parameters, to name the smallest
    capacities: tuple[int | None, ...]  # requests a draft may serve in one micro-batch
    allow_none: bool  # is NO_DRAFT an arm?
    max_length: int  # longest proposal, for the range of rewards
    batch_limit: int
    seed: int
    predictor: Predictor
    future: AcceptanceField | None = None  # handed to policies whose class says ``sees_future``
    outputs: Sequence[int] | None = None  # output lengths by request, likewise
    lengths: tuple[int, ...] | None = None  # proposal length by draft, where the length policy fixes it
    context_tokens: int | None = None  # proposals are cut where a context would grow past this
    draft_devices: tuple[str, ...] = ()  # of each draft: lanes of one device slow each other down
    target_devices: tuple[str, ...] = ()  # drafts of these work beside the target, each at a slower pace
    plan: CyclePlan | None = None  # what the policies called ``planned`` share
    trained: Mapping[str, Any] | None = None  # what the file that the selector's ``trained`` names says

    def within(self, context: int, length: int = 0) -> int:
        """``context`` tokens, or the most that the scenario allows before a proposal of ``length`` tokens.

        Policies ask the cost model for no longer context: a measured profile ends where the scenario does.
        """
        if self.context_tokens is None:
            return context
        return max(1, min(context, self.context_tokens - length))


class Feedback(NamedTuple):
    """One finished round of one micro-batch; parallel lists, a row a request.

    ``draft_s[i]``: seconds that the row's proposal operation took (0 for NO_DRAFT). ``verify_s``: that the
    verification took; 0 where prompts were in its pass. ``round_s``: from the assignment to the commit.
    ``committed`` counts the target's own token and stops at the end of the output. A draft that looks its
    proposals up and had none is in ``drafts`` all the same, with length 0. ``agreed[i][draft]``: how many of
    the committed tokens such a draft would have proposed, in a row, chosen or not; NOT_LOOKED_UP for models,
    and empty where no draft looks anything up.
    """

    requests: Sequence[RequestView]
    drafts: Sequence[int]
    lengths: Sequence[int]
    accepted: Sequence[int]
    committed: Sequence[int]
    draft_s: Sequence[float]
    round_s: float
    agreed: Sequence[Sequence[int]] = ()
    verify_s: float = 0.0


class Selector(Protocol):
    """Which draft for which request, this round.

    A selector or length policy whose class says ``reads_lookups`` finds ``matched`` and ``offered`` of views,
    and ``agreed`` of feedback, filled wherever drafts look their proposals up. One that has a method
    ``thought()``, too, is asked after each verification was submitted for something to think through while
    the target works: a function, or None. One that has a number ``reads_catch_ups`` above 0 hears by
    ``observe_hits`` of so many of the last output tokens that a draft read of a request to catch up.
    """

    sees_future: bool
    full_information: bool  # wants every draft caught up every round, and ``observe_hits``

    def assign(self, batch: Sequence[RequestView]) -> list[int]:
        """A draft index, or NO_DRAFT where the context allows it, for each request."""
        ...

    def observe(self, feedback: Feedback) -> None: ...

    def observe_hits(self, request: RequestView, draft: int, hits: bytes) -> None:
        """What a catch-up showed: would ``draft`` have proposed each of those output tokens?"""
        ...

    def forget(self, request: int) -> None: ...


class LengthPolicy(Protocol):
    """How many tokens to propose.

    One that has a method ``ceilings(batch, drafts)``, too, says by row the most entropy (nats) of a token
    that is proposed after the first.
    """

    sees_future: bool

    def lengths(self, batch: Sequence[RequestView], drafts: Sequence[int]) -> list[int]:
        """Proposal lengths: 0 without a draft; with one 0, too, where the row had better only decode."""
        ...

    def observe(self, feedback: Feedback) -> None: ...

    def forget(self, request: int) -> None: ...


class PipelinePolicy(Protocol):
    """How many micro-batches take turns."""

    def depth(self) -> int:
        """Micro-batches from now on, at least 1, at most ``max_depth``."""
        ...

    @property
    def max_depth(self) -> int: ...

    def observe(self, now_ns: int, committed: int, active: int) -> None:
        """After each commit: the time, tokens committed in the round, requests that go on decoding."""
        ...


class CompositionPolicy(Protocol):
    """Which of the requests that are ready form the next micro-batch."""

    def select(self, ready: Sequence[RequestView], active: int, depth: int) -> list[int]:
        """Indices into ``ready`` (longest waiting first), ascending; never empty when ready is not."""
        ...


class AdmissionPolicy(Protocol):
    """The order of the waiting room: the smallest key is admitted first."""

    def key(self, request: RequestView) -> tuple[int, ...]: ...


class Tunable(NamedTuple):
    """Marks a policy parameter that ``tune`` may search: ``Annotated[float, Tunable(0.01, 1, log=True)]``."""

    low: float
    high: float
    log: bool = False
