"""What the host adds to every operation of a live run: ``python -m benchmarks.host SCENARIO --out FILE``.

Every operation of every lane (verify, propose, catch-up, prefill; models of one shape once) runs through the
lanes' own threads; ``gathered`` is a verification whose proposals lie with all these drafts, rows in turn.
Settings:

- ``back to back``: the next is submitted when the last one's end is known, as a profile measures;
- ``queued``: all repetitions submitted at once, so that the lane never waits for work;
- ``after sleep``: the lane has been idle for 5 ms;
- ``alternating``: an operation on the other lane (a verification for a draft's, a proposal for the target's)
  comes between, as in a serial round;
- ``ahead`` (CUDA): the device is kept busy until everything is launched; what it then takes is its own time.

``wall_us`` is taken on the lane's thread, ``trip_us`` from submission until the result is known to the
submitter, ``device_us`` by CUDA events around the operation on its stream (None on a CPU). All are medians;
``host_us`` = wall - device time of ``ahead``. Rows reach ``--out`` as they are measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

from spinsim.live.deployment import deploy
from spinsim.live.world import Proposed
from spinsim.operations import Verify
from spinsim.profiling.bench import Bench
from spinsim.profiling.probes import Probe
from spinsim.profiling.workplace import Workplace
from spinsim.scenario_file import load

SETTINGS = ("back to back", "queued", "after sleep", "alternating")
SLEEP_S = 0.005
LEAD_CYCLES = 6_000_000  # some 3 ms of a GPU: launching takes less
PIECE = 128  # of the decomposed packing
WARM = 3

Execute = Callable[[], Any]


@dataclass(frozen=True)
class Work:
    """An operation that can be repeated; ``other``: what comes between on the other lane."""

    operation: str
    model: str
    lane: int
    execute: Execute
    other: tuple[int, Execute]
    device: torch.device


@dataclass(frozen=True)
class Sample:
    """Of one repetition, in microseconds."""

    wall: float
    trip: float
    device: float | None


@dataclass(frozen=True)
class Row:
    """Medians over the repetitions of one operation in one setting, in microseconds."""

    operation: str
    model: str
    batch: int
    setting: str
    wall_us: float
    wall_p90_us: float
    trip_us: float | None
    device_us: float | None
    host_us: float | None
    repetitions: int


class Events:
    """Brackets an operation with CUDA events on its lane's stream; does nothing on a CPU."""

    def __init__(self, device: torch.device, lead: bool = False) -> None:
        self._pair: list[Any] = []
        self._lead = lead and device.type == "cuda"
        if device.type == "cuda":
            event: Any = torch.cuda.Event
            self._pair = [event(enable_timing=True) for _ in range(2)]

    def around(self, execute: Execute) -> Execute:
        """The same call, bracketed."""
        if not self._pair:
            return execute
        begin, end = self._pair

        def bracketed() -> Any:
            if self._lead:
                torch.cuda._sleep(LEAD_CYCLES)  # type: ignore[no-untyped-call]
            begin.record()
            result = execute()
            end.record()
            return result

        return bracketed

    def elapsed_us(self) -> float | None:
        """Between the two, once both have passed."""
        if not self._pair:
            return None
        begin, end = self._pair
        end.synchronize()
        return float(begin.elapsed_time(end)) * 1e3


def measured(bench: Bench, work: Work, setting: str, repetitions: int) -> list[Sample]:
    """One sample a repetition, after a few that do not count. ``queued`` has no trips of its own."""
    if setting == "queued":
        return _queued(bench, work, repetitions)
    samples = []
    for _ in range(WARM + repetitions):
        if setting == "after sleep":
            time.sleep(SLEEP_S)
        elif setting == "alternating":
            bench.stamps(work.other[0], "other", work.other[1])
        events = Events(work.device, lead=setting == "ahead")
        stamps = bench.stamps(work.lane, work.operation, events.around(work.execute))
        trip = (stamps.received - stamps.submitted) / 1e3
        samples.append(Sample(stamps.seconds * 1e6, trip, events.elapsed_us()))
    return samples[WARM:]


def _queued(bench: Bench, work: Work, repetitions: int) -> list[Sample]:
    """From one end to the next: what a repetition takes where the lane always has work."""
    brackets = [Events(work.device) for _ in range(WARM + repetitions)]
    for events in brackets:
        bench.submit(work.lane, work.operation, events.around(work.execute))
    ends = [bench.next_completed()[1].finished_ns for _ in brackets]
    spans = [(now - before) / 1e3 for before, now in pairwise(ends)]
    return [
        Sample(span, float("nan"), events.elapsed_us())
        for span, events in zip(spans[WARM - 1 :], brackets[WARM:], strict=True)
    ]


def row_of(work: Work, batch: int, setting: str, samples: Sequence[Sample], alone_us: float | None) -> Row:
    """Medians; ``alone_us``: the device's own time."""
    walls = [sample.wall for sample in samples]
    devices = [sample.device for sample in samples if sample.device is not None]
    wall = median(walls)
    return Row(
        work.operation,
        work.model,
        batch,
        setting,
        wall,
        quantiles(walls, n=10, method="inclusive")[-1] if len(walls) > 1 else wall,
        None if setting == "queued" else median(sample.trip for sample in samples),
        median(devices) if devices else None,
        None if alone_us is None else wall - alone_us,
        len(samples),
    )


