"""The page of a live ladder: medians, ranges, ratios in the same repetition."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from spinsim.errors import InputError
from spinsim.pages.ladder import ladder_report, ratios
from spinsim.pages.saved import write_saved
from tests.pages.test_html import checked

MEASURED = Path(__file__).parents[2] / "docs" / "measurements" / "h200-ladder.json"


def test_ratios_are_taken_within_a_repetition() -> None:
    def rows(*pairs: tuple[int, float]) -> list[dict[str, float]]:
        return [{"repetition": i, "goodput_tokens_per_s": v} for i, v in pairs]

    assert ratios(rows((0, 30.0), (2, 20.0), (3, 5.0)), rows((2, 10.0), (0, 20.0))) == [1.5, 2.0]
    assert ratios([{"goodput_tokens_per_s": 3.0}], [{"goodput_tokens_per_s": 2.0}]) == [1.5]


def test_what_was_measured_on_h200s(tmp_path: Path) -> None:
    source = tmp_path / "ladder.json"
    shutil.copy(MEASURED, source)
    assert write_saved(source) == tmp_path / "ladder.html"
    text = " ".join(checked((tmp_path / "ladder.html").read_text()).text)
    steps = json.loads(MEASURED.read_text())["steps"]
    for name, found in steps.items():
        values = sorted(row["goodput_tokens_per_s"] for row in found)
        assert name in text
        assert f"{sum(values) / len(values):,.0f}" in text
    assert "cost stand-in" in text
    assert "NVIDIA H200" in text
    over = [s["goodput_tokens_per_s"] / v["goodput_tokens_per_s"]
            for s, v in zip(steps["+ selection"], steps["vanilla"], strict=True)]  # fmt: skip
    assert f"({min(over):.2f} to {max(over):.2f})" in text


def test_a_step_is_shown_without_a_baseline_and_without_latencies() -> None:
    page = ladder_report({"steps": {"<b>": [{"goodput_tokens_per_s": 12.0}], "none": []}})
    text = " ".join(checked(page).text)
    assert "<b>" in text
    assert "12" in text
    assert "Goodput against" not in text


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"steps": {"a": [{}]}}', '{"steps": 3}'])
def test_another_file_is_bad_input(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match="no ladder and no validation"):
        write_saved(tmp_path / "x.json")
    assert not (tmp_path / "x.html").exists()
