"""A transformers config.json, read by an allow-list.

Every key is either understood (``architectures``), known not to matter (``config_keys``), or refused by
name. What a file leaves out has the format's own default, from ``config_defaults.json``: a table that
``python docs/make/config_defaults.py`` makes from transformers' classes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from spinsim.costs.sheets.architecture import Architecture
from spinsim.costs.sheets.architectures import ARCHITECTURES
from spinsim.costs.sheets.config_keys import HEADS, IGNORED, ONLY, WRAPPER_IGNORED
from spinsim.costs.sheets.config_layers import experts_of, latent_of, window_of
from spinsim.costs.sheets.config_reader import ConfigReader
from spinsim.costs.sheets.model_shape import ModelShape
from spinsim.costs.sheets.other_model_types import REFUSED, WRAPPERS
from spinsim.costs.sheets.quantization import method_of
from spinsim.errors import InputError, reason_of
from spinsim.files import once_each

CARRIED = ("tie_word_embeddings", "quantization_config")  # of a wrapper, said for its text model
MOST_LAYERS = 10_000  # layers are looked at one by one
NORM_VECTORS = {"rms": 1, "layer": 2, "scale": 1, "none": 0}


@functools.cache
def defaults() -> Mapping[str, Mapping[str, Any]]:
    """By model type: the keys that the format has and that count, with their defaults."""
    table = resources.files("spinsim.costs.sheets").joinpath("config_defaults.json")
    made: dict[str, dict[str, Any]] = json.loads(table.read_text(encoding="utf-8"))["model_types"]
    return made


def read_config_json(path: Path) -> ModelShape:
    """The shape that a config.json describes.

    Raises InputError, with file, line and key, for what is unreadable, out of range or not understood.
    """
    try:
        text = path.read_text(encoding="utf-8")
        config = json.loads(text, object_pairs_hook=once_each)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"not readable as JSON ({reason_of(error)}); expected a transformers config.json", file=str(path)
        ) from None
    if not isinstance(config, dict):
        raise InputError("not a JSON object; expected a transformers config.json", file=str(path))
    return shape_from_config(config, name=path.parent.name or path.stem, source=str(path), text=text)


def shape_from_config(config: Mapping[str, Any], *, name: str, source: str, text: str = "") -> ModelShape:
    """A shape from the values of a config.json. ``text``: the file's, which places errors on a line."""
    reader = _reader(config, source, text)
    _require_understood(reader)
    return _shape(reader, name, source)


def _reader(config: Mapping[str, Any], file: str, text: str) -> ConfigReader:
    """The values of the text model, which a wrapper holds under ``text_config``."""
    outer = ConfigReader(config, {}, Architecture(), file, text)
    kind = outer.text("model_type")
    if "text_config" not in config:
        return _of_type(config, kind, outer, file, text)
    if kind not in WRAPPERS:
        why = REFUSED.get(kind, "is not understood as a wrapper of a text model")
        raise outer.wrong("model_type", f"{kind!r} {why}; one of {', '.join(WRAPPERS)}")
    inner = config["text_config"]
    if not isinstance(inner, dict):
        raise outer.wrong("text_config", f"is {inner!r}; the config.json of the text model")
    understood = {"text_config", *CARRIED, *ONLY, *WRAPPER_IGNORED}
    for key in config:
        if key not in understood:
            raise outer.wrong(key, "is not understood beside a text_config; leave it out if it costs nothing")
    _require_only(outer, ONLY)
    merged = inner | {key: config[key] for key in CARRIED if key in config}
    within = text[text.find('"text_config"') :] if text else ""
    before = text[: len(text) - len(within)].count("\n")
    wrapped = str(inner.get("model_type", WRAPPERS[kind]))
    inside = ConfigReader(merged, {}, Architecture(), file, within, before)
    return _of_type(merged, wrapped, inside, file, within, before)


def _of_type(
    config: Mapping[str, Any], kind: str, place: ConfigReader, file: str, text: str, before: int = 0
) -> ConfigReader:
    architecture = ARCHITECTURES.get(kind)
    if architecture is None:
        why = REFUSED.get(kind, "is not understood")
        raise place.wrong("model_type", f"{kind!r} {why}; one of {', '.join(ARCHITECTURES)}")
    return ConfigReader(config, defaults()[kind], architecture, file, text, before)


def _require_understood(reader: ConfigReader) -> None:
    """Raises InputError for the first key that may change the cost in a way that is not understood."""
    architecture, known = reader.architecture, set(reader.defaults)
    for ours in architecture.key_names():
        aliases = architecture.format_keys(ours)
        if known.intersection(aliases):
            known.update(aliases)
    known.update(("quantization_config", *ONLY, *architecture.only, *architecture.same))
    for key in reader.values:
        if key not in known and key not in IGNORED and key not in architecture.ignored:
            kind = reader.values.get("model_type", "text model")
            raise reader.wrong(
                key,
                f"is not understood for a {kind}, and may change what it costs; understood are "
                f"{', '.join(sorted(known.intersection(reader.defaults)))}",
            )
    _require_only(reader, {key: value for key, value in ONLY.items() if key not in reader.defaults})
    _require_only(reader, architecture.only)
    for key, other in architecture.same.items():
        if reader.values.get(key) not in (None, reader.number(other)):
            raise reader.wrong(key, f"is {reader.values[key]!r}; allowed is {other}, {reader.number(other)}")
    heads = reader.values.get("architectures")
    if isinstance(heads, list) and heads and not any(str(head).endswith(HEADS) for head in heads):
        raise reader.wrong("architectures", f"{heads[0]!r} has no language head; one ending in {HEADS[0]}")


