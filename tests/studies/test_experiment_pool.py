"""Cells in processes: the same bytes everywhere, nothing lost whatever dies."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import spinsim
from spinsim.costs.profiled import predictors as costs
from spinsim.errors import InputError
from spinsim.lab.cell import cell_of, run_cell
from spinsim.lab.evaluate import Lab
from spinsim.lab.pool import Processes, open_pool
from spinsim.lab.ray_pool import run_in_worker
from spinsim.lab.rows import plan
from spinsim.lab.store import Outcome, Store, open_store
from spinsim.policies.plugins import load_plugins
from spinsim.scenario_file import load
from tests.studies.experiment_files import cells, write_plugin, write_scenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def test_results_are_the_same_in_this_process_and_in_others(tmp_path: Path) -> None:
    planned = cells(write_scenario(tmp_path), range(6))
    found = []
    for workers in (0, 1, 2):
        with open_pool(workers) as pool:
            found.append(Lab(pool, Store()).evaluate(planned))
    assert found[0] == found[1] == found[2]
    assert list(found[0]) == [cell.key for cell in planned]


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks")
def test_workers_leave_ctrl_c_to_the_parent_from_their_first_moment(tmp_path: Path) -> None:
    """One that was still importing told of it by a traceback, beside the one line of the parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    pool = Processes(1)
    try:
        pool.submit(cells(write_scenario(tmp_path), range(1))[0]).result()
        inherited = pool._executor.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result()
    finally:
        pool.close()
    assert signal.SIGINT in inherited
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_a_cell_is_known_by_what_decides_its_result(tmp_path: Path) -> None:
    path = write_scenario(tmp_path)
    (one,) = cells(path, range(1))
    assert cells(path, range(1))[0].key == one.key
    assert cells(path, range(1), "limits.batch=3")[0].key != one.key
    assert cells(path, range(1, 2))[0].key != one.key


def test_a_file_that_the_scenario_reads_is_part_of_it(tmp_path: Path) -> None:
    config = tmp_path / "model" / "config.json"
    config.parent.mkdir()
    shape = (
        '{"model_type": "llama", "num_hidden_layers": 2, "hidden_size": %d, "num_attention_heads": 4, '
        '"intermediate_size": 128, "vocab_size": 100}'
    )
    config.write_text(shape % 64)
    path = write_scenario(tmp_path, models={"target": {"shape": "model"}}, placement={"target": ["gpu0"]},
                          devices={"gpu0": {"hardware": "h200"}},
                          acceptance={"model": "constant", "probability": 0.5},
                          costs={"model": "constant", "verify_s": 0.01},
                          policies={"length": {"name": "none"}})  # fmt: skip
    before = cell_of(load(path))
    config.write_text(shape % 128)
    after = cell_of(load(path))
    assert before.key != after.key
    assert before.files[0][0] == str(config)


def test_what_fails_is_tried_again_and_then_reported(tmp_path: Path) -> None:
    path = write_scenario(tmp_path)
    plugins = load_plugins([write_plugin(tmp_path, "misbehaving")])
    planned = [
        plan(path, ["policies.selector={name: misbehaving}", f"seed={seed}"], {}, plugins).cell
        for seed in range(8)
    ]
    with open_pool(2) as pool:
        outcomes = list(Lab(pool, Store()).evaluate(planned).values())
    assert [outcome.summary is None for outcome in outcomes] == [seed in (2, 4) for seed in range(8)]
    assert (outcomes[2].attempts, outcomes[4].attempts) == (3, 3)
    assert outcomes[3].attempts in (1, 2)  # a worker that dies may take the news of its first failure along
    assert "this seed is bad" in outcomes[2].error
    assert "process died" in outcomes[4].error
    assert all(outcomes[seed].attempts == 1 for seed in (0, 1, 6, 7))


def test_a_plugin_that_was_edited_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "harmless.py"
    path.write_text("VALUE = 1\n")
    assert load_plugins([path]) == load_plugins([path]) == (str(path),)
    path.write_text("VALUE = 2\n")
    with pytest.raises(InputError, match="has changed since this process imported it"):
        load_plugins([path])
    (tmp_path / "broken.py").write_text("1 / 0\n")
    for name, said in (
        ("broken.py", "ZeroDivisionError"),
        ("absent.py", "is no plugin"),
        ("x.txt", "is no plugin"),
    ):
        with pytest.raises(InputError, match=said):
            load_plugins([tmp_path / name])


def test_a_scenario_that_is_to_blame_is_not_tried_again(tmp_path: Path) -> None:
    path = write_scenario(tmp_path)
    source = "workload.source={format: azure, path: absent.csv}"
    planned = cells(path, range(1), source)
    with open_pool(0) as pool:
        (outcome,) = Lab(pool, Store()).evaluate(planned).values()
    assert outcome.attempts == 1
    assert "absent.csv" in outcome.error


