"""Where a newcomer starts: a first scenario, and lists of what one may name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from spinsim import catalogue as lists
from spinsim.api import options
from spinsim.api.common import at_least, imported, texts
from spinsim.api.options import Argument, Option, PathLike, Texts
from spinsim.errors import InputError
from spinsim.files import check_file

__all__ = ["Started", "catalogue", "init"]


@dataclass(frozen=True)
class Started:
    """A scenario that ``init`` wrote: where, and what it assumed, a sentence each; and a study of it."""

    path: Path
    assumed: tuple[str, ...]
    study: Path | None = None


def init(
    out: Annotated[
        PathLike, Argument("Where the scenario goes [scenario.yaml].", metavar="FILE")
    ] = "scenario.yaml",
    *,
    name: Annotated[str | None, Option("What results are called [the file's name].")] = None,
    target: Annotated[
        str, Option("The target: a shape's name, or the path of its config.json.", metavar="SHAPE")
    ] = "llama-3-8b",
    draft: Annotated[
        Texts,
        Option(
            "A draft, likewise, or ngram, suffix or head [of the target's vocabulary]; repeatable.",
            metavar="[NAME=]SHAPE",
        ),
    ] = (),
    hardware: Annotated[str, Option("A GPU's sheet: its name or file.", metavar="SHEET")] = "h100",
    gpus: Annotated[int, Option("How many of them.", min=1)] = 2,
    price_per_hour: Annotated[float | None, Option("Price of one GPU.", min=0)] = None,
    traffic: Annotated[
        PathLike | None, Option("A file of requests [they are drawn].", metavar="FILE")
    ] = None,
    format: Annotated[
        str | None,
        Option("The file's format: spinsim list formats [by its name and first record].", metavar="NAME"),
    ] = None,
    columns: Annotated[
        Mapping[str, str] | str | None,
        Option("Which column of a csv or jsonl file is what [guessed].", metavar="arrival=COLUMN,..."),
    ] = None,
    rate: Annotated[float | None, Option("Requests a second.")] = None,
    clients: Annotated[
        int | None, Option("Clients that wait for their answers, in place of a rate.", min=1)
    ] = None,
    prompt_tokens: Annotated[int | None, Option("Median length of drawn prompts [some 500].", min=1)] = None,
    output_tokens: Annotated[
        int | None, Option("Median length of outputs [some 160, or the file's].", min=1)
    ] = None,
    study: Annotated[
        PathLike | None, Option("Also writes a study of the scenario, for spinsim study.", metavar="FILE")
    ] = None,
    force: options.ForceFile = False,
) -> Started:
    """Write a first scenario for your models, GPUs and traffic, and say what it assumes.

    ``target`` and ``draft`` (several, ``NAME=SHAPE`` or ``SHAPE``) are shapes by name, or paths of a
    ``config.json``; a draft may also be of the kind ``ngram``, ``suffix`` or ``head``. Without drafts,
    shapes of the target's vocabulary are taken. ``hardware`` is a sheet's name or file,
    ``price_per_hour`` that of one GPU. ``traffic`` is a file in one of the ``format`` s of
    ``catalogue("formats")``; ``columns`` maps those of a csv or jsonl file, as a mapping or as
    ``arrival=ts,prompt=input_tokens``, and is guessed otherwise. Without a file, requests are drawn. They
    come at ``rate`` a second, or from ``clients`` that wait for their answers. ``prompt_tokens`` and
    ``output_tokens`` are medians of their lengths. ``study`` is a file for a
    first study of the scenario. The scenario is loaded and checked before it is written; nothing is written
    where that fails. Raises InputError.
    """
    from spinsim.files import write_atomically
    from spinsim.scenario_file import load
    from spinsim.starting.answers import Answers, start
    from spinsim.starting.study import study_text

    at_least(1, gpus=gpus, clients=clients, prompt_tokens=prompt_tokens, output_tokens=output_tokens)
    if rate is not None and not rate > 0:
        raise InputError(f"{rate:g} is not allowed; a rate above 0", key="--rate")
    path = _free(out, "FILE", force=force)
    beside = None if study is None else _free(study, "--study", force=force)
    if beside is not None and beside.resolve() == path.resolve():
        raise InputError("is the scenario's file; another one", key="--study")
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
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
    )
    started = start(answers, path)
    write_atomically(path, started.text)
    if beside is not None:
        write_atomically(beside, study_text(load(path), beside))
    return Started(path, started.assumed, beside)


def catalogue(
    kind: Annotated[
        str, Argument("hardware, shapes, policies, drafters or formats [these kinds].", metavar="KIND")
    ] = "",
    *,
    plugins: options.Plugins = (),
) -> dict[str, str]:
    """List what a scenario may name, with a line each.

    ``kind``: hardware, shapes, policies and drafters (with those of ``plugins``), or formats (of traffic);
    without one, the kinds and what each holds. Raises InputError for another.
    """
    imported(plugins)
    return lists.catalogue(kind)


def _free(file: PathLike, key: str, *, force: bool) -> Path:
    """Where a file may be written. Raises InputError where one is, or no folder for it."""
    path = Path(file)
    if path.exists() and not force:
        raise InputError("is there already; --force replaces it, or name another file", file=str(path))
    if not path.parent.is_dir():
        raise InputError(f"no such folder, {path.parent}; one that exists", key=key)
    check_file(path, key)
    return path


def _mapping(text: str) -> dict[str, str]:
    """``arrival=ts,prompt=input_tokens`` as a mapping."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(role and equals and name for role, equals, name in pairs):
        raise InputError(f"{text!r} is no mapping; write arrival=ts,prompt=input_tokens,...", key="--columns")
    roles = [role.strip() for role, _, _ in pairs]
    if twice := next((role for role in roles if roles.count(role) > 1), ""):
        raise InputError(f"{text!r} names two columns for {twice}; one for each", key="--columns")
    return {role.strip(): name.strip() for role, _, name in pairs}
