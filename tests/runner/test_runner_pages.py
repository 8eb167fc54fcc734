"""Pages change hands: who holds them says so before a pass, and nobody writes what is not theirs."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.runner.kv import SlotCache
from spinsim.runner.loaded_model import LoadedModel
from spinsim.runner.loading import random_model
from spinsim.runner.rows import ChunkRows, DraftRows, PackedAs, Proposal, VerifyRows
from tests.runner.runner_configs import CONFIGS, VOCABULARY
from tests.runner.runner_driver import runner_of


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return random_model(CONFIGS["llama"](), 1, context_tokens=160)


@settings(deadline=None)
@given(slots=st.integers(1, 5), tokens=st.integers(1, 60), page=st.integers(1, 20), pages=st.integers(1, 30))
def test_at_first_slots_have_pages_of_their_own_as_far_as_there_are(
    slots: int, tokens: int, page: int, pages: int
) -> None:
    cache = SlotCache(1, slots, tokens, 1, 1, page_tokens=page, pages=pages)
    room = cache.table.room
    own = [p for slot in range(slots) for p in cache.table.host[slot, : room[slot] // page].tolist()]
    assert own == list(range(min(pages, slots * cache.table.width)))
    assert cache.table.host[cache.trash].tolist() == [pages] * cache.table.width
    assert cache.table.apart() == min(slots, pages // cache.table.width)
    cache.table.share()
    assert room[:slots] == [cache.slot_tokens] * slots
    assert cache.table.host[:slots].max() < pages


@pytest.mark.parametrize(("held", "wrong"), [([0, 1, 2, 3], 4), ([6], 6), ([-1], -1)])
def test_pages_that_are_not_there_are_refused(held: list[int], wrong: int) -> None:
    table = SlotCache(1, 2, 24, 1, 1, page_tokens=8).table
    table.hold([1], [[5, 0]])
    with pytest.raises(ValueError, match="slot 1 cannot hold"):
        table.hold([1], [held])


@pytest.mark.parametrize("graphed", [False, True], ids=["eager", "graphed"])
def test_a_row_is_refused_where_its_pages_end(model: LoadedModel, graphed: bool) -> None:
    """Though its slot may become longer, and the table names pages beyond, which are somebody else's."""
    runner = runner_of(model, 3, 64, page_tokens=8, pages=10, graphed=graphed)
    runner.cache.table.hold([0, 1], [[3, 1], [0]])
    runner.prefill(ChunkRows([0], [0], [[5] * 16]))
    with pytest.raises(ValueError, match="slot 1 cannot take tokens 0 to 9: it has room for 8"):
        runner.prefill(ChunkRows([0, 1], [0, 0], [[5], [5] * 9]))
    with pytest.raises(ValueError, match=r"slot 0 cannot take tokens 1[46] to 17"):
        runner.propose(DraftRows([0], [1], [1], [16], [2]))
    written = runner.cache.keys[0].flatten(2).any(-1).any(-1)
    assert written[:10].nonzero().flatten().tolist() == [1, 3]


@pytest.mark.parametrize("graphed", [False, True], ids=["eager", "graphed"])
@pytest.mark.parametrize("kind", ["ragged", "padded", "decomposed"])
def test_what_was_taken_away_is_computed_again_elsewhere(
    model: LoadedModel, kind: str, graphed: bool
) -> None:
    """Two requests in turn on the same few pages, each recomputed when it comes back: as if alone."""
    source = random.Random(4)
    prompts = [[source.randrange(VOCABULARY) for _ in range(n)] for n in (21, 34)]
    alone = runner_of(model, 2, 64, lean=True)
    paged = runner_of(model, 2, 64, lean=True, page_tokens=8, pages=7, graphed=graphed)
    contexts = [list(prompt) for prompt in prompts]
    for slot, prompt in enumerate(prompts):
        contexts[slot].append(int(alone.prefill(ChunkRows([slot], [0], [prompt]))[0]))
    for turn in range(4):
        for slot in (0, 1):
            context = contexts[slot]
            count = -(-(len(context) + 4) // 8)
            paged.cache.table.hold([slot], [source.sample(range(7), count)])
            paged.prefill(ChunkRows([slot], [0], [context[:-1]]))
            proposals = torch.tensor([[context[-1 - turn], 3, 5, 8]]).numpy()
            judged = VerifyRows([slot], [context[-1]], [len(context)], [4], Proposal(proposals))
            got = paged.verify(judged, PackedAs(kind, 16))
            assert got == alone.verify(judged)
            context += got.tokens[0]
