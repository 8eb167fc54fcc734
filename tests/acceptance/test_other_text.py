"""Other text than the recorded: where it departs, what it is made of, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.acceptance.cached import CachedField, Draw
from spinsim.acceptance.for_scenario import build_field
from spinsim.acceptance.other_text import BLOCK, other_text
from spinsim.acceptance.runs import runs_of
from spinsim.recording import Recording, Trace, save_trace
from tests.acceptance.acceptance_scenarios import field, scenario, workload

DRAFTS, TAIL = 3, 9  # the end of what is asked for, beyond the output


def recorded(rng: np.random.Generator, requests: int, longest: int) -> list[np.ndarray]:
    """Hits of three drafts by request; the outputs differ in length."""
    lengths = rng.integers(1, longest + 1, requests)
    return [rng.random((DRAFTS, n)) < 0.6 for n in lengths]


def padded(hits: list[np.ndarray]) -> tuple[Draw, list[int], list[int]]:
    """Runs as a recording gives them, its positions, and those that are asked for."""
    lengths = [h.shape[1] for h in hits]

    def draw(request: int) -> list[list[int]]:
        return [[*runs, *[0] * TAIL] for runs in runs_of(hits[request]).tolist()]

    return draw, lengths, [n + TAIL for n in lengths]


def departures(before: np.ndarray, after: np.ndarray) -> int:
    """The first position at which a draft's verdict differs."""
    differ = np.flatnonzero((before != after).any(axis=0))
    return int(differ[0]) if len(differ) else before.shape[1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**70), st.floats(1e-4, 1.0), st.integers(1, 60), st.permutations(range(24)), st.data())
def test_it_does_not_depend_on_the_order_of_calls(seed, rate, longest, order, data):
    hits = recorded(np.random.default_rng(data.draw(st.integers(0, 99))), 8, longest)
    one, two = (CachedField("trace", other_text(*padded(hits), rate, seed)) for _ in range(2))
    cells = [(r, d) for r in range(len(hits)) for d in range(DRAFTS)]
    expected = {cell: list(one.runs(*cell)) for cell in cells}
    for i in order:
        request, draft = cells[i]
        assert list(two.runs(request, draft)) == expected[request, draft]
        two.forget(request if i % 3 else request + 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**40), st.floats(1e-3, 1.0), st.integers(1, 80), st.integers(0, 99))
def test_before_it_departs_the_recording_holds_and_runs_follow_their_recursion(seed, rate, longest, drawn):
    hits = recorded(np.random.default_rng(drawn), 6, longest)
    draw, lengths, positions = padded(hits)
    made = other_text(draw, lengths, positions, rate, seed)
    for request in range(len(hits)):
        before, after = np.array(draw(request)), np.array(made(request))
        assert after.shape == before.shape
        at = departures(before > 0, after > 0)
        if at >= lengths[request]:
            continue
        assert (after == runs_of(after > 0)).all()
        ended = np.arange(at) + before[:, :at] < at
        assert (after[:, :at][ended] == before[:, :at][ended]).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**40), st.integers(1, 60), st.integers(0, 99))
def test_all_drafts_are_resampled_at_the_same_positions(seed, longest, drawn):
    """Rate 1: every column from the first on is a recorded one, and follows its neighbour within a block."""
    hits = recorded(np.random.default_rng(drawn), 4, longest)
    draw, lengths, positions = padded(hits)
    made = other_text(draw, lengths, positions, 1.0, seed)
    for request, (known, whole) in enumerate(zip(hits, lengths, strict=True)):
        after = np.array(made(request)) > 0
        for first in range(0, after.shape[1], BLOCK):
            block = after[:, first : first + BLOCK]
            circle = (np.arange(whole)[:, None] + np.arange(block.shape[1])) % whole
            assert any((known[:, columns] == block).all() for columns in circle)


def test_a_run_at_the_seam_is_cut_to_what_is_there_now():
    """Everything is accepted but the last position: a departure shows as soon as a block has that one."""
    whole = 400
    hits = [np.arange(whole)[None, :] < whole - 1] * 200
    draw, lengths, positions = padded(hits)
    made = other_text(draw, lengths, positions, 0.01, 5)
    cut = 0
    for request in range(len(hits)):
        runs = np.array(made(request)[0])
        misses = np.flatnonzero(runs == 0)
        end = int(misses[0]) if len(misses) else len(runs)
        assert runs[0] == end  # the first refusal, wherever that is now
        cut += end < whole - 1
    assert cut > 50


