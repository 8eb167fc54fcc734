"""A small valid scenario as text, with known lines, and a way to load changed copies of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from spinsim.errors import InputError
from spinsim.scenario_file import LoadedScenario, load

TEXT = """\
name: small
seed: 3
workload:
  requests: 20
  arrivals: {process: poisson, rate_per_s: 4}
  prompt_tokens:
    distribution: uniform
    min: 8
    max: 64
  output_tokens: {distribution: fixed, value: 32}
models:
  target: {shape: llama-7b}
  drafts:
    tiny: {shape: llama-68m}
    large: {shape: llama-1.1b}
devices:
  gpu0: {hardware: h200}
  gpu1: {hardware: h200}
placement:
  target: [gpu0]
  drafts:
    tiny: gpu1
    large: gpu1
costs: {model: roofline}
acceptance:
  model: logistic
  strength: {tiny: 0.0, large: 1.0}
policies:
  selector: {name: fixed}
  length: {name: fixed, tokens: 4}
limits: {batch: 8, context_tokens: 256}
slo: {ttft_s: 0.5}
"""

Loader = Callable[..., LoadedScenario]


@pytest.fixture
def scenario_text() -> str:
    return TEXT


@pytest.fixture
def scenario_path(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def load_text(tmp_path: Path) -> Loader:
    """``load_text(text, *overrides)``."""

    def load_it(text: str, *overrides: str, device: str | None = None) -> LoadedScenario:
        path = tmp_path / "given.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path, overrides, device)

    return load_it


@pytest.fixture
def failure(load_text: Loader) -> Callable[..., InputError]:
    """The InputError of loading; fails where there is none."""

    def fails(text: str, *overrides: str, device: str | None = None) -> InputError:
        with pytest.raises(InputError) as caught:
            load_text(text, *overrides, device=device)
        return caught.value

    return fails
