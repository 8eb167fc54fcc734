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


def test_readme_shows_what_the_quickstart_prints() -> None:
    made = script("selector_tables")
    text = made.README.read_text(encoding="utf-8")
    assert text == made.readme(text), "stale; run: python docs/make/selector_tables.py"


def test_every_policy_says_where_it_comes_from() -> None:
    made = script("policy_table")
    for kind, registry in made.KINDS.items():
        for name in registry.names():
            assert len((registry.get(name).__doc__ or "").strip()) > 15, (kind, name)
