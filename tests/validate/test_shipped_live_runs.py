"""Live runs on one GPU that ship: what docs/fidelity.md says of them, from the shipped profile."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from spinsim.experiments.validate import again

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.xfail(
    reason="the runner of these live runs ran catch-ups of more than 1,024 tokens eagerly; they are "
    "predicted as several captured passes now, and have to be measured again"
)
def test_one_gpu_is_predicted_as_the_page_says(tmp_path: Path) -> None:
    with tarfile.open(ROOT / "docs" / "measurements" / "h100-validate-one-live.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    done = again(tmp_path / "validate-one", profile=ROOT / "profiles" / "one-gpu-h100.json", intervals=0)
    errors, ranking = done["errors"], done["ranking"]
    assert errors["goodput_tokens_per_s"]["cells"] == 10
    assert errors["goodput_tokens_per_s"]["mean"] <= 0.03
    assert errors["goodput_tokens_per_s"]["worst"] <= 0.06
    assert errors["tpot_p50_s"]["mean"] <= 0.04
    assert errors["e2e_p50_s"]["mean"] <= 0.04
    assert ranking["alike"] >= 0.95 * ranking["pairs"]
