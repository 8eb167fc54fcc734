"""Running an experiment's cells: what is known is not run again, what fails is tried again."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, replace

from spinsim.errors import InputError
from spinsim.lab.cell import Cell
from spinsim.lab.pool import Pool
from spinsim.lab.store import Outcome, Store
from spinsim.progress import Progress

ATTEMPTS = 3  # of a cell, before it is reported as failed


@dataclass(frozen=True)
class Lab:
    """Where an experiment runs its cells and keeps their results."""

    pool: Pool
    store: Store
    progress: Progress | None = None
    attempts: int = ATTEMPTS
    engine: str = "auto"  # that plays the cells; their results are the same

    def evaluate(self, cells: Iterable[Cell], phase: str = "cells") -> dict[str, Outcome]:
        """The outcome of every cell, by key, in the order given; each kept as soon as it is there.

        A cell is tried again when it raises or its worker dies, unless its scenario is to blame
        (InputError). Where a process died, its cells run alone from then on, so that the guilty
        one takes no other with it.
        """
        unique = {cell.key: cell for cell in cells}
        found = {key: outcome for key in unique if (outcome := self.store.get(key)) is not None}
        work = _Work(self, deque(cell for key, cell in unique.items() if key not in found))
        done = len(found)
        self._report(phase, done, len(unique))
        for outcome in work.outcomes():
            self.store.put(replace(outcome, scenario=unique[outcome.key].scenario))
            found[outcome.key] = outcome
            done += 1
            self._report(phase, done, len(unique))
        return {key: found[key] for key in unique}

    def _report(self, phase: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(phase, done, total)


class _Work:
    """Cells waiting, in flight, and under suspicion of having killed their worker."""

    def __init__(self, lab: Lab, waiting: deque[Cell]) -> None:
        self.lab = lab
        self.waiting = waiting
        self.suspects: deque[Cell] = deque()
        self.flying: dict[Future[str], Cell] = {}
        self.attempts: dict[str, int] = {}

    def outcomes(self) -> Iterable[Outcome]:
        while self.waiting or self.suspects or self.flying:
            self._submit()
            finished, _ = wait(self.flying, return_when=FIRST_COMPLETED)
            broken = False
            for future in finished:
                error = future.exception()
                if isinstance(error, BrokenExecutor):
                    broken = True
                elif (outcome := self._judge(self.flying.pop(future), future, error)) is not None:
                    yield outcome
            if broken:
                yield from self._broken()

    def _submit(self) -> None:
        """Fill the pool; suspects only one at a time, when nothing else is in flight."""
        pool = self.lab.pool
        slots = pool.slots
        try:
            while self.waiting and not self.suspects and len(self.flying) < slots:
                self._fly(self.waiting)
            if self.suspects and not self.flying:
                self._fly(self.suspects)
        except BrokenExecutor:  # a worker died between two cells: those in flight will say so
            if not self.flying:
                pool.restart()
                self._submit()

    def _fly(self, queue: deque[Cell]) -> None:
        future = self.lab.pool.submit(
            replace(queue[0], engine=self.lab.engine)
        )  # where this raises, the cell stays in its queue
        self.flying[future] = queue.popleft()

    def _judge(self, cell: Cell, future: Future[str], error: BaseException | None) -> Outcome | None:
        """The cell's outcome, or None where it is to be tried again."""
        tried = self.attempts[cell.key] = self.attempts.get(cell.key, 0) + 1
        if error is None:
            return Outcome(cell.key, json.loads(future.result()), attempts=tried)
        if isinstance(error, InputError) or tried >= self.lab.attempts:
            text = " ".join(str(error).split())
            said = text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
            said = " ".join([said, *getattr(error, "__notes__", [])])
            return Outcome(cell.key, None, said, tried)
        self.waiting.append(cell)
        return None

    def _broken(self) -> Iterable[Outcome]:
        """A process died and took with it what the pool was running."""
        lost = list(self.flying.items())
        self.flying.clear()
        self.lab.pool.restart()
        for future, cell in lost:
            error = future.exception()
            if error is None:  # it had finished just before
                outcome = self._judge(cell, future, None)
                assert outcome is not None
                yield outcome
                continue
            if len(lost) == 1:
                tried = self.attempts[cell.key] = self.attempts.get(cell.key, 0) + 1
                if tried >= self.lab.attempts:
                    yield Outcome(cell.key, None, "its process died (killed, or out of memory?)", tried)
                    continue
            self.suspects.append(cell)
