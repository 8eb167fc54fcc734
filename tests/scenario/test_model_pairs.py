"""Models that cannot run together, or cannot be priced, are refused where the scenario is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spinsim.errors import InputError, InputErrors
from spinsim.scenario_file import load

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "vocab_size": 1024,
    "max_position_embeddings": 4096,
}
LEFT_OUT = object()
TEXT = """\
name: pair
seed: 5
workload:
  requests: 6
  arrivals: {process: closed, concurrency: 2}
  prompt_tokens: {distribution: fixed, value: 16}
  output_tokens: {distribution: fixed, value: 8}
models:
  target: {shape: target}
  drafts:
    d: {shape: draft}
devices: {a: {hardware: h100}, b: {hardware: h100}, c: {hardware: h100}, e: {hardware: h100}}
placement: {target: [a, b, c, e], drafts: {d: a}}
costs: {model: roofline}
acceptance: {model: constant, probability: 0.5}
policies: {selector: {name: fixed, draft: d}}
limits: {batch: 2, context_tokens: 1000}
"""

Judge = Callable[..., list[InputError]]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """The problems of a target and a draft with these keys changed, on some of four devices."""

    def ask(
        target: dict[str, Any] | None = None,
        draft: dict[str, Any] | None = None,
        *overrides: str,
        devices: str = "a",
    ) -> list[InputError]:
        for name, change in (("target", target), ("draft", draft)):
            (tmp_path / name).mkdir(exist_ok=True)
            values = {k: v for k, v in (LLAMA | (change or {})).items() if v is not LEFT_OUT}
            text = json.dumps(values, indent=1)
            (tmp_path / name / "config.json").write_text(text, encoding="utf-8")
        path = tmp_path / "pair.yaml"
        used = devices.split(",")
        spec = ", ".join(f"{device}: {{hardware: h100}}" for device in used)
        path.write_text(
            TEXT.replace("[a, b, c, e]", f"[{devices}]").replace(
                TEXT[TEXT.index("devices: {") : TEXT.index("placement")], f"devices: {{{spec}}}\n"
            ),
            encoding="utf-8",
        )
        try:
            load(path, overrides)
        except InputErrors as error:
            return list(error.errors)
        except InputError as error:
            return [error]
        return []

    return ask


def keys(errors: list[InputError]) -> list[str]:
    return [error.key for error in errors]


def test_models_alike_are_fine(judge: Judge) -> None:
    assert not judge()
    assert not judge(devices="a,b,c")


@pytest.mark.parametrize(
    ("rows", "fine"), [(1024, True), (1152, True), (896, True), (1216, False), (1030, False)]
)
def test_vocabularies_agree_but_for_padding(judge: Judge, rows: int, fine: bool) -> None:
    found = judge(draft={"vocab_size": rows})
    assert keys(found) == ([] if fine else ["models.drafts.d.shape"])
    if not fine:
        assert f"{rows} tokens, the target has 1024" in found[0].message


def test_weights_that_are_loaded_have_a_vocabulary_of_their_own(judge: Judge) -> None:
    assert not judge({}, {"vocab_size": 7}, "models.drafts.d.weights=embedded:tiny")


def test_a_shape_that_stands_for_a_cost_has_no_context(judge: Judge) -> None:
    named = "models.drafts.d.shape=llama-68m"
    longer = ("limits.context_tokens=2049", "models.target.weights=elsewhere")
    assert keys(judge({}, {}, *longer, named)) == ["models.drafts.d.shape"]
    assert not judge({}, {}, *longer, named, "models.drafts.d.weights=its/own")
    assert judge({}, {"max_position_embeddings": 64}, *longer, "models.drafts.d.weights=its/own")


def test_a_context_beyond_a_model_is_refused(judge: Judge) -> None:
    assert not judge(draft={"max_position_embeddings": 1000})
    found = judge(draft={"max_position_embeddings": 999})
    assert keys(found) == ["models.drafts.d.shape"]
    assert "made for 999 tokens, limits.context_tokens is 1000" in found[0].message
    assert keys(judge(target={"max_position_embeddings": 512})) == ["models.target.shape"]
    default = judge({}, {}, "limits.context_tokens=4097")
    assert keys(default) == ["models.target.shape", "models.drafts.d.shape"]


def test_a_context_that_the_file_leaves_out_is_the_formats(judge: Judge) -> None:
    """LLaMA's own default is 2048."""
    found = judge({}, {"max_position_embeddings": LEFT_OUT}, "limits.context_tokens=2049")
    assert keys(found) == ["models.drafts.d.shape"]
    assert not judge({}, {"max_position_embeddings": LEFT_OUT}, "limits.context_tokens=2048")


@pytest.mark.parametrize(
    ("heads", "kv_heads", "devices", "fine"),
    [
        (6, 6, "a,b,c", True),
        (6, 2, "a,b", True),
        (6, 6, "a,b,c,e", False),  # attention heads
        (12, 3, "a,b", False),  # K/V heads neither divide nor are divided
        (12, 3, "a,b,c", True),
        (8, 1, "a,b,c,e", True),  # copied to every device
        (8, 2, "a,b,c,e", True),
    ],
)
def test_heads_divide_over_devices(judge: Judge, heads: int, kv_heads: int, devices: str, fine: bool) -> None:
    change = {"num_attention_heads": heads, "num_key_value_heads": kv_heads}
    found = judge(target=change, devices=devices)
    assert keys(found) == ([] if fine else ["placement.target"])
    if not fine:
        assert "must divide evenly" in found[0].message


ODD = {
    "experts": ({"model_type": "mixtral", "num_key_value_heads": 6, "sliding_window": None}, "8 experts"),
    "latent attention": ({"model_type": "minicpm3"}, "latent attention"),
    "a window": ({"model_type": "mistral", "num_key_value_heads": 6, "sliding_window": 999}, "window of 999"),
    "fp8": ({"quantization_config": {"quant_method": "fp8"}}, "fp8"),
}
UNPRICED = {"quantization_config": {"quant_method": "gptq"}}
PROFILE = "costs={model: profile, path: p.json}"


def test_weights_of_unknown_size_say_so_whatever_the_costs(judge: Judge) -> None:
    costs = "costs={model: constant, verify_s: 0.01, draft_step_s: 0.001}"
    for found, key in (
        (judge(target=UNPRICED), "models.target.shape"),
        (judge(draft=UNPRICED), "models.drafts.d.shape"),
        (judge(UNPRICED, {}, costs), "models.target.shape"),
    ):
        assert keys(found) == [key]
        assert "gptq" in found[0].message
        assert found[0].line


@pytest.mark.parametrize("name", ODD)
def test_what_no_profile_measures_has_costs_from_sheets_alone(judge: Judge, name: str) -> None:
    change, says = ODD[name]
    assert not judge(target=change)
    assert not judge(change, {}, "costs={model: constant, verify_s: 0.01, draft_step_s: 0.001}")
    found = [problem for problem in judge(change, {}, PROFILE) if problem.key == "models.target.shape"]
    assert says in found[0].message


def test_a_window_as_long_as_the_context_is_none(judge: Judge) -> None:
    assert not judge(target={"model_type": "mistral", "num_key_value_heads": 6, "sliding_window": 1000})


def test_a_key_of_the_config_is_named_with_its_file_and_line(judge: Judge) -> None:
    (found,) = judge(draft={"ssm_state_size": 16})
    assert found.key == "models.drafts.d.shape"
    assert "config.json:9: ssm_state_size: is not understood for a llama" in found.message
    assert found.file.endswith("pair.yaml")
