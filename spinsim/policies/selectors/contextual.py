"""The selector that looks at what is known before drafting: drafter and length for every row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt

from spinsim.errors import InputError
from spinsim.policies.base import NO_DRAFT, NOT_LOOKED_UP, Feedback, PolicyContext, RequestView, Tunable
from spinsim.policies.contextual.kinds import Kinds
from spinsim.policies.contextual.round_choice import AverageRate, Offer, RoundCosts, choose
from spinsim.policies.contextual.survival import (
    MATCHES,
    SCHEMA,
    UNTRIED,
    Classes,
    Survival,
    match_class,
    recent_class,
    smoothed,
)
from spinsim.policies.registry import SELECTORS
from spinsim.policies.selectors.arms import PerRequest

Array = np.ndarray[Any, Any]


@SELECTORS.register("contextual")
class Contextual(PerRequest["Contextual.Params"]):
    """Drafter and length by calibrated survival, for most tokens per second of the batch (ours).

    Three things are known before drafting: the length of the suffix that lookup drafters found again, what
    share of each drafter's recent proposals the request accepted, and how likely the request is of each
    kind of text that was trained on (:class:`~spinsim.policies.contextual.kinds.Kinds`). By these every
    drafter's survival is counted (:class:`~spinsim.policies.contextual.survival.Survival`), starting from
    what ``trained`` says; position and context length added nothing to them on the recordings. A token is
    proposed while its survival exceeds what it adds to the verification at the batch's average rate. A row
    takes the drafter that gains it most, and a drafter is used at all where its rows gain more than its
    time costs
    (:func:`~spinsim.policies.contextual.round_choice.choose`).

    Give ``planned`` to the length, and rows differ in length; any other length policy must fix it.
    ``longest``: the longest proposal by draft (limits.max_length for others). ``trained`` counts for at most
    ``trust`` proposals of each kind. A catch-up is reckoned to pay over ``repay`` rounds. Which
    drafters are used, and their longest proposals, is searched every ``hold`` rounds; within them every row
    still chooses anew. A drafter that has never been tried is taken to be good, and no other exploration
    happens.
    """

    makes_plan: bool | tuple[str, ...] = ("length",)
    reads_lookups = True

    @dataclass(frozen=True)
    class Params:
        trained: str | None = None
        longest: dict[str, Annotated[int, Ge(1)]] = field(default_factory=dict)
        strength: Annotated[float, Gt(0), Tunable(1, 64, log=True)] = 16.0
        trust: Annotated[float, Ge(0), Tunable(100, 20_000, log=True)] = 1_000.0
        memory: Annotated[float, Ge(1)] = 20_000.0
        repay: Annotated[float, Ge(1), Tunable(1, 64, log=True)] = 16.0
        hold: Annotated[int, Ge(1), Tunable(1, 32, log=True)] = 1

        def draft_names(self) -> Iterator[tuple[str, str]]:
            """(parameter, draft name) wherever a draft is named."""
            return ((f"longest.{name}", name) for name in self.longest)

    def __init__(self, params: Contextual.Params, context: PolicyContext) -> None:
        super().__init__(params, context)
        names, most = context.drafts, context.max_length
        self.fixed = context.lengths
        self.longest = [min(params.longest.get(name, most), most) for name in names]
        trained = self._checked(context.trained)
        kinds = trained["matches"] if trained else [[1.0] * (len(MATCHES) + 1)]
        self.survival = [
            Survival(longest, len(kinds), params.strength, params.memory) for longest in self.longest
        ]
        self._load(trained)
        counts = np.asarray(kinds, np.float64) + 1.0
        self._match_said = np.log(counts / counts.sum(1, keepdims=True)).T  # [class of match, kind]
        self.kinds = Kinds(counts.sum(1) / counts.sum())
        self.costs = RoundCosts(context, params.repay)
        self.rate = AverageRate()
        self._recent: dict[int, list[float]] = {}
        self._classes: dict[int, tuple[list[int], list[int]]] = {}  # of each request's context, by draft
        self._begin: tuple[int, ...] | None = None
        self._left = 0  # rounds that the drafters in use, and their caps, are still held
        self._plan = context.plan

    def assign(self, batch: Sequence[RequestView]) -> list[int]:
        if not self.context.drafts:
            return [NO_DRAFT] * len(batch)
        contexts = [view.context for view in batch]
        rate = self.rate.of(len(batch))
        offers = self.offers(batch, contexts, rate)
        behind = np.array([[view.context - 1 - held for held in view.cached] for view in batch])
        for draft, (_, offered) in enumerate(self._lookups(batch)):
            if max(offered) != NOT_LOOKED_UP:
                behind[:, draft] = 0  # a lookup reads tokens, and has no K/V to bring up to date
        missing = np.where(behind > 1, behind, 0)
        choice = choose(
            offers,
            missing,
            contexts,
            self.costs,
            rate,
            none_allowed=self.context.allow_none,
            begin=self._begin,
            held=self._left > 0,
        )
        self._left = self._left - 1 if self._left > 0 else self.params.hold - 1
        self._begin = choice.caps
        if self._plan is not None:
            self._plan.lengths = choice.lengths
        return self._within_capacity(choice.drafts)

    def observe(self, feedback: Feedback) -> None:
        self.rate.add(len(feedback.requests), sum(feedback.committed), feedback.round_s)
        for draft, rows in enumerate(self._judged(feedback)):
            if not rows:
                continue
            requests = [view.id for view, _, _ in rows]
            accepted, lengths = [row[1] for row in rows], [row[2] for row in rows]
            said = self.survival[draft].observe(
                self._classes_of(requests, draft), accepted, lengths, self.kinds.of(requests)
            )
            self.kinds.observe(requests, said)
            for request, right, asked in zip(requests, accepted, lengths, strict=True):
                own = self._recent[request]
                own[draft] = smoothed(own[draft], right, asked)

    def _classes_of(self, requests: Sequence[int], draft: int) -> Classes:
        known = [self._classes[request] for request in requests]
        return Classes([matches[draft] for matches, _ in known], [recents[draft] for _, recents in known])

    def _judged(self, feedback: Feedback) -> list[list[tuple[RequestView, int, int]]]:
        """By draft: (request, tokens accepted, tokens judged). A lookup is judged by the tokens that were
        committed, chosen or not."""
        judged: list[list[tuple[RequestView, int, int]]] = [[] for _ in self.context.drafts]
        for row, view in enumerate(feedback.requests):
            draft, length = feedback.drafts[row], feedback.lengths[row]
            looks_up = feedback.agreed[row] if feedback.agreed else [NOT_LOOKED_UP] * len(judged)
            if draft >= 0 and length > 0 and looks_up[draft] == NOT_LOOKED_UP:
                judged[draft].append((view, feedback.accepted[row], length))
            for lookup, agreed in enumerate(looks_up):
                if agreed != NOT_LOOKED_UP and view.offered[lookup] > 0:
                    compared = min(view.offered[lookup], feedback.committed[row])
                    judged[lookup].append((view, agreed, compared))
        return judged

    def forget(self, request: int) -> None:
        self._recent.pop(request, None)
        self._classes.pop(request, None)
        self.kinds.forget(request)

    def offers(
        self, batch: Sequence[RequestView], contexts: Sequence[int], rate: float | None
    ) -> list[Offer]:
        """What every drafter would have accepted, as its survival says."""
        context = sum(contexts) // len(contexts)
        price = self._price(len(batch), context, rate)
        self._note_classes(batch)
        requests = [view.id for view in batch]
        weights = self.kinds.of(requests)
        offers = []
        for draft, (_, offered) in enumerate(self._lookups(batch)):
            survival = self.survival[draft].probabilities(self._classes_of(requests, draft), weights)
            limits = np.array([self.longest[draft] if n == NOT_LOOKED_UP else n for n in offered])
            caps = self._caps(draft, len(batch), context)
            lengths = self._blind_lengths(draft, survival, limits, caps, price)
            offers.append(Offer(caps, _tokens(survival, lengths), lengths))
        return offers

    def _blind_lengths(
        self, draft: int, survival: Array, limits: Array, caps: tuple[int, ...], price: float
    ) -> Array:
        """[row, cap]: tokens whose survival is worth their price, at least 1, within what is on offer."""
        if self.fixed is not None:
            worth = np.full(len(survival), self.fixed[draft])
        else:
            # Survival falls along a proposal, so that the tokens worth their price come first.
            worth = np.maximum((survival > price).sum(1), 1)
        lengths: Array = np.minimum(np.minimum(worth, limits)[:, None], np.array(caps)[None, :])
        return lengths

    def _price(self, rows: int, context: int, rate: float | None) -> float:
        """Tokens that one more proposed token must yield."""
        longest = max(self.longest, default=1)
        if rate is None:
            rate = rows / self.costs.verify_s(rows, 0, context)
        return rate * self.costs.token_s(rows, longest, context)

    def _caps(self, draft: int, rows: int, context: int) -> tuple[int, ...]:
        if self.fixed is not None:
            return (self.fixed[draft],)
        return self.costs.caps(draft, self.longest[draft], rows, context)

    def _lookups(self, batch: Sequence[RequestView]) -> list[tuple[list[int], list[int]]]:
        """By draft: tokens matched and tokens on offer of each row."""
        found = []
        for draft in range(len(self.context.drafts)):
            found.append(
                (
                    [view.matched[draft] if view.matched else NOT_LOOKED_UP for view in batch],
                    [view.offered[draft] if view.offered else NOT_LOOKED_UP for view in batch],
                )
            )
        return found

    def _note_classes(self, batch: Sequence[RequestView]) -> None:
        drafts = len(self.context.drafts)
        for view in batch:
            recent = self._recent.get(view.id)
            if recent is None:
                recent = self._recent[view.id] = [UNTRIED] * drafts
            # A model is told of the longest match of all: text that repeats is easy for it, too.
            longest = max(view.matched, default=0)
            own = [n if n != NOT_LOOKED_UP else longest for n in view.matched] or [0] * drafts
            self._classes[view.id] = [match_class(n) for n in own], [recent_class(share) for share in recent]
        if batch[0].matched:
            found = [match_class(max(view.matched, default=0)) for view in batch]
            self.kinds.observe([view.id for view in batch], self._match_said[found])

    def _within_capacity(self, drafts: list[int]) -> list[int]:
        """Draft capacities, filled in the order of the batch; who finds its draft full only decodes."""
        if len(drafts) <= self.unlimited_rows:
            return drafts
        room = self.room(len(drafts))
        chosen = []
        for draft in drafts:
            draft = draft if room[draft] > 0 else NO_DRAFT
            room[draft] -= 1
            chosen.append(draft)
        return chosen

    @staticmethod
    def _checked(trained: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """The trained counts, if they are such. Raises InputError."""
        if trained is None:
            return None
        if trained.get("schema") != SCHEMA:
            raise InputError(
                f"schema {trained.get('schema')!r}; {SCHEMA!r}, a file that training wrote",
                key="policies.selector.trained",
            )
        matches = np.asarray(trained.get("matches"), np.float64)
        if matches.ndim != 2 or not len(matches) or matches.shape[1] != len(MATCHES) + 1:
            raise InputError(
                f"matches of shape {matches.shape}; kinds and {len(MATCHES) + 1}, as training writes them",
                key="policies.selector.trained",
            )
        return trained

    def _load(self, trained: Mapping[str, Any] | None) -> None:
        if trained is None:
            return
        for name, survival in zip(self.context.drafts, self.survival, strict=True):
            if name in trained["drafts"]:
                try:
                    survival.load(trained["drafts"][name], self.params.trust)
                except InputError as error:
                    said = f"{name}: {error.message}"
                    raise InputError(said, key="policies.selector.trained") from None


def _tokens(survival: Array, lengths: Array) -> Array:
    """[row, cap]: expected accepted tokens of proposals of these lengths."""
    reached = np.concatenate((np.zeros((len(survival), 1)), np.cumsum(survival, 1)), 1)
    tokens: Array = np.take_along_axis(reached, lengths, 1)
    return tokens
