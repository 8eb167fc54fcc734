"""From answers to a scenario that runs, and what was assumed on the way."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinsim.costs.sheets.hardware import Hardware
from spinsim.costs.sheets.own_hardware import hardware_sheet
from spinsim.costs.sheets.shapes import ModelShape, shape_names, shape_of
from spinsim.costs.sheets.vocabulary import Vocabulary, disagreement
from spinsim.errors import InputError
from spinsim.lab.cell import check_fits
from spinsim.scenario_file import load
from spinsim.scenario_file.hardware_files import ENDINGS, read_hardware_sheet
from spinsim.starting.modelled import LOOKUPS, keys_of, modelled
from spinsim.starting.placing import place, usual_drafts
from spinsim.starting.recorded import Recorded, recorded
from spinsim.starting.text import scenario_text
from spinsim.starting.traffic import CONTEXT, drawn, from_file, guessed_format

PROMPT_TOKENS_A_SECOND = 4096  # of the objective for the first token, which is 1 s or more
UNLIMITED = 1 << 20  # tokens of context, where no model says its own


@dataclass(frozen=True)
class Answers:
    """What a first scenario is made of; None and empty: assumed.

    ``drafts``: shapes, or NAME=SHAPE. ``traffic``: a file. ``price``: of a GPU and hour.
    ``prompt_tokens`` and ``output_tokens``: medians of lengths.
    """

    name: str = "first"
    target: str = "llama-3-8b"
    drafts: tuple[str, ...] = ()
    hardware: str = "h100"
    gpus: int = 2
    price: float | None = None
    traffic: Path | None = None
    form: str | None = None
    columns: Mapping[str, str] | None = None
    rate_per_s: float | None = None
    clients: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True)
class Started:
    """The text of a scenario, and what it assumes: a sentence each."""

    text: str
    assumed: tuple[str, ...]


def start(answers: Answers, path: Path) -> Started:
    """The scenario for the file ``path``, which is loaded and checked as if it were there.

    Raises InputError for what cannot be: an unknown shape, a model that does not fit, a file that is
    unreadable.
    """
    folder = path.parent
    target = _shape(answers.target, "--target")
    found = _recorded(answers, target, folder)
    if found is None:
        named = {name: keys_of(s) for name, s in _named(answers.drafts or usual_drafts(target)).items()}
    else:
        named = found.drafts
    drafts = {name: keys["shape"] for name, keys in named.items() if "shape" in keys}
    shapes = {name: _shape(shape, "--draft") for name, shape in drafts.items()}
    for name, shape in shapes.items():
        if why := disagreement(Vocabulary(target.vocab), Vocabulary(shape.vocab)):
            raise InputError(f"{name} {why}; target and drafts must share a vocabulary", key="--draft")
    hardware = _hardware(answers.hardware, folder)
    placement = place(target, tuple(drafts), answers.gpus, hardware_of(answers.hardware))
    if answers.traffic is None:
        traffic = drawn(
            answers.rate_per_s,
            answers.clients,
            most_tokens=_holds((target, *shapes.values())),
            prompt_tokens=answers.prompt_tokens,
            output_tokens=answers.output_tokens,
        )
    elif answers.prompt_tokens is not None:
        raise InputError("the file of --traffic has the prompts; one of the two", key="--prompt-tokens")
    else:
        traffic = from_file(
            answers.traffic,
            answers.form,
            answers.columns,
            rate_per_s=answers.rate_per_s,
            clients=answers.clients,
            output_tokens=answers.output_tokens,
            beside=folder,
        )
    context, cut = _context(traffic.longest_tokens, (target, *shapes.values()))
    assumed = {**traffic.assumed, **cut}
    if found is not None:
        assumed |= found.assumed
    elif not answers.drafts:
        assumed["models.drafts"] = f"drafts that have the target's vocabulary: {', '.join(drafts.values())}"
    acceptance, modelled_so = (found.acceptance, {}) if found else modelled(named, shapes)
    ttft_s = max(1, round((answers.prompt_tokens or 0) / PROMPT_TOKENS_A_SECOND))
    assumed |= {
        "costs": "costs come from data sheets, which may be off by a tenth or more (docs/fidelity.md); "
        "`spinsim profile` measures your machine",
        **modelled_so,
        "slo": f"objectives of {ttft_s} s to the first token and 50 ms a token after it",
    }
    written = {name: {"shape": _written(shape, folder)} for name, shape in drafts.items()}
    content: dict[str, Any] = {
        "name": _name(answers.name),
        "workload": traffic.workload,
        "models": {
            "target": {"shape": _written(answers.target, folder)},
            "drafts": {name: written.get(name, keys) for name, keys in named.items()},
        },
        "devices": {name: _device(hardware, answers.price) for name in placement.devices},
        "placement": {"target": list(placement.target), "drafts": placement.drafts},
        "acceptance": acceptance,
        **_policies(named),
        "limits": {"batch": 32, "context_tokens": context},
        "slo": {"ttft_s": float(ttft_s), "tpot_s": 0.05},
    }
    text = scenario_text(content, assumed, str(path))
    check_fits(load(text, folder=folder))
    return Started(text, tuple(assumed.values()))


def _policies(drafts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """``selector`` and ``length``: what docs/policies.md says to pick where nothing has been tried yet."""
    fixed = {"name": "fixed", "tokens": 4}
    if len(drafts) == 1:
        return {"selector": {"name": "fixed", "draft": next(iter(drafts))}, "length": fixed}
    if any(keys.get("kind") in LOOKUPS for keys in drafts.values()):  # what was found tells which to take
        return {"selector": {"name": "contextual"}, "length": {"name": "planned"}}
    return {"selector": {"name": "joint"}, "length": fixed}


def hardware_of(name: str) -> Hardware:
    """The sheet behind a name or a file. Raises InputError."""
    if name.lower().endswith(ENDINGS):
        try:
            return hardware_sheet(read_hardware_sheet(Path(name)))
        except FileNotFoundError:
            raise InputError(f"no such file, {name}; a hardware sheet's path", key="--hardware") from None
    try:
        return hardware_sheet(name)
    except InputError as error:
        raise InputError(error.message, key="--hardware") from None


def _hardware(name: str, folder: Path) -> str:
    hardware_of(name)
    return os.path.relpath(name, folder) if name.lower().endswith(ENDINGS) else name


def _device(hardware: str, price: float | None) -> dict[str, Any]:
    return {"hardware": hardware, **({} if price is None else {"price_per_hour": price})}


def _shape(name: str, option: str) -> ModelShape:
    try:
        return shape_of(name, Path())
    except InputError as error:
        raise InputError(error.message, key=option, file=error.file, line=error.line) from None


def _written(shape: str, folder: Path) -> str:
    """A shape's name, or its path from the scenario's folder."""
    return shape if shape in shape_names() else os.path.relpath(shape, folder)


def _recorded(answers: Answers, target: ModelShape, folder: Path) -> Recorded | None:
    """What the traffic's file says of acceptance, too; None where it says nothing of it."""
    if answers.traffic is None or not answers.traffic.is_file():
        return None
    form = answers.form or guessed_format(answers.traffic)
    given = _named(answers.drafts)
    return recorded(answers.traffic, form, given, "" if given else usual_drafts(target)[0], folder)


