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

from spinsim.runner import packings, spans, torch_layers, triton_attention, triton_layers, triton_spans  # noqa: E402
from spinsim.runner.batch import Rows, build_batch  # noqa: E402
from spinsim.runner.kv import SlotCache  # noqa: E402

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
@pytest.mark.parametrize("processors", [1, 64])
def test_attention(rows, heads, kind, piece, processors, monkeypatch):
    if kind != "ragged" and processors > 1:
        pytest.skip("only the ragged packing splits by the device")
    monkeypatch.setattr(triton_attention, "choose_splits", lambda *_: 1 if processors == 1 else 3)
    torch.manual_seed(0)
    cache = SlotCache(1, 4, 80, heads[1], heads[2], device=DEVICE)
    cache.keys.normal_()
    cache.values.normal_()
    query = torch.randn(sum(rows.query_lens), heads[0], heads[2], device=DEVICE)
    batch, _ = build_batch(cache, rows, kind, piece)
    got = triton_attention.attend_pieces(query, batch, 0, 0.3)
    torch.testing.assert_close(got, packings.attend_rows(query, batch, 0, 0.3), atol=1e-5, rtol=1e-4)


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
def test_spans(rows, most, spare):
    """Rows without any token, and none to spare, included: there is still something to say of the rows."""
    cache = SlotCache(1, 30, 80, 1, 1, device=DEVICE)
    source = np.random.default_rng(rows)
    slots, begins, news = (
        torch.from_numpy(source.integers(0, high, rows)).to(DEVICE) for high in (30, 60, most)
    )
    tokens = int(news.sum()) + spare
    mine = triton_spans.spans(slots, begins, news, tokens, cache)
    for got, wanted in zip(mine, spans.torch_spans(slots, begins, news, tokens, cache), strict=True):
        assert got.dtype == wanted.dtype
        assert got.tolist() == wanted.tolist()


@pytest.mark.parametrize("rows", [1, 3, 8, 24, 96])
def test_steps(rows):
    cache = SlotCache(1, 30, 80, 1, 1, device=DEVICE)
    source = np.random.default_rng(rows)
    slots, contexts, lengths = (
        torch.from_numpy(source.integers(low, high, rows)).to(DEVICE)
        for low, high in ((0, 30), (2, 60), (0, 6))
    )
    mine, theirs = (spans.no_steps(5, rows, torch.device(DEVICE)) for _ in range(2))
    triton_spans.steps(slots, contexts, lengths, cache, mine)
    spans.torch_steps(slots, contexts, lengths, cache, theirs)
    for got, wanted in zip(mine, theirs, strict=True):
        assert got.tolist() == wanted.tolist()
