"""Walking recorded runs, and who wins at which costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim.acceptance.runs import runs_of
from spinsim.family.domains import DOMAINS
from spinsim.family.evaluate import held_out_prompts, judge, judge_trace, walk


@pytest.mark.parametrize(("run", "rounds"), [(0, 20), (2, 7), (4, 4), (9, 4)])
def test_constant_runs(run: int, rounds: int) -> None:
    assert walk([run] * 22, 21, 4) == rounds  # ceil(20 / (min(run, 4) + 1))


@given(st.lists(st.booleans(), min_size=30, max_size=60), st.integers(1, 6))
def test_rounds_between_all_and_none(bits: list[bool], length: int) -> None:
    runs = runs_of(np.array(bits))
    tokens = len(bits) - 8
    assert -(-(tokens - 1) // (length + 1)) <= walk(runs, tokens, length) <= tokens - 1


def test_costs_decide_who_is_best() -> None:
    runs = {"cheap": [np.full(40, 2)] * 2, "dear": [np.full(40, 4), np.full(40, 2)]}
    arguments = {"domains": ["a", "b"], "output_tokens": [31, 31], "length": 4, "verify_s": 8.0}
    near = judge(runs, step_s={"cheap": 0.1, "dear": 0.2}, **arguments)  # type: ignore[arg-type]
    assert near.tokens_per_round == {"a": {"cheap": 3.0, "dear": 5.0}, "b": {"cheap": 3.0, "dear": 3.0}}
    assert near.best == {"cheap": 0.5, "dear": 0.5}
    assert near.best_by_domain["a"] == {"cheap": 0.0, "dear": 1.0}
    far = judge(runs, step_s={"cheap": 0.1, "dear": 9.0}, **arguments)  # type: ignore[arg-type]
    assert far.best == {"cheap": 1.0, "dear": 0.0}
    tied = judge(runs, step_s={"cheap": 0.1, "dear": 0.1}, **arguments)  # type: ignore[arg-type]
    assert tied.best == {"cheap": 0.25, "dear": 0.75}


def test_a_trace_is_judged_like_its_runs() -> None:
    from spinsim.recording import Recording, Trace

    runs = {"cheap": [[2] * 32] * 2, "dear": [[4] * 32, [2] * 32]}
    trace = Trace(
        target="t",
        keys=("x", "y"),
        prompt_tokens=(5, 6),
        drafts={name: Recording.of_runs(rows) for name, rows in runs.items()},
        domains=("a", "b"),
        temperature=0.0,
    )
    found = judge_trace(trace, step_s={"cheap": 0.1, "dear": 0.2}, verify_s=8.0)
    assert found.tokens_per_round == {"a": {"cheap": 3.0, "dear": 5.0}, "b": {"cheap": 3.0, "dear": 3.0}}
    assert found.requests == 2


def test_held_out_prompts_cover_the_domains_alike() -> None:
    chosen = held_out_prompts(3)
    assert sorted(prompt.domain for prompt in chosen) == sorted(list(DOMAINS) * 3)
    assert len({prompt.key for prompt in chosen}) == len(chosen)
    assert all(48 <= len(prompt.tokens) <= 256 for prompt in chosen)
