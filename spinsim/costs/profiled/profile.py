"""The ``profile`` file: measured points of one machine, as readable JSON, a point a line.

A point says how long one operation of one model took at one *executed* shape (after bucketing and
padding): the median of its repetitions, and their spread. Operations and their features:

``prefill``, ``catch_up``  rows, tokens (new ones), kv_tokens (cached ones read, new ones included), pairs
                           (query token times KV token products, causal)
``draft_step``             rows, tokens (two a row in a proposal's first step, else one), kv_tokens
``verify``                 by packing: rows, query_tokens (with padded and replicated ones), tokens (in the
                           layers, each once), kv_tokens (of whole pieces, where rows are cut into any),
                           and read_tokens of those (without what fills a row's last piece)
``handling``               rows of the operation that ended, of ``kind``: mean host time until all that this
                           led to was submitted, with the selector ``policy``; operations: how many that were
``handover``               rows, handled_s: likewise, from the end until what it led to began; handled_s
                           is the handling of the same ones
``planning``               rows, kv_tokens (of all rows): host time of a plan, for rows that were not met
                           before, of a packing that is searched for; after_s: what the host waited for a
                           verification before each (left out: plans were made back to back)
``orchestrator``           rows: host time for each operation submitted, where a profile has no ``handling``
``hop``                    from thread to thread, one way
``transfer``               bytes: from a draft's device to the target's
``all_reduce``             bytes of the tensor, devices: a sum over the target's devices, within a graph where
                           passes are; ``kind`` is its algorithm
``copy_bandwidth``         bytes read and written by a copy on the device
``matmul_rate``            flops of one large product
``in_run``                 rows, bench_s: an operation of ``kind`` within short runs of the engine, with the
                           selector ``policy``: mean time, and the mean that the other points predict for it
``bench``                  rows, in_run_s: an operation of ``kind`` as a bench sees it, back to back and with
                           blocks in order; in_run_s: what its own point says, measured as it runs
``beside``                 group, lane, rows, alone_s, kernels, work_s: what an operation of ``model`` took
                           while every ``lane`` of its ``group`` was kept busy on the same device; alone it
                           takes ``alone_s``, in so many ``kernels``, with ``work_s`` by the roofline
``lookup``                 rows, kv_tokens (contexts): one operation of a drafter that looks its proposals up,
                           of ``kind``, on the host
``head``                   rows, steps, kv_tokens: a proposal of a head of ``kind`` on the target
``head_catch_up``          rows, tokens, kv_tokens: tokens that are new to it
``lane_slowdown``          of older profiles, in place of that.
                           target_lane (1 or 0), alone_s: ``seconds`` is what the target's work, or that of
                           the draft ``model``, took beside the other's on one device
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic import dataclasses as checked

from spinsim.buckets import Buckets
from spinsim.costs.collectives import VOLUME
from spinsim.costs.sheets.shapes import ModelShape
from spinsim.errors import InputError, reason_of
from spinsim.files import once_each, write_atomically
from spinsim.operations import KINDS
from spinsim.packings import kinds as packing_kinds

SCHEMA = "spinsim-profile/1"
PASS_FEATURES = ("rows", "tokens", "kv_tokens", "pairs")
OPERATIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "prefill": PASS_FEATURES,
        "catch_up": PASS_FEATURES,
        "draft_step": ("rows", "tokens", "kv_tokens"),
        "verify": ("rows", "query_tokens", "tokens", "kv_tokens"),
        "handling": ("rows",),
        "handover": ("rows", "handled_s"),
        "in_run": ("rows", "bench_s"),
        "bench": ("rows", "in_run_s"),
        "planning": ("rows", "kv_tokens"),
        "orchestrator": ("rows",),
        "hop": (),
        "transfer": ("bytes",),
        "all_reduce": ("bytes", "devices"),
        "copy_bandwidth": ("bytes",),
        "matmul_rate": ("flops",),
        "beside": ("group", "lane", "rows", "alone_s", "kernels", "work_s"),
        "lane_slowdown": ("target_lane", "alone_s"),
        "lookup": ("rows", "kv_tokens"),
        "head": ("rows", "steps", "kv_tokens"),
        "head_catch_up": ("rows", "tokens", "kv_tokens"),
    }
)
# Features that a point may have beside these: profiles from before are without them.
OPTIONAL: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"verify": ("read_tokens",), "handling": ("operations",), "planning": ("after_s",)}
)
MODEL_OPERATIONS = ("prefill", "catch_up", "draft_step", "verify")
PROMPTS = ("prefill", "catch_up")
REPEATED = (*MODEL_OPERATIONS, "hop", "handling")  # of which a repeat may have a factor
BESIDE_MODELS = ("lookup", "head", "head_catch_up")  # of drafters of other kinds; ``kind`` says which
REHEARSED = ("handling", "handover", "in_run")  # seen in short runs of the engine, by kind and selector

_POSITIVE = ("rows", "steps", "tokens", "alone_s", "bench_s", "in_run_s", "kernels", "devices")  # of features

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Amount = Annotated[float, Field(ge=0)]


@checked.dataclass(frozen=True, config=_STRICT)
class Point:
    """One measured shape. ``seconds`` is a median (of what is seen in runs a mean), ``spread_s`` half the
    interquartile range.

    ``model`` is a key of the profile's models ("" for the machine's own operations); ``packing`` is set for
    ``verify`` and ``planning`` alone, ``kind`` and ``policy`` for what is seen in runs (:data:`REHEARSED`),
    ``kind`` also for ``bench`` and ``all_reduce``, and the drafter for :data:`BESIDE_MODELS`.
    """

    operation: str
    seconds: Annotated[float, Field(gt=0)]
    spread_s: Amount
    repetitions: Annotated[int, Field(ge=1)]
    features: dict[str, Amount] = field(default_factory=dict)
    model: str = ""
    packing: str = ""
    kind: str = ""
    policy: str = ""

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for points of one shape of one operation."""
        names = (self.operation, self.model, self.packing, self.kind, self.policy)
        return (*names, *sorted((name, float(value)) for name, value in self.features.items()))


