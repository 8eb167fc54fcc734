"""A profile in the making: what is measured so far, on disk as it goes, and what is still to come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from spinsim.costs.profile import Point, Profile, write_profile
from spinsim.profiling.adaptive import next_probes
from spinsim.profiling.bench import Bench
from spinsim.profiling.probes import Probe, identity_of
from spinsim.profiling.timing import Effort

Progress = Callable[[str, float, float], None]
Guess = Callable[[Probe], float]

WRITE_EVERY_S = 2.0
BATCH = 6  # adaptive points between two fits


class Session:
    """Measures probes into a profile.

    ``guess`` predicts a probe's seconds before anything is known; its ratio to what was measured, by
    operation and model, corrects what remains, so that progress tells the time that is left.
    """

    def __init__(
        self, profile: Profile, path: Path, effort: Effort, guess: Guess, progress: Progress | None
    ) -> None:
        self.profile = profile
        self.path = path
        self._effort, self._guess, self._progress = effort, guess, progress
        self._done = {identity_of(point) for point in profile.points}
        self._ratios: dict[tuple[str, str], list[float]] = {}
        self._began = self._written = time.perf_counter()
        self._extra_s = 0.0

    @property
    def elapsed_s(self) -> float:
        """Since the session began."""
        return time.perf_counter() - self._began

    def has(self, probe: Probe) -> bool:
        """Is it measured already?"""
        return probe.identity in self._done

    def add(self, point: Point) -> None:
        """Keep a point, and write the file every now and then."""
        self.profile = replace(self.profile, points=(*self.profile.points, point))
        self._done.add(identity_of(point))
        if time.perf_counter() - self._written > WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Write what there is."""
        write_profile(self.profile, self.path)
        self._written = time.perf_counter()

    def expected_s(self, probe: Probe) -> float:
        """How long measuring a probe will take."""
        seconds = self._guess(probe) * self._correction(probe)
        if probe.operation == "draft_step" and probe.tokens == 1:
            seconds *= probe.proposal + 2  # the whole proposal and a first step, for a step's time
        return self._effort.expected(seconds)

    def _correction(self, probe: Probe) -> float:
        known = self._ratios.get((probe.operation, probe.model))
        if known is None:
            known = [ratio for ratios in self._ratios.values() for ratio in ratios]
        return float(np.median(known)) if known else 2.0

    def report(self, remaining: Sequence[Probe], beyond_s: float) -> None:
        """Progress in seconds: elapsed of elapsed and expected."""
        if self._progress is not None:
            left = sum(self.expected_s(probe) for probe in remaining) + beyond_s
            self._progress("profile", self.elapsed_s, self.elapsed_s + left)

    def measure(self, bench: Bench, probes: Sequence[Probe], beyond_s: float = 0.0) -> None:
        """Measure what is not measured yet. ``beyond_s``: expected after these."""
        left = [probe for probe in probes if not self.has(probe)]
        for index, probe in enumerate(left):
            self.report(left[index:], beyond_s)
            timing = bench.measure(probe, self._effort)
            ratio = timing.seconds / max(self._guess(probe), 1e-9)
            self._ratios.setdefault((probe.operation, probe.model), []).append(ratio)
            self.add(probe.point(timing))

    def refine(self, bench: Bench, candidates: Sequence[Probe], until_s: float) -> None:
        """Measure candidates where fits are worst, until all are good enough or time is up."""
        while self.elapsed_s < until_s:
            left = [probe for probe in candidates if not self.has(probe)]
            chosen = next_probes(self.profile, left, BATCH)
            if not chosen:
                return
            for index, probe in enumerate(chosen):
                if self.elapsed_s + self.expected_s(probe) > until_s:
                    return
                rest = max(0.0, until_s - self.elapsed_s - sum(map(self.expected_s, chosen[index:])))
                self.measure(bench, [probe], rest)
