"""What holds for every test."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from spinsim.policies.build import KINDS


@pytest.fixture(autouse=True, scope="module")
def only_shipped_policies() -> Iterator[None]:
    """Plugins that a module's tests load, which last as long as the process, end with the module."""
    registered = {kind: dict(registry._classes) for kind, registry in KINDS.items()}
    yield
    for kind, registry in KINDS.items():
        registry._classes.clear()
        registry._classes.update(registered[kind])
    for name in [name for name in sys.modules if name.startswith("spinsim_plugin_")]:
        del sys.modules[name]
