"""What engines do that changes the answer: merged prefill, K+1 tokens a round, a prefix cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spinsim.engine.kv import KvPool
from spinsim.engine.prefix_cache import PrefixCache
from spinsim.errors import InputError
from spinsim.scenario_file import load
from spinsim.scenario_file.one_world import refuse_simulated_only
from spinsim.studies.simulate import simulate, simulate_scenario
from spinsim.workload.request import PREFIX_BLOCK, Request

SCENARIO: dict[str, Any] = {
    "name": "served",
    "workload": {
        "arrivals": {"process": "poisson", "rate_per_s": 12},
        "requests": 40,
        "prompt_tokens": {"distribution": "lognormal", "median": 600, "sigma": 0.8, "min": 20, "max": 2000},
        "output_tokens": {"distribution": "uniform", "min": 5, "max": 60},
    },
    "models": {
        "target": {"shape": "llama-3-8b"},
        "drafts": {"small": {"shape": "llama-3-117m"}},
    },
    "devices": {"gpu0": {"hardware": "h100"}},
    "placement": {"target": ["gpu0"], "drafts": {"small": "gpu0"}},
    "costs": {"model": "roofline"},
    "acceptance": {"model": "constant", "probability": 0.7},
    "policies": {"selector": {"name": "fixed", "draft": "small"}, "length": {"name": "fixed", "tokens": 3}},
    "limits": {"batch": 16, "context_tokens": 4096, "max_length": 3},
}


def scenario(folder: Path, **sections: Any) -> Path:
    path = folder / "served.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, **sections}), encoding="utf-8")
    return path


def records(path: Path, *overrides: str) -> Any:
    loaded = load(path, overrides)
    return simulate_scenario(loaded.scenario, loaded.base_dir).records


# --- chunked prefill within the passes that verify ----------------------------------------------


@pytest.mark.parametrize("extra", [(), ("kv.reserve=grow", "kv.target_tokens=6400"), ("limits.batch=1",)])
def test_merged_prefill_serves_everybody_the_same_tokens(tmp_path: Path, extra: tuple[str, ...]) -> None:
    path = scenario(tmp_path)
    apart, merged = records(path, *extra), records(path, "limits.prefill=merged", *extra)
    assert {r.status for r in merged.requests.values()} == {"completed"}
    for request, record in merged.requests.items():
        assert record.output_tokens == apart.requests[request].output_tokens
    assert sum(merged.rounds.committed) == sum(apart.rounds.committed)
    assert merged.ended_ns <= 1.02 * apart.ended_ns


def test_prompts_have_passes_of_their_own_only_where_nothing_decodes(tmp_path: Path) -> None:
    found = records(scenario(tmp_path), "limits.prefill=merged")
    ops = found.operations
    verified = [
        (s, f) for s, f, kind in zip(ops.started_ns, ops.finished_ns, ops.kind, strict=True) if kind == 3
    ]
    passes = [
        (s, f) for s, f, kind in zip(ops.started_ns, ops.finished_ns, ops.kind, strict=True) if kind == 0
    ]
    assert passes
    assert len(passes) < len(records(scenario(tmp_path)).requests)
    for start, end in passes:
        assert not any(s < end and start < f for s, f in verified)


def test_merged_prefill_keeps_to_the_budget_and_to_rounds_in_turn(tmp_path: Path) -> None:
    path = scenario(tmp_path)
    ops = records(path, "limits.prefill=merged", "limits.prefill_chunk_tokens=128").operations
    assert max(t for t, kind in zip(ops.tokens, ops.kind, strict=True) if kind == 3) <= 128
    with pytest.raises(InputError, match="one pass for all"):
        load(path, ["limits.prefill=merged", "policies.pipeline={name: spin}"])


def test_merged_passes_pay_weights_once(tmp_path: Path) -> None:
    """Chunks of a busy engine ride on verifications: its passes take less time in all."""
    path = scenario(tmp_path)
    busy = {}
    for how in ("apart", "merged"):
        ops = records(path, f"limits.prefill={how}").operations
        lanes = zip(ops.started_ns, ops.finished_ns, ops.kind, strict=True)
        busy[how] = sum(f - s for s, f, kind in lanes if kind in (0, 3))
    assert busy["merged"] < busy["apart"]


# --- K + 1 tokens a round ------------------------------------------------------------------------


def test_a_round_reserves_the_tokens_that_it_may_add(tmp_path: Path) -> None:
    """``limits.max_length: K`` is an engine's K + 1: the last token, and K proposals."""
    path = scenario(tmp_path)
    long, short = (
        records(path, "kv.reserve=grow", "kv.target_tokens=4096", f"limits.max_length={most}")
        for most in (512, 3)
    )
    assert max(short.load.admitted) > max(long.load.admitted)
    for found in (long, short):
        assert max(found.load.kv_tokens) <= 4096
        assert {r.status for r in found.requests.values()} == {"completed"}


