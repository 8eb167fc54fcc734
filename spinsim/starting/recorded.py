"""A first scenario of recorded acceptance: the recording's drafts, and what each is taken to be."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinsim.acceptance.specdecode_bench import load_specdecode_bench
from spinsim.errors import InputError, did_you_mean
from spinsim.recording import Recording, Trace, load_trace
from spinsim.scenario.messages import one_of
from spinsim.starting.modelled import LOOKUPS, keys_of

FORMATS = {"spinsim": load_trace, "specdecode_bench": load_specdecode_bench}


@dataclass(frozen=True)
class Recorded:
    """``acceptance`` and ``drafts`` as the YAML has them, and what was assumed, by key."""

    acceptance: dict[str, Any]
    drafts: dict[str, dict[str, Any]]
    assumed: dict[str, str]


def recorded(path: Path, form: str, given: Mapping[str, str], usual: str, beside: Path) -> Recorded | None:
    """What a file of requests says of acceptance, too; None where it says nothing of it.

    ``given``: shapes by draft, all of the recording's where empty. ``usual``: the shape of models, whose
    size no recording tells. ``beside``: the folder that paths start at. Raises InputError for a draft that
    was not recorded.
    """
    if form not in FORMATS:
        return None
    trace: Trace = FORMATS[form](path)
    for name in given:
        if name not in trace.drafts:
            names = list(trace.drafts)
            raise InputError(
                f"{name!r} is not in {path.name}, which has {one_of(names)}{did_you_mean(name, names)}; "
                "NAME=SHAPE says what one of them is",
                key="--draft",
            )
    drafts = {name: keys_of(shape) for name, shape in given.items()} or {
        name: _taken(name, recording, usual) for name, recording in trace.drafts.items()
    }
    acceptance: dict[str, Any] = {"model": "trace", "path": os.path.relpath(path, beside)}
    if form != "spinsim":
        acceptance["format"] = form
    if lookups := {name: name for name, keys in drafts.items() if keys.get("kind") in LOOKUPS}:
        acceptance["drafts"] = lookups  # as recorded, rather than looked up anew
    if given:
        return Recorded(acceptance, drafts, {})
    taken = ", ".join(f"{name} = {keys.get('shape', keys.get('kind'))}" for name, keys in drafts.items())
    said = f"drafts are the recording's; their costs are assumed: {taken}; --draft NAME=SHAPE gives others"
    return Recorded(acceptance, drafts, {"models.drafts": said})


def _taken(name: str, recording: Recording, usual: str) -> dict[str, Any]:
    """What a recorded draft is taken to be, by its name and by what was recorded of it."""
    if re.search("suffix", name, re.I):
        return {"kind": "suffix"}
    if recording.lookup is not None or re.search("n-?gram|lookup|pld", name, re.I):
        return {"kind": "ngram"}
    return {"kind": "head"} if re.search("eagle|medusa|hydra|mtp|head", name, re.I) else {"shape": usual}
