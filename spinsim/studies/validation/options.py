"""What a validation is asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """``seconds``: longest live run of a cell. ``loads``: shares of every closed cell's request rate.

    ``intervals``: simulated runs behind each interval. ``workers``: processes for the simulated half (None:
    one a core; 0: this process), which import ``plugins``.
    """

    repetitions: int = 3
    intervals: int = 20
    seconds: float = 8.0
    loads: tuple[float, ...] = ()
    workers: int | None = 0
    plugins: tuple[str, ...] = ()
