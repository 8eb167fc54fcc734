"""What ships in scenarios/ loads, runs, and shows what its comments say."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from spinsim import api
from spinsim.costs.base import LABELS
from spinsim.costs.for_scenario import profile_of
from spinsim.costs.profiled.elsewhere import laid_elsewhere
from spinsim.errors import InputError
from spinsim.family import family
from spinsim.results.summary import summarise
from spinsim.scenario_file import load
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.sweep import SweepPlan, planned, read_sweep
from spinsim.studies.validation.plan import plan as validation_plan

SCENARIOS = Path(__file__).parents[2] / "scenarios"
PAPER = SCENARIOS / "spin-paper"
DRAFTS = tuple(draft.name for draft in family.DRAFTS)
FILES = sorted(path for path in SCENARIOS.rglob("*.yaml") if path.parent.name != "studies")


def summary(path: Path, *overrides: str) -> dict[str, Any]:
    loaded = load(path, overrides)
    simulated = simulate_scenario(loaded.scenario, loaded.base_dir)
    return summarise(
        simulated.records, loaded.scenario, mode="simulated", acceptance_source=simulated.acceptance_source
    )


def sweep_plan(name: str) -> SweepPlan:
    plan = read_sweep(PAPER / name)
    assert plan is not None
    return plan


def test_all_are_there() -> None:
    names = {str(path.relative_to(SCENARIOS)) for path in FILES}
    assert names >= {
        "quickstart.yaml",
        "specialists.yaml",
        "closed-form.yaml",
        "azure-conversation.yaml",
        "spin-paper/spin.yaml",
        "spin-paper/ladder.yaml",
        "spin-paper/sensitivity.yaml",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_loads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPINSIM_DATA", "/nowhere")  # loading opens no source
    if path.stem.startswith("validate-"):
        assert validation_plan([path], [], [], None)  # their profiles are measured where they run
        return
    plan = read_sweep(path)
    if plan is None:
        load(path)
    else:
        assert planned(replace(plan, seeds=1))


@pytest.mark.parametrize("name", ["ladder.yaml", "sensitivity.yaml"])
def test_the_comment_counts_the_runs(name: str) -> None:
    plan = sweep_plan(name)
    cells = plan.seeds
    for axis in plan.axes:
        cells *= len(axis.labels)
    said = re.search(r"= (\d+) runs", (PAPER / name).read_text(encoding="utf-8"))
    assert said is not None
    assert int(said[1]) == cells
    assert plan.seeds >= 5


def test_the_ladder_climbs_one_part_at_a_time() -> None:
    """Each step differs from the one before in what its name says, and ends at spin.yaml itself."""
    plan = sweep_plan("ladder.yaml")
    steps = next(axis for axis in plan.axes if axis.name == "step")
    chosen = {
        label: load(plan.scenario, overrides).scenario.policies
        for label, overrides in zip(steps.labels, steps.overrides, strict=True)
    }
    climb = ["vanilla", "+ selection", "+ decomposition", "+ pipeline", "+ ragged"]
    changed = [
        {
            field
            for field in type(chosen[after]).model_fields
            if getattr(chosen[before], field) != getattr(chosen[after], field)
        }
        for before, after in pairwise(climb)
    ]
    assert changed == [{"selector", "switching"}, {"packing"}, {"pipeline"}, {"packing"}]
    assert chosen["+ pipeline"] == load(plan.scenario).scenario.policies
    assert chosen["vanilla"].selector.params == {"draft": "smallest"}


@pytest.mark.parametrize("target", ["7b", "30b"])
def test_every_step_of_the_ladder_runs(target: str) -> None:
    plan = sweep_plan("ladder.yaml")
    targets, steps = (next(a for a in plan.axes if a.name == name) for name in ("target", "step"))
    chosen = targets.overrides[targets.labels.index(target)]
    for overrides in steps.overrides:
        numbers = summary(plan.scenario, *chosen, *overrides, "workload.requests=10")
        assert numbers["requests"]["completed"] == 10


MEASURED = {
    "as it is": (),
    **{draft: (f"policies.selector={{name: fixed, draft: {draft}}}",) for draft in DRAFTS},
    "no draft": ("policies.selector={name: fixed, draft: none}", "policies.length={name: none}"),
    "joint, six tokens": ("policies.selector={name: joint}", "policies.length={name: fixed, tokens: 6}"),
    "oracle": ("policies.selector={name: oracle}",),
    "two micro-batches": ("policies.pipeline={name: fixed, micro_batches: 2}",),
    "32 clients": ("workload.arrivals.concurrency=32", "limits.batch=32", "workload.requests=96"),
}


@pytest.mark.parametrize("overrides", MEASURED.values(), ids=MEASURED)
def test_quickstart_is_measured_and_recorded(overrides: tuple[str, ...]) -> None:
    """Whatever the policies, nothing falls back to a sheet or to synthetic acceptance."""
    numbers = summary(SCENARIOS / "quickstart.yaml", *overrides)
    shares = {label: numbers["costs"][label] for label in LABELS if numbers["costs"].get(label)}
    assert set(shares) <= {"measured", "interpolated"}
    assert sum(shares.values()) == pytest.approx(1)
    assert numbers["acceptance"]["source"] == "trace"
    assert not numbers.get("other_hardware")
    assert numbers["requests"]["completed"] == numbers["requests"]["submitted"] >= 64


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (
            {"workload.arrivals.concurrency": 128, "limits.batch": 128, "workload.requests": 160},
            "costs.allow_roofline",
        ),
        ({"devices.gpu1.hardware": "a100-80"}, "devices.gpu1.hardware"),
    ],
)
def test_what_the_profile_does_not_know_has_a_place(overrides: dict[str, Any], key: str) -> None:
    """Also where it is found in the middle of a run."""
    with pytest.raises(InputError) as caught:
        api.simulate(SCENARIOS / "quickstart.yaml", set=overrides)
    assert caught.value.key == key
    assert key in str(caught.value).split(": ", 2)[1]


def test_a_profile_is_of_kv_laid_as_the_scenario_lays_them() -> None:
    """Blocks are the default, and the profiles that ship are of whole slots: scenarios say so, or runs do."""
    for path in FILES:
        if path.stem.startswith("validate-") or read_sweep(path) is not None:
            continue
        loaded = load(path)
        profile = profile_of(loaded.scenario, loaded.base_dir)
        assert profile is None or not laid_elsewhere(profile, loaded.scenario.kv.paged_by), path
    few = {"workload.requests": 4, "kv.reserve": "grow"}
    said = api.simulate(SCENARIOS / "quickstart.yaml", set=few).summary["profile_elsewhere"]
    assert said == "measured with K/V in whole slots (or does not say), here in blocks of 16 tokens"


def test_quickstart_shows_what_it_says() -> None:
    """One good draft beats SPIN's selector, joint comes closer to it, and the oracle beats it."""
    path = SCENARIOS / "quickstart.yaml"
    choices = {"spin": "seed=1"} | {
        name: f"policies.selector={{name: {name}}}" for name in ("joint", "oracle", "random")
    }
    choices |= {draft: f"policies.selector={{name: fixed, draft: {draft}}}" for draft in DRAFTS}
    goodput = {name: summary(path, choice)["goodput_tokens_per_s"] for name, choice in choices.items()}
    assert goodput["random"] < goodput["spin"] < goodput["joint"] < goodput["tiny"] < goodput["oracle"]
    assert max(DRAFTS, key=goodput.__getitem__) == "tiny"
    assert goodput["oracle"] < 1.1 * goodput["tiny"]


