"""Costs from a profile: measured where measured, fitted between, refused or flagged beyond."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import compress
from math import sqrt

from spinsim.buckets import PROMPT_TOKENS, USUAL, Buckets, active_rows
from spinsim.costs.base import INTERPOLATED, MEASURED, Estimate, Predictor
from spinsim.costs.contention import NO_LOADS, USUAL_LAW, Contention, Factors, Law, Loads
from spinsim.costs.contention_fit import Group, fit_law, groups_of
from spinsim.costs.links import Link
from spinsim.costs.profiled.curve import Curve
from spinsim.costs.profiled.executed import (
    PassShape,
    causal_shape,
    in_passes,
    pass_shape,
    step_rows,
    step_shape,
    verify_shape,
)
from spinsim.costs.profiled.factors import slowdown_of
from spinsim.costs.profiled.fits import ChosenFit, fit_pass
from spinsim.costs.profiled.host import handling_of, hop_of, planning_of, wake_of
from spinsim.costs.profiled.laws import Waits
from spinsim.costs.profiled.profile import MODEL_OPERATIONS, PROMPTS, Point, Profile
from spinsim.errors import InputError
from spinsim.operations import Packing, named
from spinsim.packings import packing_kind

EDGE = 1.05  # a step in the middle of a measured proposal stands for its last one, a little further out


Operation = tuple[str, str]  # operation, and which part of it: see part_of


def part_of(point: Point) -> str:
    """What is fitted apart: a verification's packing, and a proposal's first step from the later ones.

    The first step also bears what a whole proposal costs once: its inputs' upload, its outputs' return.
    """
    if point.operation == "draft_step":
        return "first" if point.features["tokens"] == 2 * point.features["rows"] else "later"
    return point.packing  # none but a verification has one


class ProfiledPass:
    """One operation of one model: its points, the range they span, and the fit between them.

    The range is a box over tokens, KV tokens and KV tokens a row. More than ``EDGE`` above it there is no
    answer; below it the smallest measured token and KV counts answer, which bound the cost from above.
    """

    def __init__(self, points: Sequence[Point], profile: Profile) -> None:
        model = profile.models[points[0].model]
        shapes = [pass_shape(point) for point in points]
        seconds = [point.seconds for point in points]
        self.divided = any("read_tokens" in point.features for point in points)
        self.chosen: ChosenFit = fit_pass(
            shapes, seconds, model.shape, model.dtype, model.devices, waits=_waits(points[0])
        )
        self.shapes = tuple(shapes)
        # Points that are not divided do not keep how uneven their rows were, which a shape has last.
        measured_as = shapes if self.divided else [shape[:-1] for shape in shapes]
        self.measured: dict[tuple[float, ...], float] = dict(zip(measured_as, seconds, strict=True))
        self._min_tokens = min(shape.tokens for shape in shapes)
        self._max_tokens = max(shape.tokens for shape in shapes)
        self._min_kv = min(shape.kv_tokens for shape in shapes)
        self._max_kv = max(shape.kv_tokens for shape in shapes)
        self._max_context = max(shape.kv_tokens / shape.rows for shape in shapes)

    def estimate(self, shape: PassShape) -> Estimate | None:
        """None beyond the profiled range."""
        seconds = self.measured.get(shape if self.divided else shape[:-1])
        if seconds is not None:
            return named(Estimate, (seconds, MEASURED))
        rows, tokens, head, queries, kv, pairs, longest = shape
        if not self.covers(rows, tokens, kv):
            return None
        if tokens < self._min_tokens or kv < self._min_kv:
            tokens, kv = max(tokens, self._min_tokens), max(kv, self._min_kv)
            shape = PassShape(rows, tokens, head, queries, kv, pairs, longest)
        return named(Estimate, (self.chosen.fit.predict(shape), INTERPOLATED))

    def covers(self, rows: float, tokens: float, kv_tokens: float) -> bool:
        """Is nothing of the pass above the range?"""
        return (
            tokens <= self._max_tokens * EDGE
            and kv_tokens <= self._max_kv * EDGE
            and kv_tokens <= self._max_context * EDGE * rows
        )

    def range_text(self) -> str:
        """The range in words, for errors."""
        tokens, kv, context = self._max_tokens, self._max_kv, self._max_context
        return f"up to {tokens:g} tokens, {kv:g} KV tokens and {context:g} KV tokens a row"


def _waits(point: Point) -> Waits:
    """What an operation's passes wait for: see :func:`~spinsim.costs.profiled.fits.waited_for`."""
    if point.operation in PROMPTS:
        return "prompts"
    if point.operation == "verify" and packing_kind(point.packing).rectangular:
        return "pieces"
    return "rows"


