"""Process groups of one deployment after the other, in one process."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from torch import distributed

from spinsim.runner.sharded import on_cuda
from spinsim.runner.sharded.on_cuda import name_next_group


def test_a_process_meets_over_symmetric_memory_once() -> None:
    """Ranks of its later targets are new, and torch numbers their meetings from 0 again."""
    spec = importlib.util.find_spec(on_cuda.__name__)
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)  # as a new process has it
    spec.loader.exec_module(fresh)
    assert [fresh.claim_symmetric_memory() for _ in range(3)] == [True, False, False]


def test_no_group_has_the_name_of_one_before_and_all_ranks_know_it(tmp_path: Path) -> None:
    """Symmetric memory would take it for the first of that name, and wait at the store of that one."""
    c10d: Any = distributed
    found = []
    for store in (tmp_path / "first", tmp_path / "second", tmp_path / "first"):
        name_next_group(store)
        store.unlink(missing_ok=True)
        c10d.init_process_group("gloo", store=c10d.FileStore(str(store), 1), rank=0, world_size=1)
        found.append(c10d.group.WORLD.group_name)
        c10d.destroy_process_group()
    assert found[0] != found[1]
    assert found[0] == found[2], "every rank that meets by a store gives its group the same name"
