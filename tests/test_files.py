"""What a killed process leaves goes with the next command; what is replaced waits until it is replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spinsim.errors import InputError
from spinsim.files import (
    check_writable,
    drop_earlier,
    earlier,
    remove_abandoned,
    replace_folder,
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


@pytest.mark.parametrize("long", ["a" * 300, "a/" + "b" * 240])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, long: str) -> None:
    (tmp_path / "astray").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("astray", "astray/run", "loop", "loop/run", long):
        with pytest.raises(InputError, match="--out takes a folder"):
            check_writable(tmp_path / name)


def made(out: Path, content: str) -> None:
    """Results with one file, as they are written."""
    new = unfinished(out)
    new.mkdir()
    (new / "summary.json").write_text(content)
    replace_folder(out, new)


@pytest.mark.parametrize("how", ["link", "here", "mounted", "alone"])
def test_a_folder_that_stays_gets_the_new_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A link is followed. A folder that cannot be moved keeps its place and changes its content."""
    folder = tmp_path / "run"
    folder.mkdir()
    inode = folder.stat().st_ino
    out = folder
    if how == "link":
        out = tmp_path / "link"
        out.symlink_to(folder)
    elif how == "here":
        monkeypatch.chdir(folder)
        out = Path()
    elif how == "mounted":
        monkeypatch.setattr(Path, "is_mount", lambda path: path == folder)
    else:  # nothing can be written beside it, as where a container mounts a folder alone
        allowed = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and allowed(path, mode))
    for content in ("first", "second"):
        made(out, content)
        assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("summary.json", content)]
        assert out.is_symlink() == (how == "link")
        assert {path.name for path in tmp_path.iterdir()} == {"run", "link"} & {"run", out.name}
    if how != "link":
        assert folder.stat().st_ino == inode
        with pytest.raises(InputError, match="cannot be moved aside"):
            set_earlier_aside(out)
        assert (folder / "summary.json").read_text() == "second"


def test_a_folder_whose_mount_is_not_seen_gets_the_new_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder mounted from the same file system looks like any other, and cannot be renamed."""
    folder = tmp_path / "run"
    made(folder, "first")
    rename = Path.rename

    def refused(path: Path, to: Path) -> Path:
        if path == folder:
            raise OSError("busy")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", refused)
    made(folder, "second")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("summary.json", "second")]
    with pytest.raises(InputError, match="cannot be moved aside"):
        set_earlier_aside(folder)


def test_a_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link, file = tmp_path / "profile.json", tmp_path / "far" / "kept.json"
    file.write_text("old")
    link.symlink_to(file)
    write_atomically(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert earlier(link).parent == file.parent
