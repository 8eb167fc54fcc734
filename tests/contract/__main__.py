"""Writes what the contract tests hold, from what the code does now::

    python -m tests.contract

Read the difference before committing it: every line that goes or changes breaks somebody's scripts or files.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.contract import interface, results


def written(value: Any, indent: str = "") -> str:
    """JSON with a line a key, for the sake of differences; lists on one line."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False)
    lines = [f"{indent} {json.dumps(key)}: {written(each, f'{indent} ')}" for key, each in value.items()]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


if __name__ == "__main__":
    for name, module in (("results", results), ("interface", interface)):
        with TemporaryDirectory() as folder:
            content = module.measure(Path(folder))
        path = Path(__file__).parent / f"{name}.json"
        path.write_text(written(content) + "\n", encoding="utf-8")
        print(path)
