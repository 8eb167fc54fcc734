"""Writes the defaults of config.json formats from transformers: ``python docs/make/config_defaults.py``.

The table ships in the package, so that counting a model needs no transformers. A test fails when it is stale.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import spinsim.costs.sheets.architectures as sheets

TABLE = Path(sheets.__file__).with_name("config_defaults.json")


def defaults_of(kind: str) -> dict[str, Any]:
    """The keys of a model type that count, with the defaults of its class."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    architecture = sheets.ARCHITECTURES[kind]
    fields = {field.name: field for field in dataclasses.fields(CONFIG_MAPPING[kind])}
    renamed = getattr(CONFIG_MAPPING[kind], "attribute_map", {})
    found: dict[str, Any] = {}
    for name in architecture.key_names():
        keys = architecture.format_keys(name)
        key = next((key for key in keys if key in fields or renamed.get(key) in fields), None)
        if key is not None:
            default = fields[key if key in fields else renamed[key]].default
            found[key] = None if default is dataclasses.MISSING else default
        elif keys[0] in architecture.also:
            found[keys[0]] = None
    return found


def table() -> str:
    """The whole table, as JSON with a line for each model type."""
    import transformers

    rows = [f"    {json.dumps(kind)}: {json.dumps(defaults_of(kind))}" for kind in sheets.ARCHITECTURES]
    body = ",\n".join(rows)
    return f'{{\n  "transformers": "{transformers.__version__}",\n  "model_types": {{\n{body}\n  }}\n}}\n'


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
    print(f"wrote {TABLE}")
