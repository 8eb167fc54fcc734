"""Everything the commands do, from Python: typed results, tables as pandas frames.

    from spinsim import api

    run = api.simulate("scenarios/quickstart.yaml", set={"policies.selector": {"name": "greedy"}})
    run.goodput, run.requests.ttft_s.quantile(0.99)

| command | function |
|---|---|
| init, list | ``init``, ``catalogue`` |
| simulate, run, replay | ``simulate``, ``run``, ``replay``; ``open_results`` reads their folders |
| profile, trace, validate | ``profile``, ``trace`` (``import_trace``), ``validate`` |
| profile, validate ``--again`` | ``profile_again``, ``validate_again`` |
| compare, sweep, tune, capacity | ``compare``, ``sweep``, ``tune``, ``capacity`` |
| ladder | ``ladder`` |
| study, study ``--check`` | ``study``, ``check_study`` |
| models | ``models.members``, ``models.inspect``, ``models.train``, ``models.widen``, ``models.evaluate`` |
| report, tables, schema | ``report``, ``tables``, ``schema``; ``load`` reads and checks a scenario |

The command line is generated from these signatures. ``set`` takes {"key.path": value}. Frames need pandas
(the extra ``notebook``). Experiments run in processes of their own, one a core (``workers=0``: in this one);
a script that calls them needs ``if __name__ == "__main__":``. With ``out`` their results are kept as they
come, and ``resume=True`` goes on where a killed one stopped. Bad input raises
:class:`spinsim.errors.InputError`.
Where cells of an experiment fail, :class:`CellsFailed` is raised, whose ``result`` has the figures of the
others. Results show themselves in a notebook. ``load``, ``simulate``, ``run``, ``profile`` and ``trace``
take a scenario as a path, as the text of a YAML (a string with line breaks) or as a mapping of what it holds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinsim.api import models
    from spinsim.api.common import Where
    from spinsim.api.exports import Calibrated, Exported, calibrate, export
    from spinsim.api.fidelity import (
        profile,
        profile_again,
        trace,
        validate,
        validate_again,
    )
    from spinsim.api.fidelity_results import Profiling, Remeasured, Tracing, Validation
    from spinsim.api.grids import Comparison, Sweep, compare, sweep
    from spinsim.api.runs import Results, open_results, replay, report, run, schema, simulate, tables
    from spinsim.api.search import Capacity, Tuning, capacity, tune
    from spinsim.api.starting import Started, catalogue, init
    from spinsim.api.study_files import Study, check_study, study
    from spinsim.errors import InputError
    from spinsim.scenario_file import load
    from spinsim.studies.failed import CellsFailed

__all__ = [
    "Calibrated",
    "Capacity",
    "CellsFailed",
    "Comparison",
    "Exported",
    "InputError",
    "Ladder",
    "Profiling",
    "Remeasured",
    "Results",
    "Started",
    "Study",
    "Sweep",
    "Tracing",
    "Tuning",
    "Validation",
    "Where",
    "calibrate",
    "capacity",
    "catalogue",
    "check_study",
    "compare",
    "export",
    "import_trace",
    "init",
    "ladder",
    "load",
    "models",
    "open_results",
    "profile",
    "profile_again",
    "replay",
    "report",
    "run",
    "schema",
    "simulate",
    "study",
    "sweep",
    "tables",
    "trace",
    "tune",
    "validate",
    "validate_again",
]

# Imported when first asked for: who simulates waits for no search, who trains for no simulator.
_HOMES = {
    "spinsim.api.common": ("Where",),
    "spinsim.api.fidelity_results": ("Profiling", "Remeasured", "Tracing", "Validation"),
    "spinsim.api.fidelity": (
        "import_trace",
        "profile",
        "profile_again",
        "trace",
        "validate",
        "validate_again",
    ),
    "spinsim.api.grids": ("Comparison", "Sweep", "compare", "sweep"),
    "spinsim.api.exports": ("Calibrated", "Exported", "calibrate", "export"),
    "spinsim.api.ladders": ("Ladder", "ladder"),
    "spinsim.api.runs": (
        "Results",
        "open_results",
        "replay",
        "report",
        "run",
        "schema",
        "simulate",
        "tables",
    ),
    "spinsim.api.search": ("Capacity", "Tuning", "capacity", "tune"),
    "spinsim.api.starting": ("Started", "catalogue", "init"),
    "spinsim.api.study_files": ("Study", "check_study", "study"),
    "spinsim.errors": ("InputError",),
    "spinsim.studies.failed": ("CellsFailed",),
    "spinsim.scenario_file": ("load",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "models":
        return import_module("spinsim.api.models")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__doc__"]