def _require_only(reader: ConfigReader, only: Mapping[str, object]) -> None:
    for key, value in only.items():
        given = reader.values.get(key, reader.defaults.get(key, value))
        if given is not None and given != value:
            allowed = json.dumps(value)
            raise reader.wrong(key, f"is {json.dumps(given)}, which is not counted; allowed is {allowed}")


def _shape(reader: ConfigReader, name: str, source: str) -> ModelShape:
    architecture = reader.architecture
    hidden, heads = reader.number("hidden_size"), reader.number("num_attention_heads")
    layers = reader.number("num_hidden_layers")
    if layers > MOST_LAYERS:
        raise reader.wrong("num_hidden_layers", f"is {layers}; at most {MOST_LAYERS}")
    latent = window = None
    if architecture.latent:
        latent = latent_of(reader, hidden, heads)
        kv_heads, head_dim = heads, latent.nope + latent.rope
    else:
        kv_heads, head_dim = _kv_heads(reader, heads), _head_dim(reader, hidden, heads)
    if architecture.windows is not None:
        window = window_of(reader, architecture.windows, layers)
    dense_width = architecture.experts.dense_width if architecture.experts else "intermediate_size"
    ratio = hidden * architecture.mlp_ratio if architecture.mlp_ratio else None
    vectors = NORM_VECTORS[architecture.norm]
    context = reader.number("max_position_embeddings") if reader.has("max_position_embeddings") else None
    qk_norm = reader.trait(architecture.qk_norm)
    plain_qk_norm = qk_norm and (architecture.qk_norm_over, architecture.qk_norm_vectors) == ("head", 1)
    layer_extra = architecture.layer_scalars + (heads if architecture.sinks else 0)
    if qk_norm and not plain_qk_norm:
        wide = heads + kv_heads if architecture.qk_norm_over == "all" else 2
        layer_extra += architecture.qk_norm_vectors * wide * head_dim
    extra = vectors * hidden if architecture.embedding_norm else 0
    if architecture.position_rows is not None and context is not None:
        extra += (context + architecture.position_rows) * hidden
    return ModelShape(
        name=name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=reader.number(dense_width, ratio),
        vocab=reader.number("vocab_size"),
        tied=reader.flag("tie_word_embeddings"),
        source=source,
        qkv_bias=reader.trait(architecture.qkv_bias),
        qk_norm=plain_qk_norm,
        output_bias=reader.trait(architecture.output_bias),
        mlp_bias=reader.trait(architecture.mlp_bias),
        head_bias=reader.trait(architecture.head_bias),
        gated=architecture.gated,
        parallel=reader.trait(architecture.parallel),
        norm_vectors=vectors,
        layer_norms=_layer_norms(reader),
        final_norm=reader.trait(architecture.final_norm),
        layer_extra=layer_extra,
        extra=extra,
        context=context,
        experts=experts_of(reader, architecture.experts, layers, hidden) if architecture.experts else None,
        latent=latent,
        window=window,
        quantization=_quantization(reader),
    )


def _kv_heads(reader: ConfigReader, heads: int) -> int:
    architecture = reader.architecture
    grouped = reader.trait(architecture.new_decoder) if architecture.new_decoder else True
    if reader.trait(architecture.one_kv_head) and not (architecture.new_decoder and grouped):
        return 1
    if not grouped or not reader.has("num_key_value_heads"):
        return heads
    kv_heads = reader.number("num_key_value_heads", heads)
    if heads % kv_heads:
        raise reader.wrong(
            "num_key_value_heads",
            f"{heads} attention heads over {kv_heads} key/value heads; must divide evenly",
        )
    return kv_heads


def _head_dim(reader: ConfigReader, hidden: int, heads: int) -> int:
    if reader.has("head_dim") and reader.value("head_dim") is not None:
        return reader.number("head_dim")
    if hidden % heads:
        raise reader.wrong(
            "hidden_size", f"{hidden} over {heads} heads; must divide evenly without a head_dim"
        )
    return hidden // heads


def _layer_norms(reader: ConfigReader) -> int:
    architecture = reader.architecture
    apart = bool(architecture.new_decoder) and reader.trait(architecture.new_decoder)
    if architecture.parallel_norms and reader.trait(architecture.parallel) and not apart:
        return architecture.parallel_norms
    return architecture.layer_norms


def _quantization(reader: ConfigReader) -> str:
    given = reader.values.get("quantization_config")
    if given is None:
        return ""
    if not isinstance(given, dict):
        raise reader.wrong("quantization_config", f"is {given!r}; a mapping, or null")
    return method_of(given)
