"""What holds a run back, in one line with figures: memory, a lane, the host, a limit, or its own load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from spinsim.costs.for_scenario import TARGET
from spinsim.engine.records import REJECTED, Records
from spinsim.engine.world import NS
from spinsim.results.columns import RequestColumns
from spinsim.results.window import Window
from spinsim.scenario import ClosedLoop, Scenario

WAITING = 0.05  # share of the window in which somebody waits: less is chance
BUSY = 0.9  # of a lane that has no time left
HOST = 0.5  # of the run in which the orchestrator works: a serial resource beside others
Holder = Literal["nothing", "kv", "target", "draft", "host", "batch", "arrivals", "clients"]


class Occupancy(NamedTuple):
    """Time averages over the window: requests admitted, requests waiting, and shares of the time in which
    somebody waits although ``limits.batch`` has room (``for_memory``), or since it has none (``for_batch``).
    """

    admitted: float
    waiting: float
    for_memory: float
    for_batch: float


def held_back(
    records: Records,
    requests: RequestColumns,
    scenario: Scenario,
    window: Window,
    lanes: Mapping[str, Any],
) -> dict[str, Any]:
    """``held_back`` of a summary: ``by`` names what holds the run, ``text`` says it, the rest are figures.

    The first of these that applies: K/V memory, when requests wait for it while ``limits.batch`` has room; a
    lane, from ``BUSY`` on; the host; ``limits.batch``, when requests wait for it; else the load: clients of a
    closed loop, arrivals of an open one. ``lanes``: the summary's.
    """
    used = occupancy(requests, window, scenario.limits.batch)
    slots = records.kv_capacity_tokens.get(TARGET, 0) // scenario.kv.block(scenario.limits.context_tokens)
    ended = records.ended_ns / NS
    host = records.orchestrator_s / ended if ended > 0 else 0.0
    by, text = _judge(records, requests, scenario, used, lanes, host)
    text += _draft_memory(records, scenario, used)
    return {
        "by": by,
        "text": text,
        **used._asdict(),
        "kv_slots" if scenario.kv.reserve == "full" else "kv_blocks": slots,
        "host_fraction": host,
    }


def occupancy(requests: RequestColumns, window: Window, batch: int) -> Occupancy:
    """Requests admitted and waiting, over the window. A preempted request counts as admitted."""
    start, end = window.start_ns / NS, window.end_ns / NS
    served = requests.status != REJECTED
    left = np.where(np.isnan(requests.finished), np.inf, requests.finished)[served]
    arrived = requests.arrival[served]
    admitted = np.where(np.isnan(requests.admitted), np.inf, requests.admitted)[served]
    seconds = end - start
    if not arrived.size or seconds <= 0:
        return Occupancy(0.0, 0.0, 0.0, 0.0)
    # At each moment one request more or less waits, or is admitted.
    moments = np.concatenate((arrived, np.minimum(admitted, left), admitted, left))
    one = np.ones_like(arrived)
    never = np.where(np.isinf(admitted), 0.0, 1.0)
    waits = np.concatenate((one, -one, 0 * one, 0 * one))
    holds = np.concatenate((0 * one, 0 * one, never, -never))
    moments = np.clip(moments, start, end)
    order = np.argsort(moments, kind="stable")
    spans = np.diff(np.append(moments[order], end)) / seconds
    waiting, holding = np.cumsum(waits[order]), np.cumsum(holds[order])
    someone = waiting > 0
    return Occupancy(
        float(holding @ spans),
        float(waiting @ spans),
        float(spans[someone & (holding < batch)].sum()),
        float(spans[someone & (holding >= batch)].sum()),
    )


def _judge(
    records: Records,
    requests: RequestColumns,
    scenario: Scenario,
    used: Occupancy,
    lanes: Mapping[str, Any],
    host: float,
) -> tuple[Holder, str]:
    batch = scenario.limits.batch
    busy = {name: lane["busy_fraction"] for name, lane in lanes.items()}
    if not requests.status.size or not any(lane["operations"] for lane in lanes.values()):
        return "nothing", "nothing was served"
    busiest = max(busy, key=lambda name: busy[name])
    beside = f"; the busiest lane, {busiest}, works {_percent(busy[busiest])} of the time"
    if used.for_memory >= WAITING:
        return "kv", _memory(records, requests, scenario, used)
    if busy[busiest] >= BUSY:
        target = busiest == records.lanes[0][0]
        whose = "the target" if target else "a draft's lane"
        return (
            "target" if target else "draft",
            f"{whose}: {busiest} works {_percent(busy[busiest])} of the time",
        )
    if host >= HOST:
        return "host", f"the host: the orchestrator works {_percent(host)} of the time{beside}"
    if used.for_batch >= WAITING:
        return "batch", (
            f"limits.batch: {batch} requests are served at once, and {used.waiting:.1f} more wait on average"
            + beside
        )
    arrivals = scenario.workload.arrivals
    if isinstance(arrivals, ClosedLoop):
        return (
            "clients",
            f"clients: {arrivals.concurrency}, where limits.batch serves {batch} at once{beside}",
        )
    served = f"{used.admitted:.1f} of {batch} requests are served on average"
    return "arrivals", f"arrivals: {served}, and nobody waits{beside}"


def _memory(records: Records, requests: RequestColumns, scenario: Scenario, used: Occupancy) -> str:
    batch, kv = scenario.limits.batch, scenario.kv
    tokens = records.kv_capacity_tokens.get(TARGET, 0)
    waits = f"; requests wait for it {_percent(used.for_memory)} of the time; it is {tokens:,} tokens"
    if kv.reserve == "grow":
        preempted = int(requests.preemptions.sum())
        held = f"K/V memory holds {used.admitted:.1f} of {batch} requests on average: kv.reserve grow"
        return f"{held}, {preempted:,} preemption{'' if preempted == 1 else 's'}{waits}"
    held = f"K/V memory holds {tokens // scenario.limits.context_tokens} of {batch} requests: kv.reserve full"
    if (most := grown(tokens, requests, scenario)) <= tokens // scenario.limits.context_tokens:
        return held + waits
    return f"{held}; grow would hold {most}{waits}"


def _draft_memory(records: Records, scenario: Scenario, used: Occupancy) -> str:
    """Said where a draft's K/V memory holds fewer requests than are served, and evicts the others."""
    block = scenario.kv.block(scenario.limits.context_tokens)
    held = records.kv_capacity_tokens
    slots = {name: held[name] // block for name in records.drafts if name in held}
    if scenario.kv.reserve == "grow" or not slots or min(slots.values()) >= used.admitted:
        return ""
    name = min(slots, key=lambda draft: slots[draft])
    return f"; K/V memory of draft {name} holds {slots[name]} of the {used.admitted:.1f} that are served"


def grown(tokens: int, requests: RequestColumns, scenario: Scenario) -> int:
    """Requests of this run's mean final length, in whole blocks, that ``reserve: grow`` would hold."""
    served = requests.status != REJECTED
    lengths = (requests.prompt_tokens + requests.output_tokens)[served]
    block = scenario.kv.block_tokens
    blocks = float(np.mean(-(-lengths // block))) if lengths.size else 0.0
    return min(scenario.limits.batch, int(tokens // block / blocks)) if blocks else 0


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