# --- a prefix cache -------------------------------------------------------------------------------


def trace(folder: Path, rows: list[tuple[int, list[int]]]) -> Path:
    path = folder / "trace.jsonl"
    lines = [
        json.dumps({"timestamp": 4000 * i, "input_length": n, "output_length": 8, "hash_ids": blocks})
        for i, (n, blocks) in enumerate(rows)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def cached(folder: Path, rows: list[tuple[int, list[int]]], *overrides: str) -> tuple[Path, dict[str, Any]]:
    trace(folder, rows)
    workload = {"arrivals": {"process": "replay"}, "source": {"format": "mooncake", "path": "trace.jsonl"}}
    path = scenario(folder, workload=workload)
    return path, simulate(load(path, ["kv.prefix_cache=true", *overrides]), None)


def test_beginnings_that_are_there_need_no_prefill(tmp_path: Path) -> None:
    rows = [(1500, [1, 2, 3]), (1600, [1, 2, 4, 5]), (1024, [1, 2]), (900, [7, 8])]
    path, summary = cached(tmp_path, rows)
    # two blocks for the second; all but the last token for the third, whose whole prompt is there
    assert summary["prefix_cache"]["tokens"] == 2 * PREFIX_BLOCK + 1023
    assert summary["prefix_cache"]["prompt_tokens"] == sum(n for n, _ in rows)
    plain = simulate(load(path), None)
    assert "prefix_cache" not in plain
    assert summary["latency"]["ttft_s"]["mean"] < plain["latency"]["ttft_s"]["mean"]
    assert summary["tokens"]["committed"] == plain["tokens"]["committed"]


def test_another_beginning_shares_nothing(tmp_path: Path) -> None:
    _, summary = cached(tmp_path, [(1500, [1, 2, 3]), (1500, [9, 2, 3])])
    assert summary["prefix_cache"]["tokens"] == 0


def of_blocks(number: int, *blocks: int) -> Request:
    return Request(number, 0.0, len(blocks) * PREFIX_BLOCK, 1, blocks=blocks)


def test_memory_that_others_hold_is_no_cache() -> None:
    """Of an ended request's blocks the last goes first: without those before it, it would be of no use."""
    pool = KvPool(3 * PREFIX_BLOCK, PREFIX_BLOCK, reserve="grow", block_tokens=PREFIX_BLOCK, slots=3)
    cache = PrefixCache(pool, PREFIX_BLOCK)
    first, again = of_blocks(0, 1, 2), of_blocks(2, 1, 2)
    slot = pool.acquire(2 * PREFIX_BLOCK)
    assert cache.take(first) == 0
    cache.keep(first)
    pool.release(slot)
    cache.leave(first)
    assert len(cache) == 2
    pool.acquire(2 * PREFIX_BLOCK)
    assert cache.take(of_blocks(1, 7, 8)) == 0
    assert len(cache) == 1, "the block that did not fit beside the second request has gone"
    pool.acquire(PREFIX_BLOCK)
    assert cache.take(again) == PREFIX_BLOCK, "its first block lay in the memory that it holds now"


def test_a_request_does_not_drive_its_own_blocks_out() -> None:
    """A pool of one request: what it computed lies in its memory, and is there for who comes next."""
    pool = KvPool(2 * PREFIX_BLOCK, 2 * PREFIX_BLOCK, reserve="full", block_tokens=16, slots=1)
    cache = PrefixCache(pool, PREFIX_BLOCK)
    for number, found in ((0, 0), (1, 2 * PREFIX_BLOCK - 1), (2, 2 * PREFIX_BLOCK - 1)):
        request = of_blocks(number, 1, 2)
        slot = pool.acquire(2 * PREFIX_BLOCK)
        assert cache.take(request) == found
        cache.keep(request)
        pool.release(slot)
        cache.leave(request)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=30))
