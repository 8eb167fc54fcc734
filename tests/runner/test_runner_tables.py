"""What the host sends a captured pass, and how drafts' proposals come together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.runner.batch import Rows, check_spans, flat_positions
from spinsim.runner.eager import Part, combine
from spinsim.runner.graphs.buffers import ALIGN, Inbox, Outbox, wait
from spinsim.runner.graphs.capture import Recorder
from spinsim.runner.graphs.token_map import no_steps, spans, steps
from spinsim.runner.kv import SlotCache
from spinsim.runner.rows import Proposal
from tests.runner.runner_driver import shuffled

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CACHE = SlotCache(1, 6, 64, 1, 1, device=DEVICE)
PAGED = [shuffled(SlotCache(1, 6, 64, 1, 1, page_tokens=page, device=DEVICE), page) for page in (1, 6, 16)]
CACHES = st.sampled_from([CACHE, *PAGED])


def ints(values):
    return torch.tensor(values, dtype=torch.int64, device=DEVICE)


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_what_the_host_fills_is_fetched_aligned_and_apart(sizes):
    inbox = Inbox({f"f{i}": (n, 2) for i, n in enumerate(sizes)}, DEVICE)
    for number, values in enumerate(inbox.host.values()):
        values[...] = number + 1
    inbox.fetch()
    for number, (name, tensor) in enumerate(inbox.device.items()):
        assert tensor.shape == inbox.host[name].shape
        assert (tensor == number + 1).all()
    base = min(tensor.data_ptr() for tensor in inbox.device.values())
    assert all((tensor.data_ptr() - base) % ALIGN == 0 for tensor in inbox.device.values() if tensor.numel())


def test_what_a_pass_sends_reaches_the_host():
    outbox = Outbox((2, 3), DEVICE)
    outbox.device[1] = 7
    outbox.send()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    assert outbox.host.tolist() == [[0, 0, 0], [7, 7, 7]]


def test_every_replay_reads_the_inbox_and_fills_the_outbox():
    """Of several graphs in turn; on CUDA on the last GPU, while the first one is current."""
    cuda = DEVICE.type == "cuda"
    device = torch.device("cuda", torch.cuda.device_count() - 1) if cuda else DEVICE
    recorder, inbox, outbox = Recorder(device), Inbox({"x": (3,)}, device), Outbox((3,), device)
    passes = [
        recorder.record(
            lambda factor=factor: torch.mul(inbox.device["x"], factor, out=outbox.device),
            fetch=inbox.fetch,
            send=outbox.send,
        )
        for factor in (2, 3)
    ]
    for value in (1, 5):
        for factor, replay in zip((2, 3), passes, strict=True):
            inbox.host["x"][:] = value
            replay()
            wait(device)
            assert outbox.host.tolist() == [value * factor] * 3
    assert recorder._copies == cuda


@settings(deadline=None)  # on CUDA the first example compiles a kernel
@given(data=st.data(), count=st.integers(1, 6), cache=CACHES)
def test_spans_are_those_of_the_eager_path(data, count, cache):
    """Rows without tokens, spare rows and spare tokens included."""
    slots = data.draw(st.permutations(range(6)))[:count]
    begins = data.draw(st.lists(st.integers(0, 50), min_size=count, max_size=count))
    news = data.draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    spare, rows = data.draw(st.integers(0, 5)), data.draw(st.integers(count, 8))
    used, missing = sum(news), [0] * (rows - count)
    found = spans(
        ints([*slots, *missing]), ints([*begins, *missing]), ints([*news, *missing]), used + spare, cache
    )
    ends = [begin + new for begin, new in zip(begins, news, strict=True)]
    positions, write = flat_positions(Rows(slots, news, ends), cache)
    assert found.positions.tolist() == positions.tolist() + [0] * spare
    assert found.write.tolist() == write.tolist() + [cache.trash_token] * spare
    assert found.row.tolist() == [r for r, new in enumerate(news) for _ in range(new)] + [0] * spare
    assert found.column.tolist() == [c for new in news for c in range(new)] + [0] * spare
    assert found.kv_lens.tolist() == ends + missing
    assert found.starts.tolist() == [sum(news[:r]) for r in range(count)] + [used] * (rows - count + 1)
    assert found.slots.tolist()[:count] == list(slots)
    assert {t.dtype for t in found[:4]} == {torch.int64}
    assert {t.dtype for t in found[4:]} == {torch.int32}


@settings(deadline=None)  # on CUDA the first example compiles a kernel
@given(data=st.data(), count=st.integers(1, 6), longest=st.integers(1, 5), cache=CACHES)
def test_steps_follow_each_context_as_long_as_its_row_drafts(data, count, longest, cache):
    slots = data.draw(st.permutations(range(6)))[:count]
    contexts = data.draw(st.lists(st.integers(2, 50), min_size=count, max_size=count))
    lengths = data.draw(st.lists(st.integers(0, longest), min_size=count, max_size=count))
    out = no_steps(longest, count, DEVICE)
    steps(ints(slots), ints(contexts), ints(lengths), cache, out)
    for step in range(longest):
        for row, (slot, context, length) in enumerate(zip(slots, contexts, lengths, strict=True)):
            position = context - 1 + step if length > step else 1
            slot = slot if length > step else cache.trash
            places = cache.table.flat(ints([slot, slot]), ints([position - 1, position])).tolist()
            assert out.places[step, :, row].tolist() == [position, places[1]]
            assert out.rows[step, :, row].tolist() == [slot, position + 1]
            if step == 0:
                assert out.first_positions[2 * row :][:2].tolist() == [position - 1, position]
                assert out.first_write[2 * row :][:2].tolist() == places


@pytest.mark.parametrize(
    ("slot", "begin", "end"),
    [(-1, 0, 1), (CACHE.trash + 1, 0, 1), (0, -1, 1), (0, 60, CACHE.slot_tokens + 1)],
)
def test_a_row_outside_its_slot_is_refused(slot, begin, end):
    check_spans([0, CACHE.trash], [0, 3], [CACHE.slot_tokens, 4], CACHE)
    with pytest.raises(ValueError, match=f"slot {slot} cannot take tokens {begin} to {end}"):
        check_spans([1, slot, 2], [0, begin, 0], [4, end, 4], CACHE)


@given(data=st.data(), widths=st.lists(st.integers(1, 4), min_size=1, max_size=3), sampled=st.booleans())
def test_every_row_gets_its_own_proposal(data, widths, sampled):
    """Rows of several drafts, in any order, some unused and some rows without a proposal."""
    rows = data.draw(st.integers(1, 8))
    owner = data.draw(st.lists(st.integers(-1, len(widths) - 1), min_size=rows, max_size=rows))
    parts = []
    for draft, width in enumerate(widths):
        placed = [row for row in range(rows) if owner[row] == draft]
        held = len(placed) + data.draw(st.integers(0, 2))
        if not placed:
            continue
        taken = data.draw(st.permutations(range(held)))[: len(placed)]
        tokens = np.arange(held * width).reshape(held, width) + 1000 * (draft + 1)
        spread = torch.from_numpy(tokens)[..., None].float().expand(held, width, 3) if sampled else None
        parts.append(Part(placed, taken, Proposal(tokens, spread)))
    whole = combine(parts, rows, "cpu")
    assert whole.tokens.shape[0] == rows
    assert (whole.probabilities is not None) == (sampled and bool(parts))
    for part in parts:
        width = part.proposal.tokens.shape[1]
        for row, source in zip(part.placed, part.taken, strict=True):
            assert whole.tokens[row, :width].tolist() == part.proposal.tokens[source].tolist()
            if whole.probabilities is not None:
                assert whole.probabilities[row, :width, 2].tolist() == whole.tokens[row, :width].tolist()
