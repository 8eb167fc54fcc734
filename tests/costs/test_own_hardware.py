"""Hardware of the user's own: in the scenario or in a file; and what a million tokens then cost."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from spinsim import api
from spinsim.costs.sheets.hardware import hardware_names, hardware_of
from spinsim.costs.sheets.own_hardware import hardware_sheet
from spinsim.errors import InputError
from spinsim.scenario import HardwareSheet
from tests.studies.experiment_files import SCENARIO

PLAIN: dict[str, Any] = {**SCENARIO, "costs": {"model": "roofline"}}


def on(hardware: object, **device: object) -> dict[str, Any]:
    """The small scenario, both devices of one kind."""
    return {**PLAIN, "devices": {name: {"hardware": hardware, **device} for name in ("gpu0", "gpu1")}}


def spelled_out(name: str) -> dict[str, Any]:
    """A shipped sheet, every figure said."""
    known = hardware_of(name)
    return {
        "name": name,
        "memory_gib": known.memory_bytes / 2**30,
        "bandwidth_gb_per_s": known.bandwidth / 1e9,
        "tflops": {dtype: rate / 1e12 for dtype, rate in known.rate.items()},
        "bandwidth_efficiency": known.bandwidth_efficiency,
        "compute_efficiency": known.compute_efficiency,
        "launch_s": known.launch_s,
        "graph_kernel_s": known.graph_kernel_s,
        "graph_launch_s": known.graph_launch_s,
        "link_gb_per_s": known.link_bandwidth / 1e9,
        "link_latency_s": known.link_latency_s,
        "collectives": {
            one.algorithm: {"latency_s": one.latency_s, "efficiency": one.efficiency}
            | ({"most_mib": one.most_bytes / 2**20} if math.isfinite(one.most_bytes) else {})
            for one in known.collectives
        },
        "copy_latency_s": known.copy_latency_s,
        "reserved_gib": known.reserved_bytes / 2**30,
        "graphs": known.graphs,
        "source": known.source,
    }


@pytest.mark.parametrize("name", hardware_names())
def test_a_sheet_that_says_what_a_shipped_one_says_is_that_one(name: str) -> None:
    ours, known = hardware_sheet(HardwareSheet.model_validate(spelled_out(name))), hardware_of(name)
    for field in ("name", "memory_bytes", "reserved_bytes", "launch_s", "graphs", "source"):
        assert getattr(ours, field) == getattr(known, field)
    assert ours.bandwidth == pytest.approx(known.bandwidth)
    assert dict(ours.rate) == pytest.approx(dict(known.rate))
    assert set(ours.collectives) == set(known.collectives)
    assert ours.link_bandwidth == pytest.approx(known.link_bandwidth)
    assert hardware_sheet(HardwareSheet(base=name.upper())).rate == known.rate


def test_it_predicts_as_the_shipped_sheet_does_in_the_scenario_and_in_a_file(tmp_path: Path) -> None:
    expected = api.simulate(on("h200")).summary["latency"]
    sheet = {**spelled_out("h200"), "price_per_hour": 4}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(sheet))
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(on("mine.yaml"), sort_keys=False))
    for given in (on(sheet), tmp_path / "scenario.yaml"):
        assert api.simulate(given).summary["latency"] == expected


def test_half_the_bandwidth_is_slower(tmp_path: Path) -> None:
    whole = api.simulate(on({"base": "h200"})).goodput
    assert api.simulate(on({"base": "h200", "bandwidth_gb_per_s": 2400})).goodput < 0.7 * whole


def test_results_hold_the_sheet_and_need_the_file_no_more(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: h200\nprice_per_hour: 3.5\n")
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(on("mine.yaml"), sort_keys=False))
    out = tmp_path / "out"
    first = api.simulate(tmp_path / "scenario.yaml", out=out).summary
    (tmp_path / "mine.yaml").unlink()
    assert api.simulate(out / "scenario.yaml").summary["latency"] == first["latency"]
    assert "gpu0 (mine)" in (out / "report.html").read_text()


def test_a_million_tokens_cost_what_the_devices_do_meanwhile(tmp_path: Path) -> None:
    summary = api.simulate(on("h200", price_per_hour=3), out=tmp_path / "out").summary
    cost = summary["cost"]
    assert cost["price_per_hour"] == 6
    expected = 6 / 3600 / summary["goodput_tokens_per_s"] * 1e6
    assert cost["per_million_output_tokens"] == pytest.approx(expected)
    assert "cost per million output tokens" in (tmp_path / "out" / "report.html").read_text()
    policies = ["length=fixed,tokens=1", "length=fixed,tokens=4"]
    for metrics in ((), ("cost",)):
        done = api.compare(
            _file(tmp_path, on("h200", price_per_hour=3)), policies, seeds=2, workers=0, metrics=metrics
        )
        assert "cost.per_million_output_tokens" in str(done.result)


def test_the_device_s_price_is_before_the_sheet_s_and_without_any_there_is_no_cost(tmp_path: Path) -> None:
    priced = on({"base": "h200", "price_per_hour": 9}, price_per_hour=1)
    assert api.simulate(priced).summary["cost"]["price_per_hour"] == 2
    free = api.simulate(on("h200")).summary
    assert "cost" not in free
    with pytest.raises(InputError, match="'cost' needs prices; give every device"):
        api.compare(_file(tmp_path, on("h200")), ["length=fixed,tokens=1"], metrics=["cost"], workers=0)


@pytest.mark.parametrize(
    ("hardware", "said"),
    [
        ("h20", "gpu0.hardware: unknown hardware 'h20'; allowed: v100-16.*did you mean 'h200'"),
        ("mine.yaml", "gpu0.hardware: no such file, mine.yaml; the path of a hardware sheet"),
        ({"memory_gib": 24}, "gpu0.hardware.bandwidth_gb_per_s: missing; a figure, or a base: v100-16"),
        ("A100", "gpu0.hardware: unknown hardware 'A100'.*did you mean 'a100-40' or 'a100-80'"),
        ({"base": "h10"}, "gpu0.hardware.base: no sheet 'h10'.*did you mean 'h100'"),
        ({"base": "h100", "tflops": {}}, "gpu0.hardware.tflops: is empty; a rate for bf16"),
        ({"base": "h100", "collectives": {}}, "gpu0.hardware.collectives: is empty; a law for ring"),
        (
            {"base": "h100", "tflops": {"bf16": 0}},
            "hardware.tflops.bf16: 0 is not allowed; must be a number",
        ),
        ({"base": "h100", "launch_s": "x"}, "gpu0.hardware.launch_s: 'x' is not allowed; must be a number"),
        ({"base": "h100", "launchs": 1}, "gpu0.hardware.launchs: unknown key.*did you mean 'launch_s'"),
        (5, "gpu0.hardware: 5 is not allowed"),
    ],
)
def test_what_a_sheet_may_not_say(hardware: object, said: str) -> None:
    with pytest.raises(InputError) as caught:
        api.load(on(hardware))
    assert re.search(said, str(caught.value))


def test_a_dtype_without_a_rate_is_said_at_the_model() -> None:
    sheet = {"memory_gib": 80, "bandwidth_gb_per_s": 2000, "tflops": {"fp32": 20}}
    with pytest.raises(
        InputError, match=r"target\.dtype: bf16, for which the sheet of gpu0 has no rate; fp32"
    ):
        api.load(on(sheet))


def test_errors_in_a_sheet_s_file_are_at_its_lines(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: h100\nprice: 3\nlaunch_s: -1\n")
    with pytest.raises(InputError) as caught:
        api.load(_file(tmp_path, on("mine.yaml")))
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{tmp_path / 'mine.yaml'}:2: price: unknown key")
    assert second.startswith(f"{tmp_path / 'mine.yaml'}:3: launch_s: -1 is not allowed")
    (tmp_path / "mine.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match=r"mine\.yaml: is not a mapping; a hardware sheet is a mapping"):
        api.load(_file(tmp_path, on("mine.yaml")))


def test_every_device_needs_a_price_or_none() -> None:
    some = on("h200")
    some["devices"]["gpu0"]["price_per_hour"] = 3
    with pytest.raises(InputError, match=r"gpu1\.price_per_hour: missing, where another device has one"):
        api.load(some)


def test_a_sheet_based_on_the_cpu_is_one(tmp_path: Path) -> None:
    loaded = api.load(on({"base": "CPU", "bandwidth_gb_per_s": 100}))
    assert loaded.scenario.devices["gpu0"].on_cpu
    assert not api.load(on({"base": "h100"})).scenario.devices["gpu0"].on_cpu


def _file(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
