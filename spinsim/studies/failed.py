"""An experiment some of whose cells failed: it is over, and nobody takes what there is for the whole."""

from __future__ import annotations

from typing import Any


class CellsFailed(RuntimeError):
    """``result`` is what the function would have returned, with the figures of the other cells.

    ``failed`` holds labels, seed and error of each cell that failed.
    """

    def __init__(self, result: Any, summary: dict[str, Any]) -> None:
        failed = summary["failed"]
        super().__init__(f"{len(failed)} of {summary['cells']} cells failed, the first: {failed[0]['error']}")
        self.result = result
        self.failed: list[dict[str, Any]] = failed
