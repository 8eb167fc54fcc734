"""A benchmark's results file: written after every run, so that a later process can go on with it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.live_runs import Figures


class Ledger:
    """Repetitions by step, each numbered, and what else was found.

    ``identity`` says what was measured; raises ValueError where the file to go on with was of something else.
    """

    def __init__(self, path: Path, identity: dict[str, Any], *, resume: bool) -> None:
        self.path = path
        self.data: dict[str, Any] = {**identity, "sessions": [], "steps": {}}
        if resume and path.exists():
            known = json.loads(path.read_text(encoding="utf-8"))
            for key, value in identity.items():
                if known.get(key) != value:
                    raise ValueError(f"{path}: {key}: {known.get(key)!r} there, {value!r} now")
            self.data = known

    @property
    def steps(self) -> dict[str, list[Figures]]:
        """The finished repetitions."""
        steps: dict[str, list[Figures]] = self.data["steps"]
        return steps

    def begin_session(self, **about: Any) -> None:
        """One process's part; later runs say that they were in it."""
        self.data["sessions"].append(about)

    def done(self, step: str, repetition: int) -> bool:
        """Is this repetition in the file?"""
        return any(row["repetition"] == repetition for row in self.steps.get(step, ()))

    def add(self, step: str, repetition: int, figures: Figures) -> None:
        """Keep and write a repetition."""
        place = {"repetition": repetition, "session": len(self.data["sessions"]) - 1}
        self.steps.setdefault(step, []).append(place | figures)
        self.write()

    def expected_s(self, step: str) -> float:
        """Seconds that a step will take: its own median, or that of the slowest step, or 0."""
        rows = self.steps.get(step)
        if rows:
            return float(median(row["wall_s"] for row in rows))
        return max((self.expected_s(other) for other in self.steps), default=0.0)

    def write(self) -> None:
        """All of it, at once or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = self.path.with_name(self.path.name + ".part")
        whole.write_text(json.dumps(self.data, indent=1) + "\n", encoding="utf-8")
        os.replace(whole, self.path)
