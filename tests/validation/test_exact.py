"""fp32 and policies that do not look at time: both worlds draft and accept alike, in every request and round.

On the CPU here; on a GPU with ``pytest -m gpu tests/validation/test_exact.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spinsim.family.family import CHECKPOINTS
from spinsim.studies.validation.plan import plan
from spinsim.studies.validation.validate import Options, validate

CELLS = Path(__file__).parents[2] / "scenarios" / "validate-exact.yaml"
SHORT = ["workload.requests=8", "workload.output_tokens={distribution: uniform, min: 3, max: 10}"]

pytestmark = pytest.mark.skipif(
    not (CHECKPOINTS / "target" / "model.safetensors").is_file(), reason="no checkpoints here"
)


def agrees(out: Path, device: str, overrides: list[str]) -> None:
    cells = plan([CELLS], [], overrides, device)
    packings = {cell.loaded.scenario.policies.packing.name for cell in cells}
    assert packings == {"padded", "decomposed"}
    assert {cell.loaded.scenario.models.target.dtype for cell in cells} == {"fp32"}
    done = validate(cells, out, Options(repetitions=1, intervals=0, seconds=2.0))
    for cell in done["cells"]:
        assert cell["identical_requests"] == 1.0, cell["name"]
        assert cell["metrics"]["acceptance_length"]["error"] == pytest.approx(0.0)
        assert cell["metrics"]["acceptance_length"]["live"] > 1.2


def test_on_a_cpu(tmp_path: Path) -> None:
    agrees(tmp_path, "cpu", SHORT)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(tmp_path: Path) -> None:
    agrees(tmp_path, "cuda", [])
