"""Capturing passes as CUDA graphs: fixed buffers in, fixed buffers out, one launch."""

from __future__ import annotations

from collections.abc import Callable
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
        self._pool: Any = None
        self._stream: Any = None

    @torch.inference_mode()
    def record(self, function: Replay) -> Replay:
        """A function that repeats what ``function`` did. It is run twice before, as warm-up."""
        self.captured += 1
        if self.device.type != "cuda":
            return function
        with torch.cuda.device(self.device):
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
                stream_type: Any = torch.cuda.Stream
                self._stream = stream_type(self.device)
            stream = self._stream
            stream.wait_stream(torch.cuda.current_stream(self.device))
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.stream(stream):
                function()
                function()
                torch.cuda.synchronize(self.device)
                # thread_local: another lane's thread may allocate while this one captures
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    function()
                finally:
                    graph.capture_end()
            torch.cuda.current_stream(self.device).wait_stream(stream)

        def replay(graph: torch.cuda.CUDAGraph = graph, alive: Replay = function) -> None:
            graph.replay()

        return replay
