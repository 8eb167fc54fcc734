"""Where cells run: in processes of this machine, in this process, or on a cluster."""

from __future__ import annotations

import ast
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Protocol

from spinsim.drafters.costs import KnownPredictors
from spinsim.errors import InputError
from spinsim.lab.cell import Cell, run_cell
from spinsim.lab.ray_pool import RayCluster

MOST_WORKERS = 10_000  # processes of one machine
_GUARD = 'call it under `if __name__ == "__main__":`, or with workers=0'


class Pool(Protocol):
    """Runs cells. ``slots``: how many are worth submitting at once."""

    @property
    def slots(self) -> int: ...

    def submit(self, cell: Cell) -> Future[str]:
        """The future of :func:`run_cell`. Raises BrokenExecutor where a worker has died."""
        ...

    def restart(self) -> None:
        """New workers for those that died; what was in flight is lost."""
        ...

    def close(self) -> None:
        """End the workers at once, whatever they are doing."""
        ...


class ThisProcess:
    """One cell after another, here: for debuggers, and for scripts without a main guard."""

    slots = 1

    def __init__(self) -> None:
        self._predictors = KnownPredictors()

    def submit(self, cell: Cell) -> Future[str]:
        future: Future[str] = Future()
        try:
            future.set_result(run_cell(cell, self._predictors))
        except Exception as error:
            future.set_exception(error)
        return future

    def restart(self) -> None:
        """Nothing to restart."""

    def close(self) -> None:
        """Nothing to end."""


class Processes:
    """``workers`` processes, spawned afresh: no state of this one reaches a result.

    They end with this process however it ends: each holds the reading end of a pipe that only this
    process can write to, and leaves when the pipe closes.
    """

    def __init__(self, workers: int) -> None:
        self.slots = workers
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._began = context.Event()  # set by the first worker that is ready for work
        self._alive, self._held = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            self.slots, mp_context=context, initializer=_begin, initargs=(self._alive, self._began)
        )

    def submit(self, cell: Cell) -> Future[str]:
        with _interrupts_kept():
            return self._executor.submit(_run_in_worker, cell)

    def restart(self) -> None:
        """Raises InputError where none of the workers ever came to begin: the next ones would not, either."""
        began = self._began.is_set()
        self.close()
        if not began:
            raise InputError(f"worker processes end as they start; {_GUARD}", file=_script())
        self._start()

    def close(self) -> None:
        self._held.close()
        self._alive.close()
        self._executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    """A process that starts meanwhile never hears Ctrl-C, not even while it imports; this one does later."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker: list[KnownPredictors] = []  # what a worker process keeps from cell to cell, from its beginning on


def _begin(alive: Connection, began: Event) -> None:
    """In a worker: leave Ctrl-C to the parent, and leave when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker.append(KnownPredictors())
    began.set()

    def watch() -> None:
        try:
            alive.recv_bytes()  # nothing is ever sent: this returns at the end of the pipe
        except (EOFError, OSError):
            os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _run_in_worker(cell: Cell) -> str:
    return run_cell(cell, *_worker)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def open_pool(workers: int | None = None, cluster: str | None = None) -> Iterator[Pool]:
    """A pool where the options say, closed at the end. ``workers``: None for one a core, 0 for this process.

    ``cluster`` is ``auto`` or the address of a Ray cluster. Raises InputError where there is none.
    """
    if cluster is not None and workers is not None:
        raise InputError("--workers is for this machine; leave it out with --cluster", key="--cluster")
    pool = _here(cores() if workers is None else workers) if cluster is None else RayCluster(cluster)
    try:
        yield pool
    finally:
        pool.close()


def _here(workers: int) -> Pool:
    """A pool on this machine. Raises InputError where its workers would begin the caller's script anew."""
    if workers < 0:
        raise InputError(f"{workers} is not allowed; 0 (this process) or more", key="--workers")
    if workers > MOST_WORKERS:
        raise InputError(f"{workers} is not allowed; at most {MOST_WORKERS:,}", key="--workers")
    if not workers:
        return ThisProcess()
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A worker imports a script without a guard, which begins the experiment again. The parent says so.
        raise SystemExit(1)
    if _unguarded():
        raise InputError(f"begins anew in every worker process; {_GUARD}", file=_script())
    return Processes(workers)


def _script() -> str:
    """The file that Python was started with, where it is one; workers import it."""
    main = sys.modules.get("__main__")
    imported = getattr(main, "__spec__", None) is not None  # python -m: by its name
    return "" if imported else str(getattr(main, "__file__", None) or "")


def _unguarded() -> bool:
    """Does the script tell nowhere whether it is imported? Then a worker that imports it runs it."""
    path = Path(_script())
    if path.suffix != ".py":  # a console script, a notebook, a terminal
        return False
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, ValueError, SyntaxError):
        return False
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return not names & {"__name__", "parent_process"}
