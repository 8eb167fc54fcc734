"""KV capacity against hand figures, sharing, overrides, and refusals with key and numbers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim.costs.memory import kv_capacity, padded_workspace, workspace_bytes
from spinsim.costs.sheets.hardware import GIB, MIB
from spinsim.costs.sheets.shapes import shape_of
from spinsim.errors import InputError
from spinsim.scenario import LimitsSpec
from tests.costs.cost_cases import scenario_of

V100_32 = {"gpu0": {"hardware": "v100-32"}, "gpu1": {"hardware": "v100-32"}}
SEVEN_B = {"target": {"shape": "llama-7b", "dtype": "fp16"}, "drafts": {"small": {"shape": "llama-68m"}}}


def test_8b_on_h200_by_hand() -> None:
    """140.4 GiB * 0.9, less 14.96 of weights, 0.5 of process, 0.26 of workspace: 110.6 GiB."""
    capacity = kv_capacity(scenario_of())
    workspace = 512 * (2 * 4096 + 3 * 14336) * 2 + 288 * 128256 * 6
    assert workspace_bytes(shape_of("llama-3-8b"), "bf16", LimitsSpec(), 288) == workspace
    free = 143771 * MIB * 0.9 - 8_030_261_248 * 2 - GIB // 2 - workspace
    assert capacity["target"] == int(free // (128 * 1024))
    assert capacity["target"] == pytest.approx(906_000, rel=0.01)


def test_models_that_share_a_device_hold_equally_many_tokens() -> None:
    drafts = {"small": {"shape": "llama-68m"}, "large": {"shape": "llama-1.1b"}}
    together = kv_capacity(
        scenario_of(
            models={"target": {"shape": "llama-3-8b"}, "drafts": drafts},
            placement={"target": ["gpu0"], "drafts": {"small": "gpu0", "large": "gpu0"}},
        )
    )
    assert together["target"] == together["small"] == together["large"]
    used = together["target"] * (131072 + 6144 + 22528)
    weights = 2 * (8_030_261_248 + 68_030_208 + 1_100_048_384)
    assert used + weights < 0.9 * 143771 * MIB
    assert used + weights > 0.89 * 143771 * MIB


def test_tensor_parallelism_adds_room() -> None:
    models = {"target": {"shape": "llama-3-70b"}, "drafts": {"small": {"shape": "llama-68m"}}}
    devices = {f"gpu{i}": {"hardware": "h100"} for i in range(5)}
    placement = {"target": [f"gpu{i}" for i in range(4)], "drafts": {"small": "gpu4"}}
    capacity = kv_capacity(scenario_of(models=models, devices=devices, placement=placement))
    by_hand = (81559 * MIB * 0.9 - 70_553_706_496 * 2 / 4 - GIB // 2) / (327_680 / 4)
    assert capacity["target"] == pytest.approx(by_hand, rel=0.02)
    with pytest.raises(InputError, match="nothing is left") as caught:
        kv_capacity(scenario_of(models=models, devices=devices, placement=placement | {"target": ["gpu0"]}))
    assert caught.value.key == "placement.target"


def test_the_padded_baseline_runs_out_where_ragged_runs() -> None:
    """7B on a 32 GiB V100, 32 requests of 768 tokens: SPIN's observation."""
    limits = {"batch": 32, "context_tokens": 768}
    slots = {}
    for packing in ("ragged", "decomposed", "padded"):
        scenario = scenario_of(
            models=SEVEN_B, devices=V100_32, limits=limits, policies={"packing": {"name": packing}}
        )
        slots[packing] = kv_capacity(scenario)["target"] // 768
    assert slots["ragged"] == slots["decomposed"] >= 32
    assert slots["padded"] < 32


def test_padded_copies_never_exceed_the_batch() -> None:
    limits = LimitsSpec(batch=4, context_tokens=512)
    assert padded_workspace(100, limits) == 100
    assert padded_workspace(10_000, limits) == 2048
    roomy = {"limits": {"batch": 4, "context_tokens": 512}}
    plain = kv_capacity(scenario_of(**roomy))["target"]
    padded = kv_capacity(scenario_of(**roomy, policies={"packing": {"name": "padded"}}))["target"]
    assert plain - padded == pytest.approx(2048, abs=1)


