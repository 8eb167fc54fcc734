"""Pages that are made from the code say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parents[2] / "docs"


def policy_table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("policy_table", DOCS / "policy_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_policies_page_is_current() -> None:
    made = policy_table()
    text = (DOCS / "policies.md").read_text(encoding="utf-8")
    assert text == made.page(text), "stale; run: python docs/policy_table.py"
    assert set(made.TITLES) == set(made.KINDS)


def test_every_policy_says_where_it_comes_from() -> None:
    made = policy_table()
    for kind, registry in made.KINDS.items():
        for name in registry.names():
            assert len((registry.get(name).__doc__ or "").strip()) > 15, (kind, name)
