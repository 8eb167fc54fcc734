"""A bundle checked: its files against its manifest, and its results against a run of one's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spinsim.bundles.copies import written_as
from spinsim.bundles.manifest import DONE, LIVE, NOT_COMPARED, Record, read_manifest
from spinsim.bundles.plan import INPUTS
from spinsim.errors import InputError

TEXTS = (".json", ".yaml", ".html")  # files that may hold paths of the machine that wrote them
FIGURES = ("summary.json", ".parquet")  # how the names of files end that hold results and no key of a cell
KEY_COLUMN = "cell"


@dataclass(frozen=True)
class StudyCheck:
    """``differences``: a line each, none where all is the same. ``compared``: files. ``left_out``: what was
    not compared, and why. ``notes``: other versions, which may explain a difference."""

    differences: tuple[str, ...]
    compared: int
    left_out: Mapping[str, str]
    notes: tuple[str, ...]


def manifest_of(folder: Path) -> Record:
    """The manifest of a bundle. Raises InputError where ``folder`` is none."""
    found = read_manifest(folder)
    if found is None:
        raise InputError("holds no study; a folder that `spinsim study` wrote", file=str(folder))
    return found


def comparable(manifest: Record) -> list[str]:
    """Names of the parts that are done and give the same on every machine."""
    return [
        name for name, record in manifest["parts"].items() if record["state"] == DONE and not record["live"]
    ]


def damaged(folder: Path, manifest: Record) -> Iterator[str]:
    """Files of a bundle that are not what its manifest says, a line each."""
    for part, record in manifest["parts"].items():
        for name, digest in record.get("outputs", {}).items():
            path = folder / part / name
            if not path.is_file():
                yield f"{part}/{name}: is missing from the bundle"
            elif sha256(path.read_bytes()).hexdigest() != digest:
                yield f"{part}/{name}: was changed later; its SHA-256 is not the manifest's"
    read = {
        one["path"]: one["sha256"]
        for record in manifest["parts"].values()
        for one in record.get("inputs", ())
    }
    for name, digest in read.items():
        if not name.startswith(f"{INPUTS}/"):
            continue
        if not (folder / name).is_file():
            yield f"{name}: is missing from the bundle"
        elif sha256((folder / name).read_bytes()).hexdigest() != digest:
            yield f"{name}: was changed later; its SHA-256 is not the manifest's"


def compared(bundle: Path, fresh: Path, parts: Sequence[str], wanted: Sequence[str]) -> StudyCheck:
    """The bundle's ``parts`` beside the same parts that were run into the folder ``fresh``.

    ``wanted``: those that were asked for, which the bundle may lack or be unable to compare.

    Paths of inputs count by the files' names. Where both were made by different code, cells have other keys:
    then the figures alone are compared, which are summaries and tables.
    """
    theirs, ours = manifest_of(bundle), manifest_of(fresh)
    lines = list(damaged(bundle, theirs))
    same_code = all(
        theirs["parts"][part]["asked"]["code"] == ours["parts"][part]["asked"]["code"] for part in parts
    )
    if not same_code:
        lines.append(
            f"code: the bundle was made by spinsim {_version(theirs)}, this is {_version(ours)}: "
            "summaries and tables alone are compared"
        )
    lines += [f"{name}: is not in the bundle" for name in wanted if name not in theirs["parts"]]
    count = 0
    for part in parts:
        before, after = theirs["parts"][part], ours["parts"][part]
        lines += _asked(part, before, after)
        if after["error"]:
            lines.append(f"{part}: failed here: {after['error']}")
        for name in sorted({*before["outputs"], *after["outputs"]}):
            if Path(name).name in NOT_COMPARED or not (same_code or name.endswith(FIGURES)):
                continue
            count += 1
            sides = (bundle / part / name, before), (fresh / part / name, after)
            if said := _difference(*sides, same_code=same_code):
                lines.append(f"{part}/{name}: {said}")
    left_out = {f"*/{name}": why for name, why in NOT_COMPARED.items()}
    for name, record in theirs["parts"].items():
        if name not in wanted:
            left_out[name] = "not asked for"
        elif name not in parts:
            left_out[name] = LIVE if record["live"] else f"{record['state']} in the bundle"
    return StudyCheck(tuple(lines), count, left_out, tuple(_versions(theirs, ours)))


def _version(manifest: Record) -> str:
    git = (manifest.get("git") or {}).get("spinsim")
    commit = f", commit {git['commit'][:12]}{' and changes' if git['changed'] else ''}" if git else ""
    return f"{manifest['spinsim']} (code {manifest['code']}{commit})"


def _versions(theirs: Record, ours: Record) -> Iterator[str]:
    """What else may make the last digits differ."""
    before, after = theirs["environment"], ours["environment"]
    for key in ("python", "machine"):
        if before[key] != after[key]:
            yield f"{key} {after[key]} here, {before[key]} in the bundle"
    for name in sorted({*before["packages"], *after["packages"]}):
        old, new = (side["packages"].get(name, "none") for side in (before, after))
        if old != new:
            yield f"{name} {new} here, {old} in the bundle"


def _asked(part: str, before: Record, after: Record) -> Iterator[str]:
    """Options and inputs that are not the same."""
    old, new = before["asked"]["options"], after["asked"]["options"]
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield f"{part}: {key}: {json.dumps(new.get(key))} here, {json.dumps(old.get(key))} in the bundle"
    digests = [{one["name"]: one["sha256"] for one in side["inputs"]} for side in (before, after)]
    for name in sorted({*digests[0], *digests[1]}):
        if digests[0].get(name) != digests[1].get(name):
            yield f"{part}: input {name}: is another file than the bundle's"


Side = tuple[Path, Record]


def _difference(theirs: Side, ours: Side, *, same_code: bool) -> str:
    """What differs between a file of the bundle and the same one here, in a few words; nothing if nothing."""
    if not theirs[0].is_file():
        return "is here, and not in the bundle"
    if not ours[0].is_file():
        return "is in the bundle, and not here"
    if theirs[0].suffix == ".parquet":
        if theirs[0].read_bytes() == ours[0].read_bytes():
            return ""
        said = _tables(*(pq.read_table(path) for path, _ in (theirs, ours)))
        return said or ("other bytes of the same values" if same_code else "")
    if theirs[0].suffix not in TEXTS:
        return "" if theirs[0].read_bytes() == ours[0].read_bytes() else "other bytes"
    old, new = (without_places(path.read_text(encoding="utf-8"), record) for path, record in (theirs, ours))
    if old == new:
        return ""
    return _values(json.loads(old), json.loads(new)) if theirs[0].suffix == ".json" else _lines(old, new)


def without_places(text: str, record: Record) -> str:
    """A file's text with inputs by their names: the same wherever the checkout lies.

    Cells say how often they were tried, which depends on crashes and not on results: that goes too.
    """
    text = re.sub(rf"(\.\./)+{INPUTS}/", f"{INPUTS}/", text)  # from a YAML's folder
    found = {one["path"]: one["name"] for one in record["inputs"]}
    for path in sorted(found, key=len, reverse=True):
        for written in written_as(path):
            text = text.replace(written, f"<{found[path]}>")
    for number, folder in sorted(enumerate(record["folders"]), key=lambda one: -len(one[1])):
        for written in written_as(folder):
            text = text.replace(f"{written}/", f"<folder {number}>/")
    return re.sub(r'"attempts": \d+', '"attempts": 1', text)


def _values(old: Any, new: Any) -> str:
    """Of two JSON values: the first key that differs, and how many more do."""
    before, after = dict(_flat(old)), dict(_flat(new))
    keys = [key for key in dict.fromkeys((*before, *after)) if before.get(key, ...) != after.get(key, ...)]
    if not keys:
        return "other bytes of the same values"
    first = keys[0]
    more = f", and {len(keys) - 1:,} more keys" if keys[1:] else ""
    return f"{first}: {_told(after.get(first))} here, {_told(before.get(first))} in the bundle{more}"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inner:
        yield path, value
    for key, each in inner:
        yield from _flat(each, f"{path}.{key}" if path else str(key))


def _told(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _lines(old: str, new: str) -> str:
    """Of two texts: the first line that differs."""
    for number, (before, after) in enumerate(zip_longest(old.splitlines(), new.splitlines()), 1):
        if before != after:
            return f"line {number}: {_told(after)} here, {_told(before)} in the bundle"
    return "other line breaks"


def _tables(old: pa.Table, new: pa.Table) -> str:
    """Of two tables: the first column that differs, and its first row. Keys of cells are no results."""
    for column in dict.fromkeys((*old.column_names, *new.column_names)):
        if column == KEY_COLUMN:
            continue
        if column not in new.column_names or column not in old.column_names:
            return f"column {column}: only {'in the bundle' if column in old.column_names else 'here'}"
        before, after = old[column].to_pylist(), new[column].to_pylist()
        for row, (was, now) in enumerate(zip_longest(before, after)):
            if was != now and not (was != was and now != now):
                return f"column {column}, row {row}: {_told(now)} here, {_told(was)} in the bundle"
    return ""