def test_known_results_are_not_computed_again(tmp_path: Path) -> None:
    planned = cells(write_scenario(tmp_path), range(3))
    store = Store(tmp_path / "out")
    store.put(Outcome(planned[1].key, {"marked": 1}))
    store.put(Outcome(planned[2].key, None, "failed before"))
    with open_pool(0) as pool:
        found = Lab(pool, Store(tmp_path / "out")).evaluate(planned)
    assert found[planned[1].key].summary == {"marked": 1}
    assert found[planned[2].key].summary is not None
    (tmp_path / "out" / "cells" / f"{planned[0].key}.json").write_text('{"summary": {"cut o')
    assert Store(tmp_path / "out").get(planned[0].key) is None


def test_a_folder_says_what_may_be_done_with_it(tmp_path: Path) -> None:
    open_store(tmp_path / "new", "sweep").write_manifest("sweep", {})
    store = open_store(tmp_path / "new", "sweep")  # without a cell there is nothing to lose
    store.write_manifest("sweep", {})
    store.put(Outcome("k", {}))
    with pytest.raises(InputError, match="a sweep of 1 cells; --resume goes on with it"):
        open_store(tmp_path / "new", "sweep")
    with pytest.raises(InputError, match="--resume takes the folder of a comparison"):
        open_store(tmp_path / "new", "comparison", resume=True)
    assert open_store(tmp_path / "new", "sweep", resume=True).get("k") is not None
    forced = open_store(tmp_path / "new", "sweep", force=True)
    assert forced.get("k") is None
    assert open_store(tmp_path / "new", "sweep", resume=True).get("k") is not None  # until there is a plan
    forced.write_manifest("sweep", {})
    assert open_store(tmp_path / "new", "sweep", resume=True).get("k") is None
    assert Store(tmp_path / "new.earlier-results").get("k") is not None
    forced.complete()
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    for force in (False, True):
        with pytest.raises(InputError, match="holds something else"):
            open_store(tmp_path / "other", "sweep", force=force)


def sweep_command(scenario: Path, out: Path, *options: str) -> list[str]:
    axis = "policies.length.tokens=1,2,3,4,5,6,7,8"
    return [sys.executable, "-m", "spinsim", "sweep", str(scenario), "--grid", axis, "--seeds", "4",
            "--out", str(out), "--workers", "2", "--quiet", *options]  # fmt: skip


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run a copy of the package: whoever edits it meanwhile changes no result."""
    root = Path(spinsim.__file__).parent
    shutil.copytree(
        root, tmp_path / "code" / "spinsim", ignore=shutil.ignore_patterns("__pycache__", "checkpoints")
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))


def children_of(folder: Path) -> list[str]:
    """Command lines of processes that have ``folder`` as their place to work."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(folder):
                found.append((process / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found


@pytest.mark.usefixtures("frozen")
@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks processes up in /proc")
def test_a_killed_sweep_goes_on_to_the_same_table(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path)
    subprocess.run(sweep_command(scenario, tmp_path / "whole"), check=True, cwd=tmp_path)
    place = tmp_path / "here"
    place.mkdir()
    out = tmp_path / "killed"
    process = subprocess.Popen(sweep_command(scenario, out), cwd=place)
    wanted = random.randint(1, 30)
    while len(list((out / "cells").glob("[!.]*.json"))) < wanted and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(list((out / "cells").glob("[!.]*.json")))
    for _ in range(500):  # workers leave by themselves when their parent is gone
        if not children_of(place):
            break
        time.sleep(0.01)
    assert children_of(place) == []
    subprocess.run(sweep_command(scenario, out, "--resume"), check=True, cwd=tmp_path)
    whole, resumed = (folder / "sweep.parquet" for folder in (tmp_path / "whole", out))
    assert resumed.read_bytes() == whole.read_bytes(), f"killed after {done} of 32 cells"


def test_cells_that_cost_alike_share_a_fit_and_keep_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[str] = []
    fit = costs.fit_pass

    def counted(*args: Any, **kwargs: Any) -> Any:
        fitted.append("pass")
        return fit(*args, **kwargs)

    monkeypatch.setattr(costs, "fit_pass", counted)
    short = ["workload.requests=6"]
    planned = [
        cell_of(load(SCENARIOS / "quickstart.yaml", [*short, *more]))
        for more in ([], ["seed=2"], ["policies.length.tokens=3"], ["policies.selector={name: random}"])
    ]
    alone = [run_cell(cell) for cell in planned]
    once = len(fitted) // len(planned)
    fitted.clear()
    with open_pool(0) as pool:
        assert [pool.submit(cell).result() for cell in planned] == alone
    assert len(fitted) == 2 * once  # of the two selectors, for a profile charges their thinking
    fitted.clear()
    assert [run_in_worker(cell) for cell in planned] == alone  # as a worker of a Ray cluster does
    assert len(fitted) == 2 * once


BEYOND = 10**20


@pytest.mark.parametrize(
    ("workers", "allowed"), [(-1, r"0 \(this process\) or more"), (BEYOND, "at most 10,000")]
)
def test_numbers_of_processes_that_no_machine_has_are_refused(workers: int, allowed: str) -> None:
    with pytest.raises(InputError, match=f"{workers} is not allowed; {allowed}"), open_pool(workers):
        pass
