"""The API in scripts and notebooks: scenarios that are no files, guards, failed cells, results that show."""

from __future__ import annotations

import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from spinsim import api
from spinsim.errors import InputError
from tests.studies.experiment_files import SCENARIO, write_plugin, write_scenario


def test_a_scenario_is_a_path_a_text_or_a_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_scenario(tmp_path)
    monkeypatch.chdir(tmp_path)
    forms: list[Any] = [path, str(path), path.read_text(), yaml.safe_load(path.read_text())]
    loaded = [api.load(form).scenario for form in forms]
    assert all(one == loaded[0] for one in loaded)
    assert len({api.simulate(form, seed=4).goodput for form in forms}) == 1
    tuples = {**forms[3], "placement": {**forms[3]["placement"], "target": ("gpu0",)}}
    assert api.load(tuples).scenario == loaded[0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("name: x\nseed: minus", "<text>:2: seed: "),
        ({**SCENARIO, "seed": -1}, "seed: -1 is not allowed"),
        ({**SCENARIO, "seed": object()}, "holds what no YAML can"),
        ({**SCENARIO, "noise": {"per_run_sd": float("inf")}}, "noise.per_run_sd"),
        ("no-such-file.yaml", "no such file"),
    ],
)
def test_errors_about_what_is_no_file_name_the_key(given: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        api.load(given)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("guard", "says"),
    [
        ("", "script.py: begins anew in every worker process; call it under `if __name__"),
        ("print(__name__)\n", "script.py: worker processes end as they start; call it under `if __name__"),
    ],
)
def test_a_script_without_a_guard_is_told_at_once(guard: str, says: str, tmp_path: Path) -> None:
    scenario, script = write_scenario(tmp_path), tmp_path / "script.py"
    call = f"api.sweep({str(scenario)!r}, {{'seed': [1, 2, 3, 4]}}, workers=2)"
    script.write_text(f"from spinsim import api\n{guard}print(len({call}.frame))\n")
    began = time.monotonic()
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert says in done.stderr
    assert "freeze_support" not in done.stderr  # what every worker would say of itself
    assert time.monotonic() - began < 45
    script.write_text(f"from spinsim import api\nif __name__ == '__main__':\n    print(len({call}.frame))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr


def test_failed_cells_raise_and_keep_the_others(tmp_path: Path) -> None:
    scenario, plugin = write_scenario(tmp_path), write_plugin(tmp_path, "scripted")
    failing = {"policies.selector": {"name": "scripted"}}
    with pytest.raises(
        api.CellsFailed, match="1 of 2 cells failed, the first: ValueError: this seed"
    ) as caught:
        api.sweep(scenario, {"seed": [1, 2]}, set=failing, plugins=plugin, workers=0)
    assert [row.error == "" for row in caught.value.result.result.rows] == [True, False]
    with pytest.raises(api.CellsFailed, match="of 4 cells failed") as caught:
        api.compare(scenario, {"bad": {"selector": {"name": "scripted"}}}, seeds=2, plugins=plugin, workers=0)
    assert [failed["seed"] for failed in caught.value.failed] == [2]


class Cells(HTMLParser):
    """The texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_results_show_themselves(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path)
    run = Cells(api.simulate(scenario)._repr_html_()).texts
    assert {"small, simulated, seed 1", "TTFT", "tiny", "large"} <= set(run)
    assert any(text.startswith("held back: clients: 4, where") for text in run)
    swept = api.sweep(scenario, {"limits.batch": [2, 4]}, workers=0)
    assert {"limits.batch", "2", "4"} <= set(Cells(swept._repr_html_()).texts)
    slo = {"slo": {"ttft_s": 1.0, "tpot_s": 0.008}}
    compared = api.compare(
        scenario,
        {"tiny for all": {"selector": {"name": "fixed", "draft": "tiny"}}},
        set=slo,
        seeds=5,
        metrics=["goodput", "attainment"],
        workers=0,
    )
    texts = Cells(compared._repr_html_()).texts
    assert {"baseline", "tiny for all", "SLO attainment"} <= set(texts)
    assert any(text.endswith(" pp") for text in texts)