def _named(drafts: Sequence[str]) -> dict[str, str]:
    """``NAME=SHAPE`` or ``SHAPE`` by name."""
    named: dict[str, str] = {}
    for given in drafts:
        name, equals, shape = given.partition("=")
        if not equals:
            name, shape = _short(given), given
        if name in named:
            raise InputError(f"two drafts are called {name!r}; NAME=SHAPE gives a name", key="--draft")
        named[name] = shape
    return named


def _short(shape: str) -> str:
    """A name for a draft that goes into keys and file names."""
    path = Path(shape)
    known = shape in shape_names()
    return _name(shape if known else (path.parent.name if path.suffix == ".json" else path.name))


def _name(text: str) -> str:
    """``text`` as a name, without what has no place in keys and file names."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:64] or "mine"


def _holds(models: Sequence[ModelShape]) -> int:
    """The longest context that all models were made for."""
    return min([UNLIMITED, *(shape.context for shape in models if shape.context is not None)])


def _context(longest: int, models: Sequence[ModelShape]) -> tuple[int, dict[str, str]]:
    """The next power of two that holds the longest request, as far as the models go."""
    wanted = max(CONTEXT, 2 ** math.ceil(math.log2(longest)))
    most = min((shape.context for shape in models if shape.context is not None), default=wanted)
    if wanted <= most:
        return wanted, {}
    if longest <= most:
        return most, {}
    return most, {
        "limits.context_tokens": f"requests beyond {most:,} tokens are rejected: the models hold no more, "
        f"and the longest has {longest:,}"
    }