@checked.dataclass(frozen=True, config=_STRICT)
class ProfiledModel:
    """What was measured under a model's name: its shape and dtype, and what it ran on.

    ``without_rows`` and ``without_tokens``: buckets that are not executed, see :attr:`buckets`.
    """

    shape: ModelShape
    dtype: str
    hardware: str
    devices: Annotated[int, Field(ge=1)] = 1
    without_rows: tuple[int, ...] = ()
    without_tokens: tuple[int, ...] = ()

    @property
    def buckets(self) -> Buckets:
        """What is executed of the model where costs come from this profile."""
        return Buckets(frozenset(self.without_rows), frozenset(self.without_tokens))

    def runs_as(self, shape: ModelShape, dtype: str, hardware: str, devices: int) -> bool:
        """Are a model's widths, its dtype and its devices these? Names do not matter."""
        same = (self.dtype, self.hardware, self.devices) == (dtype, hardware, devices)
        return same and _widths(self.shape) == _widths(shape)


@checked.dataclass(frozen=True, config=_STRICT)
class Repeat:
    """Measured again, in another process: by operation, the median of again / profile.

    ``points``: what short runs of the engine showed there, and its hops.
    """

    created: str
    factors: dict[str, Annotated[float, Field(gt=0)]]
    points: tuple[Point, ...] = ()


@checked.dataclass(frozen=True, config=_STRICT)
class Profile:
    """Measured points with what is needed to judge them.

    ``graphs``: passes were replayed from CUDA graphs, on the shared bucketing rule;
    ``prompt_graphs``: prefill and catch-up were too, in passes of up to ``prompt_tokens`` new tokens.
    ``rehearsed_tokens``: of an output in the short runs behind ``handling`` and ``in_run``.
    ``kv_block_tokens``: K/V lay in blocks of so many tokens, or with 0 in whole slots. ``versions`` of
    libraries and drivers, ``clocks`` in MHz, both as found. ``repeats`` say how far the machine is from its
    profile on another day.
    """

    schema: str
    hardware: str
    created: str
    graphs: bool
    versions: dict[str, str]
    clocks: dict[str, float]
    models: dict[str, ProfiledModel]
    points: tuple[Point, ...]
    repeats: tuple[Repeat, ...] = ()
    prompt_graphs: bool = False
    prompt_tokens: Annotated[int, Field(ge=1)] = 1024  # as it was before profiles said it; likewise:
    rehearsed_tokens: Annotated[int, Field(ge=1)] = 32
    kv_block_tokens: Annotated[int, Field(ge=0)] | None = None  # older ones do not say

    def of(self, operation: str, model: str = "", packing: str = "") -> tuple[Point, ...]:
        """The points of one operation, in the file's order."""
        return tuple(
            p for p in self.points if (p.operation, p.model, p.packing) == (operation, model, packing)
        )

    def of_operation(self, operation: str) -> tuple[Point, ...]:
        """The points of one operation of all models."""
        return tuple(point for point in self.points if point.operation == operation)

    def passes_over(self, operation: str, model: str, features: Mapping[str, float]) -> bool:
        """Is it of a bucket that is not executed, since a larger one took less time?"""
        known = self.models[model]
        if operation == "draft_step":
            return features["rows"] in known.without_rows
        return operation == "verify" and features["tokens"] in known.without_tokens

    def find_model(self, shape: ModelShape, dtype: str, hardware: str, devices: int) -> str | None:
        """The key under which a model of these widths was measured on such devices; None if it was not."""
        for key, model in self.models.items():
            if model.runs_as(shape, dtype, hardware, devices):
                return key
        return None


def _widths(shape: ModelShape) -> tuple[Any, ...]:
    return tuple(v for k, v in asdict(shape).items() if k not in ("name", "source", "ours", "context"))


_ADAPTER = TypeAdapter(Profile)


@dataclass(frozen=True, slots=True)
class _Finding:
    where: str
    what: str


