"""A lane in real time: one worker thread, first in, first out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

from spinsim.live.clock import Finished, LiveEnvironment
from spinsim.operations import Completed


class LaneError(RuntimeError):
    """A worker failed; the message names the lane and the operation."""


class Job(NamedTuple):
    """Work for a lane: ``execute`` runs on its thread; what it returns travels with the completion."""

    operation: int
    name: str
    execute: Callable[[], Any]


class WorkerLane:
    """Executes jobs in order on a thread of its own and stamps their ends.

    ``set_up`` runs once on the thread (choose the device and the stream). The worker touches no
    engine state: what it returns reaches the engine's thread through the completion queue.
    """

    def __init__(self, name: str, env: LiveEnvironment, set_up: Callable[[], None] | None = None) -> None:
        self.name = name
        self._env = env
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._set_up = set_up
        self._thread = threading.Thread(target=self._work, name=f"lane {name}", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._jobs.put(job)

    def close(self, patience_s: float | None = None) -> None:
        """Finish what is queued and end the thread, or leave it behind after ``patience_s``."""
        self._jobs.put(None)
        self._thread.join(patience_s)

    def _work(self) -> None:
        env = self._env
        broken: BaseException | None = None
        try:
            if self._set_up is not None:
                self._set_up()
        except BaseException as error:
            broken = error
        while (job := self._jobs.get()) is not None:
            started_ns = env.wall_ns()
            try:
                if broken is not None:
                    raise broken
                result = job.execute()
            except BaseException as error:
                failure = LaneError(f"lane {self.name}: {job.name}: {type(error).__name__}: {error}")
                failure.__cause__ = error
                env.completions.put(Finished(job.operation, env.wall_ns(), None, failure))
                continue
            finished_ns = env.wall_ns()
            done = Completed(result, started_ns, finished_ns)
            env.completions.put(Finished(job.operation, finished_ns, done, None))
