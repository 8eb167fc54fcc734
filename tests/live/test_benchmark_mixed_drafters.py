"""What the benchmark of mixed drafters serves: requests whose texts copy, and one scenario a cell."""

from __future__ import annotations

from array import array

import numpy as np

from benchmarks.mixed_drafters import SCENARIO, VARIANTS, copying
from spinsim.acceptance.known_text import EVERYTHING, Text, replay
from spinsim.acceptance.prompt_lookup import PromptLookup
from spinsim.scenario_file import load


def test_made_texts_copy_and_say_what_a_head_accepts() -> None:
    trace = copying(6, 96, 128, 50_000)
    assert trace.prompts is not None
    assert trace.outputs is not None
    runs = np.concatenate([trace.drafts["tiny"].rows.row(row) for row in range(6)])
    assert 0.55 < (runs > 0).mean() < 0.8
    rule = PromptLookup(7, 3, 20, latest=False)
    found = [
        replay(rule, Text.of(trace.prompts.row(row), trace.outputs.row(row)), 128, EVERYTHING).runs
        for row in range(6)
    ]
    assert 0.3 < (np.concatenate(found) > 0).mean() < 0.8, "copies are found again, new stretches are not"
    assert array("i", trace.prompts.row(0).tolist()) != array("i", trace.prompts.row(1).tolist())


def test_every_variant_is_a_scenario() -> None:
    for overrides in VARIANTS.values():
        scenario = load(SCENARIO, overrides).scenario
        assert scenario.live.acceptance == "field"
        assert list(scenario.models.drafts) == ["head", "ngram"]