def read_profile(path: str | Path) -> Profile:
    """Reads and checks a profile. Raises InputError with the file, and the place inside it."""
    file = str(path)
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=once_each)
    except OSError as error:
        raise InputError(f"cannot be read ({reason_of(error)}); expected a profile", file=file) from None
    except ValueError as error:
        line = getattr(error, "lineno", 0)
        raise InputError(f"not JSON ({error}); expected a profile", file=file, line=line) from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise InputError(f"schema {schema!r} is not known; allowed: {SCHEMA}", key="schema", file=file)
    try:
        profile: Profile = _ADAPTER.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{first['msg']}; see the profile's format", key=where, file=file) from None
    finding = _check(profile)
    if finding is not None:
        raise InputError(finding.what, key=finding.where, file=file)
    return profile


def write_profile(profile: Profile, path: str | Path) -> None:
    """Writes a profile that :func:`read_profile` gives back. Raises InputError when it is inconsistent."""
    finding = _check(profile)
    if finding is not None:
        raise InputError(finding.what, key=finding.where, file=str(path))
    data = _ADAPTER.dump_python(profile, mode="json")
    for model in data["models"].values():
        model["shape"] = _stated(model["shape"])
        for name in ("without_rows", "without_tokens"):
            if not model[name]:
                del model[name]
    points = data.pop("points")
    head = json.dumps(data, indent=2)
    lines = ",\n".join("    " + json.dumps(_brief(point)) for point in points)
    body = f"[\n{lines}\n  ]" if points else "[]"
    text = f'{head[:-2]},\n  "points": {body}\n}}\n'
    write_atomically(Path(path), text)  # whoever is interrupted here keeps the profile that was there


def _stated(shape: dict[str, Any]) -> dict[str, Any]:
    """A shape without what a LLaMA leaves at its default, as profiles have always had it."""
    defaults = {field.name: field.default for field in fields(ModelShape)}
    always = ("ours", "qkv_bias", "qk_norm")
    return {key: value for key, value in shape.items() if key in always or value != defaults[key]}


def _brief(point: dict[str, Any]) -> dict[str, Any]:
    """Without the empty parts, so that a line stays readable."""
    return {key: value for key, value in point.items() if value not in ("", {})}


def _check(profile: Profile) -> _Finding | None:
    """What validation by type cannot see: names, features, duplicates."""
    seen = set()
    for index, repeat in enumerate(profile.repeats):
        unknown = sorted(set(repeat.factors) - set(REPEATED))
        if unknown:
            known = ", ".join(REPEATED)
            return _Finding(f"repeats.{index}.factors", f"unknown {unknown[0]!r}; allowed: {known}")
        for number, point in enumerate(repeat.points):
            if finding := _check_point(point, f"repeats.{index}.points.{number}", profile.models):
                return finding
    for index, point in enumerate(profile.points):
        where = f"points.{index}"
        if finding := _check_point(point, where, profile.models):
            return finding
        if point.identity in seen and point.operation != "lane_slowdown":
            return _Finding(where, "the shape was measured twice; keep one point of it")
        seen.add(point.identity)
    return None


def _check_point(point: Point, where: str, models: Mapping[str, ProfiledModel]) -> _Finding | None:
    features = OPERATIONS.get(point.operation)
    if features is None:
        return _Finding(
            f"{where}.operation",
            f"unknown operation {point.operation!r}; allowed: {', '.join(OPERATIONS)}",
        )
    if set(point.features) - set(OPTIONAL.get(point.operation, ())) != set(features):
        given = ", ".join(point.features) or "none"
        return _Finding(
            f"{where}.features", f"{given} given; {point.operation} has {', '.join(features) or 'none'}"
        )
    of_a_model = point.operation in (*MODEL_OPERATIONS, "in_run", "bench", "beside")
    if (of_a_model or point.model) and point.model not in models:
        known = ", ".join(models) or "none"
        return _Finding(f"{where}.model", f"unknown model {point.model!r}; allowed: {known}")
    if point.model and not of_a_model and point.operation != "lane_slowdown":
        return _Finding(f"{where}.model", f"{point.operation} belongs to no model; leave it out")
    packed = point.operation in ("verify", "planning")
    allowed = packing_kinds() if packed else ("",)
    if point.packing not in allowed:
        choices = ", ".join(allowed) if packed else "none"
        return _Finding(f"{where}.packing", f"{point.packing!r} for {point.operation}; allowed: {choices}")
    rehearsed = point.operation in REHEARSED
    kinds: tuple[str, ...] = KINDS if rehearsed or point.operation == "bench" else ("",)
    if point.operation == "all_reduce":
        kinds = tuple(VOLUME)
    if point.operation in BESIDE_MODELS:
        if not point.kind:
            return _Finding(f"{where}.kind", f"'' for {point.operation}; the drafter that was measured")
    elif point.kind not in kinds:
        return _Finding(
            f"{where}.kind",
            f"{point.kind!r} for {point.operation}; allowed: {', '.join(kinds) or 'none'}",
        )
    if bool(point.policy) != rehearsed:
        known = " and ".join(REHEARSED)
        return _Finding(f"{where}.policy", f"the selector of {known}, and of nothing else")
    if any(point.features.get(name) == 0 for name in _POSITIVE):
        return _Finding(f"{where}.features", f"{', '.join(_POSITIVE)} must be positive")
    return None