def fit_operations(profile: Profile, model: str) -> dict[Operation, ProfiledPass]:
    """Every operation that was measured for ``model``, fitted."""
    parts: dict[Operation, list[Point]] = {}
    for point in fitted_points(profile):
        if point.model == model:
            parts.setdefault((point.operation, part_of(point)), []).append(point)
    return {key: ProfiledPass(points, profile) for key, points in parts.items()}


def fitted_points(profile: Profile) -> list[Point]:
    """Those of models' operations that fits are made of."""
    divided = {(point.model, point.packing) for point in profile.points if "read_tokens" in point.features}
    return [
        point
        for point in profile.points
        if point.operation in MODEL_OPERATIONS
        and not profile.passes_over(point.operation, point.model, point.features)
        and not _replaced(point, profile, divided)
    ]


def _replaced(point: Point, profile: Profile, divided: Collection[tuple[str, str]]) -> bool:
    """Was it measured by a runner that ran prompts too large for a graph eagerly, in one pass?

    Profiles from before hold such points. Several captured passes have replaced these, nobody asks for them
    any more, and a fit that saw both would be wrong about either. Likewise of a divided verification that
    does not say how much was read, where others of its model and packing (``divided``) do.
    """
    if point.operation == "verify":
        return (point.model, point.packing) in divided and "read_tokens" not in point.features
    too_large = point.features.get("tokens", 0) > profile.prompt_tokens
    return profile.prompt_graphs and point.operation in PROMPTS and too_large


