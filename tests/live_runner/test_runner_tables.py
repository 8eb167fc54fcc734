"""What the host sends a captured pass, and how drafts' proposals come together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spinsim.live.runner.forward import Part, Proposal, combine
from spinsim.live.runner.tables import ALIGN, IntTable, put

CPU = torch.device("cpu")
sizes = st.lists(st.integers(0, 9), min_size=1, max_size=5)


@given(longs=sizes, shorts=sizes)
def test_fields_are_aligned_and_apart(longs, shorts):
    names = {f"l{i}": (n,) for i, n in enumerate(longs)}, {f"s{i}": (n, 2) for i, n in enumerate(shorts)}
    table = IntTable(*names, CPU)
    host = table.fill()
    for number, values in enumerate(host.values()):
        values[...] = number + 1
    table.send()
    for number, (name, tensor) in enumerate(table.device.items()):
        assert tensor.dtype == (torch.int64 if name.startswith("l") else torch.int32)
        assert tensor.shape == host[name].shape
        assert (tensor == number + 1).all()
    base = min(tensor.data_ptr() for tensor in table.device.values())
    assert all((tensor.data_ptr() - base) % ALIGN == 0 for tensor in table.device.values() if tensor.numel())


def test_put_fills_the_rest():
    target = np.full(5, 9)
    put(target, [1, 2], -1)
    assert target.tolist() == [1, 2, -1, -1, -1]
    with pytest.raises(ValueError, match="broadcast"):
        put(target, range(6), 0)


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
        tokens = torch.arange(held * width).view(held, width) + 1000 * (draft + 1)
        spread = tokens[..., None].float().expand(held, width, 3) if sampled else None
        parts.append(Part(placed, taken, Proposal(tokens, spread)))
    whole = combine(parts, rows, CPU)
    assert whole.tokens.shape[0] == rows
    assert (whole.probabilities is not None) == (sampled and bool(parts))
    for part in parts:
        width = part.proposal.tokens.shape[1]
        for row, source in zip(part.placed, part.taken, strict=True):
            assert whole.tokens[row, :width].tolist() == part.proposal.tokens[source].tolist()
            if whole.probabilities is not None:
                assert whole.probabilities[row, :width, 2].tolist() == whole.tokens[row, :width].tolist()


def test_one_draft_that_served_every_row_costs_no_copy():
    proposal = Proposal(torch.ones(3, 2, dtype=torch.int64), None)
    assert combine([Part(range(3), range(3), proposal)], 3, CPU) is proposal
    assert combine([Part(range(3), (1, 0, 2), proposal)], 3, CPU) is not proposal
