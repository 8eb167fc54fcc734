"""Writes what the contract tests hold, from what the code does now::

    python -m tests.contract

Read the difference before committing it: every line that goes or changes breaks somebody's scripts or files.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.contract import interface, results

if __name__ == "__main__":
    for name, module in (("results", results), ("interface", interface)):
        with TemporaryDirectory() as folder:
            content = module.measure(Path(folder))
        path = Path(__file__).parent / f"{name}.json"
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(path)
