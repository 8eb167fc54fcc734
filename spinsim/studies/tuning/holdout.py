"""A workload in two: what tuning sees, and what the gain is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spinsim.errors import InputError
from spinsim.scenario_file import LoadedScenario
from spinsim.workload.for_scenario import build_workload

FEWEST = 8  # requests of a short simulation


@dataclass(frozen=True, slots=True)
class Split:
    """Overrides that make a scenario's workload the tuning part or the testing part.

    ``held_out`` names what the testing part has that tuning did not see.
    """

    tuning: tuple[str, ...]
    testing: tuple[str, ...]
    requests: int  # of the tuning part
    notes: tuple[str, ...] = ()
    held_out: str = "fresh seeds"

    def short(self, share: float) -> tuple[str, ...]:
        """The tuning part's first requests."""
        if not 0 < share <= 1:
            raise InputError(f"{share} is not allowed; above 0, at most 1", key="--short")
        if share == 1:
            return self.tuning
        few = max(min(FEWEST, self.requests), round(share * self.requests))
        return (*self.tuning, f"workload.requests={few}")


def held_out(loaded: LoadedScenario, share: float, overrides: Sequence[str] = ()) -> Split:
    """Split a scenario's workload.

    A drawn workload is another one with every seed: fresh seeds hold it out. Of a recorded one the last
    ``share`` of the rows is kept for testing. ``overrides`` say what the testing part has otherwise, such
    as another recording. Raises InputError for a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise InputError(f"{share} is not allowed; between 0 and 1", key="--holdout")
    scenario = loaded.scenario
    try:
        requests = len(build_workload(scenario, loaded.base_dir).requests)
    except InputError as error:
        raise loaded.places.locate(error) from None
    source = scenario.workload.source
    own = any(text.startswith("workload.") for text in overrides)
    said = "fresh seeds, workload of --holdout-set" if own else "fresh seeds"
    if source is None or any(text.startswith("workload.source") for text in overrides):
        return Split((), tuple(overrides), requests, (), said)
    if source.start_s is not None:
        return Split(
            (), tuple(overrides), requests,
            ("the recorded workload is cut by time and was not split: only the seeds are held out",), said,
        )  # fmt: skip
    from spinsim.workload.source import load_rows

    rows = len(load_rows(source, loaded.base_dir).rows)
    tested = round(rows * share)
    kept = rows - tested
    if not (kept and tested):
        note = "the recorded workload is too short to be split: only the seeds are held out"
        return Split((), tuple(overrides), requests, (note,), said)
    used = requests if scenario.workload.requests is not None else kept
    return Split(
        (f"workload.source.limit={kept}",),
        (f"workload.source.skip={source.skip + kept}", f"workload.source.limit={tested}", *overrides),
        min(used, kept),
        (f"of the recorded workload's {rows} rows, tuning saw the first {kept}",),
        f"fresh seeds, last {tested} rows",
    )
