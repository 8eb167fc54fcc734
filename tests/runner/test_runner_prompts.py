"""Graphed prefill and catch-up are the eager ones, and meet no shape that was not captured."""

from __future__ import annotations

import random

import pytest
import torch

from spinsim.buckets import PROMPT_TOKENS
from spinsim.runner.eager import ModelRunner
from spinsim.runner.graphs.prompts import PromptGraphs
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.loaded_model import LoadedModel
from spinsim.runner.loading import random_model
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.rows import ChunkRows
from spinsim.runner.sampling import GREEDY, Sampling
from tests.runner.runner_configs import CONFIGS, VOCABULARY
from tests.runner.runner_driver import runner_of

SLOTS, SLOT_TOKENS = 6, 160
SAMPLED = Sampling(temperature=0.8, top_p=0.9, seed=3)


def pair(lean: bool, sampling: Sampling = GREEDY) -> tuple[LoadedModel, ModelRunner, GraphedRunner]:
    model = random_model(CONFIGS["llama"](), 1, context_tokens=SLOT_TOKENS)
    eager = runner_of(model, SLOTS, SLOT_TOKENS, lean=lean, sampling=sampling)
    graphed = runner_of(model, SLOTS, SLOT_TOKENS, lean=lean, graphed=True, sampling=sampling)
    assert isinstance(graphed, GraphedRunner)
    return model, eager, graphed


def chunks(source: random.Random) -> ChunkRows:
    """Of up to all slots, from one token a row to most of a slot."""
    rows = source.randint(1, SLOTS)
    news = [source.choice((1, source.randint(1, 9), source.randint(1, 70))) for _ in range(rows)]
    starts = [source.choice((0, source.randint(0, SLOT_TOKENS - new))) for new in news]
    tokens = [[source.randrange(VOCABULARY) for _ in range(new)] for new in news]
    slots = source.sample(range(SLOTS), rows)
    return ChunkRows(slots, starts, tokens, [7 * slot for slot in slots])


def limited(graphed: GraphedRunner, limit: int) -> None:
    """Its prompt graphs hold so many tokens, none captured yet."""
    whole = graphed.prompts
    assert whole is not None
    plan = RunnerPlan(whole.max_rows, 4, whole.sampling)
    graphed.prompts = PromptGraphs(whole.decoder, whole.cache, whole.recorder, plan, limit)


def same_cache(one: ModelRunner, other: ModelRunner) -> None:
    """Every slot, the trash slot apart."""
    torch.testing.assert_close(one.cache.keys[:, :SLOTS], other.cache.keys[:, :SLOTS], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        one.cache.values[:, :SLOTS], other.cache.values[:, :SLOTS], atol=1e-5, rtol=1e-4
    )


def require_alike(
    eager: ModelRunner, graphed: ModelRunner, sampling: Sampling, source: random.Random
) -> None:
    """A prefill, and a catch-up with and without predictions: the same tokens, and the same cache after."""
    rows = chunks(source)
    wanted = eager.prefill(rows, sampling)
    assert graphed.prefill(rows, sampling).tolist() == wanted.tolist()
    same_cache(eager, graphed)
    rows = chunks(source)
    wanted = eager.catch_up(rows)
    assert graphed.catch_up(rows).tolist() == wanted.tolist()
    rows = chunks(source)
    for runner in (eager, graphed):
        assert runner.catch_up(rows, predict=False).size == 0
    same_cache(eager, graphed)


@pytest.mark.parametrize("lean", [True, False], ids=["lean", "transformers"])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_graphed_prompts_are_the_eager_ones(lean: bool, sampling: Sampling) -> None:
    _, eager, graphed = pair(lean, sampling)
    source = random.Random(2)
    for _ in range(12):
        require_alike(eager, graphed, sampling, source)
    assert graphed.prompts is not None
    assert len(graphed.prompts.graphs) > 10


@pytest.mark.parametrize("limit", [1, 40, 128])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_large_prompts_in_several_passes_are_the_eager_ones(limit: int, sampling: Sampling) -> None:
    """Wherever rows are cut; a row's token is drawn once, after its last piece."""
    _, eager, graphed = pair(True, sampling)
    limited(graphed, limit)
    source = random.Random(3)
    for _ in range(8 if limit > 1 else 2):
        require_alike(eager, graphed, sampling, source)


