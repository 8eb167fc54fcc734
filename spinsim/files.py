"""Text files of other people, compressed or not; and writing files that are whole or not there."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import shutil
import zlib
from collections.abc import Sequence
from errno import ENAMETOOLONG, ENOENT
from io import TextIOWrapper
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TextIO

from spinsim.errors import InputError, reason_of

# The first bytes of files that are no text.
OTHERS = {b"PK\x03\x04": "a zip archive", b"PAR1": "a Parquet file"}
DAMAGED = (EOFError, zlib.error, lzma.LZMAError)  # what reading a file that is cut or changed raises
EARLIER = ".earlier-results"  # ends the name of what waits for its replacement to be complete
_LONGEST_NAME = 200  # bytes: most file systems have 255, and what is unfinished has a longer name
_FIXED = (
    "cannot be moved aside: a process works in it, a file system is mounted there, or nothing can be written "
    "beside it; --out names another folder"
)
_ENCODING, _ERRORS = "utf-8-sig", "surrogateescape"


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, as ``object_pairs_hook`` of json. Raises ValueError for a key that stands twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice; keep one")
    return found


def open_text(path: Path) -> TextIO:
    """A text file, decompressed where it is gzip, bzip2, xz or zstd.

    Bytes that are not UTF-8 survive (as surrogates) until their row is checked, and spoil only that row.
    Raises OSError where it cannot be opened, InputError for a file that has to be unpacked first.
    """
    with path.open("rb") as file:
        start = file.read(8)
    for magic, what in OTHERS.items():
        if start.startswith(magic):
            raise InputError(f"is {what}; unpack or convert it to text first (gzip is read)", file=str(path))
    if start.startswith(b"\x1f\x8b"):
        return gzip.open(path, "rt", encoding=_ENCODING, errors=_ERRORS, newline="")
    if start.startswith(b"BZh"):
        return bz2.open(path, "rt", encoding=_ENCODING, errors=_ERRORS, newline="")
    if start.startswith(b"\xfd7zXZ"):
        return lzma.open(path, "rt", encoding=_ENCODING, errors=_ERRORS, newline="")
    if start.startswith(b"(\xb5/\xfd"):
        import pyarrow  # it takes a while to load, and few files are such

        return TextIOWrapper(
            pyarrow.input_stream(str(path), compression="zstd"),
            encoding=_ENCODING,
            errors=_ERRORS,
            newline="",
        )
    return path.open(encoding=_ENCODING, errors=_ERRORS, newline="")


def check_writable(folder: Path, takes: str = "--out takes a folder") -> None:
    """Raise InputError unless ``folder`` is a folder that can be written to, or can be made.

    ``takes`` says what is allowed. What killed processes left unfinished there goes, as of
    :func:`remove_abandoned`.
    """
    try:
        if max(len(os.fsencode(part)) for part in folder.absolute().parts) > _LONGEST_NAME:
            raise OSError(ENAMETOOLONG, f"a name has more than {_LONGEST_NAME} bytes")
        there = _nearest(folder.absolute())
    except OSError as error:  # links that lead nowhere, what may not be looked into
        raise InputError(f"{reason_of(error)}; {takes}", file=str(folder)) from None
    if not there.is_dir():
        which = "" if there == folder.absolute() else f"{there} "
        raise InputError(f"{which}is a file; {takes}", file=str(folder))
    try:  # permissions do not tell: file systems may be read-only, or full
        os.rmdir(mkdtemp(prefix=".spinsim-", dir=there))
    except OSError:
        raise InputError(f"{there} cannot be written to; {takes} that can", file=str(folder)) from None
    for place in (followed(folder).absolute().parent, folder, folder / "cells"):
        remove_abandoned(place)


def check_file(path: Path, option: str = "--out") -> None:
    """Raise InputError unless a file can be written to ``path``, which ``option`` names; folders are made."""
    if path.is_dir():
        raise InputError(f"is a folder; {option} takes a file", file=str(path))
    check_writable(path.parent, f"{option} takes a file in a folder")


def _nearest(path: Path) -> Path:
    """``path``, or the nearest above it that is there. Raises OSError where it can neither be nor be made."""
    try:
        path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise OSError(ENOENT, f"is a link to {path.readlink()}, which is not there") from None
        return _nearest(path.parent)
    except NotADirectoryError:
        return _nearest(path.parent)
    return path


def followed(path: Path) -> Path:
    """What is to be replaced where ``path`` is: that which a link leads to, and `.` by its name."""
    return Path(os.path.realpath(path)) if os.path.islink(path) or path.name in ("", "..") else path


def _stays(folder: Path) -> bool:
    """Can ``folder`` not be moved? A file system is mounted there, a process works in it, or nothing can be
    written beside it."""
    if not folder.is_dir():
        return False
    here, place = Path.cwd(), Path(os.path.realpath(folder))
    return place.is_mount() or place == here or place in here.parents or not os.access(place.parent, os.W_OK)


# What a process has not finished writing (partial), or is about to have replaced (old). The machine is
# named, as a folder may be shared by several, and the number of a process is that of one machine.
_HOST = re.sub(r"[^A-Za-z0-9_.-]", "-", os.uname().nodename) if hasattr(os, "uname") else "here"
_UNFINISHED = re.compile(r"\.(?P<name>.+)\.(?P<kind>partial|old)-(?P<process>[0-9]+)(@(?P<host>.+))?")


def unfinished(path: Path, kind: str = "partial") -> Path:
    """The hidden sibling in which this process prepares ``path``; with ``kind`` ``old``, where it puts the
    ``path`` that it replaces. Both are within a folder that cannot be moved, such as a mounted one."""
    path = followed(path).absolute()  # from there on `~` is a name: pyarrow takes a leading one for the home
    folder = path if _stays(path) else path.parent
    return folder / f".{path.name}.{kind}-{os.getpid()}@{_HOST}"


def remove_abandoned(folder: Path) -> None:
    """Remove what processes that are gone were writing into ``folder``, as far as that can be done.

    A process that ended between taking an old folder away and putting the new one in its place left
    neither: the old one comes back.
    """
    try:
        found = [(path, match) for path in folder.iterdir() if (match := _UNFINISHED.fullmatch(path.name))]
    except OSError:
        return
    for path, match in found:
        if match["host"] not in (None, _HOST) or _is_running(int(match["process"])):
            continue
        original = folder / match["name"]
        try:
            if match["kind"] == "old" and not original.exists():
                path.rename(original)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        except OSError:  # another process does the same, or it is not ours to remove
            continue


def _is_running(process: int) -> bool:
    if os.name != "posix":  # where asking would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        return True
    return True


def replace_folder(out: Path, new: Path) -> None:
    """Put the folder ``new`` where ``out`` is, keeping the old one until the new one is in place.

    Where ``out`` cannot be moved, what is in it makes way for what is in ``new``.
    """
    out = followed(out).absolute()
    old = unfinished(out, "old")
    if old.parent != out and out.exists():
        try:
            out.rename(old)
        except OSError:  # mounted from the same file system, which :func:`_stays` does not see
            old = out / old.name
    if old.parent == out:
        _move_content(out, old, besides=(old, new))
        _move_content(new, out)
        new.rmdir()
    else:
        shutil.move(new, out)
    shutil.rmtree(old, ignore_errors=True)


def _move_content(source: Path, into: Path, besides: Sequence[Path] = ()) -> None:
    into.mkdir(exist_ok=True)
    for path in [*source.iterdir()]:
        if path not in besides:
            shutil.move(path, into / path.name)


def earlier(path: Path) -> Path:
    """Where the results of ``path`` wait while others take their place: a visible sibling."""
    path = followed(path)
    return path.with_name(f"{path.name}{EARLIER}")


def set_earlier_aside(path: Path) -> None:
    """Make room for results that are written bit by bit: those at ``path`` move to :func:`earlier`.

    Where some wait there already, their replacement was interrupted: they stay, and it goes.
    :func:`drop_earlier` removes them when the new ones are complete. Raises InputError for a folder that
    cannot be moved.
    """
    path = followed(path)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if _stays(path):
        raise InputError(_FIXED, file=str(path))
    if not earlier(path).exists():
        try:
            path.rename(earlier(path))
        except OSError:
            raise InputError(_FIXED, file=str(path)) from None
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def drop_earlier(path: Path) -> None:
    """Remove what :func:`set_earlier_aside` kept of ``path``, if anything."""
    waiting = earlier(path)
    if waiting.is_dir():
        shutil.rmtree(waiting, ignore_errors=True)
    else:
        waiting.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old file or the new one, never a part; so does a machine that lost power."""
    path = followed(path)
    partial = unfinished(path)
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