def test_specialists_show_what_they_say() -> None:
    """SPIN's selector beats every fixed draft and no draft, and the oracle beats it."""
    path = SCENARIOS / "specialists.yaml"
    scenario = load(path).scenario
    spin = summary(path)["goodput_tokens_per_s"]
    fixed = {
        draft: summary(path, f"policies.selector={{name: fixed, draft: {draft}}}")["goodput_tokens_per_s"]
        for draft in scenario.models.drafts
    }
    none = summary(path, "policies.selector={name: fixed, draft: none}", "policies.length={name: none}")
    oracle = summary(path, "policies.selector={name: oracle}")
    assert max(fixed, key=lambda draft: fixed[draft]) == "tiny"
    assert spin > 1.05 * fixed["tiny"]
    assert spin > 1.5 * none["goodput_tokens_per_s"]
    assert oracle["goodput_tokens_per_s"] > 1.1 * spin


@pytest.mark.parametrize(("name", "target"), [("quickstart", "llama-7b"), ("specialists", "llama-3-8b")])
def test_it_fits_the_embedded_family(name: str, target: str) -> None:
    scenario = load(SCENARIOS / f"{name}.yaml").scenario
    models = {"target": scenario.models.target, **scenario.models.drafts}
    assert {name: spec.weights for name, spec in models.items()} == {
        name: f"embedded:{name}" for name in ("target", *DRAFTS)
    }
    assert {name: spec.shape for name, spec in models.items()} == {
        draft.name: draft.stands_for for draft in family.DRAFTS
    } | {"target": target}  # the profile's is a 7B
    assert scenario.limits.context_tokens <= 512


@pytest.mark.skipif("SPINSIM_DATA" not in os.environ, reason="needs the public traces")
def test_the_azure_trace_fits() -> None:
    path = SCENARIOS / "azure-conversation.yaml"
    numbers = summary(path, "workload.source.limit=150", "metrics.warmup_s=0")
    assert numbers["requests"]["completed"] == 150
    from spinsim.workload.for_scenario import build_workload

    loaded = load(path)
    workload = build_workload(loaded.scenario, loaded.base_dir)
    assert len(workload.requests) == 19_366
    assert not workload.malformed
    longest = max(r.prompt_tokens + r.output_tokens for r in workload.requests)
    assert longest == 14_089 <= loaded.scenario.limits.context_tokens
