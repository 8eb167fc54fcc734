"""What lies in a checkpoint's folder, looked at before transformers loads it.

transformers fills what a checkpoint lacks with random numbers, and reports damaged files without a place.
Here each is refused, with the scenario's key and the file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spinsim.errors import InputError, reason_of

CONFIG, GENERATION_CONFIG = "config.json", "generation_config.json"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
LFS_POINTER = b"version https://git-lfs"
FLOATS = ("F64", "F32", "F16", "BF16")
SHOWN = 3  # names of weights in an error


def checkpoint_file(source: str, name: str) -> Path | None:
    """The file ``name`` of a local folder or hub repository; None where it has none."""
    if Path(source).is_dir():
        path = Path(source) / name
        return path if path.is_file() else None
    from transformers.utils.hub import cached_file

    with _without_retries_told():
        try:
            found = cached_file(
                source,
                name,
                _raise_exceptions_for_gated_repo=False,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
            )
        except (OSError, ValueError):  # no repository of this name, or no name of a repository
            return None
    return None if found is None else Path(found)


@contextmanager
def _without_retries_told() -> Iterator[None]:
    """A machine without a network would be told of every attempt to reach the hub."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def read_json(path: Path, key: str = "") -> dict[str, Any]:
    """A checkpoint's JSON file. Raises InputError for what is none, or no mapping."""
    refuse_pointer(path, key)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read: {reason_of(error)}; JSON of a checkpoint", key=key, file=str(path)
        ) from error
    if not isinstance(data, dict):
        raise InputError("holds no mapping; JSON of a checkpoint", key=key, file=str(path))
    return data


def refuse_pointer(path: Path, key: str = "") -> None:
    """Raises InputError where Git LFS left a pointer in the file's place."""
    try:
        with path.open("rb") as file:
            head = file.read(len(LFS_POINTER))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", key=key, file=str(path)) from error
    if head == LFS_POINTER:
        raise InputError(
            "is a Git LFS pointer, not the file itself; `git lfs pull` fetches that",
            key=key,
            file=str(path),
        )


def require_readable(source: str, key: str = "") -> None:
    """Raises InputError for a configuration that is not there or damaged.

    transformers passes over damage in one of the two files in silence.
    """
    config = checkpoint_file(source, CONFIG)
    if config is None:
        raise InputError(f"{_why_not_there(source)}; a folder or hub name of a causal model", key=key)
    for path in (config, checkpoint_file(source, GENERATION_CONFIG)):
        if path is not None:
            read_json(path, key)


def _why_not_there(source: str) -> str:
    path = Path(source)
    if path.is_dir():
        return f"no {CONFIG} in the folder {source!r}"
    if path.exists():
        return f"{source!r} is a file"
    if path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:  # names nothing on a hub
        return f"no folder {source!r}"
    return f"no folder {source!r} beside the scenario, and no model of that name to be had from the hub"


def read_config(source: str, key: str = "") -> Any:
    """transformers' configuration of the local folder or hub repository ``source``.

    Raises InputError for one that is not there, damaged, or of no architecture that transformers has.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    require_readable(source, key)
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise unreadable(source, error, key) from error


def unreadable(source: str, error: Exception, key: str) -> InputError:
    """What transformers cannot make a model of."""
    reason = " ".join(str(error).split())
    return InputError(f"cannot read {source!r}: {reason}; a folder or hub name of a causal model", key=key)


def require_plain_weights(config: Any, source: str, key: str = "") -> None:
    """Raises InputError where the configuration says that weights are quantised."""
    data = config.to_dict()
    for part in (data, data.get("text_config") or {}):
        for name in ("quantization_config", "compression_config"):
            if found := part.get(name):
                method = found.get("quant_method", "") if isinstance(found, Mapping) else ""
                path = checkpoint_file(source, CONFIG)
                raise InputError(
                    f"{name}{f' ({method})' if method else ''}: quantised weights are not run; "
                    "allowed are weights of bf16, fp16 or fp32",
                    key=key,
                    file=str(path or source),
                )


def require_sound_files(source: str, key: str = "") -> None:
    """Raises InputError where a local folder's safetensors are pointers, damaged, missing or quantised.

    Reads headers only. A folder without safetensors is left to the loader.
    """
    folder = Path(source)
    if not folder.is_dir():
        return  # a download is checked by the hub's own client
    if (folder / SINGLE).exists():
        files = [folder / SINGLE]
    elif (folder / INDEX).exists():
        weights = read_json(folder / INDEX, key).get("weight_map")
        if not isinstance(weights, dict):
            raise InputError("has no weight_map; an index of safetensors", key=key, file=str(folder / INDEX))
        files = [folder / str(name) for name in sorted(set(weights.values()))]
    else:
        return
    for file in files:
        _require_sound(file, key)


def _require_sound(file: Path, key: str) -> None:
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise InputError(f"is not there; {INDEX} names it", key=key, file=str(file))
    refuse_pointer(file, key)
    try:
        with safe_open(file, framework="pt") as tensors:
            kinds = {name: tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"is damaged or cut short ({reason}); whole safetensors", key=key, file=str(file)
        ) from error
    for name, kind in kinds.items():
        # Buffers (masks, positions) may be integers; a matrix of integers or of 8-bit floats is packed.
        if kind.startswith(("F8", "F4")) or (name.endswith("weight") and kind not in FLOATS):
            raise InputError(
                f"{name} is of {kind}: quantised weights are not run; "
                "allowed are weights of bf16, fp16 or fp32",
                key=key,
                file=str(file),
            )


def require_all_loaded(report: Mapping[str, Any], source: str, key: str = "") -> None:
    """Raises InputError where the configuration's weights are not those of the checkpoint.

    ``report``: transformers' loading info. Tied weights, and buffers that a model works out, are none of it.
    """
    mismatched = [
        f"{name} {_shape(found)} where the configuration says {_shape(said)}"
        for name, found, said in sorted(report.get("mismatched_keys") or (), key=lambda item: str(item[0]))
    ]
    problems = (
        ("lacks weights that the configuration has", sorted(report.get("missing_keys") or ())),
        ("holds weights that the configuration has no use for", sorted(report.get("unexpected_keys") or ())),
        ("has weights of other shapes", mismatched),
        ("has weights that did not load", sorted(map(str, report.get("error_msgs") or ()))),
    )
    for what, names in problems:
        if names:
            path = Path(source) / (INDEX if not (Path(source) / SINGLE).exists() else SINGLE)
            raise InputError(
                f"{what}: {_some(names)}; allowed is a whole checkpoint of its {CONFIG}",
                key=key,
                file=str(path) if path.exists() else source,
            )


def _shape(sizes: Collection[int]) -> str:
    return "x".join(map(str, sizes))


def _some(names: Collection[str]) -> str:
    """The first few names, and how many more there are."""
    shown = list(names)[:SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
