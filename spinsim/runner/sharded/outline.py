"""A model in outline: its architecture and where its weights come from, with no weight in memory.

What :func:`spinsim.runner.loading.load_model` refuses is refused here too, but for what its probe finds: a
decoder that is divided is one of those that the lean decoder computes exactly.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spinsim.errors import InputError
from spinsim.runner import checkpoint
from spinsim.runner.fused import rotary_tables
from spinsim.runner.loaded_model import LoadedModel
from spinsim.runner.loading import require_plain_attention
from spinsim.runner.sharded.orders import Load
from spinsim.runner.sharded.shape import LeanShape
from spinsim.runner.sharded.weights import Drawn, Files, Source, names_and_shapes


@dataclass(frozen=True)
class Outline:
    """``model``: its module is on torch's meta device. ``source``: of its weights."""

    model: LoadedModel
    source: Source

    def load(self, positions: int) -> Load:
        """The order to load a share of it, for contexts of up to ``positions`` tokens."""
        model = self.model
        inner: Any = model.module.model
        rotary = type(inner.rotary_emb)(config=model.config)
        tables = rotary_tables(rotary, positions, model.head_dim, torch.device("cpu"))
        return Load(LeanShape.of(model), self.source, tables, model.module.dtype)


def outlined(config: Any, name: str, source: str, weights: Source, dtype: torch.dtype) -> Outline:
    """Of the architecture of ``config``; ``source`` is the folder or repository of its settings."""
    return Outline(LoadedModel(module_of(config, dtype), config, name, source), weights)


def module_of(config: Any, dtype: torch.dtype) -> Any:
    """The transformers module of a configuration, without weights."""
    from transformers import AutoModelForCausalLM

    build: Any = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        return build(config, dtype=dtype, trust_remote_code=False).eval().requires_grad_(False)


def drawn(config: Any, seed: int, *, context_tokens: int, dtype: torch.dtype, key: str = "") -> Outline:
    """A model of ``config``'s architecture with random weights."""
    config = copy.deepcopy(config)
    require_plain_attention(config, context_tokens, "random", key)
    module = module_of(config, dtype)
    spread = float(getattr(config, "initializer_range", 0.02))
    weights = Drawn(seed, spread, names_and_shapes(module))
    return Outline(LoadedModel(module, config, "random"), weights)


def of_checkpoint(source: str, *, context_tokens: int, dtype: torch.dtype, key: str = "") -> Outline:
    """The model in the local folder or hub repository ``source``.

    Raises InputError (with the scenario path ``key``) when it cannot be read or is not supported.
    """
    from transformers import GenerationConfig

    config = checkpoint.read_config(source, key)
    try:
        module = module_of(config, dtype)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise checkpoint.unreadable(source, error, key) from error
    require_plain_attention(config, context_tokens, source, key)
    checkpoint.require_plain_weights(config, source, key)
    checkpoint.require_sound_files(source, key)
    if checkpoint.checkpoint_file(source, checkpoint.GENERATION_CONFIG) is not None:
        module.generation_config = GenerationConfig.from_pretrained(source)
    files = _files(source, key)
    _require_all(files, module, source, key)
    return Outline(LoadedModel(module, config, source, source), Files(files))


def _files(source: str, key: str) -> dict[str, Path]:
    """The safetensors file of every weight."""
    from safetensors import safe_open

    index = checkpoint.checkpoint_file(source, checkpoint.INDEX)
    single = checkpoint.checkpoint_file(source, checkpoint.SINGLE)
    if single is not None:
        with safe_open(single, framework="pt") as tensors:
            return dict.fromkeys(tensors.keys(), single)
    named = {} if index is None else checkpoint.read_json(index, key).get("weight_map", {})
    paths = {name: checkpoint.checkpoint_file(source, name) for name in set(named.values())}
    found = {weight: path for weight, name in named.items() if (path := paths[name]) is not None}
    if not found:
        raise InputError(f"no safetensors in {source!r}; safetensors of a causal model", key=key)
    return found


def _require_all(files: dict[str, Path], module: Any, source: str, key: str) -> None:
    """Raises InputError where names and shapes of weights are not those of the configuration."""
    from safetensors import safe_open

    found: dict[str, tuple[int, ...]] = {}
    for path in set(files.values()):
        with safe_open(path, framework="pt") as tensors:
            found |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    said = names_and_shapes(module)
    derived = {name for name in found if name.endswith("rotary_emb.inv_freq")}  # of old checkpoints
    tied = {"lm_head.weight"} - said.keys()
    differ = [(name, found[name], said[name]) for name in found.keys() & said.keys()]
    report = {
        "missing_keys": said.keys() - found.keys(),
        "unexpected_keys": found.keys() - said.keys() - derived - tied,
        "mismatched_keys": [one for one in differ if one[1] != one[2]],
    }
    checkpoint.require_all_loaded(report, source, key)
