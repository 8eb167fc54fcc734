"""Which kernel computes the ragged packing on CUDA. All read the same cache in place.

``triton``      ours: no host plan, packs the query heads of a group, splits long rows
``flash``       torch's own flash kernel with ``seqused_k``: whole slots, fp16 and bf16, best for long queries
``flashinfer``  FlashInfer's paged kernel over whole slots, in captured verifications only: it needs a host
                plan a pass (elsewhere as ``auto``)
``auto``        flash where rows of whole slots bring many new tokens (prefill, catch-up), triton elsewhere
"""

from __future__ import annotations

from typing import Any

import torch

from spinsim.buckets import LONG_QUERY
from spinsim.errors import InputError
from spinsim.runner.attention.parts import cut_rows, plan_cut
from spinsim.runner.batch import AttentionBatch, Rows, whole_rows
from spinsim.runner.kv import SLOT_UNIT, SlotCache, round_up


def flash_works(cache: SlotCache) -> bool:
    """Can torch's flash kernel read this cache?"""
    usable = cache.device.type == "cuda" and cache.dtype in (torch.float16, torch.bfloat16)
    usable = usable and cache.whole_slots  # its own page tables take pages of 256 tokens alone
    return usable and cache.head_dim % 8 == 0 and cache.head_dim <= 256 and _has_seqused()


def _has_seqused() -> bool:
    schema = torch.ops.aten._flash_attention_forward.default._schema
    return any(argument.name == "seqused_k" for argument in schema.arguments)


def flashinfer_works(cache: SlotCache) -> bool:
    """Is FlashInfer installed, and does it take this cache?"""
    if cache.device.type != "cuda" or cache.dtype not in (torch.float16, torch.bfloat16):
        return False
    if not cache.whole_slots:
        return False
    try:
        import flashinfer  # noqa: F401
    except ImportError:
        return False
    return cache.head_dim in (64, 128, 256)


def require_kernel(name: str, cache: SlotCache, key: str = "") -> None:
    """Raises InputError when ``name`` is unknown or cannot run on this cache."""
    works = {"auto": True, "triton": cache.device.type == "cuda"}
    works |= {"flash": flash_works(cache), "flashinfer": flashinfer_works(cache)}
    if not works.get(name, False):
        usable = ", ".join(kind for kind, fine in works.items() if fine)
        raise InputError(f"attention kernel {name!r} cannot run here; allowed: {usable}", key=key)


class FlashPass:
    """One pass through torch's flash kernel; a row's K begin at its slot, its length is ``kv_lens``."""

    def __init__(self, batch: AttentionBatch) -> None:
        starts = batch.slots * batch.cache.slot_tokens
        self.key_starts = torch.cat((starts, starts.new_zeros(1)))

    def attend(self, query: torch.Tensor, batch: AttentionBatch, layer: int, scale: float) -> torch.Tensor:
        """See :func:`attention.attend`."""
        keys, values = batch.cache.layer(layer)
        out: torch.Tensor = torch.ops.aten._flash_attention_forward(
            query,
            keys,
            values,
            batch.query_starts,
            self.key_starts,
            max(1, batch.max_query),
            max(1, batch.max_kv),
            0.0,
            True,
            False,
            scale=scale,
            seqused_k=batch.kv_lens,
        )[0]
        return out


