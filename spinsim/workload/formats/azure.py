"""Azure LLM inference traces (Azure/AzurePublicDataset, 2023 and 2024): times and token counts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from spinsim.workload.formats.files import Record, csv_rows
from spinsim.workload.formats.row import BadRow, Reader, Row, Rows, count_field

START = datetime(2023, 1, 1, tzinfo=UTC)  # near the traces: seconds since 1970 leave a double 0.2 us
COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def read(path: Path) -> Rows:
    """Times are exact to a microsecond (the 2023 traces' last digit is dropped)."""
    return csv_rows(path, COLUMNS, _row)


def _row(record: Record, index: int) -> Row:
    stamp = record["TIMESTAMP"]
    try:
        when = datetime.fromisoformat(stamp)
    except ValueError:
        raise BadRow(f"TIMESTAMP is {stamp!r}; a date and time such as 2023-11-16 18:15:46.680590") from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)  # not this machine's zone, which may change its clocks within a trace
    return Row(
        str(index),
        count_field(record, "ContextTokens"),
        count_field(record, "GeneratedTokens"),
        (when - START).total_seconds(),
    )


READER = Reader(read, f"a CSV file with columns {', '.join(COLUMNS)}")
