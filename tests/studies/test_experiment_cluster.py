"""A real Ray cluster of two nodes, one of which dies."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spinsim.errors import InputError
from spinsim.lab.evaluate import Lab
from spinsim.lab.pool import ThisProcess, open_pool
from spinsim.lab.rows import table
from spinsim.lab.store import Store
from spinsim.scenario_file.variants import axis
from spinsim.studies.sweep import SweepPlan, sweep
from tests.studies.experiment_files import write_scenario

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    here = str(Path(__file__).parent)  # where workers find this test's modules
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_node_that_dies_loses_nothing_and_changes_nothing(cluster: Any, tmp_path: Path) -> None:
    other = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    plan = SweepPlan(
        write_scenario(tmp_path),
        (axis("policies.length.tokens=1,2,3,4,5,6,7,8"), axis("limits.batch=1,2,3,4,5")),
        overrides=("workload.requests=40",),
        seeds=5,
    )
    cells = tmp_path / "out" / "cells"
    killed_at = []

    def kill() -> None:
        while not cells.is_dir() or len(list(cells.glob("[!.]*.json"))) < 60:
            time.sleep(0.005)
        cluster.remove_node(other, allow_graceful=False)
        killed_at.append(len(list(cells.glob("[!.]*.json"))))

    killer = threading.Thread(target=kill)
    with open_pool(cluster=cluster.address) as pool:
        killer.start()
        found = sweep(plan, Lab(pool, Store(tmp_path / "out")))
        killer.join()
    assert len(found.rows) == 200
    assert 60 <= killed_at[0] < 200
    assert all(row.summary is not None for row in found.rows)
    local = sweep(plan, Lab(ThisProcess(), Store()))
    assert table(found.rows).equals(table(local.rows))


def test_no_cluster_is_bad_input() -> None:
    with (
        pytest.raises(InputError, match=r"no Ray cluster at '127.0.0.1:1'"),
        open_pool(cluster="127.0.0.1:1"),
    ):
        pass
    with (
        pytest.raises(InputError, match="'there' is no address; auto or HOST:PORT"),
        open_pool(cluster="there"),
    ):
        pass
    with pytest.raises(InputError, match="--workers is for this machine"), open_pool(2, "auto"):
        pass
