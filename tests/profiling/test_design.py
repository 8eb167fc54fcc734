"""Which shapes a profile measures: all that a run executes, and nothing beyond the scenario's limits."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.buckets import PROMPT_TOKENS, bucket_tokens, prompt_passes, row_buckets, token_buckets
from spinsim.costs.profiled.executed import PassShape, causal_shape
from spinsim.costs.profiled.predictors import EDGE, part_of
from spinsim.costs.profiled.profile import (
    SCHEMA,
    Profile,
    ProfiledModel,
    read_profile,
)
from spinsim.costs.sheets.shapes import shape_of
from spinsim.policies.packing.decomposed import decompose
from spinsim.profiling.bench import Bench
from spinsim.profiling.design import FEW, SHORTEST, Range, design, levels
from spinsim.profiling.probes import SKEW, Probe, spread
from spinsim.profiling.session import Session
from spinsim.profiling.timing import Effort, Timing, sampled, timing_of
from tests.profiling.conftest import TINY

LIMITS = st.builds(
    Range,
    rows=st.integers(1, 128),
    context=st.integers(32, 4096),
    length=st.integers(1, 8),
    chunk=st.integers(8, 2048),
)


@settings(deadline=None)
@given(limits=LIMITS, quick=st.booleans(), graphs=st.booleans(), prompts=st.booleans())
def test_a_design_reaches_the_limits_and_no_further(
    limits: Range, quick: bool, graphs: bool, prompts: bool
) -> None:
    packings = ("padded", "decomposed", "ragged")
    replayed = dict.fromkeys("td", graphs)
    plan = design("t", {"d": 0}, limits, packings, graphs=replayed, prompt_graphs=prompts, quick=quick)
    probes = (*plan.core, *plan.candidates)
    assert len({probe.identity for probe in probes}) == len(probes)
    for probe in probes:
        beyond = {"verify": probe.tokens - 1, "draft_step": probe.steps}.get(probe.operation, probe.tokens)
        assert 1 <= probe.rows <= limits.rows
        assert probe.context + beyond <= limits.context
        assert all(math.isfinite(value) for value in probe.features.values())
    for packing in ("padded", "ragged"):
        verifies = [p for p in plan.core if p.packing == packing]
        assert max(p.plan.real_query_tokens for p in verifies) == limits.rows * (limits.length + 1)
        assert max(p.plan.kv_tokens for p in verifies) == limits.rows * limits.context
    most = PROMPT_TOKENS if graphs and prompts else limits.chunk
    longest = max(p.tokens for p in plan.core if p.operation == "prefill")
    assert longest == min(limits.chunk, limits.context - 1, most)
    caught = max(p.rows * p.tokens for p in probes if p.operation == "catch_up")
    if graphs and prompts:
        assert caught <= PROMPT_TOKENS
    else:
        assert caught == limits.rows * (limits.context - 1)


@settings(deadline=None)
@given(limits=LIMITS, held=st.integers(64, 200_000), graphs=st.booleans())
def test_no_probe_has_more_kv_than_there_is_memory_for(limits: Range, held: int, graphs: bool) -> None:
    replayed, kv_tokens = dict.fromkeys("td", graphs), {"t": held, "d": 2 * held}
    plan = design(
        "t", {"d": 0}, limits, ["ragged", "padded"], graphs=replayed, kv_tokens=kv_tokens, quick=False
    )
    for probe in (*plan.core, *plan.candidates):
        new = probe.rows * max(probe.tokens, probe.steps)
        assert sum(probe.contexts) + new <= kv_tokens[probe.model] or probe.context <= SHORTEST
    # What a run can have is reached: by one row, and by all of them.
    longest = limits.context - limits.length
    verifications = [p for p in plan.core if p.operation == "verify" and p.packing == "ragged"]
    one = max(p.context for p in verifications if p.rows == 1)
    assert one >= min(longest, held - limits.length - 1) * 0.9 - 1
    most = max(sum(p.contexts) for p in verifications if p.rows == limits.rows)
    assert (
        most >= min(limits.rows * longest, held - limits.rows * (limits.length + 1)) * 0.9 - 2 * limits.rows
    )


@settings(deadline=None, max_examples=20)
@given(limits=LIMITS)
def test_stairs_have_every_bucket_that_a_run_executes(limits: Range) -> None:
    plan = design("t", {"d": 0}, limits, ["ragged"], graphs=dict.fromkeys("td", True), quick=True)
    tokens = {p.shape.tokens for p in plan.stairs if p.operation == "verify"}
    most = limits.rows * (limits.length + 1)
    lengths, counts = range(1, limits.length + 2), range(1, limits.rows + 1)
    alike = {bucket_tokens(rows * each) for rows, each in product(counts, lengths)}  # rows of one length
    assert tokens == {size for size in token_buckets(most) if size >= FEW} & alike
    if limits.length > 1:
        rows = {p.shape.rows for p in plan.stairs if p.operation == "draft_step"}
        assert rows == {size for size in row_buckets(limits.rows) if size >= FEW}
    eager = design("t", {"d": 0}, limits, ["ragged"], graphs=dict.fromkeys("td", False), quick=True)
    assert not eager.stairs


def test_dear_buckets_are_noted_in_the_profile(tmp_path: Path) -> None:
    limits = Range(rows=64, context=256, length=7, chunk=64)
    plan = design("t", {"d": 0}, limits, ["ragged"], graphs=dict.fromkeys("td", True), quick=True)
    shape = shape_of("llama-68m")
    models = {name: ProfiledModel(shape, "bf16", "h200") for name in "td"}
    empty = Profile(SCHEMA, "h200", "", True, {}, {}, models, ())
    session = Session(empty, tmp_path / "p.json", TINY, lambda probe: 1e-3, None)
    for probe in plan.stairs:
        dear = probe.shape.tokens == 448 if probe.operation == "verify" else probe.shape.rows == 48
        size = probe.shape.tokens
        session.add(probe.point(Timing(1e-3 + 1e-6 * size + (1e-3 if dear else 0.0), 0.0, 3)))
    session.pass_over(plan.stairs)
    session.write()
    found = read_profile(tmp_path / "p.json").models
    assert (found["t"].without_tokens, found["t"].without_rows) == ((448,), ())
    assert (found["d"].without_tokens, found["d"].without_rows) == ((), (48,))
    assert (found["t"].buckets.tokens(440), found["d"].buckets.rows(42)) == (480, 56)


def covered(probes: Sequence[Probe], asked: PassShape) -> bool:
    """As :meth:`ProfiledPass.covers`, without a fit."""
    shapes = [probe.shape for probe in probes]
    return (
        asked.tokens <= EDGE * max(shape.tokens for shape in shapes)
        and asked.kv_tokens <= EDGE * max(shape.kv_tokens for shape in shapes)
        and asked.kv_tokens <= EDGE * asked.rows * max(shape.kv_tokens / shape.rows for shape in shapes)
    )


@settings(deadline=None)
@given(limits=LIMITS, quick=st.booleans(), source=st.randoms(use_true_random=False))
def test_every_captured_pass_of_a_run_is_inside_the_design(
    limits: Range, quick: bool, source: Random
) -> None:
    """Those that go on with a row as well, after all that the passes before computed of it."""
    limits = replace(limits, chunk=PROMPT_TOKENS + limits.chunk)
    graphs = dict.fromkeys("td", True)
    plan = design("t", {"d": 0}, limits, ["ragged"], graphs=graphs, prompt_graphs=True, quick=quick)
    rows, whole = source.choice([limits.rows, source.randint(1, limits.rows)]), limits.context - 1
    caught = [source.choice([whole, source.randint(1, whole)]) for _ in range(rows)]
    before = [source.randint(0, whole - new) for new in caught]
    # A chunk: the rest of one prompt, and others from their beginnings.
    filled, room = [], limits.chunk
    while room and len(filled) < rows:
        filled.append(min(room, source.choice([whole, source.randint(1, whole)])))
        room -= filled[-1]
    started = [whole - filled[0], *[0] * (len(filled) - 1)]
    for operation, tokens, starts in (("catch_up", caught, before), ("prefill", filled, started)):
        probes = [probe for probe in plan.core if probe.operation == operation]
        for one in prompt_passes(tokens, starts):
            shape = causal_shape(one.tokens, one.starts, True, head=operation == "prefill")
            assert covered(probes, shape), (operation, shape)


@given(limit=st.integers(1, 5000), count=st.integers(2, 9), low=st.integers(1, 64))
def test_levels(limit: int, count: int, low: int) -> None:
    found = levels(limit, count, low)
    assert (found[0], found[-1]) == (min(low, limit), limit)
    assert len(found) <= count


@given(longest=st.integers(1, 500), rows=st.integers(1, 64))
def test_spread(longest: int, rows: int) -> None:
    lengths = spread(longest, rows, even=False)
    assert len(lengths) == rows
    assert lengths[0] == longest
    assert min(lengths) >= longest // SKEW
    if rows > 1 and longest > 2 * SKEW:
        assert lengths[-1] == round(longest / SKEW)
    assert lengths == sorted(lengths, reverse=True)


def test_a_decomposed_probe_is_what_the_policy_would_plan() -> None:
    probe = Probe("verify", "t", -1, 3, 4, 100, "decomposed", 64, even=False)
    assert probe.plan == decompose([103, 38, 15], [4, 4, 4], 64)
    assert probe.point(timing_of([1.0])).packing == "decomposed"
    assert part_of(probe.point(timing_of([1.0]))) == probe.part


class _Slow:
    """A bench whose machine takes ``call_s`` for whatever is asked; counts the samples."""

    def __init__(self, call_s: float) -> None:
        self.call_s, self.calls = call_s, 0

    def samples(self, probe: Probe, effort: Effort) -> list[float]:
        def once() -> float:
            self.calls += 1
            time.sleep(self.call_s)
            return self.call_s

        return sampled(once, effort)


def test_a_slow_machine_is_measured_once_beyond_its_time(tmp_path: Path) -> None:
    limits = Range(rows=4, context=64, length=3, chunk=64)
    plan = design("t", {"d": 0}, limits, ["ragged"], graphs=dict.fromkeys("td", False), quick=True)
    models = {name: ProfiledModel(shape_of("llama-68m"), "bf16", "h200") for name in "td"}
    empty = Profile(SCHEMA, "h200", "", True, {}, {}, models, ())
    session = Session(empty, tmp_path / "p.json", Effort(), lambda probe: 1e-3, None)
    bench = _Slow(1e-3)
    session.measure(cast(Bench, bench), plan.core, until_s=0.0)
    assert all(session.has(probe) for probe in plan.core)
    assert bench.calls == 2 * len(plan.core)  # a warm-up and one sample each
    assert {point.repetitions for point in session.profile.points} == {1}
