"""A profile in the making: what is measured so far, on disk as it goes, and what is still to come."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from spinsim.buckets import dear_buckets
from spinsim.costs.profiled.profile import Point, Profile, write_profile
from spinsim.profiling.adaptive import next_probes
from spinsim.profiling.bench import Bench
from spinsim.profiling.probes import Probe
from spinsim.profiling.timing import Effort, timing_of
from spinsim.progress import Progress

Guess = Callable[[Probe], float]

WRITE_EVERY_S = 2.0
BATCH = 6  # adaptive points between two fits
DEAR = 0.02  # a bucket that takes so much longer than a larger one is passed over; less is noise


class Session:
    """Measures probes into a profile.

    ``guess`` predicts a probe's seconds before anything is known; what visits took beside it, by
    operation and model, corrects what remains, so that progress tells the time that is left.
    """

    def __init__(
        self, profile: Profile, path: Path, effort: Effort, guess: Guess, progress: Progress | None
    ) -> None:
        self.profile = profile
        self.path = path
        self._effort, self._guess, self._progress = effort, guess, progress
        self._done = {point.identity for point in profile.points}
        self._samples: dict[tuple[object, ...], list[float]] = {}
        self._ratios: dict[tuple[str, str], list[float]] = {}
        self._began = self._written = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Since the session began."""
        return time.perf_counter() - self._began

    def has(self, probe: Probe) -> bool:
        """Is it measured already?"""
        return probe.identity in self._done

    def add(self, point: Point) -> None:
        """Keep a point, in place of an earlier one of its shape, and write the file every now and then."""
        identity = point.identity
        points = self.profile.points
        if identity in self._done and point.model:
            points = tuple(known for known in points if known.identity != identity)
        self.profile = replace(self.profile, points=(*points, point))
        self._done.add(identity)
        if time.perf_counter() - self._written > WRITE_EVERY_S:
            self.write()

    def note_clocks(self, at_work: Mapping[str, float]) -> None:
        """The clocks of now, after a while of work, beside those of the start."""
        busy = {f"busy_{name}": value for name, value in at_work.items()}
        self.profile = replace(self.profile, clocks={**self.profile.clocks, **busy})

    def pass_over(self, stairs: Sequence[Probe]) -> None:
        """Note in the profile which buckets take longer than a larger one, as measured of ``stairs``."""
        seconds = {point.identity: point.seconds for point in self.profile.points}
        measured: dict[tuple[str, str], dict[int, float]] = {}
        for probe in stairs:
            size = "rows" if probe.operation == "draft_step" else "tokens"
            if probe.identity in seconds:
                found = measured.setdefault((probe.model, size), {})
                found[int(probe.features[size])] = seconds[probe.identity]
        models = {
            name: replace(
                model,
                without_rows=tuple(sorted(dear_buckets(measured.get((name, "rows"), {}), DEAR))),
                without_tokens=tuple(sorted(dear_buckets(measured.get((name, "tokens"), {}), DEAR))),
            )
            for name, model in self.profile.models.items()
        }
        self.profile = replace(self.profile, models=models)

    def write(self) -> None:
        """Write what there is."""
        write_profile(self.profile, self.path)
        self._written = time.perf_counter()

    def expected_s(self, probe: Probe) -> float:
        """How long one visit to a probe will take."""
        known = self._ratios.get((probe.operation, probe.model))
        if known is None:
            known = [ratio for ratios in self._ratios.values() for ratio in ratios]
        ratio = float(np.median(known)) if known else 3.0
        return ratio * self._effort.expected(self._guess(probe))

    def report(self, left_s: float) -> None:
        """Progress in seconds: elapsed of elapsed and expected."""
        if self._progress is not None:
            self._progress("profile", self.elapsed_s, self.elapsed_s + left_s)

    def measure(
        self, bench: Bench, probes: Sequence[Probe], beyond_s: float = 0.0, until_s: float = math.inf
    ) -> None:
        """Measure what is not measured yet, in several passes. ``beyond_s``: expected after these.

        From the first pass on every point is there, so that an interruption leaves a profile. The first pass
        is always whole. Once ``until_s`` have gone it goes on with the fewest repetitions, and no further
        pass does: a machine that others load would else take many times its budget.
        """
        left = [probe for probe in probes if not self.has(probe)]
        for turn in range(self._effort.passes):
            later = sum(map(self.expected_s, left)) * (self._effort.passes - 1 - turn) + beyond_s
            rest = sum(map(self.expected_s, left))
            for probe in left:
                late = self.elapsed_s >= until_s
                if late and turn:
                    return
                self.report(rest if late else min(rest + later, max(rest, until_s - self.elapsed_s)))
                rest -= self.expected_s(probe)
                if late:
                    self._effort = self._effort.hurried
                self.visit(bench, probe)

    def visit(self, bench: Bench, probe: Probe) -> None:
        """Measure once more; the point is the median over all visits."""
        began = time.perf_counter()
        samples = self._samples.setdefault(probe.identity, [])
        samples += bench.samples(probe, self._effort)
        ratio = (time.perf_counter() - began) / max(self._effort.expected(self._guess(probe)), 1e-9)
        self._ratios.setdefault((probe.operation, probe.model), []).append(ratio)
        self.add(probe.point(timing_of(samples)))

    def refine(
        self, bench: Bench, core: Sequence[Probe], candidates: Sequence[Probe], until_s: float
    ) -> None:
        """Where fits are worst, visit the worst point again and a candidate beside it.

        Ends when all fits are good enough, nothing is left, or time is up.
        """
        again = {probe.identity: probe for probe in core if probe.identity in self._samples}
        while self.elapsed_s < until_s:
            left = [probe for probe in candidates if not self.has(probe)]
            chosen = next_probes(self.profile, left, again, BATCH)
            if not chosen:
                return
            for probe in chosen:
                cost = self.expected_s(probe) * (1 if self.has(probe) else self._effort.passes)
                if self.elapsed_s + cost > until_s:
                    return
                self.report(max(0.0, until_s - self.elapsed_s))
                for _ in range(1 if self.has(probe) else self._effort.passes):
                    self.visit(bench, probe)
                again[probe.identity] = probe