class ProfilePredictor:
    """Answers from ``profile``; beyond its range from ``fallback``, or InputError without one.

    ``target`` and ``drafts`` hold each model's fitted operations. ``names`` is what the profile calls the
    drafts, and ``target_name`` the target. ``link`` is None when proposals cross no device. ``buckets``: the
    target's, then the drafts'. Labels: measured at a profiled point, interpolated inside the range, else the
    fallback's. ``selector``: whose thinking is charged; that of the profile's first one where it was not
    measured. ``packing``: whose plans are. ``loads``: what operations ask of a device that they share.
    """

    native = "profiled"

    def __init__(
        self,
        profile: Profile,
        target: Mapping[Operation, ProfiledPass],
        drafts: Sequence[Mapping[Operation, ProfiledPass]],
        names: Sequence[str],
        *,
        link: Link | None,
        fallback: Predictor | None,
        selector: str = "",
        packing: str = "",
        loads: Loads = NO_LOADS,
        buckets: Sequence[Buckets] = (),
        target_name: str = "",
    ) -> None:
        self._profile = profile
        self.target, self.drafts = target, tuple(drafts)
        self._buckets, *self._draft_buckets = buckets or [USUAL] * (1 + len(self.drafts))
        self._graphs, self.prompt_graphs = profile.graphs, profile.prompt_graphs
        self._link, self._fallback = link, fallback
        self._host = _curve(profile, "orchestrator", "rows")
        self._handling = handling_of(profile, selector)
        self._planning = planning_of(profile, packing)
        self.plans = self._planning is not None
        self._submit = Estimate(self._handling.submit_s, MEASURED)
        self._handled: dict[tuple[str, int], Estimate] = {}
        self._transfer = _curve(profile, "transfer", "bytes")
        hop_s = hop_of(profile)
        self._hop = None if hop_s is None else Estimate(hop_s, MEASURED)
        self.wake_s = wake_of(profile)
        self._contention = Contention(self._law(groups_of(profile)), loads)
        self._names = tuple(names)
        self._slowdowns = {
            (name, lane): slowdown_of(profile, target_name, name, of_target=lane)
            for name in names
            for lane in (True, False)
        }
        self._orchestrate: dict[int, Estimate] = {}

    def prefill(self, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """One pass of the target over new prompt tokens; with graphs as many as it takes."""
        if not any(tokens):
            return Estimate(0.0, MEASURED)
        shape = causal_shape(tokens, starts, self.prompt_graphs, head=True)
        if shape.tokens > PROMPT_TOKENS and self.prompt_graphs:
            return in_passes(self.prefill, tokens, starts)
        known = self.target.get(("prefill", ""))
        found = known and known.estimate(shape)
        return found or self._beyond("prefill", known, shape).prefill(tokens, starts)

    def catch_up(self, draft: int, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """One pass of a draft over tokens it has not seen; with graphs as many as prefill."""
        if not any(tokens):
            return Estimate(0.0, MEASURED)
        shape = causal_shape(tokens, starts, self.prompt_graphs, head=False)
        if shape.tokens > PROMPT_TOKENS and self.prompt_graphs:
            return in_passes(partial(self.catch_up, draft), tokens, starts)
        known = self.drafts[draft].get(("catch_up", ""))
        found = known and known.estimate(shape)
        return found or self._beyond("catch_up", known, shape).catch_up(draft, tokens, starts)

    def propose(self, draft: int, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        """The sum of its steps; the least certain label of theirs.

        Rows of equal lengths are the common case: their later steps differ by a few KV tokens, and
        are charged at their mean (exact where the fit is linear from the first of them to the last).
        """
        known = self.drafts[draft].get(("draft_step", "first"))
        later = self.drafts[draft].get(("draft_step", "later"))
        buckets = self._draft_buckets[draft]
        rows = len(lengths)
        steps = max(lengths, default=0)
        if not steps:
            return Estimate(0.0, MEASURED)
        if lengths.count(steps) == rows:
            executed = step_rows(rows, self._graphs, buckets)
            found = known and self._alike(known, later, executed, rows, steps, sum(contexts))
        else:
            found = known and self._unlike(known, later, buckets, lengths, contexts)
        if found:
            return found
        executed = step_rows(rows, self._graphs, buckets)
        shape = step_shape(executed, 2 * executed, sum(contexts) + rows * (steps - 1))
        return self._beyond("draft_step", known, shape).propose(draft, lengths, contexts)

    def _alike(
        self,
        known: ProfiledPass,
        later: ProfiledPass | None,
        executed: int,
        rows: int,
        steps: int,
        cached: int,
    ) -> Estimate | None:
        first = known.estimate(step_shape(executed, 2 * executed, cached))
        if steps == 1 or first is None:
            return first
        if later is None or not later.covers(executed, executed, cached + rows * (steps - 1)):
            return None
        mean = later.estimate(step_shape(executed, executed, cached + rows * steps / 2))
        if mean is None:
            return None
        label = max(first.label, mean.label) if steps == 2 else INTERPOLATED
        return named(Estimate, (first.seconds + (steps - 1) * mean.seconds, label))

    def _unlike(
        self,
        known: ProfiledPass,
        later: ProfiledPass | None,
        buckets: Buckets,
        lengths: Sequence[int],
        contexts: Sequence[int],
    ) -> Estimate | None:
        seconds, label = 0.0, MEASURED
        for step, rows in enumerate(active_rows(lengths)):
            kv = sum(compress(contexts, map(step.__lt__, lengths))) + step * rows
            executed = step_rows(rows, self._graphs, buckets)
            fit = later if step else known
            shape = step_shape(executed, executed if step else 2 * executed, kv)
            found = None if fit is None else fit.estimate(shape)
            if found is None:
                return None
            seconds += found.seconds
            label = max(label, found.label)
        return Estimate(seconds, label)

    def verify(self, packing: Packing) -> Estimate:
        """One verification by the target, by the fit of its packing."""
        kind = packing.kind
        if not packing.rows:
            return Estimate(0.0, MEASURED)
        known = self.target.get(("verify", kind))
        divided = known is not None and known.divided
        shape = verify_shape(packing, self._graphs, self._buckets, divided=divided)
        found = known and known.estimate(shape)
        return found or self._beyond(f"verify ({kind})", known, shape).verify(packing)

    def step_rows(self, draft: int, rows: int) -> int:
        """Executed rows of a draft's step."""
        return step_rows(rows, self._graphs, self._draft_buckets[draft])

    def verify_tokens(self, queries: int) -> int:
        """Executed tokens of a verification."""
        return self._buckets.tokens(queries) if self._graphs else queries

    def transfer(self, rows: int, tokens: int) -> Estimate:
        """Proposed tokens across the link, by what they weigh."""
        if self._link is None or not tokens:
            return Estimate(0.0, MEASURED)
        found = self._transfer and self._transfer.estimate(self._link.bytes(tokens))
        return found or self._machine("transfer").transfer(rows, tokens)

    def handle(self, kind: str, rows: int) -> Estimate:
        """A line over the rows of the operation that ended, with the scenario's selector."""
        cached = self._handled.get((kind, rows))
        if cached is None:
            fixed, each = self._handling.lines.get(kind, (0.0, 0.0))
            cached = self._handled[kind, rows] = Estimate(fixed + each * rows, INTERPOLATED)
        return cached

    def planning_s(self, packing: Packing) -> float:
        """Host time of a plan by the scenario's packing; 0 where it is not searched for, or not measured."""
        fixed, each = self._planning or (0.0, 0.0)
        return fixed + each * sqrt(packing.real_kv_tokens)

    def orchestrate(self, rows: int) -> Estimate:
        """Host time of one submission; nothing where handling has it and does not say how much."""
        if self._handling.lines:
            return self._submit
        cached = self._orchestrate.get(rows)
        if cached is None:
            found = self._host and self._host.estimate(rows)
            cached = self._orchestrate[rows] = found or self._machine("orchestrator").orchestrate(rows)
        return cached

    def hop(self) -> Estimate:
        """From thread to thread, one way."""
        return self._hop or self._machine("hop").hop()

    def slowdown(self, draft: int, target_lane: bool) -> float:
        """The median of what was measured with that draft, or with drafts that were not told apart.

        Planners reckon with it; what lanes take is :meth:`contention`'s.
        """
        found = self._slowdowns[self._names[draft], target_lane]
        return self._machine("lane_slowdown").slowdown(draft, target_lane) if found is None else found

    def contention(self) -> Contention:
        """By the law fitted to what ran side by side; of older profiles, by a factor for each draft.

        Such a profile says nothing of drafts beside each other: that is the usual law's.
        """
        return self._contention

    def _law(self, groups: Sequence[Group]) -> Law:
        return fit_law(groups) if groups else Factors(self.slowdown, USUAL_LAW)

    def _beyond(self, operation: str, known: ProfiledPass | None, shape: PassShape) -> Predictor:
        if self._fallback is not None:
            return self._fallback
        asked = f"{shape.rows:g} rows, {shape.tokens:g} tokens and {shape.kv_tokens:g} KV tokens"
        # A profile that was cut short lacks whole operations: no limits stay inside.
        measured = "it was not measured" if known is None else f"measured {known.range_text()}"
        inside = "spinsim profile --resume" if known is None else "limits that stay inside"
        raise InputError(
            f"{operation} of {asked} is outside the profile ({measured}); "
            f"allowed: {inside}, or costs.allow_roofline: true",
            key="costs.allow_roofline",
        )

    def _machine(self, operation: str) -> Predictor:
        if self._fallback is not None:
            return self._fallback
        if self._profile.of(operation):
            what = f"{operation} was not measured at this size; allowed: sizes inside the profile"
        else:  # handling comes last, so that a profile that was cut short lacks it
            host = operation == "orchestrator"
            what = (
                f"{'what the host takes between operations' if host else operation} was not measured; "
                "allowed: a whole profile (spinsim profile --resume goes on with one that was cut short)"
            )
        raise InputError(f"{what}, or costs.allow_roofline: true", key="costs.allow_roofline")


def _curve(profile: Profile, operation: str, feature: str) -> Curve | None:
    points = profile.of(operation)
    return Curve([p.features[feature] for p in points], [p.seconds for p in points]) if points else None
