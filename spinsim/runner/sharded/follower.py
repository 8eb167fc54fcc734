"""A rank's process: it loads its share, then does what the leading rank tells it, call by call."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from array import array
from collections.abc import Sequence
from multiprocessing import connection, parent_process
from typing import Any

import torch

from spinsim.runner.base import Runner
from spinsim.runner.sharded.calls import REPORT, STOP, TIME, decode, perform
from spinsim.runner.sharded.collectives import Collectives
from spinsim.runner.sharded.hosted import Manner, answer_calls, own_stream
from spinsim.runner.sharded.orders import Build, Held, Load, Meeting, Serve
from spinsim.runner.sharded.ring import Ring

SWITCH_INTERVAL_S = 1e-4  # between threads; by default one that is busy holds up the share for 5 ms
FAILED, READY, LOADED, BUILT, HOPS = "failed", "ready", "loaded", "built", "hops"  # what a rank answers


def follow(
    rank: int, meeting: Meeting, pipe: Any, ring: Ring, drafts: Sequence[tuple[Ring, Any]], threads: int
) -> None:
    """The process of a ``rank`` > 0: orders come through ``pipe``, then calls through ``ring``.

    ``drafts``: ring and pipe of each draft that it has besides.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the leader ends the ranks
    _end_with_parent()
    torch.set_num_threads(threads)

    def failed(error: BaseException) -> None:
        pipe.send((FAILED, (time.perf_counter_ns(), f"failed: {type(error).__name__}: {error}")))
        # Not by way of destructors: those of a broken group wait for its other ranks.
        os._exit(1)

    try:
        if meeting.plugins:
            from spinsim.policies.plugins import load_plugins

            load_plugins(meeting.plugins)
        pipe.send((READY, None))
        ranks = meeting.join(rank)
        runners = _set_up(rank, meeting, pipe, ranks)
        for number, (calls, answers) in enumerate(drafts):
            arguments = (runners[number], calls, answers, failed)
            threading.Thread(target=answer_calls, args=arguments, name=f"draft {number}", daemon=True).start()
        serve(runners[None], ranks, ring, rank - 1, pipe)
        runners[None].close()
        ranks.close()
    except BaseException as error:
        failed(error)


def _set_up(rank: int, meeting: Meeting, pipe: Any, ranks: Collectives) -> dict[int | None, Runner]:
    """The rank's runners, as ordered: the share's under None, drafts' under their numbers."""
    held: dict[int | None, Held] = {}
    runners: dict[int | None, Runner] = {}
    while not isinstance(order := pipe.recv(), Serve):
        if isinstance(order, Load):
            held[order.draft] = order.carry_out(rank, meeting.devices)
            pipe.send((LOADED, free_bytes(torch.device(meeting.devices[rank]))))
        elif isinstance(order, Build):
            runner = runners[order.draft] = order.carry_out(held.pop(order.draft), ranks)
            pipe.send((BUILT, Manner.of(runner)))
    return runners


def free_bytes(device: torch.device) -> int | None:
    """What could still be allocated on a GPU; None on a CPU."""
    if device.type != "cuda":
        return None
    from spinsim.runner.kv_capacity import free_memory

    return free_memory(device)


def serve(runner: Runner, ranks: Collectives, ring: Ring, reader: int, pipe: Any) -> None:
    """Calls in their order, until the one that stops it."""
    own_stream(runner.device)
    hops = array("q")  # nanoseconds from telling to receiving
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    while True:
        call, told_ns = decode(ring.read(reader))
        received_ns = time.perf_counter_ns()
        if call.name == STOP:
            return
        if call.name == REPORT:
            pipe.send((HOPS, hops.tobytes()))
            hops = array("q")
            continue
        if call.name == TIME:
            ranks.times(*call.numbers)
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
