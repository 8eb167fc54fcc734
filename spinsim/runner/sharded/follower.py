"""A rank's process: it loads its share, then does what the leading rank tells it, call by call."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from array import array
from multiprocessing import connection, parent_process
from typing import Any

import torch

from spinsim.runner.base import Runner
from spinsim.runner.sharded.calls import REPORT, STOP, decode, perform
from spinsim.runner.sharded.orders import Build, Load, Meeting
from spinsim.runner.sharded.ring import Ring

FAILED, LOADED, BUILT, HOPS = "failed", "loaded", "built", "hops"  # what a rank answers


def follow(rank: int, meeting: Meeting, pipe: Any, ring: Ring, threads: int) -> None:
    """The process of a ``rank`` > 0: orders come through ``pipe``, then calls through ``ring``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the leader ends the ranks
    _end_with_parent()
    torch.set_num_threads(threads)
    try:
        ranks = meeting.join(rank)
        load: Load = pipe.recv()
        share, weights = load.carry_out(rank, meeting.devices)
        pipe.send((LOADED, free_bytes(torch.device(meeting.devices[rank]))))
        build: Build = pipe.recv()
        runner = build.carry_out(share, weights, ranks)
        pipe.send((BUILT, None))
        serve(runner, ring, rank - 1, pipe)
        ranks.close()
    except BaseException as error:
        pipe.send((FAILED, (time.perf_counter_ns(), f"failed: {type(error).__name__}: {error}")))
        # Not by way of destructors: those of a broken group wait for its other ranks.
        os._exit(1)


def free_bytes(device: torch.device) -> int | None:
    """What could still be allocated on a GPU; None on a CPU."""
    if device.type != "cuda":
        return None
    from spinsim.runner.kv_capacity import free_memory

    return free_memory(device)


def serve(runner: Runner, ring: Ring, reader: int, pipe: Any) -> None:
    """Calls in their order, until the one that stops it."""
    hops = array("q")  # nanoseconds from telling to receiving
    gc.collect()
    gc.freeze()
    gc.disable()
    while True:
        call, told_ns = decode(ring.read(reader))
        received_ns = time.perf_counter_ns()
        if call.name == STOP:
            return
        if call.name == REPORT:
            pipe.send((HOPS, hops.tobytes()))
            hops = array("q")
            continue
        hops.append(received_ns - told_ns)
        perform(runner, call)


def _end_with_parent() -> None:
    """A leader that was killed cannot stop its ranks, and those may wait for it on a device for ever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
