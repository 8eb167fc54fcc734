"""A profile that an earlier session left: may this one go on with it?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spinsim.costs.profiled.elsewhere import laid_elsewhere
from spinsim.costs.profiled.profile import Profile, read_profile
from spinsim.errors import InputError
from spinsim.scenario import Scenario


def resumed(path: Path, begun: Profile, scenario: Scenario) -> Profile:
    """The profile at ``path``, to go on with in place of ``begun``, this session's without points.

    Raises InputError where it cannot be read, or is of other hardware, libraries, models or K/V layout.
    """
    known = read_profile(path)
    require_same_blocks(known, scenario, path)
    _require_same_machinery(known, begun, path)
    _require_same_models(known, begun, path)
    every = {name: replace(model, without_rows=(), without_tokens=()) for name, model in known.models.items()}
    return replace(known, models=begun.models | every)  # all buckets are executed while a profile is made


def require_same_blocks(known: Profile, scenario: Scenario, path: Path) -> None:
    """Raises InputError where the profile's K/V was laid otherwise than the scenario's."""
    if elsewhere := laid_elsewhere(known, scenario.kv.paged_by):
        was = known.kv_block_tokens
        as_there = f"reserve: grow, block_tokens: {was}" if was else "reserve: full"
        why = f"{elsewhere}; allowed: kv: {{{as_there}}}, or another file"
        raise InputError(why, key="kv_block_tokens", file=str(path))


def _require_same_machinery(known: Profile, begun: Profile, path: Path) -> None:
    checks = (
        ("hardware", known.hardware, begun.hardware),
        ("graphs", known.graphs, begun.graphs),
        ("prompt_graphs", known.prompt_graphs, begun.prompt_graphs),
        ("prompt_tokens", known.prompt_tokens, begun.prompt_tokens),
        ("versions.torch", known.versions.get("torch"), begun.versions.get("torch")),
        ("versions.device", known.versions.get("device"), begun.versions.get("device")),
    )
    for key, there, here in checks:
        if there != here:
            raise InputError(
                f"{there!r}, but this session has {here!r}; allowed: the same, or --force to begin anew",
                key=key,
                file=str(path),
            )


def _require_same_models(known: Profile, begun: Profile, path: Path) -> None:
    """A name is the key of a model's points: under it no other model may be measured further."""
    for name, model in begun.models.items():
        there = known.models.get(name)
        if there and not there.runs_as(model.shape, model.dtype, model.hardware, model.devices):
            raise InputError(
                "another model, dtype or number of devices goes by this name in this session; "
                "allowed: the same, or --force to begin anew",
                key=f"models.{name}",
                file=str(path),
            )
