"""What one forward pass is about: rows of tokens, where their K/V lies, and how attention packs them.

A *row* is a run of consecutive tokens of one request: ``query_lens[i]`` new tokens that end at
``kv_lens[i]``, in slot ``slots[i]``. Tokens of all rows lie one after the other in one packed
dimension of ``T`` tokens; there is no padding in it but the trash row of a captured graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import le
from typing import Any, NamedTuple

import numpy as np
import torch

from spinsim.packings import packing_kind
from spinsim.packings.ragged import NAME as RAGGED
from spinsim.packings.tables import one_each
from spinsim.runner.graphs.buffers import ALIGN, Array
from spinsim.runner.kv import SlotCache


class Rows(NamedTuple):
    """The host's description of a pass; parallel lists."""

    slots: Sequence[int]
    query_lens: Sequence[int]
    kv_lens: Sequence[int]


class Pieces(NamedTuple):
    """A table of K/V pieces: the indicator (piece -> row) and each piece's extent.

    ``row``, ``start``, ``end`` are int32 ``[W]``; a piece reads positions ``start <= p < end`` of
    its row, where the row's own length masks what is not there. ``first`` (int32
    ``[R + 1]``) delimits the pieces of each row, which are consecutive. ``length`` is the longest
    extent (0 where only the device knows it), ``width`` is W. ``single``: no row has two.
    """

    row: torch.Tensor
    start: torch.Tensor
    end: torch.Tensor
    first: torch.Tensor
    length: int
    width: int
    single: bool = False


@dataclass(slots=True)
class AttentionBatch:
    """What attention needs to know in one pass; shared by all layers.

    ``write``  int64 ``[T]``, flat cache positions of the new tokens
    ``slots``, ``kv_lens`` int32 ``[R]``; ``query_starts`` int32 ``[R + 1]``
    ``rows``   the host's lists, for paths that loop over rows (None inside a captured graph)
    ``pieces`` of K/V, by the packing; None: rows of any length, read as they are
    ``backend`` a kernel's own plan, where it has one
    """

    cache: SlotCache
    write: torch.Tensor
    slots: torch.Tensor
    query_starts: torch.Tensor
    kv_lens: torch.Tensor
    max_query: int
    max_kv: int
    rows: Rows | None = None
    pieces: Pieces | None = None
    backend: Any = None


def pieces_of(
    kind: str, kv_lens: torch.Tensor, length: torch.Tensor | int, width: int, longest: int
) -> Pieces | None:
    """The packing's table of ``width`` pieces of ``length`` tokens, at most ``longest``.

    None where the packing has none: rows are read as they are.
    """
    packing = packing_kind(kind)
    table = packing.table(kv_lens, length, width)
    return None if table is None else Pieces(*table, longest, width, single=not packing.merged)


def whole_rows(kv_lens: torch.Tensor) -> Pieces:
    """Every row in one piece, as long as it is."""
    return Pieces(*one_each(kv_lens, kv_lens), 0, len(kv_lens), single=True)


def upload(
    lists: Sequence[Sequence[int] | Array], dtype: torch.dtype, device: torch.device | str
) -> list[torch.Tensor]:
    """Host integers as tensors on ``device``, in one copy that the host does not wait for."""
    unit = ALIGN // torch.empty((), dtype=dtype).element_size()
    ends = [0, *accumulate(-(-len(values) // unit) * unit for values in lists)]
    host = torch.zeros(ends[-1], dtype=dtype, pin_memory=torch.device(device).type == "cuda")
    whole = host.numpy()
    for values, begin in zip(lists, ends, strict=False):
        whole[begin : begin + len(values)] = values
    # Pinned, or the copy would be one that the host waits for.
    flat = host.to(device, non_blocking=True)
    return [flat[begin : begin + len(values)] for values, begin in zip(lists, ends, strict=False)]


def upload_array(array: Array, device: torch.device | str) -> torch.Tensor:
    """An array likewise; its type is kept."""
    host = torch.from_numpy(array)
    if torch.device(device).type == "cuda":
        host = host.pin_memory()
    return host.to(device, non_blocking=True)


def check_spans(slots: Sequence[int], begins: Sequence[int], ends: Sequence[int], cache: SlotCache) -> None:
    """Raises ValueError when a row would leave its slot, or share it: a bug of the caller, not of the input.

    ``begins`` and ``ends`` delimit each row's new tokens. At least one row.
    """
    # Passes of the interpreter's own loops: a tenth of what a loop over rows takes.
    room = cache.table.room
    inside = min(slots) >= 0 and max(slots) <= cache.trash and min(begins) >= 0
    if inside and all(map(le, ends, map(room.__getitem__, slots))) and len(set(slots)) == len(slots):
        return
    for slot, begin, end in zip(slots, begins, ends, strict=True):
        if not 0 <= slot <= cache.trash:
            raise ValueError(f"slot {slot} cannot take tokens {begin} to {end}: {cache.slots} slots")
        if begin < 0 or end > room[slot]:
            raise ValueError(f"slot {slot} cannot take tokens {begin} to {end}: it has room for {room[slot]}")
    raise ValueError(f"two rows share a slot: {sorted(slots)}")


def flat_positions(rows: Rows, cache: SlotCache) -> tuple[Array, Array]:
    """(positions within the request, flat cache positions) of all new tokens, packed; int64 ``[T]``."""
    slots, news, ends = (np.asarray(values, np.int64) for values in rows)
    # Of a row's tokens the first stands at kv - new, and each is one further than the one before it.
    positions = np.arange(news.sum()) + np.repeat(ends - news.cumsum(), news)
    size = cache.page_tokens
    page = cache.table.host[np.repeat(slots, news), positions // size].astype(np.int64)
    return positions, page * size + positions % size


def build_batch(
    cache: SlotCache, rows: Rows, kind: str = RAGGED, piece: int = 0
) -> tuple[AttentionBatch, torch.Tensor]:
    """The batch and the positions (int64 ``[T]``) of a pass over ``rows``, on the cache's device.

    ``kind`` and ``piece`` are those of the Packing. For padded rows ``piece`` is the length that they
    are padded to, at least the longest; 0 means the longest.
    """
    if rows.slots:
        begins = [total - new for new, total in zip(rows.query_lens, rows.kv_lens, strict=True)]
        check_spans(rows.slots, begins, rows.kv_lens, cache)
    positions, write = flat_positions(rows, cache)
    starts = [0, *accumulate(rows.query_lens)]
    longest = max(rows.kv_lens, default=0)
    device = cache.device
    position_tensor, write_tensor = upload([positions, write], torch.int64, device)
    slots, kv_lens, query_starts = upload([rows.slots, rows.kv_lens, starts], torch.int32, device)
    packing = packing_kind(kind)
    length = packing.length(piece, longest, cache.slot_tokens)
    pieces = pieces_of(kind, kv_lens, length, packing.pieces(rows.kv_lens, length), length)
    batch = AttentionBatch(
        cache=cache,
        write=write_tensor,
        slots=slots,
        query_starts=query_starts,
        kv_lens=kv_lens,
        max_query=max(rows.query_lens, default=0),
        max_kv=length if pieces is not None and pieces.single else longest,
        rows=rows,
        pieces=pieces,
    )
    return batch, position_tensor
