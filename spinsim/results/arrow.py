"""Arrow arrays straight from numpy memory, and Parquet files in chunks.

``pyarrow.array`` and ``to_numpy`` import pandas where it is installed, which costs a second and is
needed for nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spinsim.results.blocks import ROWS

COMPRESSION = "zstd"
BATCH = 1 << 16  # values that Parquet's writer encodes at a time; its own 1,024 take a twentieth longer


def numbers(values: NDArray[Any]) -> pa.Array:
    """An integer or float array of the same type. NaN becomes null."""
    values = np.ascontiguousarray(values)
    present = None
    if values.dtype.kind == "f":
        absent = np.isnan(values)
        if absent.any():
            present = pa.py_buffer(np.packbits(~absent, bitorder="little"))
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, values.size, [present, pa.py_buffer(values)])


def values(array: pa.Array) -> NDArray[Any]:
    """The reverse of :func:`numbers`, in the array's own memory; null becomes NaN."""
    dtype = np.dtype(array.type.to_pandas_dtype())
    if not len(array):
        return np.empty(0, dtype=dtype)
    valid, data = array.buffers()
    out: NDArray[Any] = np.frombuffer(data, dtype, len(array), array.offset * dtype.itemsize)
    if array.null_count:
        bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
        out = np.where(bits[array.offset :][: len(array)], out, np.nan)
    return out


def blobs(values: Sequence[bytes]) -> pa.Array:
    """A binary array."""
    offsets = np.fromiter(accumulate(map(len, values), initial=0), dtype=np.int32, count=len(values) + 1)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


def strings(values: Sequence[str]) -> pa.Array:
    """A string array."""
    return blobs([value.encode() for value in values]).view(pa.string())


def categories(index: NDArray[Any], labels: Sequence[str]) -> pa.Array:
    """A dictionary array: ``labels[index[i]]``, stored as numbers."""
    return pa.DictionaryArray.from_arrays(numbers(index.astype(np.int32)), strings(labels))


def categories_of(values: Sequence[str]) -> pa.Array:
    """A dictionary array of repeating strings, labels in order of first appearance."""
    index = {label: code for code, label in enumerate(dict.fromkeys(values))}
    codes = np.fromiter(map(index.__getitem__, values), dtype=np.int32, count=len(values))
    return categories(codes, list(index))


def lists(offsets: NDArray[Any], values: NDArray[Any]) -> pa.Array:
    """Lists of numbers: the i-th is ``values[offsets[i] : offsets[i + 1]]``."""
    return pa.ListArray.from_arrays(numbers(offsets.astype(np.int32)), numbers(values))


def written(schema: pa.Schema) -> dict[str, Any]:
    """How Parquet keeps such a table, as arguments of its writer.

    Only names repeat: of numbers a dictionary takes time and a third more space. Integers of 32 bits and more
    grow slowly from row to row, and are kept as differences: less to compress, and a quarter less space. The
    bounds of a row group are kept of moments, by which readers skip groups.
    """
    names = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    counting = [f.name for f in schema if pa.types.is_integer(f.type) and f.type.bit_width >= 32]
    return {
        "compression": COMPRESSION,
        "use_dictionary": names,
        "column_encoding": dict.fromkeys(counting, "DELTA_BINARY_PACKED"),
        "write_statistics": [field.name for field in schema if field.name.endswith("_ns")],
        "write_batch_size": BATCH,
    }


def write(path: Path, table: pa.Table) -> None:
    """A Parquet file with row groups of ``ROWS``."""
    pq.write_table(table, path, row_group_size=ROWS, **written(table.schema))


def write_parts(path: Path, schema: pa.Schema, parts: Iterable[pa.Table]) -> None:
    """A Parquet file with a row group a part."""
    with pq.ParquetWriter(path, schema, **written(schema)) as writer:
        for part in parts:
            writer.write_table(part)
