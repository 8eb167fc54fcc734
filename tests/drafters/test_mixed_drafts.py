"""Drafts of several kinds in one simulated scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spinsim.acceptance.known_text import EVERYTHING, Text, replay
from spinsim.api import simulate
from spinsim.costs.base import ASSUMED, CONSTANT, INTERPOLATED, ROOFLINE
from spinsim.drafters.costs import build_predictor
from spinsim.drafters.for_scenario import drafter_of
from spinsim.drafters.memory import kv_capacity
from spinsim.engine.records import Records
from spinsim.errors import InputError
from spinsim.scenario import DrafterChoice
from spinsim.simulated.simulation import Simulated, simulate_scenario
from tests.drafters.drafter_scenarios import LOOK, recorded, scenario_over

SMALL = {"shape": "llama-68m"}
HEAD = {"kind": "head"}


def simulated(folder: Path, drafts: dict[str, Any], *overrides: str, **sections: Any) -> Simulated:
    loaded = scenario_over(folder, drafts, *overrides, **sections)
    return simulate_scenario(loaded.scenario, loaded.base_dir)


def rows(records: Records) -> list[tuple[int, ...]]:
    r = records.rounds
    return list(zip(r.request, r.position, r.draft, r.drafted, r.accepted, r.catch_up_tokens, strict=True))


def test_lookups_draft_and_accept_what_their_replay_says(tmp_path: Path) -> None:
    trace = recorded(tmp_path)
    drafts = {"look": LOOK, "small": SMALL, "suffix": {"kind": "suffix", "min_size": 1}}
    done = simulated(tmp_path, drafts, "policies.allow_none=true")
    assert {record.status for record in done.records.requests.values()} == {"completed"}
    assert {draft for _, _, draft, *_ in rows(done.records)} == {-1, 0, 1, 2}
    assert trace.prompts is not None
    assert trace.outputs is not None
    for number, name in ((0, "look"), (2, "suffix")):
        drafter = drafter_of(name, DrafterChoice.model_validate(drafts[name]))
        for request in range(len(trace.keys)):
            text = Text.of(trace.prompts.row(request), trace.outputs.row(request))
            lookup = drafter.lookup()
            assert lookup is not None
            made = replay(lookup, text, 40, EVERYTHING, request)
            for of, position, draft, drafted, accepted, caught_up in rows(done.records):
                if draft != number or of != request:
                    continue
                assert drafted == min(3, made.offered[position])
                assert accepted == min(drafted, made.runs[position], 40 - position)
                assert caught_up == 0


def test_lookups_change_nothing_of_the_models(tmp_path: Path) -> None:
    """A model that is used alone is priced, placed and accepted as if the others were not there."""
    recorded(tmp_path)
    fixed = "policies.selector={name: fixed, draft: small}"
    alone = simulated(tmp_path, {"small": SMALL}, fixed)
    beside = simulated(tmp_path, {"look": LOOK, "small": SMALL}, fixed)
    assert [(r, p, d, a) for r, p, _, d, a, _ in rows(alone.records)] == [
        (r, p, d, a) for r, p, _, d, a, _ in rows(beside.records)
    ]
    assert alone.records.ended_ns == beside.records.ended_ns
    assert alone.records.kv_capacity_tokens == beside.records.kv_capacity_tokens


def test_same_seed_same_rounds(tmp_path: Path) -> None:
    recorded(tmp_path)
    drafts = {"suffix": {"kind": "suffix", "min_size": 1, "earlier": 3}, "small": SMALL, "head": HEAD}
    names = "acceptance.drafts={head: small}"
    one, two = (simulated(tmp_path, drafts, names) for _ in range(2))
    assert rows(one.records) == rows(two.records)
    assert one.records.operations == two.records.operations


def test_without_token_ids_there_is_nothing_to_look_up(tmp_path: Path) -> None:
    recorded(tmp_path, outputs=False)
    with pytest.raises(InputError, match="keeps no token ids of outputs"):
        simulated(tmp_path, {"look": LOOK})
    mapped = simulated(tmp_path, {"look": LOOK}, "acceptance.drafts={look: small}")
    assert {drafted for _, _, _, drafted, *_ in rows(mapped.records)} == {3}


def test_synthetic_acceptance_takes_drafters_as_any_draft(tmp_path: Path) -> None:
    recorded(tmp_path)
    constant = "acceptance={model: constant, probability: {look: 1, small: 0, head: 0.5}}"
    done = simulated(tmp_path, {"look": LOOK, "small": SMALL, "head": HEAD}, constant)
    for _, position, draft, drafted, accepted, _ in rows(done.records):
        if draft == 0:
            assert accepted == min(drafted, 40 - position)
        if draft == 1:
            assert accepted == 0


def test_another_text_offers_what_stands_for_it(tmp_path: Path) -> None:
    recorded(tmp_path)
    done = simulated(tmp_path, {"look": LOOK, "small": SMALL}, "noise.other_text=0.5")
    for _, _, draft, drafted, accepted, _ in rows(done.records):
        if draft == 0:
            assert accepted <= drafted


@pytest.mark.parametrize("selector", ["hedgespec", "spin", "joint", "ucb1", "oracle", "thompson"])
def test_selectors_choose_among_all_kinds(tmp_path: Path, selector: str) -> None:
    recorded(tmp_path)
    drafts = {"look": LOOK, "small": SMALL, "head": HEAD}
    chosen = f"policies.selector={{name: {selector}}}"
    done = simulated(tmp_path, drafts, chosen, "acceptance.drafts={head: small}")
    assert {record.status for record in done.records.requests.values()} == {"completed"}


def test_fast_switching_finds_nothing_to_wait_for(tmp_path: Path) -> None:
    recorded(tmp_path)
    done = simulated(tmp_path, {"look": LOOK, "small": SMALL}, "policies.switching=overlapped")
    assert {draft for _, _, draft, *_ in rows(done.records)} == {0, 1}


def test_lanes_and_memory_by_kind(tmp_path: Path) -> None:
    recorded(tmp_path)
    drafts = {"look": LOOK, "small": SMALL, "suffix": {"kind": "suffix"}, "head": HEAD}
    loaded = scenario_over(tmp_path, drafts, "acceptance.drafts={head: small}")
    done = simulate(loaded.path, set={"acceptance.drafts": {"head": "small"}}, out=tmp_path / "out")
    summary = done.summary
    assert set(summary["lanes"]) == {"gpu/target", "gpu/small", "host/drafts"}
    assert set(kv_capacity(loaded.scenario, tmp_path)) == {"target", "small", "head"}
    assert summary["speculation"]["per_draft"]["look"]["catch_up_time_s"] == 0
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_sequential_head_costs_more_with_each_token(tmp_path: Path) -> None:
    recorded(tmp_path)
    drafts = {
        "chain": HEAD,
        "once": {"kind": "head", "steps": "parallel"},
        "own": {**HEAD, "vocabulary": 8000},
    }
    names = "acceptance.drafts={chain: small, once: small, own: small}"
    loaded = scenario_over(tmp_path, drafts, names)
    predictor = build_predictor(loaded.scenario, tmp_path)
    seconds = {
        draft: [predictor.propose(draft, [k] * 4, [100] * 4).seconds for k in (1, 2, 3, 4)]
        for draft in range(3)
    }
    steps = [b - a for a, b in zip(seconds[0], seconds[0][1:], strict=False)]
    assert min(steps) > 0.5 * seconds[0][0]
    assert seconds[1][3] < 1.5 * seconds[1][0]
    assert seconds[2][3] < seconds[0][3]
    assert predictor.propose(0, [3], [100]).label == ROOFLINE
    # A head of one layer weighs one of 32 layers of its target, and what joins its inputs.
    kinds = {name: drafter_of(name, spec) for name, spec in loaded.scenario.models.drafts.items()}
    assert 0.15e9 < kinds["chain"].parameters(loaded.scenario, tmp_path) < 0.3e9


def test_a_fit_holds_at_its_length_alone(tmp_path: Path) -> None:
    recorded(tmp_path)
    fit = {"base_s": 0.002, "token_s": 1e-6, "kv_token_s": 1e-9, "length": 3}
    drafts = {"chain": {**HEAD, "fit": fit}, "once": {**HEAD, "fit": fit, "steps": "parallel"}}
    loaded = scenario_over(tmp_path, drafts, "acceptance.drafts={chain: small, once: small}")
    predictor = build_predictor(loaded.scenario, tmp_path)
    there = predictor.propose(0, [3, 3], [100, 200])
    assert there.seconds == pytest.approx(0.002 + 6e-6 + 300e-9)
    assert there.label == INTERPOLATED
    longer = predictor.propose(0, [6, 6], [100, 200])
    assert longer.seconds == pytest.approx(0.004 + 12e-6 + 600e-9)
    assert longer.label == ASSUMED
    assert predictor.propose(0, [3, 1], [100, 200]).label == ASSUMED
    assert predictor.propose(1, [6, 6], [100, 200]).seconds == pytest.approx(0.002 + 12e-6 + 300e-9)
    summary = simulate(loaded.path, set={"acceptance.drafts": {"chain": "small", "once": "small"}}).summary
    assert summary["costs"]["assumed"] > 0


def test_costs_of_a_lookup(tmp_path: Path) -> None:
    recorded(tmp_path)
    own = {**LOOK, "cost": {"base_s": 1e-5, "row_s": 2e-6, "token_s": 1e-9}}
    loaded = scenario_over(tmp_path, {"look": own, "usual": LOOK})
    predictor = build_predictor(loaded.scenario, tmp_path)
    found = predictor.propose(0, [3, 3], [100, 300])
    assert found.seconds == pytest.approx(1e-5 + 4e-6 + 4e-7)
    assert found.label == CONSTANT
    assert predictor.propose(1, [3], [100]).label == ASSUMED
    assert predictor.propose(0, [], []).seconds == 0
    constant = {"model": "constant", "verify_s": 0.01, "draft_step_s": {"look": 0.5}}
    loaded = scenario_over(tmp_path, {"look": own, "usual": LOOK}, costs=constant)
    assert build_predictor(loaded.scenario, tmp_path).propose(0, [3], [100]).seconds == 0.5


@pytest.mark.parametrize(
    ("override", "key", "said"),
    [
        ("models.drafts.look={kind: ngrm}", "models.drafts.look.kind", "did you mean 'ngram'"),
        ("models.drafts.look={kind: ngram, sizes: 3}", "models.drafts.look.sizes", "unknown key"),
        ("models.drafts.look={kind: ngram, min_size: 9}", "models.drafts.look.min_size", "at most 7"),
        ("models.drafts.look={kind: ngram, longest: 0}", "models.drafts.look.longest", "at least 1"),
        ("models.drafts.look={kind: ngram, capacity: 0}", "models.drafts.look.capacity", "at least 1"),
        ("models.drafts.look={kind: head, fit: {base_s: 1}}", "models.drafts.look.fit.length", "missing"),
        ("placement.drafts.look=gpu", "placement.drafts.look", "leave it out"),
        ("models.drafts.look={shape: llama-68m}", "placement.drafts.look", "is not placed"),
    ],
)
def test_what_is_wrong_is_said_at_its_key(tmp_path: Path, override: str, key: str, said: str) -> None:
    recorded(tmp_path)
    with pytest.raises(InputError) as caught:
        scenario_over(tmp_path, {"look": LOOK}, override)
    assert caught.value.key == key
    assert said in str(caught.value)


def test_smallest_names_a_model(tmp_path: Path) -> None:
    recorded(tmp_path)
    smallest = "policies.selector={name: fixed}"
    done = simulated(tmp_path, {"look": LOOK, "small": SMALL}, smallest)
    assert {draft for _, _, draft, *_ in rows(done.records)} == {1}
    only = simulated(tmp_path, {"look": LOOK}, smallest)
    assert {draft for _, _, draft, *_ in rows(only.records)} == {0}
