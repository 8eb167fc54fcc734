"""The contextual selector in the engine, over a recording, and its training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spinsim.errors import InputError
from spinsim.recording import Lookup, Recording, Trace, save_trace
from spinsim.scenario_file import load
from spinsim.studies.selection_on_recordings import PLANNED, overrides
from spinsim.studies.selector_training import train
from spinsim.studies.simulate import simulate

ROOT = Path(__file__).parents[2]
COSTS = ROOT / "scenarios" / "specdecode-bench.yaml"


def copies(requests: int, seed: int = 3, tokens: int = 120) -> Trace:
    """Odd requests copy long spans, where the lookup is right and says so; elsewhere the model is better."""
    random = np.random.default_rng(seed)
    model, lookup, matched, offered, domains = [], [], [], [], []
    for request in range(requests):
        copied = (np.arange(tokens) // 30 % 2 == 1) & (request % 2 == 1)
        ends = np.where(copied, 30 - np.arange(tokens) % 30, 0)
        model.append(random.integers(0, 4, tokens).tolist())
        stray = random.random(tokens) < 0.2  # matches that lead nowhere
        lookup.append(ends.tolist())
        matched.append(np.where(copied, 20, np.where(stray, 3, 0)).tolist())
        offered.append(np.where(copied | stray, 20, 0).tolist())
        domains.append("copying" if request % 2 else "other")
    lookups = Lookup.of(matched, offered)
    found = Recording.of_runs(lookup)
    return Trace(
        target="t",
        keys=tuple(str(i) for i in range(requests)),
        prompt_tokens=(20,) * requests,
        drafts={
            "eagle": Recording.of_runs(model),
            "ngram": Recording(found.kind, found.rows, lookups),
        },
        domains=tuple(domains),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("recordings")
    save_trace(copies(24), folder / "judged.npz")
    (folder / "trained.json").write_text(json.dumps(train(copies(16, seed=4))))
    return folder / "judged.npz", folder / "trained.json"


def rate(trace: Path, batch: int, selector: dict, length: dict) -> dict:
    return simulate(load(COSTS, overrides(trace, batch, selector, length)), None)


@pytest.mark.parametrize("batch", [1, 6])
def test_it_takes_most_of_what_knowing_the_winner_gains(files, batch):
    trace, trained = files
    ours = {"name": "contextual", "trained": str(trained), "longest": {"eagle": 3}}
    oracle = {**ours, "name": "contextual_oracle"}
    fixed = max(
        rate(trace, batch, {"name": "fixed", "draft": d}, {"name": "fixed", "tokens": k})[
            "goodput_tokens_per_s"
        ]
        for d, k in (("eagle", 3), ("ngram", 8), ("ngram", 20))
    )
    told, known, all_known = (
        rate(trace, batch, each, PLANNED)["goodput_tokens_per_s"]
        for each in (ours, oracle, {**oracle, "knows_lengths": True})
    )
    assert fixed < told <= 1.01 * known <= 1.02 * all_known
    assert told - fixed > 0.5 * (known - fixed)


def test_it_learns_without_training(files):
    """Untold, it takes both drafters to be good, and is soon above the better one."""
    trace, _ = files
    found = rate(trace, 6, {"name": "contextual", "longest": {"eagle": 3}}, PLANNED)
    fixed = rate(trace, 6, {"name": "fixed", "draft": "eagle"}, {"name": "fixed", "tokens": 3})
    assert found["goodput_tokens_per_s"] > fixed["goodput_tokens_per_s"]
    assert {name for name, each in found["speculation"]["per_draft"].items() if each["share"]} >= {
        "eagle",
        "ngram",
    }


def test_a_fixed_length_is_kept(files):
    trace, trained = files
    ours = {"name": "contextual", "trained": str(trained)}
    found = rate(trace, 6, ours, {"name": "per_draft", "tokens": {"eagle": 2, "ngram": 5}})["speculation"]
    eagle, ngram = (found["per_draft"][name] for name in ("eagle", "ngram"))
    assert eagle["drafted"] == 2 * eagle["rounds"]
    assert 0 < ngram["drafted"] <= 5 * ngram["rounds"]


def test_a_lookup_proposes_no_more_than_it_has_on_offer(files):
    """With nothing on offer a row only decodes; it is nobody's draft then."""
    trace, _ = files
    found = rate(trace, 1, {"name": "fixed", "draft": "ngram"}, {"name": "fixed", "tokens": 20})[
        "speculation"
    ]
    by_draft = found["per_draft"]
    assert by_draft["ngram"]["drafted"] == 20 * by_draft["ngram"]["rounds"]
    assert by_draft["none"]["rounds"] > 0 == by_draft["none"]["drafted"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read"),
        ("{", "is no JSON"),
        ("[]", "holds no drafts"),
        ('{"drafts": {}}', "schema None; 'spinsim-survival/1'"),
        (
            '{"schema": "spinsim-survival/1", "drafts": {}, "matches": [[1]]}',
            "matches of shape (1, 1); kinds and 15",
        ),
    ],
)
def test_a_file_that_is_no_training_is_named(files, tmp_path, content, said):
    path = tmp_path / "trained.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as caught:
        rate(files[0], 1, {"name": "contextual", "trained": str(path)}, PLANNED)
    assert "policies.selector.trained" in str(caught.value)
    assert said in str(caught.value)


def test_training_counts_every_position_once():
    trace = copies(4, tokens=40)
    state = train(trace, longest=6)
    assert state["kinds"] == ["copying", "other"]
    reached = {name: np.array(each["reached"])[..., 0].sum((1, 2)) for name, each in state["drafts"].items()}
    assert reached["eagle"].tolist() == [2 * 39, 2 * 39]  # all but prefill's
    lookup = trace.drafts["ngram"].lookup
    assert lookup is not None
    offered = [int((lookup.offered.row(row)[1:] > 0).sum()) for row in range(4)]
    assert reached["ngram"].tolist() == [offered[1] + offered[3], offered[0] + offered[2]]
    for each in state["drafts"].values():
        assert (np.array(each["accepted"]) <= np.array(each["reached"])).all()
    assert np.array(state["matches"]).sum() == 4 * 39
