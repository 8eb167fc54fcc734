"""Recorded acceptance, and the file it is kept in.

One file holds, for every recorded request and draft, a value per output position:

``runs``           proposals in a row that the target's own (greedy) output agrees with from there on;
``probabilities``  min(1, q(x)/p(x)) at the token x that was emitted, p the target's and q the draft's
                   distribution after temperature and top-p: given the output, the probability that
                   a proposal is accepted there (its mean over x is 1 - TV(p, q)).

A drafter that looks its proposals up in the request's own tokens has two more values per position, both known
before it proposes (:class:`Lookup`). A model may have the entropy of its distribution at every position.

The file is a NumPy archive without pickles: a JSON header (``meta``), and flat arrays with offsets.
Its SHA-256 covers both.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinsim.errors import InputError
from spinsim.files import followed, unfinished

Kind = Literal["runs", "probabilities"]

SCHEMA = "spinsim-acceptance/1"
PROBABILITY_STEPS = 65535  # probabilities are stored as multiples of 1/65535
LARGEST = 65535  # of what is stored
LONGEST_RUN = LARGEST
ENTROPY_STEPS = 1000  # entropies are stored in thousandths of a nat, at most 65.535


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of different length in one array: row i is ``values[offsets[i] : offsets[i + 1]]``."""

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    @staticmethod
    def of(rows: Iterable[ArrayLike], dtype: type[np.generic]) -> Ragged:
        """From a sequence of rows."""
        arrays = [np.asarray(row, dtype) for row in rows]
        offsets = np.zeros(len(arrays) + 1, np.int64)
        np.cumsum([len(a) for a in arrays], out=offsets[1:])
        return Ragged(np.concatenate([np.empty(0, dtype), *arrays]), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, index: int) -> NDArray[Any]:
        """A view of one row."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def lengths(self) -> NDArray[np.int64]:
        """The rows' lengths."""
        return np.diff(self.offsets)

    def select(self, rows: Sequence[int]) -> Ragged:
        """These rows, in this order."""
        return Ragged.of([self.row(row) for row in rows], self.values.dtype.type)

    @staticmethod
    def joined(parts: Sequence[Ragged | None]) -> Ragged | None:
        """The rows of all parts, one after another; None where a part is missing."""
        known = [part for part in parts if part is not None]
        if not known or len(known) != len(parts):
            return None
        rows = [part.row(i) for part in known for i in range(len(part))]
        return Ragged.of(rows, known[0].values.dtype.type)


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a lookup drafter knows at an output position before it proposes; uint16 values, rows as the runs'.

    ``matched``: tokens at the end of the context that it found earlier in it; 0: none. ``offered``: tokens
    that it could propose there.
    """

    matched: Ragged
    offered: Ragged

    @staticmethod
    def of(matched: Iterable[Sequence[int]], offered: Iterable[Sequence[int]]) -> Lookup:
        """From a list per request for each."""
        return Lookup(Ragged.of(matched, np.uint16), Ragged.of(offered, np.uint16))


@dataclass(frozen=True, slots=True)
class Recording:
    """One draft: ``rows`` hold a uint16 per request and output position (see ``kind``)."""

    kind: Kind
    rows: Ragged
    lookup: Lookup | None = None  # of a drafter that looks its proposals up
    entropies: Ragged | None = None  # of a model: uint16 thousandths of a nat, rows as ``rows``

    @staticmethod
    def of_runs(runs: Iterable[Sequence[int]]) -> Recording:
        """Greedy: accepted proposals in a row from each output position on."""
        return Recording("runs", Ragged.of((np.minimum(row, LONGEST_RUN) for row in runs), np.uint16))

    def with_entropies(self, nats: Iterable[ArrayLike]) -> Recording:
        """The same draft, with the entropy of its distribution at each output position."""
        rows = (np.rint(np.asarray(row, np.float64) * ENTROPY_STEPS).clip(0, LARGEST) for row in nats)
        return replace(self, entropies=Ragged.of(rows, np.uint16))

    @staticmethod
    def of_probabilities(probabilities: Iterable[Sequence[float]]) -> Recording:
        """Sampling: the probability of acceptance at each output position."""
        rows = (np.rint(np.asarray(row, np.float64) * PROBABILITY_STEPS) for row in probabilities)
        return Recording("probabilities", Ragged.of(rows, np.uint16))

    @staticmethod
    def joined(parts: Sequence[Recording]) -> Recording:
        """The requests of all parts, one after another. Raises ValueError for parts of different kinds."""
        if len({part.kind for part in parts}) > 1:
            raise ValueError("runs beside probabilities; one kind")
        rows = Ragged.joined([part.rows for part in parts])
        assert rows is not None
        lookups = [part.lookup for part in parts if part.lookup is not None]
        sure = Ragged.joined([part.entropies for part in parts])
        matched = Ragged.joined([lookup.matched for lookup in lookups])
        offered = Ragged.joined([lookup.offered for lookup in lookups])
        if len(lookups) != len(parts) or matched is None or offered is None:
            return Recording(parts[0].kind, rows, entropies=sure)
        return Recording(parts[0].kind, rows, Lookup(matched, offered), sure)

    def select(self, rows: Sequence[int]) -> Recording:
        """These requests, in this order."""
        lookup = self.lookup
        if lookup is not None:
            lookup = Lookup(lookup.matched.select(rows), lookup.offered.select(rows))
        sure = None if self.entropies is None else self.entropies.select(rows)
        return Recording(self.kind, self.rows.select(rows), lookup, sure)


@dataclass(frozen=True, slots=True)
class Trace:
    """Acceptance of some requests, recorded from real models.

    ``keys`` name the requests as their workload did (:attr:`Request.key`). ``prompts`` and ``outputs``: token
    ids, where kept; an output may go on beyond what the drafts were recorded at. ``temperature`` and
    ``top_p`` are None where the recording does not say.
    """

    target: str
    keys: tuple[str, ...]
    prompt_tokens: tuple[int, ...]
    drafts: Mapping[str, Recording]
    domains: tuple[str, ...] = ()
    prompts: Ragged | None = None
    outputs: Ragged | None = None  # what the target generated, the token at every output position
    temperature: float | None = None
    top_p: float | None = None
    command: str = ""  # what made it
    notes: Mapping[str, str] = field(default_factory=dict)  # versions, device, dtype: for people

    def __post_init__(self) -> None:
        sizes = {len(self.keys), len(self.prompt_tokens), *(len(d.rows) for d in self.drafts.values())}
        sizes |= {len(self.domains)} if self.domains else set()
        sizes |= {len(ids) for ids in (self.prompts, self.outputs) if ids is not None}
        sizes |= {len(d.lookup.matched) for d in self.drafts.values() if d.lookup is not None}
        sizes |= {len(d.entropies) for d in self.drafts.values() if d.entropies is not None}
        if not self.drafts or not self.keys:
            raise ValueError("an empty trace; at least one request and one draft")
        if len(sizes) != 1:
            raise ValueError(f"columns of {sorted(sizes)} requests; one length for all")

    def output_tokens(self) -> NDArray[np.int64]:
        """Output positions of each request that every draft was recorded at."""
        shortest: NDArray[np.int64] = np.min([d.rows.lengths() for d in self.drafts.values()], axis=0)
        return shortest

    def select(self, rows: Sequence[int]) -> Trace:
        """The requests at these indices, in this order."""
        return replace(
            self,
            keys=tuple(self.keys[row] for row in rows),
            prompt_tokens=tuple(self.prompt_tokens[row] for row in rows),
            drafts={name: draft.select(rows) for name, draft in self.drafts.items()},
            domains=tuple(self.domains[row] for row in rows) if self.domains else (),
            prompts=None if self.prompts is None else self.prompts.select(rows),
            outputs=None if self.outputs is None else self.outputs.select(rows),
        )


def save_trace(trace: Trace, path: Path) -> None:
    """Write a trace, whole or not at all; the same trace gives the same bytes."""
    meta = {
        "schema": SCHEMA,
        "target": trace.target,
        "drafts": [{"name": name, "kind": draft.kind} for name, draft in trace.drafts.items()],
        "keys": list(trace.keys),
        "domains": list(trace.domains),
        "temperature": trace.temperature,
        "top_p": trace.top_p,
        "command": trace.command,
        "notes": dict(trace.notes),
    }
    arrays: dict[str, NDArray[Any]] = {"prompt_tokens": np.asarray(trace.prompt_tokens, np.int64)}
    if trace.prompts is not None:
        arrays |= {"prompts": trace.prompts.values, "prompt_offsets": trace.prompts.offsets}
    if trace.outputs is not None:
        arrays |= _columns("outputs", trace.outputs)
    for i, draft in enumerate(trace.drafts.values()):
        arrays |= _columns(f"draft{i}", draft.rows)
        if draft.lookup is not None:
            arrays |= _columns(f"draft{i}_matched", draft.lookup.matched)
            arrays |= _columns(f"draft{i}_offered", draft.lookup.offered)
        if draft.entropies is not None:
            arrays |= _columns(f"draft{i}_entropies", draft.entropies)
    meta["sha256"] = _checksum(meta, arrays)
    header = np.frombuffer(json.dumps(meta, sort_keys=True).encode(), np.uint8)
    path = followed(path)
    partial = unfinished(path)
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in {"meta": header, **arrays}.items():
            buffer = io.BytesIO()
            np.save(buffer, values, allow_pickle=False)
            # a ZipInfo of its own carries no time of writing
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED)
    partial.replace(path)


def _columns(name: str, rows: Ragged) -> dict[str, NDArray[Any]]:
    """The arrays that keep ragged rows; :func:`_ragged` reads them again."""
    return {name: rows.values, f"{name}_offsets": rows.offsets}


def _ragged(arrays: Mapping[str, NDArray[Any]], name: str) -> Ragged | None:
    return Ragged(arrays[name], arrays[f"{name}_offsets"]) if name in arrays else None


def load_trace(path: Path, key: str = "acceptance.path") -> Trace:
    """Read a trace and verify its checksum. ``key`` is the scenario path that errors name.

    Raises:
        InputError: no such file, not a trace, or a damaged one.
    """
    try:
        arrays = _arrays(path)
        meta = json.loads(arrays.pop("meta").tobytes())
        if meta["schema"] != SCHEMA:
            raise InputError(f"{path} has schema {meta['schema']!r}; {SCHEMA!r}", key=key)
        if meta.pop("sha256") != _checksum(meta, arrays):
            raise InputError(f"{path} is damaged: its checksum does not fit; record it again", key=key)
        return _trace(meta, arrays)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}; an acceptance trace", key=key
        ) from error
    except _NO_TRACE as error:
        raise InputError(
            f"{path} is no acceptance trace, or damaged ({error}); a file written by `spinsim trace`, "
            "which converts other recordings with --import",
            key=key,
        ) from error


# What a file that is something else, or was cut or changed, makes zipfile, NumPy and json raise.
_NO_TRACE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    EOFError,
    RuntimeError,
)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The archive's arrays by name. Each member is read whole, and its CRC checked, before it is parsed."""
    with zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    return {name: np.load(io.BytesIO(content), allow_pickle=False) for name, content in members.items()}


def _trace(meta: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Trace:
    drafts = {}
    for i, draft in enumerate(meta["drafts"]):
        matched, offered = _ragged(arrays, f"draft{i}_matched"), _ragged(arrays, f"draft{i}_offered")
        lookup = None if matched is None or offered is None else Lookup(matched, offered)
        rows = Ragged(arrays[f"draft{i}"], arrays[f"draft{i}_offsets"])
        sure = _ragged(arrays, f"draft{i}_entropies")
        drafts[draft["name"]] = Recording(draft["kind"], rows, lookup, sure)
    prompts = Ragged(arrays["prompts"], arrays["prompt_offsets"]) if "prompts" in arrays else None
    return Trace(
        target=meta["target"],
        keys=tuple(meta["keys"]),
        prompt_tokens=tuple(arrays["prompt_tokens"].tolist()),
        drafts=drafts,
        domains=tuple(meta["domains"]),
        prompts=prompts,
        outputs=_ragged(arrays, "outputs"),
        temperature=meta["temperature"],
        top_p=meta["top_p"],
        command=meta["command"],
        notes=meta["notes"],
    )


def _checksum(meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(arrays):
        values = arrays[name]
        digest.update(f"{name}:{values.dtype.str}:{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