@pytest.mark.parametrize(
    "news", [[PROMPT_TOKENS + 452], [300, 900, 1, 1100, 40, 700]], ids=["one row", "many rows"]
)
def test_prompts_beyond_the_limit_leave_no_eager_pass(
    news: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit of a live run, from graphs that were captured before: none is met that was not."""
    model = random_model(CONFIGS["llama"](max_position_embeddings=2600), 1, context_tokens=2600)
    eager = runner_of(model, SLOTS, 2600, lean=True)
    graphed = runner_of(model, SLOTS, 2600, lean=True, graphed=True)
    assert isinstance(graphed, GraphedRunner)
    for role in ("target", "draft"):
        graphed.capture(role, predict=True)
    captured = graphed.recorder.captured
    source = random.Random(5)
    tokens = [[source.randrange(VOCABULARY) for _ in range(new)] for new in news]
    rows = ChunkRows(range(len(news))[::-1], [60 * (row % 2) for row in range(len(news))], tokens)
    wanted = [runner(rows).tolist() for runner in (eager.prefill, eager.catch_up)]
    monkeypatch.setattr(graphed, "forward", None)  # what eager passes call
    assert graphed.prefill(rows).tolist() == wanted[0]
    same_cache(eager, graphed)
    for part in (graphed.cache.keys, graphed.cache.values):
        part.zero_()
    assert graphed.catch_up(rows, predict=False).size == 0
    assert graphed.catch_up(rows).tolist() == wanted[1]
    assert graphed.recorder.captured == captured


@pytest.mark.parametrize("slots", [[0, 1], [2, 2]], ids=["too long", "shared"])
def test_a_wrong_row_of_a_later_pass_is_refused_before_the_first(slots: list[int]) -> None:
    _, _, graphed = pair(lean=True)
    limited(graphed, 16)
    rows = ChunkRows(slots, [0, SLOT_TOKENS - 2], [[1] * 40, [1] * (3 if slots[0] == 0 else 1)])
    with pytest.raises(ValueError, match="slot"):
        graphed.catch_up(rows)
    assert not graphed.cache.keys.any()


@pytest.mark.parametrize("lean", [True, False], ids=["lean", "transformers"])
def test_a_catch_up_without_predictions_leaves_out_the_head(
    lean: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, graphed = pair(lean)
    seen: list[int] = []
    decoder = graphed.decoder

    class Counted:
        """The decoder, and how many rows its head computed."""

        def __getattr__(self, name: str) -> object:
            return getattr(decoder, name)

        def __call__(self, *arguments: object) -> torch.Tensor:
            logits = decoder(*arguments)  # type: ignore[arg-type]
            seen.append(logits.shape[0])
            return logits

    assert graphed.prompts is not None
    monkeypatch.setattr(graphed.prompts, "decoder", Counted())
    graphed.catch_up(ChunkRows([1, 0], [0, 4], [[1, 2, 3], [4]]), predict=False)
    graphed.prefill(ChunkRows([1, 0, 3], [0, 4, 5], [[1, 2, 3], [4], [5]]))
    assert seen == [0, 4]  # three rows, executed as four


@pytest.mark.parametrize(("role", "predict"), [("draft", False), ("draft", True), ("target", False)])
def test_capture_covers_what_its_role_meets(role: str, predict: bool) -> None:
    _, _, graphed = pair(lean=True)
    seen: list[tuple[int, int]] = []
    total = graphed.capture(role, ("ragged",), lambda *at: seen.append(at), predict=predict)
    assert seen[-1] == (total, total)
    captured = graphed.recorder.captured
    assert captured == total
    prompts = graphed.prompts
    assert prompts is not None
    source = random.Random(4)
    for _ in range(40):
        rows = chunks(source)
        assert prompts.fits("last", rows, GREEDY) == (role == "target")
        assert prompts.fits("nothing", rows) == (role == "draft")
        assert prompts.fits("every", rows) == (role == "draft" and predict)
        graphed.prefill(rows)  # where it does not fit: eagerly
        graphed.catch_up(rows, predict=False)
        graphed.catch_up(rows)
    assert graphed.recorder.captured == captured
    long = ChunkRows([0], [0], [[1] * (PROMPT_TOKENS + 1)])
    assert prompts.fits("last", long) == (role == "target")  # as two passes
    many = range(SLOTS + 1)
    assert not prompts.fits("last", ChunkRows(many, many, [[1] for _ in many]))


def test_results_are_the_callers_own() -> None:
    _, _, graphed = pair(lean=True)
    source = random.Random(9)
    results = []
    for _ in range(5):
        rows = chunks(source)
        for result in (graphed.prefill(rows), graphed.catch_up(rows)):
            results.append((result, result.tolist()))
    assert all(tensor.tolist() == values for tensor, values in results)


def test_a_row_stays_in_its_slot() -> None:
    _, _, graphed = pair(lean=True)
    with pytest.raises(ValueError, match="cannot take"):
        graphed.catch_up(ChunkRows([0], [SLOT_TOKENS - 2], [[1, 2, 3]]))


def test_without_prompt_graphs_nothing_is_recorded() -> None:
    _, eager, graphed = pair(lean=True)
    plain = GraphedRunner(eager.decoder, eager.cache, RunnerPlan(SLOTS, 4, prompt_graphs=False))
    rows = chunks(random.Random(1))
    assert plain.prefill(rows).tolist() == graphed.prefill(rows).tolist()
    assert plain.catch_up(rows).tolist() == graphed.catch_up(rows).tolist()
    assert plain.recorder.captured == 0
