"""Cells on a Ray cluster. Ray schedules, and runs again what a lost node was running."""

from __future__ import annotations

import logging
import os
import socket
from concurrent.futures import Future
from functools import cache
from typing import Any

from spinsim.drafters.costs import KnownPredictors
from spinsim.errors import InputError
from spinsim.lab.cell import Cell, run_elsewhere

RERUNS = 5  # of a cell whose node or worker was lost, by Ray itself
AHEAD = 4  # cells submitted for each core: enough for nodes that join


class RayCluster:
    """``address`` is ``auto`` (the cluster that this machine belongs to) or HOST:PORT.

    Every node needs this version of the project and the scenario's files at the same paths; a
    worker that has others refuses its cell. Results are small and are kept by this process, so that
    no node takes one away.
    """

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise InputError(
                "needs Ray, which is not installed; pip install -e '.[cluster]' in the checkout",
                key="--cluster",
            ) from None
        self._ray: Any = ray
        self._mine = not ray.is_initialized()
        if self._mine:
            _reach(address)
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise _none_at(address, error) from None
        self._remote = ray.remote(max_retries=RERUNS, num_cpus=1)(run_in_worker)

    @property
    def slots(self) -> int:
        """Follows the cluster as nodes come and go."""
        return max(1, AHEAD * int(self._ray.cluster_resources().get("CPU", 1)))

    def submit(self, cell: Cell) -> Future[str]:
        future: Future[str] = self._remote.remote(cell).future()
        return future

    def restart(self) -> None:
        """Ray starts workers anew by itself."""

    def close(self) -> None:
        """Leave the cluster, where this object joined it."""
        if self._mine:
            self._ray.shutdown()


def run_in_worker(cell: Cell) -> str:
    """:func:`run_elsewhere`, in a process that Ray keeps, as its predictors are from cell to cell."""
    return run_elsewhere(cell, _predictors())


@cache
def _predictors() -> KnownPredictors:
    return KnownPredictors()


def _reach(address: str) -> None:
    """Does anybody listen there? Ray itself would go on asking for minutes."""
    host, colon, port = address.rpartition(":")
    if address == "auto" or "://" in address:
        return
    if not colon or not port.isdigit():
        raise InputError(f"{address!r} is no address; auto or HOST:PORT", key="--cluster")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise _none_at(address, error) from None


def _none_at(address: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:160]
    return InputError(
        f"no Ray cluster at {address!r} ({reason}); start one with `ray start --head`, or give its HOST:PORT",
        key="--cluster",
    )