class FlashInferPass:
    """Passes of at most ``rows`` rows and ``tokens`` tokens through FlashInfer, planned on the host.

    Usable inside a captured graph: :meth:`plan` fills the buffers that the graph reads. In graph
    mode FlashInfer sizes its query tiles for the longest row that ``tokens - requests + 1``
    allows, so empty requests are added until that is ``max_query``.
    """

    WORKSPACE_BYTES = 384 << 20

    def __init__(
        self,
        cache: SlotCache,
        heads: int,
        scale: float,
        rows: int,
        tokens: int,
        max_query: int,
        workspace: Any,
    ) -> None:
        from flashinfer import BatchPrefillWithPagedKVCacheWrapper

        self.cache, self.heads, self.scale, self.tokens = cache, heads, scale, tokens
        self.requests = max(rows, tokens - max_query + 1)
        self.slot_pages = cache.slot_tokens // SLOT_UNIT

        def ints(count: int) -> torch.Tensor:
            return torch.zeros(count, dtype=torch.int32, device=cache.device)

        self.wrapper = BatchPrefillWithPagedKVCacheWrapper(
            workspace,
            "NHD",
            use_cuda_graph=True,
            qo_indptr_buf=ints(self.requests + 1),
            paged_kv_indptr_buf=ints(self.requests + 1),
            paged_kv_indices_buf=ints(rows * self.slot_pages),
            paged_kv_last_page_len_buf=ints(self.requests),
            backend="fa2",
        )
        # The first plan fixes the largest pass: every token present, on full slots.
        share = [tokens // rows + (i < tokens % rows) for i in range(rows)]
        self.plan(Rows([cache.trash] * rows, share, [cache.slot_tokens] * rows))

    @classmethod
    def workspace(cls, device: torch.device) -> torch.Tensor:
        """The scratch memory that all passes of one lane share."""
        return torch.empty(cls.WORKSPACE_BYTES, dtype=torch.uint8, device=device)

    def plan(self, rows: Rows) -> None:
        """Prepares the next pass; 0.2 to 1.3 ms of host time, no waiting for the device."""
        empty = self.requests - len(rows.slots)
        queries, pages, indices, last = [0], [0], list[int](), list[int]()
        for slot, new, total in zip(*rows, strict=True):
            count = round_up(total) // SLOT_UNIT
            indices.extend(range(slot * self.slot_pages, slot * self.slot_pages + count))
            queries.append(queries[-1] + new)
            pages.append(len(indices))
            last.append(total - (count - 1) * SLOT_UNIT if count else 0)
        queries.extend(queries[-1:] * empty)
        pages.extend(pages[-1:] * empty)
        # FlashInfer reads a length as (pages - 1) * page size + last page: no pages, 16 in the last.
        last = [tokens or SLOT_UNIT for tokens in last] + [SLOT_UNIT] * empty
        self.wrapper.plan(
            torch.tensor(queries, dtype=torch.int32),
            torch.tensor(pages, dtype=torch.int32),
            torch.tensor(indices, dtype=torch.int32).to(self.cache.device, non_blocking=True),
            torch.tensor(last, dtype=torch.int32),
            self.heads,
            self.cache.kv_heads,
            self.cache.head_dim,
            SLOT_UNIT,
            causal=True,
            sm_scale=self.scale,
            q_data_type=self.cache.dtype,
        )

    def attend(self, query: torch.Tensor, batch: AttentionBatch, layer: int, scale: float) -> torch.Tensor:
        """See :func:`attention.attend`; ``scale`` must be the one planned for."""
        shape = (-1, SLOT_UNIT, self.cache.kv_heads, self.cache.head_dim)
        paged = (self.cache.keys[layer].view(shape), self.cache.values[layer].view(shape))
        out: torch.Tensor = self.wrapper.run(query.contiguous(), paged)
        return out


def use_kernel(batch: AttentionBatch, name: str) -> AttentionBatch:
    """Sets the batch's kernel on CUDA; cuts rows that are in one piece each, or in none, into parts.

    Kernels other than ours take rows as they are, without a table of pieces.
    """
    cache = batch.cache
    if cache.device.type != "cuda" or batch.backend is not None:
        return batch
    if batch.pieces is not None and not batch.pieces.single:
        return batch  # the packing's own table
    long, whole = batch.max_query >= LONG_QUERY, batch.pieces is None
    if whole and (name == "flash" or (name in ("auto", "flashinfer") and long and flash_works(cache))):
        batch.backend = FlashPass(batch)
        return batch
    lengths = batch.kv_lens if batch.pieces is None else batch.pieces.end
    if long:
        # Partials of [parts, tokens] a row would cost more than what cutting rows gains.
        batch.pieces = whole_rows(lengths)
    else:
        processors = torch.cuda.get_device_properties(cache.device).multi_processor_count
        cut = plan_cut(len(lengths), cache.kv_heads, batch.max_kv, processors)
        batch.pieces = cut_rows(lengths, cut)
    return batch
