"""Which machines are one, which cells ran beside other jobs, and what is kept of runs as figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from benchmarks.estimates.__main__ import ROOT
from benchmarks.estimates.judge import seen
from benchmarks.estimates.kept_predictions import kept, of_kind
from benchmarks.estimates.shipped import Host, by_machine, short_of_cpus
from spinsim.costs.profiled.profile import read_profile
from spinsim.studies.validation.folder import LiveCell
from spinsim.studies.validation.operations import COLUMNS, OperationTable

PROFILE = read_profile(ROOT / "profiles" / "one-gpu-h100.json")


def host(name: str, digest: str = "") -> Host:
    versions = {**PROFILE.versions, "machine": digest} if digest else {**PROFILE.versions}
    return Host(name, "h100", name, {Path(f"{name}.json"): replace(PROFILE, versions=versions)})


def test_hosts_with_the_same_gpus_are_one_machine() -> None:
    found = by_machine([host("a", "12ab"), host("b"), host("c", "34cd"), host("d", "12ab"), host("e")])
    assert [one.machine for one in found] == ["a", "b", "c", "a", "e"]


def cell(waits_ns: list[int], *cpus: dict[str, Any]) -> LiveCell:
    """Operations one after the other on a lane, each begun so long after the one before has ended."""
    columns = {name: np.zeros(len(waits_ns), np.int64) for name in COLUMNS}
    ended = 0
    for at, wait in enumerate(waits_ns):
        columns["submitted_ns"][at], columns["started_ns"][at] = ended, ended + wait
        ended += wait + 5_000_000
        columns["finished_ns"][at] = ended
    table = OperationTable((), columns)
    return cast("LiveCell", SimpleNamespace(cpus=cpus, operations=(table,)))


def test_a_run_beside_other_jobs_is_known_by_its_late_operations() -> None:
    """Until runs noted it: an operation in ten was late by a time slice, alone one in a thousand."""
    alone, beside = [300_000] * 199 + [3_000_000], [300_000] * 180 + [3_000_000] * 20
    assert not short_of_cpus(cell(alone))
    assert short_of_cpus(cell(beside))
    assert not short_of_cpus(cell([2_600_000] * 200))  # a selector that thinks for long
    assert not short_of_cpus(cell(beside, {"short": False}))
    assert short_of_cpus(cell(alone, {"short": False}, {"short": True}))


def test_a_host_that_was_counted_is_not_held_out() -> None:
    prior = {"deviations": {"profile": {"verify": {"a": 0.1}}, "sheets": {}}}
    assert seen({"fitted_to": ["b"]}, prior, ["a", "b", "c"]) == ["a", "b"]


def test_heads_lookups_and_divided_targets_are_counted_from_their_figures() -> None:
    found = kept(ROOT)
    assert len(of_kind(found, "head")) == len(of_kind(found, "ngram")) == 6
    assert all(abs(one.goodput["profile"]) < 0.04 for one in of_kind(found, "head"))
    divided = [one for one in found if one.divided == 2]
    assert len(divided) >= 13
    assert all(set(one.tpot) <= {"profile", "sheets"} for one in divided)
