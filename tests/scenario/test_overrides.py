"""``--set``: overrides anything, is validated alike, and is named as the place of what it breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from spinsim.errors import InputError
from spinsim.scenario.workload import Fixed
from spinsim.scenario_file import load

FULL = """\
kv: {reserve: grow, block_tokens: 8, target_tokens: 4096, draft_tokens: 4096}
metrics: {warmup_s: 0.5}
sampling: {temperature: 0.7, top_p: 0.9, stop_at_end_of_text: false}
live: {graphs: false, widen: true}
noise: {per_run_sd: 0.1, per_call_sd: 0.2}
description: every section
"""


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Dotted path and value of everything below ``value``."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for i, inner in enumerate(value):
            yield from leaves(inner, (*path, str(i)))
    else:
        yield ".".join(path), value


@pytest.fixture
def full_path(tmp_path: Path, scenario_text: str) -> Path:
    path = tmp_path / "full.yaml"
    path.write_text(scenario_text + FULL, encoding="utf-8")
    return path


def test_every_leaf_can_be_set_and_is_validated(full_path: Path) -> None:
    dumped = load(full_path).scenario.model_dump(mode="json")
    paths = list(leaves(dumped))
    assert len(paths) > 60
    for path, value in paths:
        same = (
            f"{path}={yaml.safe_dump(value, default_flow_style=True).removesuffix('...' + chr(10)).strip()}"
        )
        assert load(full_path, [same]).scenario.model_dump(mode="json") == dumped, same
        with pytest.raises(InputError) as caught:
            load(full_path, [f"{path}={{no_such: {{key: 1}}}}"])
        assert caught.value.file.startswith(f"--set {path}"[:40]), path
        assert caught.value.key.startswith(path), path


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("seed=7", lambda s: s.seed, 7),
        ("workload.prompt_tokens.max=65", lambda s: s.workload.prompt_tokens.max, 65),
        ("workload.arrivals.rate_per_s=1e-1", lambda s: s.workload.arrivals.rate_per_s, 0.1),
        ("workload.patience_s={distribution: fixed, value: 3}", lambda s: s.workload.patience_s.value, 3),
        ("placement.target.0=gpu1", lambda s: s.placement.target, ("gpu1",)),
        ("placement.target=[gpu0, gpu1]", lambda s: s.placement.target, ("gpu0", "gpu1")),
        ("slo=null", lambda s: s.slo, None),
        ("slo.tpot_s=0.1", lambda s: (s.slo.ttft_s, s.slo.tpot_s), (0.5, 0.1)),
        ("kv.memory_fraction=0.5", lambda s: s.kv.memory_fraction, 0.5),
        ("acceptance.domains.code.weight=2", lambda s: s.acceptance.domains["code"].weight, 2),
        ("policies.length.tokens=2", lambda s: s.policies.length.params, {"tokens": 2}),
        ("description=a = b", lambda s: s.description, "a = b"),
        ("description=", lambda s: s.description, None),
    ],
)
def test_override(scenario_path: Path, override: str, read: Callable[[Any], Any], expected: object) -> None:
    overrides = [override]
    if override == "placement.target.0=gpu1":
        overrides.append("placement.drafts={tiny: gpu0, large: gpu0}")
    if expected is None and override == "description=":
        with pytest.raises(InputError, match="null is not allowed; must be text"):
            load(scenario_path, overrides)
        return
    assert read(load(scenario_path, overrides).scenario) == expected


def test_later_overrides_win(scenario_path: Path) -> None:
    assert load(scenario_path, ["seed=1", "seed=2"]).scenario.seed == 2
    overrides = ["kv={memory_fraction: 0.3}", "kv.reserve=grow"]
    kv = load(scenario_path, overrides).scenario.kv
    assert (kv.memory_fraction, kv.reserve) == (0.3, "grow")


@pytest.mark.parametrize(
    ("override", "key", "message"),
    [
        ("seed", "", "write key.path=value"),
        ("=3", "", "write key.path=value"),
        ("a..b=3", "", "write key.path=value"),
        ("seed.x=3", "seed.x", "seed holds a value"),
        ("placement.target.1=gpu1", "placement.target.1", "allowed: 0 to 0"),
        ("placement.target.x=gpu1", "placement.target.x", "allowed: 0 to 0"),
        ("slo={ttft_s: ", "slo", "not valid YAML"),
        ("slo={ttft_s: 1, ttft_s: 2}", "slo", "given twice"),
        ("limits.bach=3", "limits.bach", "did you mean 'batch'?"),
        ("length=3", "length", "did you mean policies.length?"),
        ("policies.selector=spin", "policies.selector", "such as {name: spin}"),
        ("costs=roofline", "costs", "such as {model: roofline}"),
        ("placement.target=gpu0", "placement.target", "such as [gpu0]"),
        ("policies.selector.name=spinn", "policies.selector.name", "did you mean 'spin'?"),
        ("policies.length.token=3", "policies.length.token", "did you mean 'tokens'?"),
        ("workload.source.format=azure", "workload.source.path", "missing"),
    ],
)
def test_bad_override_names_itself(scenario_path: Path, override: str, key: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load(scenario_path, [override])
    assert caught.value.file == f"--set {override}"
    assert caught.value.line == 0
    assert caught.value.key == key
    assert message in str(caught.value)


def test_what_an_override_breaks_elsewhere_is_named_where_it_stands(scenario_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(scenario_path, ["workload.prompt_tokens.min=65"])
    assert (caught.value.file, caught.value.line) == (str(scenario_path), 9)
    assert caught.value.key == "workload.prompt_tokens.max"


def test_naming_another_policy_drops_the_parameters_of_the_old_one(
    tmp_path: Path, scenario_text: str
) -> None:
    path = tmp_path / "spin.yaml"
    data = yaml.safe_load(scenario_text)
    data["policies"] = {**data.get("policies", {}), "selector": {"name": "spin", "explore": 0.1}}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    chosen = load(
        path, ["policies.selector.name=ucb1", "policies.selector.beta=0.3"]
    ).scenario.policies.selector
    assert (chosen.name, chosen.params) == ("ucb1", {"beta": 0.3})
    same = load(path, ["policies.selector.name=spin"]).scenario.policies.selector
    assert same.params == {"explore": 0.1}
    with pytest.raises(InputError, match="ucb1 has no parameter 'explore'"):
        load(path, ["policies.selector.explore=0.2", "policies.selector.name=ucb1"])


def test_device_cpu_puts_every_model_on_one_cpu(scenario_path: Path) -> None:
    scenario = load(scenario_path, device="cpu").scenario
    assert [spec.hardware for spec in scenario.devices.values()] == ["cpu"]
    assert scenario.placement.target == ("cpu",)
    assert scenario.placement.drafts == {"tiny": "cpu", "large": "cpu"}


def test_device_cuda_keeps_gpus_and_refuses_cpus(scenario_path: Path) -> None:
    assert load(scenario_path, device="cuda").scenario == load(scenario_path).scenario
    with pytest.raises(InputError, match=r"set devices\.gpu1\.hardware"):
        load(scenario_path, ["devices.gpu1.hardware=cpu"], device="cuda")


def test_padded_copies_take_whole_slots_unless_the_scenario_says_otherwise(scenario_path: Path) -> None:
    def reserve(*overrides: str) -> str:
        return load(scenario_path, overrides).scenario.kv.reserve

    padded = "policies.packing={name: padded}"
    assert (reserve(), reserve(padded)) == ("grow", "full")
    among = "policies.packing={name: planned, among: [padded, ragged]}"
    assert reserve("policies.selector={name: planned}", among) == "full"
    assert (reserve(padded, "kv.reserve=grow"), reserve(padded, "kv.block_tokens=16")) == ("grow", "grow")


@pytest.mark.parametrize("said", ["32", "{value: 32}", "{distribution: fixed, value: 32}"])
def test_a_number_alone_is_a_length_that_is_always_the_same(said: str, full_path: Path) -> None:
    workload = load(full_path, [f"workload.prompt_tokens={said}"]).scenario.workload
    assert workload.prompt_tokens == Fixed(distribution="fixed", value=32)


def test_what_is_no_length_is_told_what_may_be_one(full_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be a number, or a mapping with `distribution`: fixed"):
        load(full_path, ["workload.prompt_tokens=long"])
