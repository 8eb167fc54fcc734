"""The noise behind predicted intervals, in words."""

from __future__ import annotations

import pytest

from spinsim.pages.confidence import _noise
from spinsim.scenario import NoiseSpec


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        (NoiseSpec(), "no noise of costs is known: seeds alone"),
        (NoiseSpec(per_run_sd=0.05), "noise 5.0 % a run"),
        (
            NoiseSpec(per_run_sd={"verify": 0.01, "propose": 0.03}, per_call_sd=0.02),
            "noise 1.0 % to 3.0 % a run and 2.0 % a call",
        ),
        (
            NoiseSpec(per_run_sd={"verify": 0.01, "hop": 0.2, "handling": 0.1}, per_call_sd=0.02),
            "noise 1.0 % a run, 2.0 % a call, 20 % a run of the host's hop "
            "and 10 % a run of the host's handling",
        ),
        (NoiseSpec(per_run_sd={"hop": 0.2}), "noise 20 % a run of the host's hop"),
        (
            NoiseSpec(other_text=0.0054),
            "no noise of costs is known; "
            "outputs go over to another text than the recorded with 0.54 % a token",
        ),
    ],
)
def test_every_source_is_said(noise: NoiseSpec, said: str) -> None:
    assert _noise(noise.model_dump(mode="json")) == said
