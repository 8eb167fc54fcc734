"""What is captured before a run is what the run then meets."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from spinsim.buckets import USUAL, Buckets
from spinsim.runner.graphs.capture import Recorder
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.loading import random_model
from spinsim.runner.rows import ChunkRows, DraftRows, PackedAs, Proposal, VerifyRows
from tests.runner.runner_configs import CONFIGS
from tests.runner.runner_driver import runner_of


@pytest.mark.parametrize("buckets", [USUAL, Buckets(frozenset({4}), frozenset({2, 16}))])
def test_capture_covers_every_shape_of_a_run(buckets):
    model = random_model(CONFIGS["llama"](), 1, context_tokens=64)
    runner = runner_of(model, slots=6, slot_tokens=64, graphed=True, buckets=buckets)
    assert isinstance(runner, GraphedRunner)
    seen: list[tuple[int, int]] = []
    runner.capture("draft", progress=lambda done, total: seen.append((done, total)))
    runner.capture(
        "target", ("ragged", "padded", "decomposed"), lambda done, total: seen.append((done, total))
    )
    assert seen[-1][0] == seen[-1][1]
    captured = runner.recorder.captured
    assert captured == sum(total for done, total in seen if done == total)
    source = random.Random(1)
    for _ in range(40):
        rows = source.randint(1, 6)
        slots, lengths = source.sample(range(6), rows), [source.randint(0, 4) for _ in range(rows)]
        ones, contexts = [1] * rows, [source.randint(2, 30) for _ in range(rows)]
        found = runner.propose(DraftRows(slots, ones, ones, contexts, [max(1, n) for n in lengths]))
        tokens = np.pad(found.tokens, ((0, 0), (0, 4 - found.tokens.shape[1])))
        judged = VerifyRows(slots, ones, contexts, lengths, Proposal(tokens))
        for packed in (("ragged", 0), ("padded", 0), ("decomposed", 20), ("decomposed", 10)):
            runner.verify(judged, PackedAs(*packed))
    assert runner.recorder.captured == captured
    assert not buckets.without_tokens & {key.tokens for key in runner.verifications.graphs}
    assert not buckets.without_rows & {key.rows for key in runner.proposals.graphs}


@pytest.mark.parametrize("page", [None, 8])
def test_recording_in_the_middle_of_a_run_touches_no_request(monkeypatch, page):
    """On CUDA a recorded function is run twice before: here as well, and the caches are compared."""
    calls = random_calls(random.Random(3))
    caches = []
    for warms_up in (False, True):
        if warms_up:
            monkeypatch.setattr(Recorder, "record", run_twice_before(Recorder.record))
        model = random_model(CONFIGS["llama"](), 1, context_tokens=64)
        runner = runner_of(model, slots=6, slot_tokens=64, graphed=True, page_tokens=page)
        for call, arguments in calls:
            getattr(runner, call)(*arguments)
        caches.append((runner.cache.keys[:, :-1], runner.cache.values[:, :-1]))
    for plain, warmed in zip(*caches, strict=True):
        torch.testing.assert_close(warmed, plain, rtol=0, atol=0)


def run_twice_before(record):
    def recorded(self, function, **copies):
        replay = record(self, function, **copies)
        replay()
        replay()
        return replay

    return recorded


def random_calls(source):
    """Prefills, proposals and verifications; later steps of many rows are met after longer ones of few."""
    calls = []
    for rows, length in ((2, 1), (1, 4), (2, 4), (6, 1), (3, 4), (6, 4)):
        slots, ones = source.sample(range(6), rows), [1] * rows
        prompts = [[source.randrange(64) for _ in range(source.randint(2, 9))] for _ in slots]
        contexts = [len(prompt) + 1 for prompt in prompts]
        calls.append(("prefill", [ChunkRows(slots, [0] * rows, prompts)]))
        calls.append(("propose", [DraftRows(slots, ones, ones, contexts, [length] * rows)]))
        judged = VerifyRows(slots, ones, contexts, [4] * rows, Proposal(np.ones((rows, 4), np.int64)))
        for kind in ("ragged", "padded", "decomposed"):
            calls.append(("verify", [judged, PackedAs(kind, 5)]))
    return calls


def test_where_copies_cannot_be_captured_they_surround_the_graph_and_its_warm_up(monkeypatch):
    """The device must not hold the rows of another pass when a function is run in order to record it."""
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device, priority=0: None)
    monkeypatch.setattr(Recorder, "_can_copy", lambda self: False)
    monkeypatch.setattr(Recorder, "_capture", lambda self, function, pool: (function(), function)[1])
    done: list[str] = []
    replay = Recorder(torch.device("cuda", 0)).record(
        lambda: done.append("run"), fetch=lambda: done.append("fetch"), send=lambda: done.append("send")
    )
    assert done == ["fetch", "run"]
    replay()
    assert done[2:] == ["fetch", "run", "send"]
