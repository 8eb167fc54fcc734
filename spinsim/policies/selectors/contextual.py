"""The selector that looks at what is known before drafting: drafter and length for every row."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt

from spinsim.errors import InputError
from spinsim.policies.base import NO_DRAFT, NOT_LOOKED_UP, Feedback, PolicyContext, RequestView, Tunable
from spinsim.policies.contextual.ahead import Ahead, Arm
from spinsim.policies.contextual.judged import judged, longest_matches
from spinsim.policies.contextual.kinds import TEMPER, Kinds
from spinsim.policies.contextual.lasting import Lasting
from spinsim.policies.contextual.request_rows import RequestRows
from spinsim.policies.contextual.round_choice import AverageRate, Offer, Others, RoundCosts, choose
from spinsim.policies.contextual.survival import (
    MATCHES,
    SCHEMA,
    SURE,
    UNTRIED,
    Classes,
    Survival,
    match_class,
    mixed,
    smoothed_all,
)
from spinsim.policies.contextual.trials import won_by_trials
from spinsim.policies.registry import SELECTORS
from spinsim.policies.selectors.arms import PerRequest

Array = np.ndarray[Any, Any]

MOST_BATCHES = 64  # that wait to be thought about
KNOWN = 0.98  # probability of a kind from which on nothing more is tried to tell it
OPEN = 0.2  # tokens: a request of which a proposal may win so many is on trial


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
    time costs (:func:`~spinsim.policies.contextual.round_choice.choose`).

    Where no drafter looks its proposals up, a round's choice is made while the target verifies the round
    before it, from all that is known but the outcome of that one. Nobody waits for it then. A request on
    trial has two choices made: one for where its proposal is refused at once, one for where it is not.

    Give ``planned`` to the length, and rows differ in length; any other length policy must fix it.
    ``longest``: the longest proposal by draft (limits.max_length for others). ``trained`` counts for at most
    ``trust`` proposals of each kind. A catch-up is reckoned to pay over ``repay`` rounds. Which
    drafters are used, and their longest proposals, is searched every ``hold`` rounds; within them every row
    still chooses anew. ``temper``: the power to which the likelihood of what was accepted is raised as
    evidence of a request's kind. A drafter that has never been tried is taken to be good. Where ``explore``
    is not 0, a drafter is worth so many times what one proposal of it is expected to tell of the request's
    kind (:func:`~spinsim.policies.contextual.trials.won_by_trials`), over the rounds that the request is
    expected to last; no other exploration happens.
    """

    makes_plan: bool | tuple[str, ...] = ("length",)
    reads_lookups = True
    at_once = False  # is every choice made when its round begins? Else while the target verifies, if it can

    @dataclass(frozen=True)
    class Params:
        trained: str | None = None
        longest: dict[str, Annotated[int, Ge(1)]] = field(default_factory=dict)
        strength: Annotated[float, Gt(0), Tunable(1, 64, log=True)] = 16.0
        trust: Annotated[float, Ge(0), Tunable(100, 20_000, log=True)] = 1_000.0
        memory: Annotated[float, Ge(1)] = 20_000.0
        repay: Annotated[float, Ge(1), Tunable(1, 64, log=True)] = 16.0
        hold: Annotated[int, Ge(1), Tunable(1, 32, log=True)] = 1
        temper: Annotated[float, Gt(0), Tunable(0.1, 1, log=True)] = TEMPER
        explore: Annotated[float, Ge(0), Tunable(0.05, 2, log=True)] = 0.0

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
        longest = max(self.longest, default=1)
        self.survival = Survival(longest, len(kinds), params.strength, params.memory, len(names))
        self._load(trained)
        counts = np.asarray(kinds, np.float64) + 1.0
        self._match_said = np.log(counts / counts.sum(1, keepdims=True)).T  # [class of match, kind]
        self.kinds = Kinds(counts.sum(1) / counts.sum(), params.temper)
        self.costs = RoundCosts(context, params.repay)
        self.rate = AverageRate()
        self._lasts = Lasting()
        self._all = np.arange(len(names))
        self._recent = RequestRows(len(names), UNTRIED)
        self._begin: tuple[int, ...] | None = None
        self._left = 0  # rounds that the drafters in use, and their caps, are still held
        self._plan = context.plan
        # Batches whose next round is still to be thought about, and what they were assigned.
        self._assigned: deque[tuple[Sequence[RequestView], list[Arm]]] = deque(maxlen=MOST_BATCHES)
        self._ahead = Ahead()
        self._on_trial: list[int] = []  # requests of which one more proposal may tell much
        self._untold: list[Feedback] = []  # rounds that are still to be learned from

    def assign(self, batch: Sequence[RequestView]) -> list[int]:
        if not self.context.drafts:
            return [NO_DRAFT] * len(batch)
        ahead = self._ahead
        new = ahead.lacking(batch)
        if new and (self._is_told_later(batch) or not ahead.lend_first(new)):
            self._learn()
            if len(new) < len(batch) and self.rate.of(len(batch)) is None:
                new = list(batch)
            known = ahead.known(batch) if len(new) < len(batch) else []
            chosen = self._decide(new, known, whole=not known)
            ahead.put(chosen)
            for view in new:
                if not view.rounds:
                    ahead.learn_first(chosen[view.id])
        arms = ahead.take(batch)
        if not self._is_told_later(batch):
            self._assigned.append((batch, arms))
        if self._plan is not None:
            self._plan.lengths = [arm.length for arm in arms]
        return self._within_capacity([arm.draft for arm in arms])

    def observe(self, feedback: Feedback) -> None:
        self.rate.add(len(feedback.requests), sum(feedback.committed), feedback.round_s)
        self._ahead.see(feedback)
        self._untold.append(feedback)
        if feedback.agreed:
            self._learn()  # what the views say of lookups is gone by the next round

    def forget(self, request: int) -> None:
        self._recent.forget(request)
        self._ahead.forget(request)
        self.kinds.forget(request)
        self._lasts.forget(request)

    def thought(self) -> Callable[[], None] | None:
        """The next round's choice for the requests whose verification was submitted."""
        return self._think if self._assigned else None

    def _is_told_later(self, batch: Sequence[RequestView]) -> bool:
        """Must a choice wait for its round, since lookups or the future say more then?"""
        return self.at_once or bool(batch[0].matched)

    def _think(self) -> None:
        batch, arms = self._assigned.popleft()
        self._learn()
        self._ahead.put(self._decide(batch, whole=True))
        on_trial = set(self._on_trial)
        trials = [
            (view, arm)
            for view, arm in zip(batch, arms, strict=True)
            if view.id in on_trial and arm.length and view.id in self._recent
        ]
        if trials:
            self._suppose(batch, [view for view, _ in trials], [arm for _, arm in trials])

    def _suppose(
        self, batch: Sequence[RequestView], views: Sequence[RequestView], arms: Sequence[Arm]
    ) -> None:
        """Choices for requests on trial: for where what they propose now is refused at once, and not."""
        requests = [view.id for view in views]
        own, drafters = self._recent.of(requests), np.array([arm.draft for arm in arms])
        recent = self._recent.values[own, drafters]
        matched = longest_matches(views, len(self._all))[np.arange(len(views)), drafters]
        first = self.survival.rates(drafters, Classes.of(matched, recent))[..., 0].clip(SURE, 1 - SURE)
        known = [arm for view, arm in zip(batch, self._ahead.known(batch), strict=True) if view not in views]
        chosen = []
        for stood in (first, 1 - first):
            share = [float(stood is first) / 2] * len(views)
            self._recent.values[own, drafters] = smoothed_all(recent, share, [1] * len(views))
            with self.kinds.supposing(requests, np.log(stood)):
                chosen.append(self._decide(views, known))
        self._recent.values[own, drafters] = recent
        self._ahead.put(*chosen)

    def _decide(
        self, batch: Sequence[RequestView], known: Sequence[Arm] = (), *, whole: bool = False
    ) -> dict[int, Arm]:
        """The next round's choice for these requests; that of the rest of their batch is ``known``. Where
        they are the ``whole`` batch, drafters and caps are kept for rounds to come."""
        contexts = [view.context for view in batch]
        rate = self.rate.of(len(batch) + len(known))
        self._lasts.note(batch)
        offers = self.offers(batch, contexts, rate)
        behind = np.array([[view.context - 1 - held for held in view.cached] for view in batch])
        behind[self._offered(batch) != NOT_LOOKED_UP] = 0  # a lookup has no K/V to bring up to date
        choice = choose(
            offers,
            np.where(behind > 1, behind, 0),
            contexts,
            self.costs,
            rate,
            none_allowed=self.context.allow_none,
            begin=self._begin,
            held=whole and self._left > 0,
            others=Others.of(known, len(self._all)) if known else None,
        )
        if whole:
            self._left = self._left - 1 if self._left > 0 else self.params.hold - 1
            self._begin = choice.caps
        rows = zip(batch, choice.drafts, choice.lengths, strict=True)
        return {view.id: Arm(draft, length) for view, draft, length in rows}

    def _learn(self) -> None:
        """From the rounds that were observed: of the drafters, of the requests that have not ended, and of
        the traffic."""
        for feedback in self._untold:
            rows = judged(feedback, self._recent)
            if not rows.requests:
                continue
            drafters = np.array(rows.drafters)
            own = self._recent.of(rows.requests)
            recent = self._recent.values[own, drafters]
            context = Classes.of(rows.matched, recent)
            weights = self.kinds.of(rows.requests)
            said = self.survival.observe(drafters, context, rows.accepted, rows.lengths, weights)
            self.kinds.observe(rows.requests, said)
            self._recent.values[own, drafters] = smoothed_all(recent, rows.accepted, rows.lengths)
        self._untold.clear()

    def offers(
        self, batch: Sequence[RequestView], contexts: Sequence[int], rate: float | None
    ) -> list[Offer]:
        """What every drafter would have accepted, as its survival says."""
        context = sum(contexts) // len(contexts)
        price = self._price(len(batch), context, rate)
        self._on_trial = []
        requests = [view.id for view in batch]
        classes = self._classes(batch, requests)
        weights = self.kinds.of(requests)
        by_kind = self.survival.by_kind(self._all, classes)
        survival = mixed(by_kind, weights[:, None])
        offered = self._offered(batch)
        limits = np.where(offered == NOT_LOOKED_UP, self.longest, offered)
        if self.fixed is not None:
            most = np.minimum(self.fixed, limits)
        else:
            # Survival falls along a proposal, so that the tokens worth their price come first.
            most = np.minimum(np.maximum((survival > price).sum(2), 1), limits)
        caps = [self._caps(draft, len(batch), context) for draft in range(len(self._all))]
        of = np.repeat(self._all, [len(each) for each in caps])
        lengths = np.minimum(most[:, of], np.concatenate(caps))
        reached = np.concatenate((np.zeros((*survival.shape[:2], 1)), np.cumsum(survival, 2)), 2)
        tokens = reached[np.arange(len(batch))[:, None], of, lengths]
        if self.params.explore and rate is not None and weights.shape[1] > 1:
            worth = self._worth_of_trials(batch, by_kind, most, weights, rate)
            tokens += worth[:, of] * (lengths > 0)
            on_trial = (worth.max(1) > OPEN).nonzero()[0].tolist()
            self._on_trial = [requests[row] for row in on_trial]
        starts = np.cumsum([len(each) for each in caps])[:-1]
        parts = zip(caps, np.split(tokens, starts, 1), np.split(lengths, starts, 1), strict=True)
        return [Offer(*part) for part in parts]

    def _worth_of_trials(
        self, batch: Sequence[RequestView], by_kind: Array, lengths: Array, weights: Array, rate: float
    ) -> Array:
        """[row, drafter]: tokens that a request is expected to win by what a proposal tells of its kind."""
        rows = len(batch)
        context = sum(view.context for view in batch) // rows
        price = [
            rate * self.costs.draft_s(draft, rows, max(1, int(lengths[:, draft].max())), context) / rows
            for draft in range(len(self._all))
        ]
        unsure = (weights.max(1) < KNOWN).nonzero()[0]
        worth = np.zeros(lengths.shape)
        if len(unsure):
            left = self._lasts.left([batch[row] for row in unsure.tolist()])
            asked = by_kind[unsure], lengths[unsure], np.array(price), weights[unsure]
            worth[unsure] = self.params.explore * left[:, None] * won_by_trials(*asked, self.kinds.temper)
        return worth

    def _classes(self, batch: Sequence[RequestView], requests: Sequence[int]) -> Classes:
        """[row, drafter]: classes of the rows' contexts. What the matches say of a row's kind is noted."""
        matched = longest_matches(batch, len(self._all))
        if batch[0].matched:
            found = [match_class(max(view.matched, default=0)) for view in batch]
            self.kinds.of(requests)
            self.kinds.observe(requests, self._match_said[found])
        own = self._recent.of(requests)
        return Classes.of(matched, self._recent.values[own])

    def _offered(self, batch: Sequence[RequestView]) -> Array:
        """[row, drafter]: tokens on offer of lookups."""
        if not batch[0].offered:
            return np.full((len(batch), len(self._all)), NOT_LOOKED_UP)
        return np.array([view.offered for view in batch])

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
        for draft, name in enumerate(self.context.drafts):
            if name in trained["drafts"]:
                try:
                    self.survival.load(trained["drafts"][name], self.params.trust, draft)
                except InputError as error:
                    said = f"{name}: {error.message}"
                    raise InputError(said, key="policies.selector.trained") from None
