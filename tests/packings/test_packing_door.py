"""A packing in one file: it then plans, costs, runs live, and stands wherever packings do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from spinsim import api
from spinsim.buckets import bucket_kv, bucket_rows
from spinsim.costs.memory import kv_capacity
from spinsim.costs.profiled.profile import read_profile
from spinsim.errors import InputError
from spinsim.operations import Packing
from spinsim.packings import PACKINGS, PackingKind, executed_by, kinds, packing_kind
from spinsim.packings.base import Table
from spinsim.policies.base import PolicyContext
from spinsim.profiling.probes import Probe
from spinsim.scenario_file import load
from tests.costs.test_roofline import PREDICTOR
from tests.studies.experiment_files import write_scenario
from tests.validation.tiny_models import tiny_scenario

torch = pytest.importorskip("torch")


class Halves(PackingKind):
    """Every row in two pieces of equal length, of which the second may be a token short."""

    rectangular: ClassVar[bool] = True
    merged: ClassVar[bool] = True
    captured: ClassVar[tuple[int, ...]] = (2,)

    @classmethod
    def shape(cls, kv_tokens: Sequence[int], query_tokens: Sequence[int], piece: int = 0) -> Packing:
        rows, piece = 2 * len(kv_tokens), math.ceil(max(kv_tokens) / 2)
        queries = rows * max(query_tokens)
        return Packing("halves", rows, piece, queries, rows * piece, sum(query_tokens), sum(kv_tokens))

    @staticmethod
    def length(piece: int, longest: int, slot_tokens: int) -> int:
        return max(1, math.ceil(longest / 2))

    @staticmethod
    def pieces(kv_tokens: Sequence[int], length: int) -> int:
        return 2 * len(kv_tokens)

    @staticmethod
    def table(kv_tokens: torch.Tensor, length: torch.Tensor | int, width: int) -> Table:
        at = torch.arange(width, dtype=torch.int32, device=kv_tokens.device)
        half = (kv_tokens + 1) // 2
        ends = torch.stack((half, kv_tokens), 1).flatten()
        starts = torch.stack((torch.zeros_like(half), half), 1).flatten()
        return Table(at // 2, starts, ends, torch.arange(len(kv_tokens) + 1, device=at.device).int() * 2)


class Octaves(PackingKind):
    """Every row padded to the next power of two, by a copy beside the cache."""

    copied: ClassVar[bool] = True

    @classmethod
    def shape(cls, kv_tokens: Sequence[int], query_tokens: Sequence[int], piece: int = 0) -> Packing:
        rows, kv, queries = len(kv_tokens), sum(map(octave, kv_tokens)), sum(query_tokens)
        return Packing("octaves", rows, octave(max(kv_tokens)), queries, kv, queries, sum(kv_tokens))

    @staticmethod
    def length(piece: int, longest: int, slot_tokens: int) -> int:
        return min(octave(longest), slot_tokens)

    @staticmethod
    def pieces(kv_tokens: Sequence[int], length: int) -> int:
        return len(kv_tokens)

    @staticmethod
    def table(kv_tokens: torch.Tensor, length: torch.Tensor | int, width: int) -> Table:
        at = torch.arange(len(kv_tokens) + 1, dtype=torch.int32, device=kv_tokens.device)
        up = torch.pow(2, torch.ceil(torch.log2(kv_tokens.clamp_min(1).double())))
        ends = torch.minimum(up.int(), torch.as_tensor(length).int()).where(kv_tokens > 0, 0)
        return Table(at[:-1], torch.zeros_like(ends), ends.int(), at)


def octave(tokens: int) -> int:
    """The next power of two."""
    return 1 << max(0, tokens - 1).bit_length()


@pytest.fixture(params=[("halves", Halves), ("octaves", Octaves)], ids=lambda param: param[0])
def tenant(request: pytest.FixtureRequest) -> Iterator[str]:
    """A further packing beside those that ship, registered by one class."""
    name, cls = request.param
    PACKINGS.register(name)(cls)
    yield name
    PACKINGS.forget(name)


def packed(name: str) -> dict[str, object]:
    return {"policies.packing": {"name": name}}


def test_it_is_a_choice_in_schema_and_errors(tenant: str, tmp_path: Path) -> None:
    choices = api.schema()["$defs"]["PoliciesSpec"]["properties"]["packing"]["oneOf"]
    assert tenant in [choice["title"] for choice in choices]
    with pytest.raises(InputError, match=rf"choose from .*{tenant}"):
        api.simulate(write_scenario(tmp_path), set=packed("nothing"))
    with pytest.raises(InputError, match=rf"'x' is no packing policy; choose from .*{tenant}"):
        packing_kind("x")


def test_it_runs_in_simulation(tenant: str, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    run = api.simulate(write_scenario(tmp_path), set=packed(tenant))
    plain = api.simulate(write_scenario(tmp_path))
    assert set(run.summary["verification"]["packings"]) == {tenant}
    assert set(run.decisions.packing) == {tenant}
    for name in ("committed", "first"):  # what is accepted does not depend on the packing
        assert run.summary["tokens"][name] == plain.summary["tokens"][name]
    assert run.summary["verification"]["padded_kv_tokens"] > run.summary["verification"]["kv_tokens"]


def test_it_runs_live_on_the_cpu(tenant: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    path = tiny_scenario(tmp_path).path
    run = api.run(path, tmp_path / "out", set=packed(tenant))
    assert set(run.summary["verification"]["packings"]) == {tenant}
    assert run.summary["requests"]["completed"] == 9
    assert api.replay(tmp_path / "out").difference == ""


def test_its_attention_is_that_of_whole_rows(tenant: str) -> None:
    """On the CPU's paths, and by the self-check that a GPU's kernels pass."""
    pytest.importorskip("transformers")
    from spinsim.runner import selfcheck
    from spinsim.runner.attention.in_torch import attend_rows
    from spinsim.runner.batch import Rows, build_batch
    from spinsim.runner.kv import SlotCache

    cache = SlotCache(1, 4, 64, 2, 8)
    cache.keys.normal_()
    cache.values.normal_()
    rows = Rows([2, 0, 3, 1], [3, 1, 4, 0], [33, 1, 64, 0])
    query = torch.randn(8, 4, 8)
    wanted = attend_rows(query, build_batch(cache, rows)[0], 0, 0.3)
    paths = selfcheck.attention_paths(cache, rows, 4, 0.3, False)
    assert {tenant, f"{tenant}-torch"} <= set(paths)
    for attend in paths.values():
        torch.testing.assert_close(attend(query), wanted)


def test_costs_and_memory_follow_what_it_declares(tenant: str, tmp_path: Path) -> None:
    cls = packing_kind(tenant)
    kv, new = [900, 300, 40], [5, 5, 5]
    asked = cls.shape(kv, new)
    twin = asked._replace(kind="decomposed" if cls.merged else "ragged")
    assert PREDICTOR.verify(asked) == PREDICTOR.verify(twin)
    executed = asked._replace(rows=bucket_rows(asked.rows), piece=bucket_kv(asked.piece))
    if cls.rectangular:
        assert PREDICTOR.verify(asked._replace(kv_tokens=0)) == PREDICTOR.verify(asked)
        assert PREDICTOR.verify(executed).seconds == pytest.approx(PREDICTOR.verify(asked).seconds, rel=0.2)
    scenario = tiny_scenario(tmp_path)
    fixed = load(scenario.path, [f"policies.packing={{name: {tenant}}}"])
    like = load(scenario.path, [f"policies.packing={{name: {'padded' if cls.copied else 'ragged'}}}"])
    assert kv_capacity(fixed.scenario, fixed.base_dir) == kv_capacity(like.scenario, like.base_dir)


def test_a_profile_may_hold_it(tenant: str, tmp_path: Path) -> None:
    assert kinds() == ("padded", "decomposed", "ragged", tenant)
    probe = Probe("verify", "m", -1, 3, 5, 100, tenant)
    assert probe.plan.kind == tenant
    shipped = Path(__file__).parents[2] / "profiles" / "family-cpu-cpu.json"
    text = shipped.read_text().replace('"packing":"padded"', f'"packing":"{tenant}"')
    text = text.replace('"packing": "padded"', f'"packing": "{tenant}"')
    (tmp_path / "p.json").write_text(text)
    assert tenant in {point.packing for point in read_profile(tmp_path / "p.json").points}
    PACKINGS.register("other")(type("Other", (), {"Params": PackingKind.Params}))
    try:
        (tmp_path / "p.json").write_text(text.replace(tenant, "other"))
        with pytest.raises(InputError, match=rf"'other' for verify; allowed: .*{tenant}"):
            read_profile(tmp_path / "p.json")
    finally:
        PACKINGS.forget("other")


def test_a_policy_that_plans_packings_of_others_is_none_itself(tmp_path: Path) -> None:
    class Either:
        """Pads batches of an odd number of rows, and leaves others as they are."""

        Params = PackingKind.Params

        def __init__(self, params: object, context: PolicyContext) -> None:
            pass

        def plan(self, kv_tokens: Sequence[int], query_tokens: Sequence[int]) -> Packing:
            kind = "padded" if len(kv_tokens) % 2 else "ragged"
            return packing_kind(kind).shape(kv_tokens, query_tokens)

    PACKINGS.register("either")(Either)
    try:
        assert executed_by("either") == kinds() == ("padded", "decomposed", "ragged")
        assert executed_by("ragged") == ("ragged",)
        run = api.simulate(write_scenario(tmp_path), set=packed("either"))
        assert set(run.summary["verification"]["packings"]) == {"padded", "ragged"}
        with pytest.raises(InputError, match="'either' plans packings and is none itself"):
            packing_kind("either")
    finally:
        PACKINGS.forget("either")
