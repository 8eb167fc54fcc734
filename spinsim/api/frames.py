"""Tables as pandas frames. Pandas is an extra (``notebook``): imported when the first frame is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinsim.errors import InputError, reason_of

if TYPE_CHECKING:
    import pandas as pd

    from spinsim.lab.rows import Row


def frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each mapping. Raises InputError where pandas is not installed."""
    return _pandas().DataFrame(list(rows))


def records_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """A row for each cell of an experiment: its labels, and every number of its summary by dotted path."""
    from spinsim.lab.rows import records

    return frame(records(rows))


def parquet(path: Path) -> pd.DataFrame:
    """A Parquet file. Raises InputError where it cannot be read."""
    import pyarrow.parquet as pq

    _pandas()
    try:
        return pq.read_table(path.absolute()).to_pandas()  # pyarrow takes a leading `~` for the home
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read: {reason_of(error)}; give a complete results folder", file=str(path)
        ) from None


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise InputError(
            "frames need pandas, which is not installed; pip install -e '.[notebook]' in the checkout",
            key="api",
        ) from None
    return pandas
