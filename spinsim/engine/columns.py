"""Columns of the records: in memory while a run is short, and beyond that in a temporary file.

A million requests make a hundred million rows. What was noted long ago is asked for again when the run is
summarised, in blocks: memory holds the last block of each column. The files have no name, so that nothing is
left of them however a run ends; the folder is that of ``$TMPDIR``.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from tempfile import TemporaryFile
from typing import IO, Any, overload

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 20  # entries that stay in memory

Ints = NDArray[np.integer[Any]]


def blocks(count: int, size: int | None = None) -> Iterator[slice]:
    """[0, count) in parts of ``size`` (``BLOCK``), the last one shorter."""
    size = size or BLOCK
    return (slice(low, min(low + size, count)) for low in range(0, count, size))


class Column:
    """Integers of one C type (a type code of :mod:`array`), in order; grows at its end.

    Slices are numpy arrays, copies where they were in the file already. As a whole it is a numpy array
    (``numpy.asarray``) in the memory of the column or of its file: for who needs it all at once.
    """

    __slots__ = ("_file", "_moved", "_tail", "dtype")

    def __init__(self, typecode: str, values: Iterable[int] = ()) -> None:
        self._tail = array(typecode, values)
        self._file: IO[bytes] | None = None
        self._moved = 0  # entries that are in the file
        self.dtype = np.dtype(typecode)

    @property
    def itemsize(self) -> int:
        """Bytes of an entry."""
        return self._tail.itemsize

    def __len__(self) -> int:
        return self._moved + len(self._tail)

    def append(self, value: int) -> None:
        """One more. Raises OverflowError where the type has no room for it, as the next three do."""
        self._tail.append(value)
        if len(self._tail) >= BLOCK:
            self._move()

    def fromlist(self, values: list[int]) -> None:
        """More of them."""
        self._tail.fromlist(values)
        if len(self._tail) >= BLOCK:
            self._move()

    def extend(self, values: Iterable[int]) -> None:
        """More of them."""
        self.fromlist(list(values))

    def frombytes(self, values: bytes | memoryview) -> None:
        """More of them, as they lie in memory."""
        self._tail.frombytes(values)
        if len(self._tail) >= BLOCK:
            self._move()

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Ints: ...
    def __getitem__(self, index: int | slice) -> int | Ints:
        if isinstance(index, slice):
            low, high, step = index.indices(len(self))
            return self._part(low, max(low, high))[::step] if step > 0 else np.asarray(self)[index]
        at = range(len(self))[index]
        return self._tail[at - self._moved] if at >= self._moved else int(self._part(at, at + 1)[0])

    def __setitem__(self, index: int, value: int) -> None:
        at = range(len(self))[index]
        if at >= self._moved:
            self._tail[at - self._moved] = value
        else:
            assert self._file is not None
            os.pwrite(self._file.fileno(), array(self._tail.typecode, [value]).tobytes(), at * self.itemsize)

    def __iter__(self) -> Iterator[int]:
        for part in blocks(len(self)):
            yield from self[part].tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Ints:
        if self._file is not None and self._tail:
            self._move()
        whole: Ints = (
            np.asarray(self._tail) if self._file is None else np.memmap(self._file, self.dtype, mode="r")
        )
        return whole if dtype is None or np.dtype(dtype) == self.dtype else whole.astype(dtype)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Column) and self.dtype == other.dtype and np.array_equal(self, other)

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._tail.typecode, np.asarray(self).tobytes())

    def __repr__(self) -> str:
        return f"Column({self._tail.typecode!r}, {len(self)} entries)"

    def tolist(self) -> list[int]:
        """All of them."""
        return list(self)

    def tobytes(self) -> bytes:
        """All of them, as they lie in memory."""
        return np.asarray(self).tobytes()

    def count(self, value: int) -> int:
        """How often ``value`` occurs."""
        return int((np.asarray(self) == value).sum())

    def _part(self, low: int, high: int) -> Ints:
        """Entries [low, high)."""
        if low >= self._moved:
            part: Ints = np.asarray(self._tail)[low - self._moved : high - self._moved]
            return part
        assert self._file is not None
        stored = min(high, self._moved) - low
        data = os.pread(self._file.fileno(), stored * self.itemsize, low * self.itemsize)
        found: Ints = np.frombuffer(data, self.dtype)
        if high > self._moved:
            found = np.concatenate((found, np.asarray(self._tail)[: high - self._moved]))
        return found

    def _move(self) -> None:
        """What is in memory goes to the file."""
        if self._file is None:
            self._file = TemporaryFile(prefix="spinsim-")  # noqa: SIM115  # as long as the column
        data = self._tail.tobytes()
        at, size = self._moved * self.itemsize, len(data)
        written = 0
        while written < size:
            written += os.pwrite(self._file.fileno(), data[written:], at + written)
        self._moved += len(self._tail)
        self._tail = array(self._tail.typecode)


def _restored(typecode: str, values: bytes) -> Column:
    column = Column(typecode)
    column.frombytes(values)
    return column


class Names(Sequence[str]):
    """Strings out of a few, in order, as a :class:`Column` of numbers. ``labels`` by first appearance."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self.codes = Column("b")
        self._numbers: dict[str, int] = {}
        self.extend(values)

    @property
    def labels(self) -> list[str]:
        """What there is, in order of first appearance."""
        return list(self._numbers)

    def append(self, value: str) -> None:
        """One more. Raises OverflowError beyond 128 different ones."""
        self.extend((value,))

    def extend(self, values: Iterable[str]) -> None:
        """More of them."""
        numbers = self._numbers
        self.codes.fromlist([numbers.setdefault(value, len(numbers)) for value in values])

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        labels = self.labels
        if isinstance(index, slice):
            return [labels[code] for code in self.codes[index].tolist()]
        return labels[self.codes[index]]

    def __iter__(self) -> Iterator[str]:
        return map(self.labels.__getitem__, self.codes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it grows
