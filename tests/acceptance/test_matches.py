"""Modelled matches go with modelled acceptance, and a selector that reads them gains by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spinsim.acceptance.lookups import NOT_LOOKED_UP
from spinsim.acceptance.matches import NOTHING, ModelledLookups
from spinsim.drafters.acceptance import build_field
from spinsim.scenario_file import LoadedScenario, load
from spinsim.simulated.simulation import simulate_scenario
from spinsim.workload.for_scenario import build_workload
from tests.drafters.drafter_scenarios import scenario_over
from tests.policies.policy_world import Field

DRAFTS = {"small": {"shape": "llama-68m"}, "look": {"kind": "ngram", "longest": 9}}


def test_what_is_found_follows_the_law() -> None:
    field = Field(lambda request, draft, position: 0.4, tokens=5000)
    known = ModelledLookups(field, {1: 9}, 2, [5000], seed=3)
    runs = np.array(field.runs(0, 1)[:5000])
    told = [known.at(0, position) for position in range(5000)]
    assert all(matched[0] == offered[0] == NOT_LOOKED_UP for matched, offered in told)
    matched = np.array([each[0][1] for each in told])
    offered = np.array([each[1][1] for each in told])
    assert (offered[runs > 0] == 9).all()
    assert abs((matched[runs == 0] == 0).mean() - NOTHING) < 0.02
    assert np.median(matched[runs > 0]) > np.median(matched[(runs == 0) & (matched > 0)])
    assert known.agreed(0, int(runs.argmax()), 3) == [NOT_LOOKED_UP, min(3, int(runs.max()))]
    known.forget(0)
    assert [known.at(0, position) for position in range(50)] == told[:50]


def modelled(folder: Path, **policies: object) -> LoadedScenario:
    acceptance = {"model": "constant", "probability": {"small": 0.6, "look": 0.5}, "matches": "modelled"}
    workload = {
        "requests": 24,
        "arrivals": {"process": "closed", "concurrency": 4},
        "prompt_tokens": {"distribution": "fixed", "value": 20},
        "output_tokens": {"distribution": "fixed", "value": 60},
    }
    sections = {"acceptance": acceptance, "workload": workload, "policies": {"allow_none": True, **policies}}
    return scenario_over(folder, DRAFTS, **sections)


def test_a_selector_that_reads_matches_gains(tmp_path: Path) -> None:
    """It knows where the lookup is right; who does not proposes at random."""
    seconds = {}
    for name, policies in {
        "contextual": {"selector": {"name": "contextual"}, "length": {"name": "planned"}},
        "small": {"selector": {"name": "fixed", "draft": "small"}, "length": {"name": "fixed", "tokens": 3}},
        "look": {"selector": {"name": "fixed", "draft": "look"}, "length": {"name": "fixed", "tokens": 3}},
    }.items():
        loaded = modelled(tmp_path, **policies)
        seconds[name] = simulate_scenario(loaded.scenario, loaded.base_dir).records.ended_ns
    assert seconds["contextual"] < 0.95 * min(seconds["small"], seconds["look"])


def test_unknown_matches_leave_a_field_as_it_is(tmp_path: Path) -> None:
    """As many tokens as it is asked for, and the same acceptance."""
    loaded = modelled(tmp_path)
    unknown = load(loaded.path, ["acceptance.matches=unknown"])
    workload = build_workload(loaded.scenario, loaded.base_dir)
    one, other = (build_field(each.scenario, workload, each.base_dir) for each in (loaded, unknown))
    assert other.lookups is None
    assert other.offered(0, 1) is None
    assert one.runs(3, 1) == other.runs(3, 1)
    offered = one.offered(3, 1)
    assert offered is not None
    assert set(offered) == {0, 9}
