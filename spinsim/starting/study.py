"""The YAML of a first study of a scenario, with comments."""

from __future__ import annotations

import os
from pathlib import Path

from spinsim.scenario import AllAtOnce, ClosedLoop
from spinsim.scenario_file import LoadedScenario
from spinsim.starting.text import flow

LENGTH = {"name": "fixed", "tokens": 4}
OPEN = {"process": "poisson", "rate_per_s": 1}  # a search for a rate doubles or halves it


def study_text(loaded: LoadedScenario, file: Path) -> str:
    """A comparison, a sweep and a capacity search of ``loaded``, for the file ``file``."""
    scenario = os.path.relpath(loaded.path, file.parent)
    drafts = list(loaded.scenario.models.drafts)
    planned = loaded.scenario.policies.length.name == "planned"  # by the selector, which others do not do
    length = {"length": LENGTH} if planned else {}
    everyone = [
        f"      {draft} for everyone: {flow({'selector': {'name': 'fixed', 'draft': draft}, **length})}"
        for draft in drafts
    ]
    alone = {"policies.selector": {"name": "fixed", "draft": drafts[0]}, "policies.length": LENGTH}
    closed = isinstance(loaded.scenario.workload.arrivals, ClosedLoop | AllAtOnce)
    rate = f"    set: {flow({'workload.arrivals': OPEN})}   # a search needs a rate"
    return "\n".join(
        [
            f"# Written by `spinsim init`: a study of {scenario}, for you to change.",
            "# A part's keys are the options of its command. docs/studies.md says more. Try:",
            "#",
            f"#     spinsim study {file}",
            f"#     spinsim study {file} --check results/{file.stem}-study   # what a reviewer runs",
            f"name: {loaded.scenario.name}",
            "description: Written by spinsim init; say here what it asks.",
            f"scenario: {flow(scenario)}",
            "metrics: [goodput, p99_tpot]",
            "parts:",
            "  policies:",
            "    command: compare",
            "    title: Which policy serves most",
            "    policies:",
            "      no speculation: {selector: {name: fixed, draft: none}, length: {name: none}}",
            *everyone,
            "    seeds: 5   # fewer allow no verdict",
            "  lengths:",
            "    command: sweep",
            "    title: How long proposals should be",
            *([f"    set: {flow(alone)}"] if planned else []),
            "    grid: {policies.length.tokens: [2, 4, 6]}",
            "    seeds: 2",
            "  capacity:",
            "    command: capacity",
            "    title: The highest rate within the objectives",
            *([rate] if closed else []),
            "    tolerance: 0.2",
            "    seeds: 2",
            "",
        ]
    )
