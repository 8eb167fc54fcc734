"""The file of a profile: written and read again, and refused where it says what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spinsim.costs.profiled.profile import Profile, read_profile, write_profile
from spinsim.costs.sheets.shapes import shape_of
from spinsim.errors import InputError
from tests.costs.cost_cases import TARGET, measured


def test_round_trip(tmp_path: Path) -> None:
    saved = tmp_path / "machine.json"
    write_profile(measured(), saved)
    assert read_profile(saved) == measured()
    text = saved.read_text()
    assert text.count('"operation"') == len(measured().points)
    assert max(len(line) for line in text.splitlines()) < 300  # a point a line


def test_an_empty_profile_round_trips(tmp_path: Path) -> None:
    data = json.loads(_with(measured(), tmp_path))
    data["points"] = []
    path = tmp_path / "empty.json"
    path.write_text(json.dumps(data))
    write_profile(read_profile(path), tmp_path / "again.json")
    assert read_profile(tmp_path / "again.json").points == ()


def _with(profile: Profile, folder: Path) -> str:
    path = folder / "p.json"
    write_profile(profile, path)
    return path.read_text()


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    place: Any = data
    for parent in parents:
        place = place[int(parent)] if isinstance(place, list) else place[parent]
    place[last] = value


@pytest.mark.parametrize(
    ("key", "value", "where", "says"),
    [
        ("schema", "other/9", "schema", "spinsim-profile/1"),
        ("points.3.seconds", -1.0, "points.3.seconds", "greater than 0"),
        ("points.3.seconds", float("nan"), "points.3.seconds", "finite"),
        ("points.3.repetitions", 0, "points.3.repetitions", "greater than or equal to 1"),
        ("points.3.colour", "red", "points.3.colour", "nexpected"),
        ("points.0.operation", "dance", "points.0.operation", "prefill, catch_up"),
        ("points.0.features", {"rows": 1}, "points.0.features", "rows, tokens, kv_tokens"),
        ("points.0.features.rows", 0, "points.0.features", "positive"),
        ("points.0.model", "nobody", "points.0.model", "target, draft"),
        ("points.0.packing", "ragged", "points.0.packing", "none"),
        ("points.2.packing", "loose", "points.2.packing", "padded, decomposed, ragged"),
        ("models.target.devices", 0, "models.target.devices", "greater than or equal to 1"),
    ],
)
def test_a_bad_profile_is_refused_at_its_place(
    tmp_path: Path, key: str, value: object, where: str, says: str
) -> None:
    data = json.loads(_with(measured(), tmp_path))
    _set(data, key, value)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=says) as caught:
        read_profile(path)
    assert (caught.value.key, caught.value.file) == (where, str(path))


def test_duplicates_and_unreadable_files(tmp_path: Path) -> None:
    data = json.loads(_with(measured(), tmp_path))
    data["points"].append(data["points"][0])
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="measured twice"):
        read_profile(path)
    path.write_text('{\n "schema": \n}')
    with pytest.raises(InputError, match="not JSON") as caught:
        read_profile(path)
    assert caught.value.line == 3
    with pytest.raises(InputError, match="cannot be read"):
        read_profile(tmp_path / "none.json")


def test_models_are_found_by_widths_dtype_and_devices() -> None:
    profile = measured()
    assert profile.find_model(shape_of(TARGET), "bf16", "h200", 1) == "target"
    assert profile.find_model(shape_of(TARGET), "fp16", "h200", 1) is None
    assert profile.find_model(shape_of(TARGET), "bf16", "h200", 2) is None
    assert profile.find_model(shape_of("llama-7b"), "bf16", "h200", 1) is None
