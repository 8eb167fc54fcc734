"""Modelled acceptance of a first scenario: how strong a draft is taken to be, and on what grounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from spinsim.costs.sheets.shapes import ModelShape

KINDS = ("ngram", "suffix", "head")  # of drafts that are named without a shape
LOOKUPS = ("ngram", "suffix")
DIFFICULTY_SD = 0.7
REFERENCE, AT_REFERENCE, A_FACTOR_E = 117e6, 0.2, 0.6  # a model's strength by its parameters, ours
# of SpecDecode-Bench's recordings on Llama-3.1-8B: a first token of EAGLE is accepted at 72 % of positions of
# gsm8k and of instructcoder, one of n-gram lookup at 16 % of the first and at 65 % of the second
HEAD, LOOKUP = 1.0, -0.5


def keys_of(shape: str) -> dict[str, Any]:
    """A draft as the YAML has it: a kind by its name, else a model of that shape."""
    return {"kind": shape} if shape in KINDS else {"shape": shape}


def modelled(
    drafts: Mapping[str, Mapping[str, Any]], shapes: Mapping[str, ModelShape]
) -> tuple[dict[str, Any], dict[str, str]]:
    """``acceptance`` as the YAML has it, and what was assumed. ``shapes``: of the drafts that are models."""
    kinds = {name: keys["kind"] for name, keys in drafts.items() if "kind" in keys}
    strength = {name: _strength(kinds.get(name), shapes.get(name)) for name in drafts}
    acceptance: dict[str, Any] = {"model": "logistic", "strength": strength, "difficulty_sd": DIFFICULTY_SD}
    assumed = {}
    if shapes:
        assumed["acceptance"] = (
            "acceptance is modelled by a draft's size; `spinsim trace` records that of your models"
        )
    if any(kind in LOOKUPS for kind in kinds.values()):
        acceptance["matches"] = "modelled"
        assumed["acceptance.lookups"] = (
            "a lookup's first token is taken to be accepted at 4 of 10 positions; recordings gave 16 % "
            "(maths) and 65 % (code edits), so set its strength, or --traffic a recording of yours"
        )
    if "head" in kinds.values():
        assumed["acceptance.heads"] = (
            "a head's token is taken to be accepted at 7 of 10 positions, as EAGLE's first was in recordings"
        )
    return acceptance, assumed


def _strength(kind: str | None, shape: ModelShape | None) -> float:
    """Larger models are accepted more often: a line over the logarithm of their parameters (ours)."""
    if shape is None:
        return HEAD if kind == "head" else LOOKUP
    return round(AT_REFERENCE + A_FACTOR_E * math.log(shape.parameters() / REFERENCE), 2)
