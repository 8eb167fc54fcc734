"""Keys of a scenario that have an effect in one world alone, and why. Every other key counts in both.

A test walks all keys of :mod:`spinsim.scenario` and holds this table to what simulations and live runs read.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from spinsim.errors import InputError
from spinsim.scenario import Scenario

World = Literal["simulated", "live"]


class OneWorld(NamedTuple):
    """The ``world`` that a key has an effect in, and ``why`` it has none in the other.

    ``but_for_field``: where ``live.acceptance`` is ``field`` it has one in both.
    """

    world: World
    why: str
    but_for_field: bool = False


# But for the weights of domains, which draw a request's in both. A live run reads the rest for its regret.
_MODELS_DECIDE = "in a live run the models decide what is accepted"
_REAL_TIME = "a live run takes the time that it takes"
_NO_MODELS = "a simulation loads no models"

ONE_WORLD: Mapping[str, OneWorld] = MappingProxyType(
    {
        "acceptance": OneWorld("simulated", _MODELS_DECIDE, but_for_field=True),
        "noise.per_run_sd": OneWorld("simulated", _REAL_TIME),
        "noise.per_run_shift": OneWorld("simulated", _REAL_TIME),
        "noise.per_call_sd": OneWorld("simulated", _REAL_TIME),
        "noise.other_text": OneWorld("simulated", _MODELS_DECIDE),
        "live": OneWorld("live", _NO_MODELS),
        "sampling.stop_at_end_of_text": OneWorld("live", "a simulation has output lengths, and no text"),
        "sampling.generation_config": OneWorld("live", _NO_MODELS),
    }
)


def one_world(key: str) -> OneWorld | None:
    """What the table says of a dotted key, or of a section that it is in."""
    parts = key.split(".")
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((ONE_WORLD[name] for name in names if name in ONE_WORLD), None)


def not_read(scenario: Scenario, world: World) -> dict[str, str]:
    """By key: what the scenario sets and ``world`` does not read, and why.

    A section that every scenario has to have is left out, being the other world's by its nature.
    """
    found = {}
    for key, said in ONE_WORLD.items():
        section, _, name = key.partition(".")
        if said.world == world or not name or (said.but_for_field and scenario.live.acceptance == "field"):
            continue
        values = getattr(scenario, section)
        usual = type(values).model_fields[name].get_default(call_default_factory=True)
        if getattr(values, name) != usual:
            found[key] = said.why
    return found


def refuse_simulated_only(scenario: Scenario) -> None:
    """Raises InputError at the first key that asks a live run for what only a simulation does."""
    models = {"models.target": scenario.models.target}
    models.update((f"models.drafts.{name}", spec) for name, spec in scenario.models.draft_models.items())
    for key, spec in models.items():
        if spec.quantization is not None:
            raise InputError(
                f"{spec.quantization} weights are simulated only; null", key=f"{key}.quantization"
            )
    if scenario.limits.prefill != "apart":
        raise InputError(
            "prefill within the passes that verify is simulated only; apart", key="limits.prefill"
        )
    if scenario.kv.prefix_cache:
        raise InputError("a prefix cache is simulated only; false", key="kv.prefix_cache")
    if scenario.kv.dtype != "model":
        raise InputError(f"K and V in {scenario.kv.dtype} are simulated only; model", key="kv.dtype")
