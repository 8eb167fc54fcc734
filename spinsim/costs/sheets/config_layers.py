"""What differs between a config.json's layers: mixtures of experts, windows, latent attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spinsim.costs.sheets.architecture import ExpertKeys, WindowKeys
from spinsim.costs.sheets.config_reader import ConfigReader
from spinsim.costs.sheets.model_shape import Experts, LatentAttention, Window

FULL, WINDOWED = "full_attention", ("sliding_attention", "chunked_attention")


def experts_of(reader: ConfigReader, keys: ExpertKeys, layers: int, hidden: int) -> Experts | None:
    """The mixture of experts, or None where no layer has one. Raises InputError."""
    if reader.value(keys.count) in (None, 0):
        return None
    count = reader.number(keys.count)
    active, width = reader.number(keys.active), reader.number(keys.width)
    if active > count:
        raise reader.wrong(keys.active, f"is {active} of {count} experts; at most {keys.count}")
    first = reader.number(keys.first, 0, least=0) if keys.first else 0
    every = reader.number(keys.every) if keys.every else 1
    last = reader.number(keys.last, -1, least=-1) if keys.last else -1
    dense = reader.numbers(keys.dense) if keys.dense else ()
    mixtures = sum(
        i >= first and (last < 0 or i <= last) and (i + 1) % every == 0 and i not in dense
        for i in range(layers)
    )
    if not mixtures:
        return None
    shared = width if keys.always_shared else 0
    if keys.shared:
        shared = reader.number(keys.shared, 0, least=0) * width
    elif keys.shared_width:
        shared = reader.number(keys.shared_width, 0, least=0)
    extra = keys.router_vectors * count + (hidden if keys.shared_gate else 0)
    return Experts(count, active, mixtures, width, shared, reader.trait(keys.bias), extra)


def latent_of(reader: ConfigReader, hidden: int, heads: int) -> LatentAttention:
    """Ranks and widths of latent attention. Raises InputError."""
    ranked = reader.value("q_lora_rank") is not None
    return LatentAttention(
        query_rank=reader.number("q_lora_rank") if ranked else 0,
        kv_rank=reader.number("kv_lora_rank"),
        nope=reader.number("qk_nope_head_dim"),
        rope=reader.number("qk_rope_head_dim"),
        value=reader.number("v_head_dim", max(1, hidden // heads)),
    )


def window_of(reader: ConfigReader, keys: WindowKeys, layers: int) -> Window | None:
    """The sliding window and how many layers have it; None where none does. Raises InputError."""
    listed = _listed(reader, layers) if keys.layer_types else None
    if keys.switch and not reader.flag(keys.switch):
        return None
    if reader.value(keys.size) in (None, 0):
        return None
    tokens = reader.number(keys.size)
    if listed is None:
        narrow = _rule(reader, keys)
        listed = [narrow(layer) for layer in range(layers)]
    return Window(tokens, sum(listed)) if any(listed) else None


def _listed(reader: ConfigReader, layers: int) -> list[bool] | None:
    """By layer, whether ``layer_types`` gives it a window; None where the file does not list them."""
    kinds: Any = reader.value("layer_types")
    if kinds is None:
        return None
    if not isinstance(kinds, list) or len(kinds) != layers:
        found = f"{len(kinds)} kinds" if isinstance(kinds, list) else repr(kinds)
        raise reader.wrong("layer_types", f"{found} for {layers} layers; a list with one of each layer")
    for kind in kinds:
        if kind not in (FULL, *WINDOWED):
            raise reader.wrong(
                "layer_types", f"{kind!r} is not counted; {FULL}, {WINDOWED[0]} or {WINDOWED[1]}"
            )
    return [kind in WINDOWED for kind in kinds]


def _rule(reader: ConfigReader, keys: WindowKeys) -> Callable[[int], bool]:
    """Whether a layer has the window, by its number."""
    if keys.first:
        first = reader.number(keys.first, 0, least=0)
        return lambda layer: layer >= first
    given = reader.value(keys.pattern_key) if keys.pattern_key else None
    if isinstance(given, str) and given and set(given) <= {"L", "G"}:  # EXAONE: local or global, repeated
        return lambda layer: given[layer % len(given)] == "L"
    pattern = reader.number(keys.pattern_key, keys.pattern) if keys.pattern_key else keys.pattern
    return lambda layer: not pattern or (layer + 1) % pattern != 0
