"""What holds for every test."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from spinsim.policies.build import KINDS

pytest_plugins = ["tests.plausible_run"]  # records of a run, made by hand

# Matrices here are tiny and workers share the cores: a second thread only waits. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Beside pytest's own cache, and not in the user's.
os.environ["SPINSIM_CACHE"] = str(Path(__file__).parents[1] / ".pytest_cache" / "spinsim")
# A shell's background jobs ignore Ctrl-C, and tests of interruptions send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# How long a machine that others share takes to draw an example says nothing of the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


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
