"""Experts, latent attention, windows, quantized weights and fp8 K/V: their laws against closed forms."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from spinsim.costs.for_scenario import never_compared
from spinsim.costs.memory import kv_capacity
from spinsim.costs.operators import EXPERT_KERNELS, PassCosts, experts_touched
from spinsim.costs.sheets.hardware import hardware_names, hardware_of, sheet_of_device
from spinsim.costs.sheets.model_shape import Experts, LatentAttention, ModelShape, Window
from spinsim.costs.sheets.shapes import shape_of
from spinsim.errors import InputError
from spinsim.scenario_file import load
from spinsim.scenario_file.one_world import refuse_simulated_only
from spinsim.studies.simulate import simulate

H100 = hardware_of("h100")
DENSE = shape_of("llama-3-8b")
EXPERTS = Experts(64, 4, DENSE.layers, 2048)
LATENT = LatentAttention(0, 512, 128, 64, 128)
SPECIALISTS = Path(__file__).parents[2] / "scenarios" / "specialists.yaml"


def costs(shape: ModelShape, **how: object) -> PassCosts:
    return PassCosts(shape, "bf16", H100, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "active", "tokens"), [(8, 2, 1), (8, 2, 5), (128, 8, 4), (128, 8, 200)])
def test_experts_touched_are_those_that_a_draw_touches(count: int, active: int, tokens: int) -> None:
    draw = random.Random(1)
    drawn = [
        len({expert for _ in range(tokens) for expert in draw.sample(range(count), active)})
        for _ in range(2000)
    ]
    law = experts_touched(Experts(count, active, 1, 1), tokens)
    assert law == pytest.approx(sum(drawn) / len(drawn), rel=0.02)
    assert active - 1e-9 <= law <= count


def test_all_experts_active_are_one_wide_mlp() -> None:
    """Where every token uses every expert, the mixture is an MLP as wide as all of them, and a router."""
    experts = Experts(4, 4, DENSE.layers, DENSE.intermediate // 4)
    router = DENSE.layers * costs(DENSE).product(1, DENSE.hidden, 4)
    mixed, dense = costs(replace(DENSE, experts=experts)).body(1), costs(DENSE).body(1)
    rows = (
        DENSE.layers * 3 * DENSE.hidden * 3 * 2 / H100.achieved_bandwidth()
    )  # copies of the token to experts
    assert mixed == pytest.approx(dense + router, abs=rows)


def test_verifying_with_experts_is_dearer_than_with_one_mlp() -> None:
    """In small batches a verification touches more experts, where a dense model reads the same weights."""
    mixed, dense = costs(replace(DENSE, experts=EXPERTS)), costs(DENSE)
    for batch in (1, 4):
        rise = mixed.body(5 * batch) / mixed.body(batch)
        assert rise > 1.5 > 1.1 > dense.body(5 * batch) / dense.body(batch)
    assert mixed.body(4096) / mixed.body(2048) < 2.1  # all experts are read: the rest is arithmetic
    assert mixed.kernels == dense.kernels + DENSE.layers * EXPERT_KERNELS


def test_latent_attention_reads_one_latent_whatever_the_devices() -> None:
    shape = replace(DENSE, latent=LATENT, head_dim=192, kv_heads=DENSE.heads)
    one, four = costs(shape), costs(shape, devices=4)
    wide = LATENT.kv_rank + LATENT.rope
    assert one.attention.kv_s == pytest.approx(
        DENSE.layers * wide * 2 / H100.achieved_bandwidth(H100.kv_efficiency)
    )
    assert four.attention.kv_s == one.attention.kv_s  # a latent is of no head
    assert four.attention.pair_s == pytest.approx(one.attention.pair_s / 4)
    prompts, steps = H100.prompt_attention_efficiency or 1.0, H100.compute_efficiency  # of the peak, each
    assert one.prompt_attention.pair_s * prompts < one.attention.pair_s * steps  # in the heads' own widths
    assert costs(shape, kv_fp8=True).attention.kv_s == pytest.approx(one.attention.kv_s / 2)


def test_a_window_hides_what_lies_before_it() -> None:
    windowed = costs(replace(DENSE, window=Window(1000, DENSE.layers // 2)))
    assert windowed.seen(1000) == 1000
    assert windowed.seen(3000) == 2000  # half of the layers see 1,000
    assert costs(DENSE).seen(3000) == 3000


def test_quantized_weights_are_read_faster_and_kept_smaller() -> None:
    dense = costs(DENSE).body(1)
    fp8, int4 = (costs(DENSE, quantization=method).body(1) for method in ("fp8", "int4"))
    assert dense / 2.1 < fp8 < dense / 1.9
    assert dense / 4 < int4 < dense / 3.6
    assert costs(DENSE, quantization="int4").body(4096) == pytest.approx(costs(DENSE).body(4096), rel=0.2)
    assert costs(DENSE, quantization="fp8").body(4096) < 0.65 * costs(DENSE).body(4096)
    small = DENSE.quantized_parameters()
    assert DENSE.weight_bytes("bf16") - DENSE.weight_bytes("bf16", "fp8") == small
    assert DENSE.weight_bytes("bf16", "int4") == 2 * (DENSE.parameters() - small) + round(small * 0.51953125)


def test_the_cache_holds_more_where_a_token_takes_less(tmp_path: Path) -> None:
    def tokens(*overrides: str) -> int:
        loaded = load(SPECIALISTS, overrides)
        return kv_capacity(loaded.scenario, loaded.base_dir)["target"]

    plain = tokens()
    assert tokens("kv.dtype=fp8") == pytest.approx(2 * plain, rel=1e-3)
    assert tokens("models.target.quantization=int4") > plain


def test_every_run_says_what_was_never_compared() -> None:
    loaded = load(
        SPECIALISTS, ["models.target.quantization=fp8", "kv.dtype=fp8", "devices.gpu0.hardware=b200"]
    )
    odd = never_compared(loaded.scenario, loaded.base_dir)
    assert odd == ("target: fp8 weights", "K and V in fp8", "the sheet of b200")
    assert simulate(loaded, None)["never_compared"] == list(odd)
    assert "never_compared" not in simulate(load(SPECIALISTS), None)


@pytest.mark.parametrize(
    "override", ["models.target.quantization=fp8", "models.drafts.tiny.quantization=int4", "kv.dtype=fp8"]
)
def test_a_live_run_refuses_what_is_simulated_only(override: str) -> None:
    with pytest.raises(InputError, match="simulated only") as caught:
        refuse_simulated_only(load(SPECIALISTS, [override]).scenario)
    assert caught.value.key == override.partition("=")[0]


@pytest.mark.parametrize(
    ("device", "sheet"),
    [
        ("NVIDIA B200", "b200"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA A10", "a10"),
        ("NVIDIA A10G", None),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA GeForce RTX 3090", None),
        ("AMD Instinct MI300X", "mi300x"),
        ("NVIDIA L4", "l4"),
    ],
)
def test_sheets_of_todays_devices(device: str, sheet: str | None) -> None:
    assert sheet_of_device(device) == sheet
    if sheet is not None:
        assert sheet in hardware_names()
        found = hardware_of(sheet)
        assert "data sheet" in found.source or "white paper" in found.source
        assert found.rate["bf16"] / found.bandwidth > 100  # flops a byte: a GPU's
