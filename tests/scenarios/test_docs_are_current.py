"""Pages that are made from the code say what the code says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parents[2] / "docs"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / "make" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_policies_page_is_current() -> None:
    made = script("policy_table")
    text = (DOCS / "policies.md").read_text(encoding="utf-8")
    assert text == made.page(text), "stale; run: python docs/make/policy_table.py"
    assert set(made.TITLES) == set(made.KINDS)


def test_the_sample_of_traffic_is_what_its_script_draws() -> None:
    made = script("sample_traffic")
    assert made.FILE.read_text(encoding="utf-8") == made.sample(), "python docs/make/sample_traffic.py"


def test_the_reference_of_scenarios_is_current() -> None:
    made = script("scenario_reference")
    for page, text in ((made.PAGE, made.reference()), (made.INDEX, made.index())):
        assert page.read_text(encoding="utf-8") == text, "python docs/make/scenario_reference.py"


def test_every_key_says_what_it_is() -> None:
    lines = script("scenario_reference").reference().splitlines()
    keys = [line[2:].removesuffix(" |").split(" | ") for line in lines if line.startswith("| `")]
    silent = {"`model`", "`process`", "`distribution`"}  # they tell the members of a choice apart
    assert len(keys) > 100
    assert {cells[0] for cells in keys if len(cells) < 6 or len(cells[5]) < 8} <= silent


def test_the_index_has_every_scenario() -> None:
    index = script("scenario_reference").INDEX.read_text(encoding="utf-8")
    for path in (DOCS.parent / "scenarios").rglob("*.yaml"):
        (row,) = [
            line for line in index.splitlines() if f"]({path.relative_to(DOCS.parent / 'scenarios')})" in line
        ]
        assert len(row.split(" | ")[-1]) > 20


def test_readme_shows_what_the_quickstart_prints() -> None:
    made = script("selector_tables")
    text = made.README.read_text(encoding="utf-8")
    assert text == made.readme(text), "stale; run: python docs/make/selector_tables.py"


def test_every_policy_says_where_it_comes_from() -> None:
    made = script("policy_table")
    for kind, registry in made.KINDS.items():
        for name in registry.names():
            assert len((registry.get(name).__doc__ or "").strip()) > 15, (kind, name)
