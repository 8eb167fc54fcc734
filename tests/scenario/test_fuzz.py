"""Mutated scenarios: loaded, or refused with a place; never anything else."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spinsim.errors import InputError, InputErrors
from spinsim.scenario_file import load, resolved_yaml

Path_ = tuple[str | int, ...]
quiet = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

NUMBERS = [0, -1, 1, 0.5, -0.0, 1e300, 5e-324, 2**62, 2**64, float("inf"), float("nan")]
TEXTS = ["", "fixed", "none", "x" * 300, "a.b", "$", "$HOME", "../x", "gpu0", "tiny", "\u2028", "1e3", "no"]
NESTED = [[], {}, [[]], {"a": {}}, ["gpu0"], {"tiny": 1}, {"name": "fixed"}, {1: 2}, {None: 1}]
ODD = st.one_of(
    st.sampled_from([None, True, False, *NUMBERS, *TEXTS, *NESTED]),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
)


def paths(value: Any, here: Path_ = ()) -> Iterator[Path_]:
    """Every place in nested mappings and lists."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*here, key))


def base() -> dict[str, Any]:
    text = (Path(__file__).parents[2] / "scenarios" / "specialists.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    values["kv"] = {"reserve": "grow", "block_tokens": 8}
    values["metrics"] = {"warmup_s": 0.5}
    values["noise"] = {"per_run_sd": 0.1}
    return values


BASE = base()


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """One to three keys deleted, replaced, added, or moved elsewhere."""
    values = copy.deepcopy(BASE)
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from([path for path in paths(values) if path]))
        parent: Any = values
        for key in above:
            parent = parent[key]
        match draw(st.sampled_from(["delete", "replace", "add", "rename", "copy"])):
            case "delete":
                del parent[last]
            case "replace":
                parent[last] = copy.deepcopy(draw(ODD))
            case "copy":
                other: Any = values
                for key in draw(st.sampled_from(list(paths(values)))):
                    other = other[key]
                parent[last] = copy.deepcopy(other)
            case "add" if isinstance(parent, dict):
                parent[draw(st.text(min_size=1, max_size=6))] = copy.deepcopy(draw(ODD))
            case "rename" if isinstance(parent, dict):
                parent[draw(st.sampled_from([f"{last}s", "draft", "max", "seed"]))] = parent.pop(last)
            case _:
                parent.append(draw(ODD)) if isinstance(parent, list) else None
    return values


def check(path: Path, overrides: tuple[str, ...] = (), device: str | None = None) -> None:
    """``load`` gives a scenario that its resolved YAML gives again, or errors of one line each."""
    try:
        loaded = load(path, overrides, device)
    except InputError as error:
        errors = error.errors if isinstance(error, InputErrors) else (error,)
        for one in errors:
            assert one.message, one
            assert one.file.startswith((str(path), "--set")) or one.key.startswith("--device"), one
            assert one.line >= 1 or not one.file.startswith(str(path)), one
            assert len(str(one).splitlines()) == 1, one
        return
    again = path.with_name("again.yaml")
    again.write_text(resolved_yaml(loaded), encoding="utf-8")
    assert resolved_yaml(load(again)) == resolved_yaml(loaded)


@quiet
@given(mutated(), st.sampled_from([None, None, "cpu", "cuda"]))
def test_mutated_scenarios_load_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], device: str | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    check(path, device=device)


@quiet
@given(
    st.sampled_from([".".join(map(str, path)) for path in paths(BASE) if path]),
    st.text("{}[]:,&*!#'\"- abc019.\n\t%@`|>", max_size=12) | ODD.map(repr),
)
def test_overrides_load_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_text(yaml.safe_dump(BASE), encoding="utf-8")
    check(path, (f"{key}={value}",))


@quiet
@given(st.data())
def test_broken_text_loads_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = yaml.safe_dump(BASE).encode()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 5))
        text = (
            text[:at]
            + data.draw(st.binary(max_size=3) | st.sampled_from([b"&a ", b"*a", b"!!set ", b"<<: "]))
            + text[at + cut :]
        )
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(text)
    check(path)
