"""A row that would leave its slot is refused before it writes there, in eager and captured paths alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from spinsim.runner.eager import ModelRunner
from spinsim.runner.loaded_model import LoadedModel
from spinsim.runner.loading import random_model
from spinsim.runner.rows import ChunkRows, DraftRows, VerifyRows
from tests.runner.runner_configs import CONFIGS
from tests.runner.runner_driver import runner_of

SLOTS, SPAN = 4, 32  # whole pages: a slot has exactly so many tokens
Call = Callable[[ModelRunner, list[int], list[int], int], object]  # slots, first new positions, new tokens


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return random_model(CONFIGS["llama"](), 1, context_tokens=64)


def prefill(runner: ModelRunner, slots: list[int], begins: list[int], new: int) -> object:
    return runner.prefill(ChunkRows(slots, begins, [[3] * new for _ in slots]))


def catch_up(runner: ModelRunner, slots: list[int], begins: list[int], new: int) -> object:
    return runner.catch_up(ChunkRows(slots, begins, [[3] * new for _ in slots]), False)


def propose(runner: ModelRunner, slots: list[int], begins: list[int], new: int) -> object:
    """Two tokens of the context, then all but the last proposal enter the cache."""
    ones = [1] * len(slots)
    contexts = [begin + 2 for begin in begins]
    return runner.propose(DraftRows(slots, ones, ones, contexts, [new - 1] * len(slots)))


def verify(runner: ModelRunner, slots: list[int], begins: list[int], new: int) -> object:
    """The context's last token and the proposals, which are made in slots that have room."""
    count, ones, lengths = len(slots), [1] * len(slots), [new - 1] * len(slots)
    made = runner.propose(DraftRows(range(count), ones, ones, [4] * count, lengths))
    for part in (runner.cache.keys, runner.cache.values):
        part.zero_()
    return runner.verify(VerifyRows(slots, ones, [begin + 1 for begin in begins], lengths, made))


CALLS: list[Call] = [prefill, catch_up, propose, verify]


@pytest.mark.parametrize("graphed", [False, True], ids=["eager", "graphed"])
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize(
    ("slots", "begins"),
    [
        ([0, SLOTS + 1], [0, 0]),  # past the trash slot: past the cache
        ([-1, 0], [0, 0]),  # would count from the end
        ([2, 1], [0, SPAN - 2]),  # runs into the next slot
        ([1, 2], [-1, 0]),  # begins in the slot before
        ([1, 1], [0, 8]),  # two requests in one slot
    ],
    ids=["too high", "negative", "too long", "too early", "shared"],
)
def test_a_wrong_slot_is_refused_and_nobody_elses_is_written(
    model: LoadedModel, call: Call, graphed: bool, slots: list[int], begins: list[int]
) -> None:
    runner = runner_of(model, SLOTS, SPAN, graphed=graphed)
    with pytest.raises(ValueError, match="slot"):
        call(runner, slots, begins, 4)
    # An eager proposal goes step by step: those that fit have been made.
    others = [slot for slot in range(SLOTS) if slot not in slots or min(begins) < 0 or slots == [1, 1]]
    assert not runner.cache.keys[:, others].any()
    assert not runner.cache.values[:, others].any()


@pytest.mark.parametrize("graphed", [False, True], ids=["eager", "graphed"])
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_a_slot_may_be_filled_to_its_end(model: LoadedModel, call: Call, graphed: bool) -> None:
    """And what is written lies in the slots that were named, or in the trash."""
    runner = runner_of(model, SLOTS, SPAN, graphed=graphed)
    call(runner, [3, 1], [0, SPAN - 4], 4)
    written = runner.cache.keys[0].flatten(2).any(-1).cpu()
    assert written[3].nonzero().flatten().tolist() == [0, 1, 2, 3]
    assert written[1].nonzero().flatten().tolist() == [SPAN - 4, SPAN - 3, SPAN - 2, SPAN - 1]
    assert not written[[0, 2]].any()
