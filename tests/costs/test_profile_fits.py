"""The fits of measured passes: laws, interpolation, stairs, and which is chosen."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim.buckets import prompt_token_buckets
from spinsim.costs.base import INTERPOLATED, MEASURED
from spinsim.costs.profiled.executed import PassShape, features_of, pass_shape, verify_shape
from spinsim.costs.profiled.fits import fit_pass, fit_table, held_out
from spinsim.costs.profiled.laws import LongestRowLaw, RowLaw, Waits, law_fitter, longest_row_fitter
from spinsim.costs.profiled.predictors import Curve, ProfiledPass, fit_operations
from spinsim.costs.profiled.profile import Point
from spinsim.costs.profiled.stairs import on_stairs
from spinsim.costs.sheets.shapes import shape_of
from spinsim.packings.decomposed import decompose
from tests.costs.cost_cases import DRAFT, NOISE, TARGET, Truth, measured, synthetic_profile


@cache
def test_fits_of_a_noisy_law_are_chosen_by_held_out_error() -> None:
    for model in ("target", "draft"):
        for (operation, _), fitted in fit_operations(measured(), model).items():
            chosen = fitted.chosen
            errors = {name: held.mean for name, held in chosen.held_out.items()}
            assert set(errors) - {LongestRowLaw.name} == {"law", "interpolation"}, operation
            assert errors[chosen.fit.name] == min(errors.values())
            # The truth is of the law's form: what is left is about the noise itself.
            assert chosen.fit.name in ("law", LongestRowLaw.name), operation
            assert chosen.held_out[chosen.fit.name].quantile(0.5) < 1.5 * NOISE
            assert chosen.held_out[chosen.fit.name].quantile(0.95) < 4 * NOISE
            assert np.sqrt(np.mean(np.square(chosen.residuals))) == pytest.approx(NOISE, rel=0.5)


def test_the_law_recovers_what_generated_the_points() -> None:
    exact = synthetic_profile()
    truth = Truth(TARGET)
    law = fit_operations(exact, "target")["verify", "ragged"].chosen.fit
    for rows, queries, kv in ((3, 3, 700), (24, 120, 24 * 600), (50, 400, 50 * 1500)):
        expected = truth.seconds(queries, queries, queries, kv, kv * queries / rows)
        shape = PassShape(rows, queries, queries, queries, kv, kv * queries / rows)
        assert law.predict(shape) == pytest.approx(expected, rel=0.02)


def test_interpolation_wins_where_the_law_does_not_hold() -> None:
    """A staircase in KV tokens is no roofline."""
    points = [PassShape(8, 8, 8, 8, kv, kv) for kv in range(1000, 41_000, 1000)]
    seconds = [1e-3 * (1 + 4 * (point.kv_tokens > 20_000)) for point in points]
    assert fit_pass(points, seconds, shape_of(DRAFT), "bf16").fit.name == "interpolation"


def test_held_out_points_are_unseen() -> None:
    """One wild point has a held-out error that an in-sample fit of a table would hide."""
    points = [PassShape(1, 8, 8, 8, kv, kv) for kv in range(100, 1100, 100)]
    seconds = np.full(10, 1e-3)
    seconds[-1] = 5e-3
    held = held_out(fit_table, points, seconds)
    assert fit_table(points, seconds).predict(points[-1]) == pytest.approx(5e-3)
    assert held.errors[-1] == pytest.approx(-0.8, abs=0.01)


POINTS = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 4, 8, 64]),
        st.integers(1, 20).map(lambda n: n * 100),
        st.floats(1e-5, 1e-1),
    ),
    min_size=1,
    max_size=25,
)


@given(points=POINTS, tokens=st.integers(1, 80), kv=st.integers(1, 2500), more=st.integers(0, 500))
def test_interpolation_is_monotone_whatever_was_measured(
    points: list[tuple[int, int, float]], tokens: int, kv: int, more: int
) -> None:
    shapes = [PassShape(1, n, n, n, k, k * n) for n, k, _ in points]
    table = fit_table(shapes, np.array([s for _, _, s in points]))

    def ask(n: int, k: int) -> float:
        return table.predict(PassShape(1, n, n, n, k, k * n))

    assert ask(tokens, kv + more) >= ask(tokens, kv) * (1 - 1e-9)
    assert ask(tokens + more, kv) >= ask(tokens, kv) * (1 - 1e-9)
    assert ask(tokens, kv) >= 0


@given(data=st.data())
def test_the_law_is_monotone_whatever_was_measured(data: st.DataObject) -> None:
    seconds = data.draw(st.lists(st.floats(1e-5, 1e-1), min_size=6, max_size=6))
    shapes = [
        PassShape(1, n, n, n, k, k * n)
        for n, k in ((1, 100), (8, 100), (64, 500), (8, 900), (1, 50), (256, 9))
    ]
    law = data.draw(st.sampled_from(_LAWS))(shapes, np.array(seconds))
    n, k, more = data.draw(st.tuples(st.integers(1, 300), st.integers(1, 5000), st.integers(0, 500)))
    base = law.predict(PassShape(1, n, n, n, k, k * n)) * (1 - 1e-9)
    assert law.predict(PassShape(1, n, n, n, k + more, (k + more) * n)) >= base
    assert law.predict(PassShape(1, n + more, n + more, n + more, k, k * (n + more))) >= base


_WAITS: tuple[Waits, ...] = ("", "prompts", "pieces")
_LAWS = [
    *(law_fitter(shape_of(DRAFT), "bf16", waits=waits) for waits in _WAITS[:2]),
    *(longest_row_fitter(shape_of(DRAFT), "bf16", waits=waits) for waits in _WAITS[1:]),
    on_stairs(law_fitter(shape_of(DRAFT), "bf16", waits="prompts")),
    law_fitter(shape_of(DRAFT), "bf16", waits="rows", few_rows=True),
]


def test_a_pass_of_few_rows_waits_for_their_context() -> None:
    """Many new tokens: one row of long context takes longer than many rows with as much K/V in all."""
    shapes = [
        PassShape(rows, tokens, rows, tokens, kv, kv * tokens / rows)
        for rows in (1, 4, 16)
        for tokens in (16, 32, 64, 256)
        for kv in (100, 1000, 4000)
    ]
    seconds = [
        1e-3 + 1e-6 * s.tokens + (2e-6 * s.kv_tokens / s.rows if s.tokens >= 32 else 0) for s in shapes
    ]
    blind = fit_pass(shapes, seconds, shape_of(DRAFT), "bf16").held_out["law"]
    chosen = fit_pass(shapes, seconds, shape_of(DRAFT), "bf16", waits="prompts")
    assert chosen.fit.name == "law"
    assert chosen.held_out["law"].quantile(0.95) < 0.02 < 0.1 < blind.quantile(0.95)
    few, many = (PassShape(rows, 128, rows, 128, 2000, 2000 * 128 / rows) for rows in (1, 16))
    assert chosen.fit.predict(few) > 3 * chosen.fit.predict(many)


def test_a_kernel_that_cuts_no_row_takes_its_longest_rows_time_or_all_rows() -> None:
    """Whichever is more. Their sum, which the plain law has, is wrong where contexts are long."""
    shapes = [
        PassShape(rows, tokens, rows, tokens, kv, kv * tokens / rows)
        for rows in (1, 4, 16, 64)
        for tokens in (64, 256)
        for kv in (200 * rows, 3000 * rows, 24_000 * rows)
    ]
    seconds = [5e-3 + max(1e-6 * s.kv_tokens / s.rows, 5e-8 * s.kv_tokens) for s in shapes]
    chosen = fit_pass(shapes, seconds, shape_of(DRAFT), "bf16", waits="prompts")
    assert chosen.fit.name == LongestRowLaw.name
    assert chosen.held_out[LongestRowLaw.name].mean < 0.02 < 0.05 < chosen.held_out["law"].mean
    # Where no context is long, the plain law and interpolation are the only candidates, as they always were.
    short = [shape._replace(kv_tokens=shape.kv_tokens / 12) for shape in shapes]
    assert set(fit_pass(short, seconds, shape_of(DRAFT), "bf16", waits="prompts").held_out) == {
        "law",
        "interpolation",
    }


def test_a_kv_token_of_few_rows_takes_longer_where_few_do_not_fill_the_device() -> None:
    """As an 8B's verifications do on an H200: 50 ns a token of one row, 31 of 32 rows."""
    shapes = [
        PassShape(rows, tokens, tokens, tokens, kv * rows, kv * tokens)
        for rows in (1, 8, 32)
        for tokens in (rows, 5 * rows)
        for kv in (1600, 26_600)
    ]
    seconds = [5e-3 + 7e-6 * s.tokens + 31e-9 * s.kv_tokens + 19e-9 * s.kv_tokens / s.rows for s in shapes]
    chosen = fit_pass(shapes, seconds, shape_of(DRAFT), "bf16", waits="rows")
    assert chosen.fit.name == RowLaw.name
    assert chosen.held_out[RowLaw.name].mean < 0.02 < chosen.held_out["law"].mean
    short = [shape._replace(kv_tokens=shape.kv_tokens / 20) for shape in shapes]
    assert RowLaw.name not in fit_pass(short, seconds, shape_of(DRAFT), "bf16", waits="rows").held_out