def works(place: Workplace, batch: int, context: int, length: int, lag: int) -> list[Work]:
    """The operations of a round at ``batch`` rows of ``context`` tokens each; ``lag``: tokens to catch up."""
    bench, subject, limits = place.bench, place.subject, place.scenario.limits
    packing = place.scenario.policies.packing.name
    verify = Probe("verify", subject.target, -1, batch, length + 1, context, packing, PIECE)
    new = max(1, min(limits.prefill_chunk_tokens // batch, limits.context_tokens - 1))
    prefill = Probe("prefill", subject.target, -1, batch, new, 0)
    steps = Probe("draft_step", "", 0, batch, 1 if length > 1 else 2, context, proposal=length)
    target = place.deployment.target.device
    verification = bench.target_lane, bench.call(verify)
    found = []
    first: tuple[int, Execute] | None = None
    for model, draft in subject.drafts.items():
        device = place.deployment.drafts[draft].device
        lane = bench.draft_lanes[draft]
        propose = bench.call(replace(steps, model=model, draft=draft))
        catch_up = bench.call(Probe("catch_up", model, draft, batch, lag, context - lag))
        first = first or (lane, propose)
        found.append(Work("propose", model, lane, propose, verification, device))
        found.append(Work("catch_up", model, lane, catch_up, verification, device))
    assert first is not None
    lane, execute = verification
    together = gathered(bench, verify, list(subject.drafts.values()))
    on_target = [
        Work("verify", subject.target, lane, execute, first, target),
        Work("gathered", subject.target, lane, together, first, target),
        Work("prefill", subject.target, lane, bench.call(prefill), first, target),
    ]
    return on_target + found


def gathered(bench: Bench, probe: Probe, drafts: Sequence[int]) -> Execute:
    """A verification of proposals that lie with several drafts, on their devices."""
    count, length = probe.rows, probe.tokens - 1
    rows = list(range(count))
    parts = [bench.proposal(count, length, bench.deployment.drafts[draft].device) for draft in drafts]
    operation = Verify(
        rows,
        rows,
        probe.contexts,
        [1] * count,
        [drafts[row % len(drafts)] for row in rows],
        [length] * count,
        probe.plan,
    )
    proposed = [Proposed(parts[row % len(parts)], row) for row in rows]
    bench.settle()
    return lambda: bench.executor.verify(operation, [1] * count, proposed)


def rows(
    place: Workplace, batches: Sequence[int], options: argparse.Namespace, late: Callable[[], bool]
) -> Iterator[Row]:
    """Row by row, until it is late."""
    for batch in batches:
        for work in works(place, batch, options.context, options.length, options.lag):
            alone: float | None = None
            settings = (("ahead",) if work.device.type == "cuda" else ()) + SETTINGS
            for setting in settings:
                if late():
                    return
                samples = measured(place.bench, work, setting, options.repetitions)
                row = row_of(work, batch, setting, samples, alone)
                if setting == "ahead":
                    alone = row.device_us
                    row = replace(row, host_us=None)  # the wall time of this setting waits on purpose
                yield row


def shown(row: Row) -> str:
    """A line of the table."""

    def us(value: float | None) -> str:
        return f"{value:9.0f}" if value is not None else f"{'':9s}"

    figures = " ".join(us(value) for value in (row.wall_us, row.wall_p90_us, row.trip_us, row.device_us))
    return f"{row.operation:9s} {row.model:24s} {row.batch:5d} {row.setting:13s} {figures} {us(row.host_us)}"


HEAD = (
    f"{'':9s} {'model':24s} {'batch':>5s} {'setting':13s} {'wall':>9s} {'p90':>9s} {'trip':>9s} "
    f"{'device':>9s} {'host':>9s}"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="JSON file, rewritten after every row")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--batches", default="32,8", help="default: 32,8, as far as slots go")
    parser.add_argument("--context", type=int, default=256, help="tokens of every request")
    parser.add_argument("--length", type=int, default=4, help="proposed tokens a request")
    parser.add_argument("--lag", type=int, default=8, help="tokens that a catch-up feeds a request")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0, help="of measuring; the rest is left out")
    options = parser.parse_args(arguments)
    begun = time.perf_counter()
    loaded = load(options.scenario, options.overrides, options.device)
    scenario = loaded.scenario
    limits = scenario.limits
    options.length = min(options.length, limits.max_length)
    options.context = min(options.context, limits.context_tokens - options.length)
    options.lag = min(options.lag, options.context)
    deployment = deploy(scenario, loaded.base_dir)
    slots = min(limits.batch, *deployment.kv_slots.values())
    batches = list(dict.fromkeys(min(int(batch), slots) for batch in options.batches.split(",")))
    result: dict[str, Any] = {
        "command": "python -m benchmarks.host",
        "scenario": scenario.name,
        "models": deployment.models.notes,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "deploy_s": time.perf_counter() - begun,
        "context_tokens": options.context,
        "proposed": options.length,
        "lag": options.lag,
        "rows": [],
    }
    print(f"deployed in {result['deploy_s']:.1f} s; microseconds\n{HEAD}", flush=True)
    end = time.perf_counter() + options.seconds
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with Workplace(scenario, loaded.base_dir, deployment) as place:
        for row in rows(place, batches, options, lambda: time.perf_counter() > end):
            print(shown(row), flush=True)
            result["rows"].append(asdict(row))
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if result["rows"] else 1


if __name__ == "__main__":
    sys.exit(main())
