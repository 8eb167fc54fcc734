"""Operations on the lanes of a live run, one at a time, as the live world would submit them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from spinsim.engine.world import NS, Lane
from spinsim.live.clock import LiveEnvironment
from spinsim.live.deployment import TARGET, Deployment
from spinsim.live.executor import TorchExecutor
from spinsim.live.lanes import Job, WorkerLane
from spinsim.live.world import Proposed
from spinsim.operations import CatchUp, Completed, Prefill, Propose, Verify
from spinsim.packings import usual_packing
from spinsim.profiling.blocks import Laid
from spinsim.profiling.probes import Probe
from spinsim.profiling.timing import Effort, Timing, sampled, timing_of
from spinsim.runner.rows import Proposal
from spinsim.scenario import Scenario

USUAL_LENGTH, PIECE = 4, 128  # of proposals and of a decomposed verification between probes
Timed = tuple[int, str, Callable[[], Any]]  # lane, operation, what its worker executes


class Stamps(NamedTuple):
    """Of one job, in integer nanoseconds: handed over, begun, ended, and known to be ended."""

    submitted: int
    started: int
    finished: int
    received: int

    @property
    def seconds(self) -> float:
        """What the lane's worker took."""
        return (self.finished - self.started) / NS


class Bench:
    """A deployment with the threads of its lanes. ``target_lane`` and ``draft_lanes`` as in the engine.

    ``drafts`` are the runners of the scenario's drafts that are models, in their order, and ``laid_of`` says
    where the K/V of each lie; -1: the target's.
    """

    def __init__(
        self,
        scenario: Scenario,
        deployment: Deployment,
        lanes: Sequence[Lane],
        target_lane: int,
        draft_lanes: Sequence[int],
    ) -> None:
        self.deployment = deployment
        self.lanes = lanes
        self.target_lane, self.draft_lanes = target_lane, draft_lanes
        self.executor: TorchExecutor = deployment.executor(scenario, lanes)
        self.greedy = scenario.sampling.greedy
        names = list(deployment.models.drafts)
        self.drafts = [deployment.drafts[names.index(name)] for name in scenario.models.draft_models]
        self._env = LiveEnvironment()
        executor = self.executor
        self._workers = [
            WorkerLane(lane.name, self._env, lambda i=i: executor.set_up(i))  # type: ignore[misc]
            for i, lane in enumerate(lanes)
        ]
        self._jobs = 0
        self._usual: dict[tuple[bool, int], Timed] = {}
        self._longest, self._rows = scenario.limits.context_tokens, min(deployment.kv_slots.values())
        self._proposed = min(USUAL_LENGTH, scenario.limits.max_length)
        self._packing = usual_packing(scenario.policies.packing.name)
        block = scenario.kv.paged_by or None
        runners = (deployment.target, *deployment.drafts)
        laid = {
            name: Laid(runner, deployment.kv_slots[name], deployment.kv_tokens[name], self._longest, block)
            for runner, name in zip(runners, deployment.kv_tokens, strict=True)
        }
        self._laid = tuple(laid.values())
        self.laid_of = (*(laid[name] for name in scenario.models.draft_models), laid[TARGET])
        for runner in runners:
            runner.fill()
        self.share()

    def share(self, *, scattered: bool = True) -> None:
        """Any row may be as long as a context can be, whatever the K/V memory: no engine counts blocks here.

        ``scattered``: K/V lie all over the cache, as in a run; else in order, as on a bench.
        """
        for laid in self._laid:
            laid.lay(scattered=scattered)
        self.settle()

    def warm_up(self, seconds: float) -> None:
        """Verify without a pause for so long: a GPU's clocks are then those of a run. Nothing on a CPU."""
        if self.deployment.target.device.type != "cuda":
            return
        lane, name, execute = self.usual(False, max(1, self._rows // 2), max(2, self._longest // 2))
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            self.stamps(lane, name, execute)

    def settle(self) -> None:
        """Wait for what this thread has put on any GPU: the lanes' streams do not."""
        for runner in (self.deployment.target, *self.deployment.drafts):
            runner.settle()

    def close(self) -> None:
        """End the lanes' threads."""
        for worker in self._workers:
            worker.close()

    def now_ns(self) -> int:
        """On the clock that completions are stamped with."""
        return self._env.wall_ns()

    def submit(self, lane: int, name: str, execute: Callable[[], Any]) -> int:
        """Queue a job; returns its number."""
        self._jobs += 1
        self._workers[lane].submit(Job(self._jobs, name, execute))
        return self._jobs

    def next_completed(self) -> tuple[int, Completed]:
        """(number, completion) of the next job to end. Raises the worker's error."""
        finished = self._env.completions.get()
        if finished.error is not None:
            raise finished.error
        assert finished.done is not None
        return finished.operation, finished.done

    def stamps(self, lane: int, name: str, execute: Callable[[], Any]) -> Stamps:
        """Run one job alone."""
        submitted = self._env.wall_ns()
        self.submit(lane, name, execute)
        _, done = self.next_completed()
        return Stamps(submitted, done.started_ns, done.finished_ns, self._env.wall_ns())

    def lane_of(self, probe: Probe) -> int:
        """The lane that a probe's model runs on."""
        return self.target_lane if probe.draft < 0 else self.draft_lanes[probe.draft]

    def measure(self, probe: Probe, effort: Effort) -> Timing:
        """The probe's time, over the repetitions of one visit."""
        return timing_of(self.samples(probe, effort))

    def samples(self, probe: Probe, effort: Effort, *, alone: bool = False) -> list[float]:
        """The seconds of each repetition, each after an operation of the other side (:meth:`before`).

        Page tables are written before it, as in a run. ``alone``: neither, but back to back. A later draft
        step is (whole proposal - first step) / steps between, the two measured in turn, so that a drift of
        the clock cancels.
        """
        lane, other, laid = self.lane_of(probe), self.before(probe), self.laid_of[probe.draft]
        for each in self._laid:
            each.part(probe.rows)
        self.settle()

        def timed(execute: Callable[[], Any]) -> Callable[[], float]:
            def in_turn() -> Any:
                laid.grown(probe.rows)
                return execute()

            def once() -> float:
                if alone:
                    return self.stamps(lane, probe.operation, execute).seconds
                if other is not None:
                    self.stamps(*other)
                return self.stamps(lane, probe.operation, in_turn).seconds

            return once

        if probe.operation == "draft_step" and probe.tokens == 1:
            first, whole = timed(self._propose(probe, 1)), timed(self._propose(probe, probe.steps))
            # Noise can make a short step vanish; it never takes less than no time.
            return sampled(lambda: max(1e-9, (whole() - first()) / (probe.steps - 1)), effort)
        return sampled(timed(self.call(probe)), effort)

    def before(self, probe: Probe) -> Timed | None:
        """What comes before it in a serial round: a verification before a draft's operation, else a proposal.

        Back to back, an operation finds its instructions and data in the host's caches, and short ones take
        up to a third less than they do in a run. None without a draft.
        """
        if not self.draft_lanes:
            return None
        context = max(2, min(probe.context, self._longest - self._proposed))
        return self.usual(probe.draft < 0, probe.rows, context)

    def usual(self, proposal: bool, rows: int, context: int) -> Timed:
        """A proposal of the first draft, or a verification, of a usual round; prepared once for each size."""
        known = self._usual.get((proposal, rows))
        if known is None:
            length = self._proposed if self.draft_lanes else 0
            if proposal:
                probe = Probe("draft_step", "", 0, rows, 2, context, proposal=length)
                known = self.draft_lanes[0], "draft_step", self._propose(probe, length)
            else:
                probe = Probe("verify", "", -1, rows, length + 1, context, self._packing, PIECE)
                known = self.target_lane, "verify", self._verify(probe)
                self.settle()
            self._usual[proposal, rows] = known
        return known

    def call(self, probe: Probe) -> Callable[[], Any]:
        """What a lane's worker is to execute for a probe, prepared."""
        if probe.operation == "prefill":
            return self._prefill(probe)
        if probe.operation == "catch_up":
            return self._catch_up(probe)
        if probe.operation == "draft_step":
            return self._propose(probe, probe.steps)
        execute = self._verify(probe)
        self.settle()
        return execute

    def _tokens(self, probe: Probe) -> list[list[int]]:
        used = self.deployment.models.target.used_vocabulary
        return [[(7 * row + 31 * i) % used for i in range(probe.tokens)] for row in range(probe.rows)]

    def _prefill(self, probe: Probe) -> Callable[[], Any]:
        rows = list(range(probe.rows))
        chunks = self._tokens(probe)
        new = [probe.tokens] * probe.rows
        operation = Prefill(rows, rows, probe.contexts, new, [True] * probe.rows)
        return lambda: self.executor.prefill(operation, chunks)

    def _catch_up(self, probe: Probe) -> Callable[[], Any]:
        rows, starts = list(range(probe.rows)), probe.contexts
        chunks = self._tokens(probe)
        new = [probe.tokens] * probe.rows
        operation = CatchUp(probe.draft, rows, rows, [1] * probe.rows, starts, new)
        return lambda: self.executor.catch_up(operation, starts, chunks, False)

    def _propose(self, probe: Probe, steps: int) -> Callable[[], Any]:
        rows = list(range(probe.rows))
        operation = Propose(probe.draft, rows, rows, probe.contexts, [steps] * probe.rows)
        positions, tails = [1] * probe.rows, [(1, 2)] * probe.rows
        return lambda: self.executor.propose(operation, positions, tails)

    def _verify(self, probe: Probe) -> Callable[[], Any]:
        rows, length = list(range(probe.rows)), probe.tokens - 1
        operation = Verify(
            rows,
            rows,
            probe.contexts,
            [1] * probe.rows,
            [0 if length else -1] * probe.rows,
            [length] * probe.rows,
            probe.plan,
        )
        last = [1] * probe.rows
        proposed: list[Proposed | None] = [None] * probe.rows
        if length:
            proposal = self.proposal(probe.rows, length, self.deployment.target.device)
            proposed = [Proposed(proposal, row) for row in rows]
        return lambda: self.executor.verify(operation, last, proposed)

    def proposal(self, rows: int, length: int, device: torch.device) -> Proposal:
        """Proposals as a draft on ``device`` would leave them."""
        target = self.deployment.models.target
        tokens = np.random.default_rng(0).integers(target.used_vocabulary, size=(rows, length))
        if self.greedy:
            return Proposal(tokens)
        width = target.vocabulary
        flat = torch.full((rows, length, width), 1.0 / width, device=device)
        return Proposal(tokens, flat)
