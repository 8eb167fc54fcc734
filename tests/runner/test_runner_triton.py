"""The CUDA kernels, in Triton's interpreter where there is no GPU, against plain torch."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are defined
    if tuple(map(int, np.__version__.split(".")[:2])) >= (2, 4):
        pytest.skip("Triton's interpreter does not work with this numpy", allow_module_level=True)
pytest.importorskip("triton")

from spinsim.runner.attention import in_torch as torch_attention  # noqa: E402
from spinsim.runner.attention import in_triton as triton_attention  # noqa: E402
from spinsim.runner.attention import parts, parts_in_triton  # noqa: E402
from spinsim.runner.batch import Rows, build_batch  # noqa: E402
from spinsim.runner.graphs import token_map, token_map_in_triton  # noqa: E402
from spinsim.runner.kv import SlotCache  # noqa: E402
from spinsim.runner.layers import in_torch as torch_layers  # noqa: E402
from spinsim.runner.layers import in_triton as triton_layers  # noqa: E402
from tests.runner.runner_driver import shuffled  # noqa: E402

ROWS = [
    Rows([2, 0, 3], [3, 1, 5], [70, 1, 33]),
    Rows([1, 3], [0, 2], [0, 2]),
    Rows([0, 1, 2, 3], [1, 1, 1, 1], [80, 64, 65, 3]),
    Rows([3], [40], [40]),
]


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("heads", [(4, 4, 16), (8, 2, 12)])
@pytest.mark.parametrize(
    ("kind", "piece"), [("padded", 0), ("decomposed", 16), ("decomposed", 24), ("ragged", 0)]
)
@pytest.mark.parametrize("page", [None, 6, 16, 32, 96])
def test_attention(rows, heads, kind, piece, page):
    torch.manual_seed(0)
    cache = filled_cache(heads, page)
    query = torch.randn(sum(rows.query_lens), heads[0], heads[2], device=DEVICE)
    batch, _ = build_batch(cache, rows, kind, piece)
    got = triton_attention.attend_pieces(query, batch, 0, 0.3)
    torch.testing.assert_close(got, torch_attention.attend_rows(query, batch, 0, 0.3), atol=1e-5, rtol=1e-4)


def cut_rows_in_triton(kv_lens, cut):
    return parts_in_triton.cut_rows(kv_lens, cut.width, cut.wave, parts.SHORTEST, parts.USUAL, parts.UNIT)


def filled_cache(heads, page, tokens=80):
    """Four slots of random K and V, on pages in any order."""
    cache = SlotCache(1, 4, tokens, heads[1], heads[2], page_tokens=page, device=DEVICE)
    cache.keys.normal_()
    cache.values.normal_()
    return cache if page is None else shuffled(cache, page)


@pytest.mark.parametrize("lengths", [[900, 3, 260, 1], [130, 0, 0, 700], [64, 65, 128, 129]])
@pytest.mark.parametrize("page", [None, 16, 64])
@pytest.mark.parametrize("extra", [1, 3, 40])
def test_attention_over_rows_in_parts(lengths, page, extra):
    """Parts that differ in number from row to row are merged; rows without any token yield nothing."""
    torch.manual_seed(1)
    heads = (4, 2, 16)
    cache = filled_cache(heads, page, 960)
    news = [min(3, length) for length in lengths]
    query = torch.randn(sum(news), heads[0], heads[2], device=DEVICE)
    batch, _ = build_batch(cache, Rows([3, 1, 0, 2], news, lengths), "ragged")
    batch.pieces = cut_rows_in_triton(batch.kv_lens, parts.Cut(4 + extra, 8))
    assert not batch.pieces.single
    got = triton_attention.attend_pieces(query, batch, 0, 0.3)
    torch.testing.assert_close(got, torch_attention.attend_rows(query, batch, 0, 0.3), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 3, 24, 70])
@pytest.mark.parametrize(("most", "extra", "wave"), [(5, 9, 3), (3000, 2, 4), (40_000, 264, 33)])
def test_cut_rows(rows, most, extra, wave):
    """The kernel's table is that of plain torch."""
    source = np.random.default_rng(rows)
    kv_lens = torch.from_numpy(source.integers(0, most, rows)).int().to(DEVICE)
    cut = parts.Cut(rows + extra, wave)
    mine, theirs = cut_rows_in_triton(kv_lens, cut), parts.torch_cut_rows(kv_lens, cut)
    for got, wanted in zip(mine[:4], theirs[:4], strict=True):
        assert got.dtype == wanted.dtype
        assert got.tolist() == wanted.tolist()


