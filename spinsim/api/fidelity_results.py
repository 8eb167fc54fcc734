"""What profiling, recording and validating give back, with frames and a notebook's view."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinsim.api.frames import frame

if TYPE_CHECKING:
    import pandas as pd

    from spinsim.profiling.drift import Drift
    from spinsim.studies.import_trace import ImportedTrace
    from spinsim.studies.profile import Profiled
    from spinsim.studies.trace import Traced


@dataclass(frozen=True, repr=False)
class Profiling:
    """``result.profile`` is the measured profile, ``result.path`` its file."""

    result: Profiled

    def __repr__(self) -> str:
        return f"Profiling({self.result.path}: {len(self.result.profile.points):,} points)"

    def _repr_html_(self) -> str:
        from spinsim.api.notebook import profile_shown

        return profile_shown(self.result)

    @cached_property
    def fits(self) -> pd.DataFrame:
        """A row for each model and operation: points, kind of fit, held-out errors (relative)."""
        return frame(self.result.fits)

    @cached_property
    def points(self) -> pd.DataFrame:
        """A row a measured point: operation, features of its shape, seconds and their spread."""
        rows = [asdict(point) for point in self.result.profile.points]
        return frame([{**row, **row.pop("features")} for row in rows])


@dataclass(frozen=True, repr=False)
class Remeasured:
    """Points of a profile measured once more; ``result.factors`` by operation: again / profiled."""

    result: Drift
    path: Path

    def __repr__(self) -> str:
        return f"Remeasured({self.path}: {len(self.result.points):,} points)"

    def _repr_html_(self) -> str:
        from spinsim.api.notebook import drift_shown

        return drift_shown(self.result, self.path)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row a point: profiled and new seconds, and their ratio."""
        return frame([asdict(point) | {"factor": point.factor} for point in self.result.points])


@dataclass(frozen=True, repr=False)
class Tracing:
    """``result.trace`` is the recorded acceptance, ``result.path`` its file."""

    result: Traced | ImportedTrace

    def __repr__(self) -> str:
        return f"Tracing({self.result.path}: {len(self.result.trace.keys):,} requests)"

    def _repr_html_(self) -> str:
        from spinsim.api.notebook import trace_shown

        return trace_shown(self.result)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row for each request and draft; ``accepted``: share of positions where one token would be."""
        from spinsim.recording import PROBABILITY_STEPS

        trace = self.result.trace
        outputs = trace.output_tokens()
        rows = []
        for name, recording in trace.drafts.items():
            for i, key in enumerate(trace.keys):
                values = recording.rows.row(i)
                share = values > 0 if recording.kind == "runs" else values / PROBABILITY_STEPS
                rows.append(
                    {
                        "request": key,
                        "domain": trace.domains[i] if trace.domains else "",
                        "draft": name,
                        "prompt_tokens": trace.prompt_tokens[i],
                        "output_tokens": int(outputs[i]),
                        "accepted": float(share.mean()) if len(values) else None,
                    }
                )
        return frame(rows)


@dataclass(frozen=True, repr=False)
class Validation:
    """``summary`` as in validation.json: errors, ranking, coverage of intervals, drift, every cell."""

    summary: dict[str, Any]

    def __repr__(self) -> str:
        return f"Validation({len(self.summary['cells'])} cells)"

    def _repr_html_(self) -> str:
        from spinsim.api.notebook import validation_shown

        return validation_shown(self.summary)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row for each cell and metric: live median, spread of repetitions, simulated, relative error."""
        rows = []
        for cell in self.summary["cells"]:
            for name, found in cell["metrics"].items():
                kept = {key: found[key] for key in ("live", "spread", "simulated", "error")}
                rows.append({"cell": cell["name"], **cell["labels"], "metric": name, **kept})
        return frame(rows)
