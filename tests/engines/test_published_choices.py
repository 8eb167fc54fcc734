"""Published tables of real engines: the data file, and our choices beside the measured best."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from spinsim.costs.sheets.shapes import shape_of
from spinsim.errors import InputError
from spinsim.studies.published_choices import TABLES, choice, choices, head_of, lines, main

TABLE = {
    "name": "one",
    "source": "https://example.org",
    "target": {"shape": "llama-3-8b"},
    "draft": {"kind": "eagle"},
    "device": "h100",
    "batch": 1,
    "context": 100,
    "rows": [{"tokens": 2, "speed_up": 1.5, "acceptance_length": 2.5}],
}


def test_the_tables_are_facts_with_sources() -> None:
    tables = yaml.safe_load(TABLES.read_text(encoding="utf-8"))
    assert len(tables) >= 10
    assert len({table["source"] for table in tables}) >= 10
    assert len({table["name"] for table in tables}) == len(tables)
    for table in tables:
        assert table["source"].startswith("https://")
        assert {"engine", "target", "draft", "device", "batch", "context", "rows"} <= table.keys()
        for row in table["rows"]:
            assert row.keys() == {"tokens", "speed_up", "acceptance_length"}
            assert 1 <= row["acceptance_length"] <= row["tokens"] + 1


def test_choices_lose_what_the_measurements_say(capsys: pytest.CaptureFixture[str]) -> None:
    found = choices()
    assert sum(one.experts for one in found) >= 2
    for one in found:
        assert 0 <= one.loss < 1
        assert (one.loss == 0) == (one.measured[one.chosen] == one.measured[one.best])
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines() == lines(found)
    missed = [line for line in lines(found) if line.startswith("missed: ")]
    assert len(missed) == sum(one.loss > 0.01 for one in found)


def test_only_acceptance_is_taken_from_a_table() -> None:
    """The time of a plain step cancels out of a speed-up; what was measured of speculation is not read."""
    plain = choice(TABLE)
    slower = choice({**TABLE, "base_s": 0.05})
    assert slower.predicted == pytest.approx(plain.predicted)
    rows = [{"tokens": 2, "speed_up": 0.5, "acceptance_length": 2.5}]
    slow = choice({**TABLE, "rows": rows})
    assert slow.predicted == plain.predicted
    assert (plain.best, plain.loss) == (2, 0.0)
    assert (slow.best, slow.chosen, slow.loss) == (0, 2, 0.5)


def test_a_head_is_one_layer_of_its_target() -> None:
    target = shape_of("qwen3-30b-a3b")
    head = head_of(target, 32000)
    assert (head.layers, head.hidden, head.vocab) == (1, target.hidden, 32000)
    assert head.experts is not None
    assert head.experts.layers == 1


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        choices(tmp_path / "none.yaml")
    assert main([str(tmp_path / "none.yaml")]) == 2