def test_an_override_of_the_padded_baseline_must_hold_its_copies_too() -> None:
    sections: dict[str, Any] = {
        "models": SEVEN_B,
        "devices": V100_32,
        "limits": {"batch": 64, "context_tokens": 512},
        "kv": {"target_tokens": 20_000},
    }
    assert kv_capacity(scenario_of(**sections))["target"] == 20_000
    with pytest.raises(InputError, match=r"19\.53 GiB.*at most 15\d{3}") as caught:
        kv_capacity(scenario_of(**sections, policies={"packing": {"name": "padded"}}))
    assert caught.value.key == "kv.target_tokens"


def test_overrides_stand_and_leave_the_rest() -> None:
    capacity = kv_capacity(scenario_of(kv={"target_tokens": 50_000, "draft_tokens": 60_000}))
    assert capacity == {"target": 50_000, "small": 60_000}
    shared: dict[str, Any] = {"placement": {"target": ["gpu0"], "drafts": {"small": "gpu0"}}}
    free = kv_capacity(scenario_of(**shared))
    fixed = kv_capacity(scenario_of(**shared, kv={"target_tokens": 4096}))
    assert fixed["target"] == 4096
    assert fixed["small"] > free["small"]


@pytest.mark.parametrize(
    ("sections", "key", "says"),
    [
        ({"kv": {"target_tokens": 100}}, "kv.target_tokens", r"100 KV tokens.*4096"),
        ({"kv": {"draft_tokens": 100}}, "kv.draft_tokens", r"100 KV tokens.*4096"),
        (
            {"kv": {"reserve": "grow", "block_tokens": 100, "target_tokens": 4099}},  # 41 blocks are needed
            "kv.target_tokens",
            r"4099 KV tokens are 40 blocks of kv.block_tokens, 100, .*4096; at least 4100",
        ),
        (
            {
                "models": SEVEN_B,
                "devices": V100_32,
                "kv": {"reserve": "grow", "block_tokens": 100_000},
                "limits": {"context_tokens": 3000},
            },
            "limits.context_tokens",
            r"3000 tokens does not fit.*allowed: at most 0",
        ),
        ({"kv": {"target_tokens": 2_000_000}}, "kv.target_tokens", r"244\.14 GiB.*at most 90\d{4}"),
        (
            {"models": SEVEN_B, "devices": V100_32, "limits": {"context_tokens": 60_000}},
            "limits.context_tokens",
            r"60000 tokens.*allowed: at most 3\d{4}",
        ),
        (
            {"devices": {"gpu0": {"hardware": "h200", "memory_gib": 8}, "gpu1": {"hardware": "h200"}}},
            "placement.target",
            r"gpu0 has 8\.00 GiB.*weights 14\.96",
        ),
        (
            {"devices": {"gpu0": {"hardware": "h200"}, "gpu1": {"hardware": "h200", "memory_gib": 0.7}}},
            "placement.drafts.small",
            "gpu1 has 0.70 GiB",
        ),
    ],
)
def test_what_cannot_fit_is_refused_with_key_and_numbers(
    sections: dict[str, Any], key: str, says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        kv_capacity(scenario_of(**sections))
    assert caught.value.key == key


@given(gib=st.integers(20, 200), more=st.integers(0, 100), fraction=st.floats(0.85, 1.0))
def test_capacity_grows_with_memory(gib: int, more: int, fraction: float) -> None:
    def ask(size: int) -> int:
        devices = {"gpu0": {"hardware": "h200", "memory_gib": size}, "gpu1": {"hardware": "h200"}}
        limits = {"context_tokens": 64}
        return kv_capacity(scenario_of(devices=devices, limits=limits, kv={"memory_fraction": fraction}))[
            "target"
        ]

    assert ask(gib + more) >= ask(gib) > 0
