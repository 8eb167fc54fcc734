"""A study's result in its folder, so that its page can be made again: result.json beside the cells.

The rows are kept without their summaries, which the cells hold.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from spinsim.errors import InputError, reason_of
from spinsim.files import write_atomically
from spinsim.lab.store import Store, experiment_kind
from spinsim.studies.capacity import Capacity
from spinsim.studies.compare import Comparison
from spinsim.studies.sweep import Sweep
from spinsim.studies.tuning.tune import Tuning

FILE = "result.json"
KINDS: dict[str, type] = {"comparison": Comparison, "sweep": Sweep, "capacity": Capacity, "tuning": Tuning}
Study = Comparison | Sweep | Capacity | Tuning


def write_result(folder: Path, result: Study) -> None:
    """Keep a finished study."""
    adapter: TypeAdapter[Any] = TypeAdapter(type(result))
    content = adapter.dump_python(result, mode="json", exclude={"rows": {"__all__": {"summary"}}})
    write_atomically(folder / FILE, json.dumps(content) + "\n")


def read_result(folder: Path) -> Study:
    """The study that ``folder`` keeps. Raises InputError where it has none, or a part is unreadable."""
    kind = experiment_kind(folder)
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        store = Store(folder)
        for row in content["rows"]:
            outcome = store.get(row["key"])
            row["summary"] = None if outcome is None else outcome.summary
        adapter: TypeAdapter[Study] = TypeAdapter(KINDS[str(kind)])
        return adapter.validate_python(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"holds no finished study that can be shown again ({reason_of(error)}); its own command with "
            "--resume finishes it, and writes its page",
            file=str(folder),
        ) from error