@pytest.mark.parametrize("delta", [False, True])
def test_add_rms_norm(delta):
    torch.manual_seed(1)
    residual, change = torch.randn(5, 72, device=DEVICE), torch.randn(5, 72, device=DEVICE)
    weight = torch.rand(72, device=DEVICE)
    mine, theirs = residual.clone(), residual.clone()
    got = triton_layers.add_rms_norm(change if delta else None, mine, weight, 1e-5)
    expected = torch_layers.add_rms_norm(change if delta else None, theirs, weight, 1e-5)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(mine, theirs)


def test_silu_times():
    both = torch.randn(3, 2 * 130, device=DEVICE)
    torch.testing.assert_close(triton_layers.silu_times(both), torch_layers.silu_times(both))


@pytest.mark.parametrize("normed", [False, True])
def test_rotate_and_store(normed):
    torch.manual_seed(2)
    heads, groups, dim, tokens = 4, 2, 12, 5
    qkv = torch.randn(tokens, (heads + 2 * groups) * dim, device=DEVICE)
    rotary = (torch.randn(30, dim // 2, device=DEVICE), torch.randn(30, dim // 2, device=DEVICE))
    norms = (torch.rand(dim, device=DEVICE), torch.rand(dim, device=DEVICE)) if normed else None
    positions = torch.tensor([3, 29, 0, 7, 7], device=DEVICE)
    write = torch.tensor([9, 2, 0, 31, 4], device=DEVICE)
    results = []
    for module in (triton_layers, torch_layers):
        keys, values = torch.zeros(2, 32, groups, dim, device=DEVICE)
        query = module.rotate_and_store(qkv, rotary, positions, write, norms, 1e-6, keys, values, heads)
        results.append((query, keys, values))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(("rows", "most"), [(1, 9), (3, 9), (8, 9), (24, 9), (96, 9), (3, 1)])
@pytest.mark.parametrize("spare", [0, 5])
@pytest.mark.parametrize("page", [None, 7, 16])
def test_spans(rows, most, spare, page):
    """Rows without any token, and none to spare, included: there is still something to say of the rows."""
    cache = SlotCache(1, 30, 80, 1, 1, page_tokens=page, device=DEVICE)
    source = np.random.default_rng(rows)
    slots, begins, news = (
        torch.from_numpy(source.integers(0, high, rows)).to(DEVICE) for high in (30, 60, most)
    )
    tokens = int(news.sum()) + spare
    mine = token_map_in_triton.spans(slots, begins, news, tokens, cache)
    for got, wanted in zip(mine, token_map.torch_spans(slots, begins, news, tokens, cache), strict=True):
        assert got.dtype == wanted.dtype
        assert got.tolist() == wanted.tolist()


@pytest.mark.parametrize("rows", [1, 3, 8, 24, 96])
@pytest.mark.parametrize("page", [None, 1, 16])
def test_steps(rows, page):
    cache = SlotCache(1, 30, 80, 1, 1, page_tokens=page, device=DEVICE)
    source = np.random.default_rng(rows)
    slots, contexts, lengths = (
        torch.from_numpy(source.integers(low, high, rows)).to(DEVICE)
        for low, high in ((0, 30), (2, 60), (0, 6))
    )
    mine, theirs = (token_map.no_steps(5, rows, torch.device(DEVICE)) for _ in range(2))
    token_map_in_triton.steps(slots, contexts, lengths, cache, mine)
    token_map.torch_steps(slots, contexts, lengths, cache, theirs)
    for got, wanted in zip(mine, theirs, strict=True):
        assert got.tolist() == wanted.tolist()