def test_a_prompt_of_every_bucket_is_charged_what_its_bucket_took() -> None:
    """Tiles of matrix products make stairs that no law has: 192 and 256 tokens take longer here."""
    asked = [*((t, 0) for t in prompt_token_buckets(512)), *((t, 9000) for t in (16, 128, 512))]
    shapes = [PassShape(1, t, 1, t, t + s, t * s + t * t / 2) for t, s in asked]
    dear = {192: 1.08, 256: 1.1}
    seconds = [(6e-3 + 1.2e-5 * s.tokens) * dear.get(int(s.tokens), 1.0) + 2e-9 * s.pairs for s in shapes]
    chosen = fit_pass(shapes, seconds, shape_of(DRAFT), "bf16", waits="prompts")
    assert "on stairs" in chosen.fit.name
    assert np.abs(chosen.residuals).max() < 0.03
    assert np.abs(chosen.residuals[: len(asked) - 3]).max() < 1e-9
    few = [shape for shape in shapes if shape.tokens != 192]  # a bucket is missing
    assert (
        "law on stairs"
        not in fit_pass(few, seconds[: len(few)], shape_of(DRAFT), "bf16", waits="prompts").held_out
    )


def test_a_divided_verification_is_charged_for_what_is_read() -> None:
    """Points that say how much was read stand in place of those that do not; a piece is waited for."""
    profile = measured()
    model = next(iter(profile.models))
    points = []
    for context, piece, tokens in (
        (4000, 4000, 1),
        (4000, 3600, 1),
        (4000, 2000, 1),
        (500, 500, 1),
        (500, 250, 1),
    ):
        plan = decompose([context] * 8, [tokens] * 8, piece)
        shape = verify_shape(plan, True, divided=True)
        features = features_of("verify", shape)
        assert features["kv_tokens"] == plan.kv_tokens
        assert features["read_tokens"] == plan.real_kv_tokens
        seconds = 5e-3 + max(1e-6 * piece, 5e-8 * plan.real_kv_tokens)
        point = Point("verify", seconds, 0.0, 3, features, model, "decomposed")
        assert pass_shape(point) == shape
        points.append(point)
    old = replace(
        points[0], seconds=1.0, features={k: v for k, v in points[0].features.items() if k != "read_tokens"}
    )
    made = replace(profile, points=(*points, old))
    (fitted,) = (fits for (name, _), fits in fit_operations(made, model).items() if name == "verify")
    assert fitted.divided
    assert len(fitted.shapes) == len(points)
    asked = verify_shape(decompose([4000] * 8, [1] * 8, 3000), True, divided=True)
    found = fitted.estimate(asked)
    assert found is not None
    assert found.seconds == pytest.approx(
        5e-3 + 3e-3, rel=0.1
    )  # 3,600 of a whole piece each, were 6,000 read
    assert isinstance(fitted, ProfiledPass)


def test_a_curve() -> None:
    curve = Curve([1, 10, 10, 20], [1.0, 4.0, 2.0, 2.5])
    assert curve.estimate(1) == (1.0, MEASURED)
    assert curve.estimate(5.5) is not None
    assert curve.estimate(0.5) == (1.0, INTERPOLATED)
    assert curve.estimate(21) is None
    values = [curve.estimate(x) for x in (1, 5, 10, 15, 20)]
    seconds = [value.seconds for value in values if value is not None]
    assert len(seconds) == 5
    assert seconds == sorted(seconds)
