"""Plans in engines' own terms: fields, schedules, refusals, and what a search for an engine may vary."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from spinsim import api
from spinsim.engines import ENGINES, engine_of
from spinsim.engines.plan import Gain, Method, Plan, Step, Weights, merged
from spinsim.errors import InputError

ROOT = Path(__file__).parents[2]
GAIN = Gain(0.5, 0.4, 0.6)
FALLING = (Step(1, 1, 5, GAIN), Step(2, 4, 3, GAIN), Step(5, 8, 0))
CHEAP = {
    "name": "cheap",
    "workload": {
        "arrivals": {"process": "closed", "concurrency": 4},
        "requests": 6,
        "prompt_tokens": {"distribution": "fixed", "value": 8},
        "output_tokens": {"distribution": "fixed", "value": 24},
    },
    "models": {
        "target": {"shape": "llama-3-8b", "weights": "org/target"},
        "drafts": {
            "eagle3": {"shape": "llama-3-117m", "weights": "org/head"},
            "small": {"shape": "llama-3-1b", "weights": "org/small"},
        },
    },
    "devices": {"gpu0": {"hardware": "h100"}},
    "placement": {"target": ["gpu0"], "drafts": {"eagle3": "gpu0", "small": "gpu0"}},
    # Verification grows with its tokens: the more run at once, the fewer pay.
    "costs": {
        "model": "linear",
        "target": {"base_s": 0.005, "token_s": 0.0006},
        "drafts": {"eagle3": {"base_s": 0.001}, "small": {"base_s": 0.004}},
    },
    "acceptance": {"model": "constant", "probability": {"eagle3": 0.8, "small": 0.8}},
    "policies": {
        "selector": {"name": "fixed", "draft": "eagle3"},
        "length": {"name": "fixed", "tokens": 3},
    },
    "limits": {"batch": 16, "context_tokens": 64},
}


@pytest.fixture
def cheap(tmp_path: Path) -> Path:
    path = tmp_path / "cheap.yaml"
    path.write_text(yaml.safe_dump(CHEAP), encoding="utf-8")
    return path


def plan(method: Method, steps: tuple[Step, ...] = FALLING) -> Plan:
    draft = None if method in ("none", "ngram", "mtp") else Weights("org/draft")
    return Plan(Weights("org/target"), method, draft, steps, devices=2)


CASES = [(engine.name, method) for engine in ENGINES.values() for method in engine.methods]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_every_method_is_written_in_the_engines_fields(name: str, method: Method) -> None:
    engine = engine_of(name)
    steps = FALLING if method in engine.schedules else (Step(1, 8, 3, GAIN),)
    done = engine.export(plan(method, steps))
    assert done.settings
    engine.check(done.settings)
    assert "org/target" in next(iter(done.files.values()))
    for text in done.files.values():
        if not text.startswith("#"):
            assert json.loads(text)


@pytest.mark.parametrize("name", ENGINES)
def test_an_unknown_key_or_a_value_out_of_range_is_refused(name: str) -> None:
    engine = engine_of(name)
    done = engine.export(plan("eagle3", (Step(1, 8, 3, GAIN),)))
    with pytest.raises(InputError, match="no field"):
        engine.check({**done.settings, "num_speculative_steps": 3})
    for key, field in engine.fields.items():
        if field.least is not None:
            for wrong in (field.least - 1, True, "3"):
                with pytest.raises(InputError) as caught:
                    engine.check({key: wrong})
                assert caught.value.key == key


def test_vllm_has_inclusive_ranges_that_begin_at_one() -> None:
    done = engine_of("vllm").export(plan("eagle3"))
    ranges = done.settings["num_speculative_tokens_per_batch_size"]
    assert ranges == [[1, 1, 5], [2, 4, 3], [5, 8, 0]]
    assert done.settings["num_speculative_tokens"] == 5
    command = shlex.split(done.files["vllm.sh"].splitlines()[-1])
    assert command[:3] == ["vllm", "serve", "org/target"]
    assert json.loads(command[command.index("--speculative-config") + 1]) == done.settings
    assert "+50.0 % [+40.0, +60.0]" in done.files["vllm.sh"]  # gain and interval, in a comment


def test_sglang_has_a_slot_from_each_batch_on_and_verifies_one_token_more() -> None:
    done = engine_of("sglang").export(plan("eagle3"))
    assert done.settings["speculative_num_draft_tokens"] == done.settings["speculative_num_steps"] + 1 == 6
    slots = json.loads(done.files["sglang-adaptive.json"])
    assert slots == {
        "1": {"candidate_steps": [5]},
        "2": {"candidate_steps": [3]},
        "5": {"candidate_steps": [0]},
    }


def test_tensorrt_llm_keys_are_the_last_batches_and_the_first_is_the_most() -> None:
    engine = engine_of("tensorrt-llm")
    done = engine.export(plan("draft_model"))
    text = yaml.safe_load(done.files["tensorrt-llm.yaml"])["speculative_config"]
    assert text == done.settings
    assert text["draft_len_schedule"] == {1: 5, 4: 3, 8: 0}
    rising = plan("draft_model", (Step(1, 1, 2, GAIN), Step(2, 8, 4, GAIN)))
    assert [(s.first, s.last, s.tokens) for s in engine.limit(rising).schedule] == [(1, 8, 2)]


def test_neighbours_that_draft_alike_are_one_step() -> None:
    assert merged((Step(1, 1, 3), Step(2, 2, 3), Step(3, 4, 2))) == (Step(1, 2, 3), Step(3, 4, 2))


def test_a_schedule_falls_with_the_batch_and_says_its_gain(cheap: Path) -> None:
    done = api.export(cheap, engine="vllm", tokens="1,2,4", seeds=5, workers=0)
    steps = done.result.plan.schedule
    assert done.settings["method"] == "eagle3"  # its name says how it drafts
    assert done.settings["model"] == "org/head"
    assert [step.first for step in steps] == [1, *(step.last + 1 for step in steps[:-1])]
    assert steps[-1].last == 16
    assert steps[0].tokens > steps[-1].tokens
    gain = steps[0].gain
    assert gain is not None
    assert gain.low is not None
    assert 0 < gain.low <= gain.estimate
    assert not done.result.refused


def test_what_an_engine_has_no_schedule_for_gets_one_number_and_its_loss(cheap: Path) -> None:
    done = api.export(cheap, engine="sglang", method="draft_model", tokens="1,4", seeds=1, workers=0)
    assert done.result.plan.constant
    refused = done.result.refused[0]
    assert refused.key == "schedule"
    assert "predicted loss at most" in refused.nearest
    assert "not in it: schedule" in done.files["sglang.sh"]


def test_a_selector_is_refused_with_the_nearest_and_its_loss(cheap: Path) -> None:
    settings = {"policies.selector": {"name": "spin"}}
    with pytest.raises(InputError, match=r"one draft for all.*nearest: eagle3 for all.*predicted") as caught:
        api.export(cheap, engine="vllm", tokens="2", seeds=2, set=settings, workers=0)
    assert caught.value.key == "policies.selector"
    done = api.export(
        cheap, engine="vllm", tokens="2", seeds=2, set=settings, nearest=True, schedule=False, workers=0
    )
    assert done.result.loss is not None
    assert [one.key for one in done.result.refused] == ["policies.selector"]
    assert done.settings == {
        "method": "eagle3",
        "num_speculative_tokens": 2,
        "model": "org/head",
        "draft_tensor_parallel_size": 1,
    }


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"engine": "llama.cpp"}, "no engine"),
        ({"engine": "tensorrt-llm", "method": "eagle"}, "no 'eagle'"),
        ({"engine": "vllm", "tokens": "0"}, "numbers from 1"),
    ],
)
def test_bad_input_is_one_line(cheap: Path, given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        api.export(cheap, seeds=1, workers=0, **given)


def test_no_speculation_is_the_engine_alone(cheap: Path) -> None:
    done = api.export(
        cheap, engine="vllm", seeds=1, workers=0, set=["policies.selector={name: fixed, draft: none}"]
    )
    assert done.settings == {}
    assert done.files["vllm.sh"].splitlines()[-1] == "vllm serve org/target"


def test_files_are_written_once(cheap: Path, tmp_path: Path) -> None:
    done = api.export(cheap, engine="vllm", seeds=1, workers=0, schedule=False, write=tmp_path / "flags")
    assert (tmp_path / "flags" / "vllm.sh").read_text(encoding="utf-8") == done.files["vllm.sh"]
    with pytest.raises(InputError, match="exists"):
        done.write(tmp_path / "flags")


def test_a_search_for_an_engine_is_exported_without_refusal(cheap: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    tuned = api.tune(
        cheap,
        engine="vllm",
        trials=4,
        batch=2,
        seeds=1,
        confirm=0,
        fresh=2,
        workers=0,
        set={"policies.selector": {"name": "spin"}, "policies.packing": {"name": "padded"}},
    )
    assert set(tuned.result.keys) == {"policies.length.tokens", "policies.selector.draft"}
    path = tuned.write(tmp_path / "tuned.yaml")
    done = api.export(path, engine="vllm", seeds=1, tokens="2", schedule=False, workers=0)
    assert not done.result.refused
    with pytest.raises(InputError, match="goes with none"):
        api.tune(cheap, engine="vllm", only="length", workers=0)


@pytest.mark.parametrize("scenario", ["quickstart.yaml", "specialists.yaml", "two-gpus.yaml"])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_shipped_scenarios_are_exported(scenario: str, engine: str) -> None:
    small = ["workload.requests=4", "limits.max_length=4"]
    done = api.export(
        ROOT / "scenarios" / scenario,
        engine=engine,
        nearest=True,
        schedule=False,
        tokens="3",
        seeds=1,
        set=small,
        workers=0,
    )
    engine_of(engine).check(done.settings)
