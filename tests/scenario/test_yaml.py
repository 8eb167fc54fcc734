"""Plain values, places, and the YAML that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spinsim.errors import InputError, InputErrors
from spinsim.scenario.yaml_places import dump, parse
from spinsim.scenario_file import load

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text("abcxyz_-", min_size=1, max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)


def listed(value: object) -> object:
    """Tuples as lists, which is what YAML knows."""
    if isinstance(value, dict):
        return {key: listed(inner) for key, inner in value.items()}
    return [listed(inner) for inner in value] if isinstance(value, tuple) else value


@given(plain)
def test_what_is_dumped_is_read(value: object) -> None:
    text = dump(listed(value))
    assert parse(text, "x").data == value
    # PyYAML writes the text 0E0 as it is, which reads as a number here: it is not asked to write such.
    if text == yaml.dump(listed(value), sort_keys=False, allow_unicode=True, width=110):
        assert parse(yaml.safe_dump(listed(value), allow_unicode=True), "x").data == value


@pytest.mark.parametrize("text", ["1e3", "-1E5", "1_0e7", "2026-01-02", "=", "yes", "~", "0x1", "1:30", ""])
def test_texts_that_look_like_something_else_stay_texts(text: str) -> None:
    assert parse(dump({"a": text}), "x").data == {"a": text}


def test_places_are_the_lines_of_the_keys() -> None:
    places = parse("a: 1\nb:\n  c:\n  - 5\n  - d: 7\n", "x.yaml").places
    lines = {".".join(path): place.line for path, place in places.items() if path}
    assert lines == {"a": 1, "b": 2, "b.c": 3, "b.c.0": 4, "b.c.1": 5, "b.c.1.d": 5}
    assert {place.file for place in places.values()} == {"x.yaml"}


def test_merged_keys_give_way_to_own_ones() -> None:
    document = parse("base: &b {x: 1, y: 2}\nother:\n  <<: *b\n  y: 3\n", "x")
    assert document.data["other"] == {"x": 1, "y": 3}
    assert document.places["other", "x"].line == 1
    assert document.places["other", "y"].line == 4
    both = parse("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}\n", "x").data["c"]
    assert both == {"x": 1, "y": 2}  # the first of several wins


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.5E3", 1500.0),
        ("-2e2", -200.0),
        ("2026-01-02", "2026-01-02"),
        ("=", "="),
        ("'7'", "7"),
        ("~", None),
        ("0x10", 16),
        ("1_000", 1000),
    ],
)
def test_scalars(text: str, value: object) -> None:
    assert parse(text, "x").data == value


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: .nan", 1, "finite"),
        ("a: 1e999", 1, "finite"),
        ("a:\n- 99999999999999999999", 2, "2^63"),
        ("a: 0b_", 1, "finite"),
        ("a: " + "9" * 5000, 1, "finite"),
        ('a: "\\ud800"', 1, "surrogate"),
        ("a: !!binary aGk=", 1, "tag !!binary"),
        ("a: !x 3", 1, "tag !x"),
        ("a: *nobody", 1, "undefined alias"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        ("a: \x07", 1, "U+0007"),
        ("a: &a [*a]", 1, "too deeply"),
        ("a: &a {<<: *a}", 1, "too deeply"),
        ("a: {<<: 3}", 1, "merges no mapping"),
        ("a: " + nested(60), 1, "too deeply"),
        ("a: " + nested(5000), 1, "too deeply"),
        (
            "\n".join(["a0: &a0 [1]"] + [f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}]" for i in range(1, 9)]),
            8,
            "too many",
        ),
        (
            "\n".join(
                ["a0: &a0 {x: 1}"] + [f"a{i}: &a{i} {{<<: [{f'*a{i - 1}, ' * 9}]}}" for i in range(1, 9)]
            ),
            1,
            "too many",
        ),
        ("[1, 2]: 3", 1, "not text"),
    ],
)
def test_refused(text: str, line: int, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, "x.yaml")
    assert message in caught.value.message
    assert caught.value.file == "x.yaml"
    assert caught.value.line >= 1
    assert "too many" in message or caught.value.line == line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"[1]", "is not a mapping"),
        (b"name: \xff", "not UTF-8"),
    ],
)
def test_files_that_are_no_scenario(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert (caught.value.file, caught.value.line) == (str(path), 1)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"is a folder; give the path of a scenario's YAML$"):
        load(tmp_path)
    (tmp_path / "scenario.yaml").touch()  # as results have one
    with pytest.raises(InputError, match=r"a scenario's YAML, such as .*scenario\.yaml$"):
        load(tmp_path)


def test_a_byte_order_mark_is_no_part_of_a_key(tmp_path: Path, scenario_text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + scenario_text.encode())
    assert load(path).scenario.name == "small"


def test_several_problems_are_several_lines_in_order(tmp_path: Path, scenario_text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(scenario_text.replace("batch: 8", "batch: -1").replace("seed: 3", "seed: x"))
    with pytest.raises(InputErrors) as caught:
        load(path)
    assert [error.key for error in caught.value.errors] == ["seed", "limits.batch"]
    assert str(caught.value).splitlines() == [str(error) for error in caught.value.errors]
    assert (caught.value.key, caught.value.line) == ("seed", 2)
