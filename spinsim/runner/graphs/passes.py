"""What the three kinds of captured passes share: a graph for each shape, recorded when it is first met."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from spinsim.runner.decoder import Decoder
from spinsim.runner.graphs.buffers import Inbox
from spinsim.runner.graphs.capture import Recorder, Replay
from spinsim.runner.kv import SlotCache
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.sampling import Sampling

Key = TypeVar("Key", bound=Hashable)


class RecordedPasses(ABC, Generic[Key]):
    """Passes of as many rows as the plan says. ``graphs`` by executed shape; ``inbox`` feeds all of them."""

    inbox: Inbox

    def __init__(self, decoder: Decoder, cache: SlotCache, recorder: Recorder, plan: RunnerPlan) -> None:
        self.decoder, self.cache, self.recorder = decoder, cache, recorder
        self.sampling, self.kernel, self.max_rows = plan.sampling, plan.kernel, plan.max_rows
        self.graphs: dict[Key, Replay] = {}

    def record(self, keys: Iterable[Key], progress: Callable[[], None]) -> None:
        """Record these shapes; the largest first lets later graphs reuse its memory."""
        for key in keys:
            self.graph(key)
            progress()

    def graph(self, key: Key) -> Replay:
        """The recorded pass of a shape."""
        found = self.graphs.get(key)
        if found is None:
            self._blank()
            found = self.graphs[key] = self.recorder.record(
                self._function(key), fetch=self._fetch(key), send=self._send(key)
            )
        return found

    def takes(self, rows: int, sampling: Sampling | None) -> bool:
        """Can so many rows be replayed? ``sampling``: that of a call that chooses tokens."""
        return 0 < rows <= self.max_rows and sampling in (None, self.sampling)

    @abstractmethod
    def _blank(self) -> None:
        """Fill the inbox with no rows at all: recording runs the function."""

    @abstractmethod
    def _function(self, key: Key) -> Replay:
        """What a graph of this shape repeats, over static tensors."""

    def _fetch(self, key: Key) -> Replay | None:
        """What brings the inbox to the device before it."""
        return self.inbox.fetch

    @abstractmethod
    def _send(self, key: Key) -> Replay | None:
        """What brings results to the host after it."""