def test_blocks_never_take_more_than_there_is(turns: list[tuple[int, int]]) -> None:
    """Three requests at a time come and go over prompts that begin alike; each frees what it took."""
    pool = KvPool(6 * PREFIX_BLOCK, 3 * PREFIX_BLOCK, reserve="grow", block_tokens=PREFIX_BLOCK, slots=3)
    cache = PrefixCache(pool, PREFIX_BLOCK)
    running: dict[int, tuple[Request, int]] = {}
    for number, (place, variety) in enumerate(turns):
        if place in running:
            request, slot = running.pop(place)
            pool.release(slot)
            cache.leave(request)
        elif (slot := pool.acquire(3 * PREFIX_BLOCK)) >= 0:
            request = of_blocks(number, 1, 2 + variety % 2, 10 + variety)
            others = [held for held, _ in running.values()]
            found = cache.take(request)
            alike = max(
                (sum(a == b for a, b in zip(o.blocks, request.blocks, strict=True)) for o in others),
                default=0,
            )
            assert found >= min(alike * PREFIX_BLOCK, request.prompt_tokens - 1), "what runs is there"
            cache.keep(request)
            running[place] = request, slot
        distinct = {block for request, _ in running.values() for block in request.blocks}
        assert (len(cache) - len(distinct)) * PREFIX_BLOCK <= pool.free_blocks * PREFIX_BLOCK
    for request, slot in running.values():
        pool.release(slot)
        cache.leave(request)
    assert len(cache) <= pool.blocks


def test_what_contexts_grew_into_is_not_found_afterwards(tmp_path: Path) -> None:
    """The second request's prompt leaves room for the first one's blocks, and its output takes it."""
    rows = [(1024, [1, 2]), (3000, []), (1024, [1, 2])]
    memory = ("kv.reserve=grow", "kv.target_tokens=4096")
    output = "workload.output_tokens={distribution: fixed, value: %d}"
    _, kept = cached(tmp_path, rows, *memory, output % 8)
    _, taken = cached(tmp_path, rows, *memory, output % 600)
    assert kept["prefix_cache"]["tokens"] == 1023
    assert taken["prefix_cache"]["tokens"] == 0


def test_a_prefix_cache_needs_to_know_what_begins_alike(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing says which prompts begin alike"):
        load(scenario(tmp_path), ["kv.prefix_cache=true"])


@pytest.mark.parametrize(("override", "key"), [("limits.prefill=merged", "limits.prefill")])
def test_live_runs_refuse_them(tmp_path: Path, override: str, key: str) -> None:
    with pytest.raises(InputError, match="simulated only") as caught:
        refuse_simulated_only(load(scenario(tmp_path), [override]).scenario)
    assert caught.value.key == key
    workload = {"arrivals": {"process": "replay"}, "source": {"format": "mooncake", "path": "trace.jsonl"}}
    trace(tmp_path, [(900, [1, 2])])
    prefixed = load(scenario(tmp_path, workload=workload), ["kv.prefix_cache=true"])
    with pytest.raises(InputError, match="prefix cache is simulated only"):
        refuse_simulated_only(prefixed.scenario)
