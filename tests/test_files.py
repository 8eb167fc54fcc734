"""What a killed process leaves goes with the next command; what is replaced waits until it is replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spinsim.files import (
    check_writable,
    drop_earlier,
    earlier,
    remove_abandoned,
    set_earlier_aside,
    unfinished,
    write_atomically,
)


@pytest.fixture(scope="module")
def gone() -> int:
    """The number of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_what_a_process_that_is_gone_was_writing_is_removed(gone: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for name in (f".run.partial-{gone}", f".other.partial-{gone}"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text("{}")
    (out / "cells").mkdir(parents=True)
    (out / "cells" / f".a.json.partial-{gone}").write_text("{")
    check_writable(out)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert list((out / "cells").iterdir()) == []


def test_what_is_being_written_or_is_of_another_machine_stays(gone: int, tmp_path: Path) -> None:
    kept = {
        unfinished(tmp_path / "run").name,
        f".run.partial-{os.getpid()}",
        f".run.partial-{gone}@another-machine",
        f".run.partially-{gone}",
        ".log.1",
    }
    for name in kept:
        (tmp_path / name).write_text("")
    remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_folder_that_was_taken_away_comes_back(gone: int, tmp_path: Path) -> None:
    """The process ended after it had taken the old folder away, and before the new one was in its place."""
    for name in ("taken", "replaced"):
        (tmp_path / f".{name}.old-{gone}").mkdir()
    (tmp_path / "replaced").mkdir()
    remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"taken", "replaced"}


def test_a_process_killed_while_it_writes_leaves_the_old_file_and_nothing_lasting(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_text("old")
    program = (
        "import os, signal, spinsim.files as files, pathlib, sys\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_atomically(pathlib.Path(sys.argv[1]), 'new')\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    check_writable(tmp_path)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("cell.json", "old")]
    write_atomically(path, "new")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("cell.json", "new")]


def test_what_is_replaced_bit_by_bit_waits_and_the_first_that_waits_stays(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    for content in ("complete", "interrupted"):
        path.write_text(content)
        set_earlier_aside(path)
        assert not path.exists()
    assert earlier(path).read_text() == "complete"
    drop_earlier(path)
    assert list(tmp_path.iterdir()) == []
