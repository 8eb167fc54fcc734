"""One profile of tiny models, measured once for all tests of profiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from spinsim.profiling.timing import Effort
from spinsim.studies import profile as experiment
from spinsim.studies.profile import profile
from tests.validation.tiny_models import tiny_scenario

TINY = Effort(seconds=0.0, fewest=1, most=1, warm=0, passes=1)


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One sample a point, one thread: these tests are about what is measured, not how precisely."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(experiment, "QUICK", TINY)
    monkeypatch.setattr(experiment, "Effort", lambda: TINY)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(scenario, its quick profile)."""
    folder = tmp_path_factory.mktemp("profile")
    loaded = tiny_scenario(folder)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "QUICK", TINY)
        profile(loaded, folder / "p.json", quick=True, budget_s=0.1)
    return loaded.path, folder / "p.json"
