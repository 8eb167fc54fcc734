"""The door, by a second tenant: a kind of drafter in this file, in both worlds."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from spinsim.drafters.base import Lookup
from spinsim.drafters.host import HostDrafter, LookupCost, LookupKeys
from spinsim.drafters.registry import KINDS, register
from spinsim.simulated.simulation import simulate_scenario
from tests.drafters.drafter_scenarios import recorded, scenario_over


class _EchoKeys(LookupKeys):
    back: int = 1


class _Echo:
    """Says the token ``back`` places ago again and again."""

    matched = 1

    def __init__(self, back: int, longest: int) -> None:
        self._back, self._longest = back, longest

    def propose(self, request: int, context: array[int], most: int) -> list[int]:
        return [context[-self._back]] * min(most, self._longest)

    def ended(self, request: int, output: Sequence[int]) -> None:
        """Nothing is kept."""


class EchoDrafter(HostDrafter):
    """Repeats the last token."""

    Keys = _EchoKeys
    usual_cost = LookupCost(row_s=1e-6)

    def lookup(self) -> Lookup:
        return _Echo(self.keys.back, self.keys.longest)


@pytest.fixture(autouse=True)
def echo() -> Iterator[None]:
    register("echo")(EchoDrafter)
    yield
    del KINDS["echo"]


def test_an_own_kind_is_simulated(tmp_path: Path) -> None:
    trace = recorded(tmp_path)
    loaded = scenario_over(tmp_path, {"echo": {"kind": "echo", "longest": 2}})
    done = simulate_scenario(loaded.scenario, loaded.base_dir)
    assert trace.outputs is not None
    r = done.records.rounds
    for request, position, drafted, accepted in zip(
        r.request, r.position, r.drafted, r.accepted, strict=True
    ):
        text = trace.outputs.row(request).tolist()
        said = text[position - 1]
        assert drafted == min(2, 3)
        following = text[position : position + 2]
        hits = next((i for i, token in enumerate(following) if token != said), len(following))
        assert accepted == hits


def test_an_own_kind_runs(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from benchmarks.generation import greedy_outputs
    from tests.live.test_run import scenario_file, serve

    models = {"target": {"shape": "target.json", "dtype": "fp32"}, "drafts": {"echo": {"kind": "echo"}}}
    placed = {"target": ["cpu"]}
    loaded = scenario_file(tmp_path, models=models, placement=placed)
    ran, deployment = serve(loaded)
    assert ran.error is None
    assert ran.outputs == greedy_outputs(loaded, deployment)
    assert set(ran.records.rounds.draft) == {0}


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="two kinds"):
        register("echo")(EchoDrafter)
