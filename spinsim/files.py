"""Text files of other people, compressed or not; and writing files that are whole or not there."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from io import TextIOWrapper
from pathlib import Path
from tempfile import mkdtemp
from typing import TextIO

from spinsim.errors import InputError

# The first bytes of files that are no text.
OTHERS = {b"PK\x03\x04": "a zip archive", b"PAR1": "a Parquet file"}
DAMAGED = (EOFError, zlib.error, lzma.LZMAError)  # what reading a file that is cut or changed raises
_ENCODING, _ERRORS = "utf-8-sig", "surrogateescape"


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


def check_writable(folder: Path) -> None:
    """Raise InputError unless ``folder`` is a folder that can be written to, or can be made."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        which = "" if there == folder.absolute() else f"{there} "
        raise InputError(f"{which}is a file; --out takes a folder", file=str(folder))
    try:  # permissions do not tell: file systems may be read-only, or full
        os.rmdir(mkdtemp(prefix=".spinsim-", dir=there))
    except OSError:
        raise InputError(
            f"{there} cannot be written to; --out takes a folder that can", file=str(folder)
        ) from None


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old file or the new one, never a part; so does a machine that lost power."""
    partial = path.parent / f".{path.name}.{os.getpid()}"
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
