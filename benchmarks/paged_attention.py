"""The attention kernel of a verification alone: how long rows are cut, and tiles shaped."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.kernel_session import PROPOSED, Session
from spinsim.costs.sheets.shapes import ModelShape
from spinsim.runner.attention.kernels import use_kernel
from spinsim.runner.attention.over_slots import attend
from spinsim.runner.batch import AttentionBatch, Rows, build_batch
from spinsim.runner.kv import SlotCache

Caches = Callable[[Session, ModelShape, int, int, int | None], SlotCache | None]


def attention_cuts(
    session: Session, shape: ModelShape, rows: int, context: int, caches: Caches
) -> Iterator[None]:
    """One layer: as it is on whole slots and pages, then with other tiles and other lengths of parts."""
    query = torch.randn(
        rows * (PROPOSED + 1), shape.heads, shape.head_dim, device=session.device, dtype=torch.bfloat16
    )
    asked = Rows(list(range(rows)), [PROPOSED + 1] * rows, [context + PROPOSED] * rows)
    read = rows * (context + PROPOSED) * shape.kv_bytes_per_token("bf16")
    floor = read / session.hardware.bandwidth
    for page in (None, 16, 32, 64, 128):
        cache = caches(session, shape, rows, context, page)
        assert cache is not None
        batch = use_kernel(build_batch(cache, asked, "ragged")[0], "triton")
        call = partial(attend, query, batch, 0, shape.head_dim**-0.5)
        add(session, context, f"page {page or 'none'}", floor, call)
    yield
    if session.device.type != "cuda":
        return
    cache = caches(session, shape, rows, context, 64)
    assert cache is not None
    batch, _ = build_batch(cache, asked, "ragged")
    yield from _tilings(session, batch, query, context, floor)


def _tilings(
    session: Session, batch: AttentionBatch, query: torch.Tensor, context: int, floor: float
) -> Iterator[None]:
    from spinsim.runner.attention.in_triton import Tiles, attend_pieces
    from spinsim.runner.attention.parts import Cut, cut_rows

    rows, scale = len(batch.kv_lens), query.shape[-1] ** -0.5
    share = (PROPOSED + 1) * query.shape[1] // batch.cache.kv_heads
    height = 16 if share <= 16 else 32 if share <= 32 else 64
    for parts in (1, 2, 3, 4, 6, 8):
        # With a wave of one, parts are as long as the number of parts asks for.
        batch.pieces = cut_rows(batch.kv_lens, Cut(rows * (parts + 1), 1))
        call = partial(attend_pieces, query, batch, 0, scale)
        add(session, context, f"{parts} parts of a row", floor, call)
    yield
    batch.pieces = cut_rows(batch.kv_lens, Cut(rows * 5, 1))
    for block_n, warps, stages in itertools.product((64, 128), (4, 8), (2, 3, 4)):
        if session.late(5):
            return
        if block_n == 128 and stages == 4:
            continue
        tiles = Tiles(height, block_n, warps, stages)
        call = partial(attend_pieces, query, batch, 0, scale, tiles)
        add(session, context, f"tiles of {block_n}, {warps} warps, {stages} stages", floor, call)
        yield


def add(session: Session, context: int, what: str, floor: float, call: Callable[[], Any]) -> None:
    """A row: microseconds, and the ratio to reading K and V once."""
    seconds = session.device_s(call)
    session.add(
        "cuts", context=context, what=what, us=seconds * 1e6, floor_us=floor * 1e6, ratio=seconds / floor
    )
