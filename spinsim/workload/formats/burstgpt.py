"""BurstGPT traces (arXiv 2401.17644): times in seconds and token counts."""

from __future__ import annotations

from pathlib import Path

from spinsim.workload.formats.files import Record, csv_rows
from spinsim.workload.formats.row import Reader, Row, Rows, count_field, seconds_field

COLUMNS = ("Timestamp", "Request tokens", "Response tokens")


def read(path: Path) -> Rows:
    """Calls that failed have 0 response tokens there: they are reported as malformed."""
    return csv_rows(path, COLUMNS, _row)


def _row(record: Record, index: int) -> Row:
    arrival_s = seconds_field(record, "Timestamp")
    return Row(
        str(index), count_field(record, "Request tokens"), count_field(record, "Response tokens"), arrival_s
    )


READER = Reader(read, f"a CSV file with columns {', '.join(COLUMNS)}")