def test_a_recording_that_was_cut_keeps_its_runs_before_the_departure():
    """Recorded with 3 draft tokens: what ends before the departure says 3, not what later hits would."""
    draw, lengths, positions = (lambda _: [[3] * 50 + [0] * TAIL]), [50] * 60, [50 + TAIL] * 60
    made = other_text(draw, lengths, positions, 0.02, 1)
    found = [made(request)[0] for request in range(60)]
    seams = [next((p for p, run in enumerate(runs) if run != 3), None) for runs in found]
    departed = [seam for seam in seams if seam is not None]
    assert len(departed) > 20
    assert max(departed) > 10


def test_departures_are_geometric_and_the_mean_is_kept():
    rng = np.random.default_rng(3)
    requests, whole, rate = 3000, 120, 0.01
    easier = np.linspace(0.3, -0.3, whole)  # at first: what follows must not become as easy
    hits = [rng.random((DRAFTS, whole)) < rng.uniform(0.35, 0.65) + easier for _ in range(requests)]
    draw, lengths, positions = padded(hits)
    made = other_text(draw, lengths, positions, rate, 11)
    before = np.array([np.array(draw(r))[:, :whole] > 0 for r in range(requests)])
    after = np.array([np.array(made(r))[:, :whole] > 0 for r in range(requests)])
    alike = np.mean([departures(b, a) >= whole for b, a in zip(before, after, strict=True)])
    assert alike == pytest.approx((1 - rate) ** whole, abs=0.05)  # departures show late where most is alike
    by_request = after.mean(axis=(1, 2)) - before.mean(axis=(1, 2))
    assert abs(by_request.mean()) < 4 * by_request.std() / np.sqrt(requests)
    assert by_request.std() > 0.01
    late = after[:, :, -30:].mean(axis=(1, 2)) - before[:, :, -30:].mean(axis=(1, 2))
    assert 0 < late.mean() < 0.09  # towards the mean of what is left, not of all that was (0.13)


# --- in a scenario ------------------------------------------------------------------------------


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    runs = [runs_of(rng.random((2, 60)) < 0.6) for _ in range(5)]
    path = tmp_path / "t"
    drafts = {
        "a": Recording.of_runs([r[0].tolist() for r in runs]),
        "b": Recording.of_runs([r[1].tolist() for r in runs]),
    }
    keys = tuple(f"k{i}" for i in range(5))
    save_trace(Trace(target="t", keys=keys, prompt_tokens=(4,) * 5, drafts=drafts), path)
    return path


def built(trace: Path, rate: float, noise_seed: int | None, outputs: int = 40, **more: object) -> CachedField:
    spec = scenario({"model": "trace", "path": str(trace)}, noise={"other_text": rate}, **more)
    return build_field(spec, workload([outputs] * 5), Path(), noise_seed=noise_seed)


def all_runs(made: CachedField, count: int = 41) -> list[list[int]]:
    return [list(made.runs(request, draft))[:count] for request in range(5) for draft in range(2)]


def test_rate_0_and_no_seed_change_nothing(trace: Path) -> None:
    plain = build_field(scenario({"model": "trace", "path": str(trace)}), workload([40] * 5), Path())
    for same in (built(trace, 0.0, 3), built(trace, 0.5, None)):
        assert [same.runs(r, d) for r in range(5) for d in (0, 1)] == [
            plain.runs(r, d) for r in range(5) for d in (0, 1)
        ]


def test_the_noise_seed_draws_the_text_and_the_scenarios_does_not(trace: Path) -> None:
    drawn = all_runs(built(trace, 0.05, 3))
    assert drawn == all_runs(built(trace, 0.05, 3, seed=99))
    assert drawn != all_runs(built(trace, 0.05, 4))


def test_outputs_and_limits_do_not_change_the_text(trace: Path) -> None:
    short = all_runs(built(trace, 0.05, 3, outputs=20), 10)
    longer = all_runs(built(trace, 0.05, 3, outputs=50, limits={"max_length": 20}), 10)
    assert [[min(run, 8) for run in runs] for runs in short] == [
        [min(run, 8) for run in runs] for runs in longer
    ]


def test_modelled_acceptance_is_left_alone() -> None:
    model = {"model": "constant", "probability": 0.5}
    plain, noisy = field(model, [50]), field(model, [50], noise={"other_text": 1.0})
    assert plain.runs(0, 0) == noisy.runs(0, 0)
