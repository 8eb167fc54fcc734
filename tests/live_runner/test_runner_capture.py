"""What is captured before a run is what the run then meets."""

from __future__ import annotations

import random

import numpy as np
from runner_configs import CONFIGS
from runner_driver import runner_of

from spinsim.live.runner.graphed import GraphedRunner
from spinsim.live.runner.loading import random_model


def test_capture_covers_every_shape_of_a_run():
    runner = runner_of(
        random_model(CONFIGS["llama"](), 1, context_tokens=64), slots=6, slot_tokens=64, graphed=True
    )
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
        found = runner.propose(slots, ones, ones, contexts, [max(1, n) for n in lengths])
        tokens = np.pad(found.tokens, ((0, 0), (0, 4 - found.tokens.shape[1])))
        for kind, piece in (("ragged", 0), ("padded", 0), ("decomposed", 20)):
            runner.verify(slots, ones, contexts, lengths, tokens, None, kind, piece)
    assert runner.recorder.captured == captured
