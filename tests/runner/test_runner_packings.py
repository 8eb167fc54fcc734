"""The packings agree with each other and with attention written out in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.packings.decomposed import Decomposed
from spinsim.runner import selfcheck
from spinsim.runner.attention.in_torch import attend_padded, attend_rows
from spinsim.runner.attention.over_slots import attend
from spinsim.runner.attention.parts import whole_rows
from spinsim.runner.batch import Rows, build_batch
from spinsim.runner.kv import SlotCache
from tests.runner.runner_driver import shuffled

SLOTS, SPAN = 5, 48


def reference(query, cache, rows, layer, scale):
    """Every token by itself, float64, straight from the definition."""
    out, token = [], 0
    share = query.shape[1] // cache.kv_heads
    for slot, new, total in zip(*rows, strict=True):
        for j in range(new):
            seen = total - new + j + 1
            held = [
                (cache.table.host[slot, at // cache.page_tokens], at % cache.page_tokens)
                for at in range(seen)
            ]
            k, v = (
                torch.stack([part[layer, page, at] for page, at in held]).double().repeat_interleave(share, 1)
                for part in (cache.keys, cache.values)
            )
            weights = torch.softmax(torch.einsum("hd,shd->hs", query[token].double(), k) * scale, -1)
            out.append(torch.einsum("hs,shd->hd", weights, v))
            token += 1
    return torch.stack(out) if out else query.double()


@st.composite
def batches(draw):
    count = draw(st.integers(1, SLOTS))
    slots = draw(st.permutations(range(SLOTS)))[:count]
    kv = [draw(st.integers(0, SPAN)) for _ in range(count)]
    new = [draw(st.integers(0, min(length, 9))) for length in kv]
    return Rows(slots, new, kv)


@settings(max_examples=40, deadline=None)
@given(
    rows=batches(),
    piece=st.integers(1, SPAN + 5),
    heads=st.sampled_from([(4, 4), (4, 2), (6, 1)]),
    kind=st.sampled_from(["padded", "decomposed", "ragged"]),
    page=st.sampled_from([None, 1, 5, 16, 64]),
)
def test_packings_equal_the_definition(rows, piece, heads, kind, page):
    torch.manual_seed(sum(rows.kv_lens))
    cache = SlotCache(2, SLOTS, SPAN, heads[1], 8, page_tokens=page)
    if page:
        shuffled(cache, sum(rows.kv_lens))
    cache.keys.normal_()
    cache.values.normal_()
    query = torch.randn(sum(rows.query_lens), heads[0], 8)
    batch, _ = build_batch(cache, rows, kind, piece)
    got = attend(query, batch, 1, 1 / math.sqrt(8))
    expected = reference(query, cache, rows, 1, 1 / math.sqrt(8))
    torch.testing.assert_close(got.double(), expected, atol=2e-6, rtol=1e-4)


@given(kv=st.lists(st.integers(0, 300), max_size=12), length=st.integers(1, 128))
def test_pieces_cover_every_token_once(kv, length):
    width = Decomposed.pieces(kv, length)
    table = Decomposed.table(torch.tensor(kv, dtype=torch.int32), length, width)
    rows, starts, first = table.row.tolist(), table.start.tolist(), table.first.tolist()
    assert len(rows) == sum(math.ceil(n / length) for n in kv) == first[-1]
    for row, n in enumerate(kv):
        assert starts[first[row] : first[row + 1]] == list(range(0, n, length))
        assert set(rows[first[row] : first[row + 1]]) <= {row}


def test_rows_of_one_cache_do_not_meet():
    cache = SlotCache(1, 2, 16, 1, 4)
    cache.keys[0, 1], cache.values[0, 1] = 50.0, 7.0
    cache.values[0, 0] = 3.0
    batch, _ = build_batch(cache, Rows([0, 1], [1, 1], [4, 4]), "decomposed", 2)
    out = attend(torch.ones(2, 1, 4), batch, 0, 1.0)
    assert out[0].unique().tolist() == [3.0]
    assert out[1].unique().tolist() == [7.0]


@pytest.mark.parametrize("rows", [Rows([3], [1], [4]), Rows([0], [1], [17]), Rows([0], [5], [4])])
def test_rows_outside_the_cache_are_an_error(rows):
    with pytest.raises(ValueError, match="slot"):
        build_batch(SlotCache(1, 2, 16, 1, 4), rows, "ragged")


def cut(batch, kernel):
    """What CUDA does to a padded batch: parts whose lengths only the device knows."""
    if batch.pieces is not None:
        batch.pieces = whole_rows(batch.pieces.end)
    return batch


def test_plain_padding_refuses_rows_cut_for_a_kernel():
    cache = SlotCache(1, 2, 32, 2, 8)
    batch, _ = build_batch(cache, Rows([0, 1], [1, 2], [9, 4]), "padded")
    with pytest.raises(ValueError, match="cut into parts"):
        attend_padded(torch.randn(3, 2, 8), cut(batch, "triton"), 0, 1.0)


def test_the_check_of_kernels_has_a_padded_batch_that_no_kernel_cut(monkeypatch):
    monkeypatch.setattr(selfcheck, "use_kernel", cut)
    cache, rows = SlotCache(1, 2, 32, 2, 8), Rows([0, 1], [1, 2], [9, 4])
    cache.keys.normal_()
    cache.values.normal_()
    query = torch.randn(3, 2, 8)
    found = selfcheck.attention_paths(cache, rows, 2, 1.0, False)["padded-torch"](query)
    wanted = attend_rows(query, build_batch(cache, rows, "ragged")[0], 0, 1.0)
    torch.testing.assert_close(found, wanted)
