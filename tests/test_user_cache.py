"""What is kept between processes: asked for once, never wrong, and never needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinsim import user_cache
from spinsim.costs.profiled.executed import PassShape
from spinsim.costs.profiled.fits import ChosenFit, fit_pass
from spinsim.costs.sheets.shapes import shape_of
from spinsim.user_cache import code_digest, folder, kept


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPINSIM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Counted:
    """A calculation that knows how often it was asked for."""

    calls = 0

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        return {"third": 1 / 3, "calls": self.calls}


def test_calculated_once_for_the_same_input_and_code(place: Path) -> None:
    counted = Counted()
    first = kept("numbers", [1, 0.1], "code", counted)
    assert kept("numbers", [1, 0.1], "code", counted) == first == {"third": 1 / 3, "calls": 1}
    assert kept("numbers", [1, 0.2], "code", counted)["calls"] == 2
    assert kept("numbers", [1, 0.1], "other code", counted)["calls"] == 3


def test_a_damaged_file_is_calculated_again(place: Path) -> None:
    counted = Counted()
    kept("numbers", [1], "code", counted)
    (file,) = (place / "numbers").iterdir()
    file.write_text("{half")
    assert kept("numbers", [1], "code", counted)["calls"] == 2
    assert kept("numbers", [1], "code", counted)["calls"] == 2


@pytest.mark.parametrize("where", ["", "a file/below"])
def test_nothing_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("SPINSIM_CACHE", str(tmp_path / where) if where else "")
    counted = Counted()
    assert [kept("numbers", [1], "code", counted)["calls"] for _ in range(2)] == [1, 2]


def test_the_folder_is_the_users_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPINSIM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert folder() == Path("/caches/spinsim")


def test_code_counts_with_its_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    module = tmp_path / "room" / "a.py"
    module.write_text("x = 1")
    monkeypatch.setattr(user_cache, "ROOT", tmp_path)
    digest = code_digest.__wrapped__
    before = digest(("room",), ("numpy",))
    assert digest(("room",), ("numpy", "scipy")) != before
    module.write_text("x = 2")
    assert digest(("room",), ("numpy",)) != before


@pytest.mark.parametrize("curved", [False, True])
def test_a_kept_fit_is_the_fit(place: Path, monkeypatch: pytest.MonkeyPatch, curved: bool) -> None:
    """Bit for bit: a law, or a table where no law fits."""
    draws = np.random.default_rng(curved)
    points = [PassShape(r, r, r, r, kv, kv) for r in (1, 2, 4, 8) for kv in (64, 1024, 9000)]
    seconds = [1e-3 + 1e-9 * p.kv_tokens + 1e-5 * p.rows + 1e-4 * draws.random() for p in points]
    if curved:
        seconds = [s + (2e-3 if p.rows > 2 else 0) for p, s in zip(points, seconds, strict=True)]

    def fit() -> tuple[ChosenFit, list[float]]:
        chosen = fit_pass(points, seconds, shape_of("llama-68m"), "bf16")
        return chosen, [chosen.fit.predict(p._replace(kv_tokens=p.kv_tokens * 1.3)) for p in points]

    made, predicted = fit()
    read, again = fit()
    assert len(list((place / "fits").iterdir())) == 1
    monkeypatch.setenv("SPINSIM_CACHE", "")
    fresh, anew = fit()
    assert predicted == again == anew
    assert made.held_out == read.held_out == fresh.held_out
    assert made.residuals == read.residuals == fresh.residuals
    assert fresh.fit.name == ("interpolation" if curved else "law")
