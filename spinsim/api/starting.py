"""Where a newcomer starts: a first scenario, and lists of what one may name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spinsim.api.common import PathLike, Texts, at_least, texts
from spinsim.catalogue import catalogue
from spinsim.errors import InputError

__all__ = ["Started", "catalogue", "init"]


@dataclass(frozen=True)
class Started:
    """A scenario that ``init`` wrote: where, and what it assumed, a sentence each."""

    path: Path
    assumed: tuple[str, ...]


def init(
    out: PathLike = "scenario.yaml",
    *,
    name: str | None = None,
    target: str = "llama-3-8b",
    draft: Texts = (),
    hardware: str = "h100",
    gpus: int = 2,
    price_per_hour: float | None = None,
    traffic: PathLike | None = None,
    format: str | None = None,
    columns: Mapping[str, str] | str | None = None,
    rate: float | None = None,
    clients: int | None = None,
    force: bool = False,
) -> Started:
    """Write a commented scenario for your models, GPUs and traffic, and say what it assumes.

    ``target`` and ``draft`` (several, ``NAME=SHAPE`` or ``SHAPE``) are shapes by name, or paths of a
    ``config.json``; without drafts, shapes of the target's vocabulary are taken. ``hardware`` is a sheet's
    name or file, ``price_per_hour`` that of one GPU. ``traffic`` is a file in one of the ``format`` s of
    ``catalogue("formats")``; ``columns`` maps those of a csv or jsonl file, as a mapping or as
    ``arrival=ts,prompt=input_tokens``, and is guessed otherwise. Without a file, requests are drawn. They
    come at ``rate`` a second, or from ``clients`` that wait for their answers. The scenario is loaded and
    checked before it is written; nothing is written where that fails. Raises InputError.
    """
    from spinsim.starting.answers import Answers, start

    at_least(1, gpus=gpus, clients=clients)
    if rate is not None and not rate > 0:
        raise InputError(f"{rate:g} is not allowed; a rate above 0", key="--rate")
    path = Path(out)
    if path.exists() and not force:
        raise InputError("is there already; --force replaces it, --out names another file", file=str(path))
    if not path.parent.is_dir():
        raise InputError(f"no such folder, {path.parent}; one that exists", key="--out")
    answers = Answers(
        name=path.stem if name is None else name,
        target=target,
        drafts=texts(draft),
        hardware=hardware,
        gpus=gpus,
        price=price_per_hour,
        traffic=None if traffic is None else Path(traffic),
        form=format,
        columns=_mapping(columns) if isinstance(columns, str) else columns,
        rate_per_s=rate,
        clients=clients,
    )
    started = start(answers, path)
    path.write_text(started.text, encoding="utf-8")
    return Started(path, started.assumed)


def _mapping(text: str) -> dict[str, str]:
    """``arrival=ts,prompt=input_tokens`` as a mapping."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(role and equals and name for role, equals, name in pairs):
        raise InputError(f"{text!r} is no mapping; write arrival=ts,prompt=input_tokens,...", key="--columns")
    return {role.strip(): name.strip() for role, _, name in pairs}
