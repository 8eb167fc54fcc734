"""Results in blocks are those of the whole, to the last byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim import api
from spinsim.engine import columns
from spinsim.engine.records import Operations, Records
from spinsim.results import blocks, inputs
from spinsim.results.blocks import by_request, finished_in_order, pairwise_sum, round_blocks
from spinsim.results.commit_gaps import commit_gaps
from spinsim.results.lanes import FOREVER, Union
from spinsim.results.summary import distribution, distribution_of_ns
from spinsim.results.window import Window

SCENARIOS = Path(__file__).parents[2] / "scenarios"
LESS = ("workload.requests=24", "metrics.warmup_s=0.05")


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "environment.json"}


@pytest.mark.parametrize(
    ("scenario", "more"),
    [
        ("quickstart.yaml", ("policies.pipeline={name: fixed, micro_batches: 2}",)),
        ("specialists.yaml", ("policies.packing={name: padded}", "noise.per_call_sd=0.1")),
    ],
)
def test_a_folder_does_not_depend_on_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: str, more: tuple[str, ...]
) -> None:
    """Records that lie in files, counted a few rounds at a time."""
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    api.simulate(SCENARIOS / scenario, set=[*LESS, *more], out=whole)
    monkeypatch.setattr(columns, "BLOCK", 64)
    for place in (blocks, inputs):
        monkeypatch.setattr(place, "ROWS", 50)
    api.simulate(SCENARIOS / scenario, set=[*LESS, *more], out=parted)
    one, other = _files(whole), _files(parted)
    assert one.keys() == other.keys()
    for name in one:
        if name.endswith(".parquet"):
            assert pq.read_table(whole / name).to_pylist() == pq.read_table(parted / name).to_pylist()
        else:
            assert one[name] == other[name], name
    assert pq.ParquetFile(parted / "inputs.parquet").num_row_groups > 5


def test_blocks_of_rounds_are_whole_rounds(
    make_records: Callable[..., Records], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = make_records(1, requests=20)
    monkeypatch.setattr(blocks, "ROWS", 16)
    found = list(round_blocks(records.rounds))
    assert [b.first for b in found[1:]] == [b.last for b in found[:-1]]
    assert sum(b.high - b.low for b in found) == len(records.rounds.request)
    assert all(b.sizes.sum() == b.high - b.low <= 16 for b in found)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 5)), max_size=30))
def test_operations_in_order(shapes: list[tuple[int, int, int]]) -> None:
    """Submitted one after the other, started and finished later; a few were still running."""
    operations, now = Operations(), 0
    for gap, wait, work in shapes:
        now += gap
        operations.lane.append(0)
        operations.submitted_ns.append(now)
        running = wait == 9
        operations.started_ns.append(-1 if running else now + wait)
        operations.finished_ns.append(-1 if running else now + wait + work)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "ROWS", 3)
        for column in (operations.started_ns, operations.finished_ns):
            done = [i for i, at in enumerate(operations.finished_ns) if at >= 0]
            got = [i for block in finished_in_order(operations, column) for i in block.tolist()]
            assert got == sorted(done, key=lambda i: (column[i], i))


@given(st.lists(st.integers(0, 1 << 20), max_size=50))
def test_rows_by_request_stay_in_order(request: list[int]) -> None:
    order = by_request(np.array(request, dtype=np.int32))
    assert order.tolist() == sorted(range(len(request)), key=request.__getitem__)


@pytest.mark.parametrize("count", [0, 1, 100, 129, 5_000, 99_991])
def test_a_sum_in_parts_is_the_sum_to_the_last_bit(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_LEAF", 200)
    values = np.random.default_rng(count).lognormal(0, 9, count)
    cuts = sorted(np.random.default_rng(1).integers(0, count + 1, 7).tolist())
    assert pairwise_sum(count, np.split(values, cuts)) == values.sum()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=20), st.integers(1, 5))
def test_a_union_in_parts_is_the_union(spans: list[tuple[int, int]], size: int) -> None:
    spans.sort()
    starts, ends = (np.array(part, np.int64) for part in ([a for a, _ in spans], [a + b for a, b in spans]))
    union = Union()
    for low in range(0, len(spans), size):
        until = int(starts[low + size]) if low + size < len(spans) else FOREVER
        union.add(starts[low : low + size], ends[low : low + size], until)
    moments = {moment for a, b in spans for moment in range(a, a + b)}
    assert union.length == len(moments)


@pytest.mark.parametrize("count", [1, 2, 3, 11, 1000, 4001])
@pytest.mark.parametrize("longest", [10**6, 10**11])
def test_nanoseconds_are_spread_as_their_seconds(count: int, longest: int) -> None:
    values = np.random.default_rng(count).integers(0, longest, count)
    assert distribution_of_ns(values.copy()) == distribution(values / 1e9)
    assert distribution_of_ns(values[:0]) == distribution(np.empty(0))


def test_a_gap_longer_than_four_seconds_is_kept(make_records: Callable[..., Records]) -> None:
    records = make_records(1, requests=20)
    rounds = records.rounds
    window = Window(0, 1 << 62, "", "")
    usual = np.sort(commit_gaps(records, window))
    committed_ns = np.asarray(rounds.committed_ns)
    last = int(np.argmax(committed_ns))
    rounds.committed_ns[last] = int(committed_ns[last]) + 10**10
    found = np.sort(commit_gaps(records, window))
    assert found.size == usual.size
    assert found[-1] > 10**10
    assert usual[-1] < 2**32
