"""The processes that share an engine: arrivals, prefill, and a micro-batch for each depth of the pipeline."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import simpy

from spinsim.engine.engine import Engine
from spinsim.engine.prefill import prefill
from spinsim.engine.rounds import micro_batch
from spinsim.engine.world import NS


def start(engine: Engine) -> None:
    """Create every process; nothing happens before the environment runs."""
    workload = engine.workload
    if not workload.requests:
        engine.done.succeed()
        return
    engine.records.closed_loop = workload.concurrency is not None
    engine.env.process(prefill(engine))
    for index in range(engine.policies.pipeline.max_depth):
        engine.env.process(micro_batch(engine, index))
    engine.env.process(_arrivals(engine))


def _arrivals(engine: Engine) -> Generator[simpy.Event, Any, None]:
    """Every request at its time; of a closed loop one a client, and the others as earlier ones end."""
    workload, env = engine.workload, engine.env
    if workload.concurrency is not None:
        for _ in range(min(workload.concurrency, len(workload.requests))):
            engine.send_next()
        return
    for request in workload.requests:
        gap = round(request.arrival_s * NS) - env.now
        if gap > 0:
            yield env.timeout(gap)
        engine.arrive(request)
