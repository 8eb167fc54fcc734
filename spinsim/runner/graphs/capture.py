"""Capturing passes as CUDA graphs: fixed buffers in, fixed buffers out, one launch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

Replay = Callable[[], None]


class Recorder:
    """Records functions over static tensors; on the CPU a recording simply calls the function again.

    All graphs of a recorder share one memory pool, so what a pass leaves behind must be copied
    into tensors that were allocated before it. Recorded functions (and the tensors they close
    over) are kept alive with their graph: a graph replays addresses, not tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.captured = 0
        self.priority = 0  # of the captured kernels on their GPU; lower numbers go first
        self._pool: Any = None
        self._stream: Any = None
        self._copies = False

    def record(self, function: Replay, *, fetch: Replay | None = None, send: Replay | None = None) -> Replay:
        """A function that repeats what ``function`` did. It is run twice before, as warm-up.

        ``fetch`` and ``send`` copy from and to pinned memory, before and after: within the graph, where
        this torch and driver can capture that, and else around every replay.
        """
        self.captured += 1
        steps = [step for step in (fetch, function, send) if step is not None]
        if self.device.type != "cuda":
            return in_turn(steps)
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
            stream_type: Any = torch.cuda.Stream
            self._stream = stream_type(self.device, priority=self.priority)
            self._copies = self._can_copy()
        if self._copies:
            return self._capture(in_turn(steps), self._pool)
        if fetch is not None:
            fetch()  # or the warm-up would run on the rows of the pass before
        replay = self._capture(function, self._pool)
        return in_turn([replay if step is function else step for step in steps])

    def _can_copy(self) -> bool:
        """Does a captured copy read pinned memory anew at every replay, and write it?"""
        pinned, back = (torch.zeros(4, dtype=torch.int64, pin_memory=True) for _ in range(2))
        held = torch.zeros(4, dtype=torch.int64, device=self.device)

        def both() -> None:
            held.copy_(pinned, non_blocking=True)
            back.copy_(held, non_blocking=True)

        try:
            # A pool of its own: torch refuses one again whose last graph is gone, or whose capture failed.
            replay = self._capture(both, torch.cuda.graph_pool_handle())
        except RuntimeError:
            return False
        pinned.fill_(7)
        replay()
        torch.cuda.current_stream(self.device).synchronize()
        return bool((back == 7).all())

    @torch.inference_mode()
    def _capture(self, function: Replay, pool: Any) -> Replay:
        with torch.cuda.device(self.device):
            stream = self._stream
            stream.wait_stream(torch.cuda.current_stream(self.device))
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.stream(stream):
                function()
                function()
                # Not the whole device: that fails while another lane's thread captures on it.
                stream.synchronize()
                # thread_local: another lane's thread may allocate while this one captures
                graph.capture_begin(pool=pool, capture_error_mode="thread_local")
                try:
                    function()
                finally:
                    graph.capture_end()
            torch.cuda.current_stream(self.device).wait_stream(stream)

        def replay(graph: torch.cuda.CUDAGraph = graph, alive: Replay = function) -> None:
            graph.replay()

        return replay


def in_turn(steps: Sequence[Replay]) -> Replay:
    """One function that calls all of ``steps``."""
    if len(steps) == 1:
        return steps[0]

    def run() -> None:
        for step in steps:
            step()

    return run
