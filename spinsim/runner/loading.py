"""Loading target and drafts, and refusing what the runner cannot execute exactly.

Weights come from safetensors only and no remote code is ever executed. A model is refused before
a run when its attention is not plain causal attention over all earlier tokens: first by what its
configuration says, then by a probe that compares our cached, packed passes with its own.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spinsim.errors import InputError
from spinsim.runner.attention import over_slots

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
STATIC_ROPE = {"default", "linear", "llama3", "yarn"}  # rotations that do not depend on the length so far


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A causal language model whose attention goes through our slot cache."""

    module: Any  # a transformers PreTrainedModel
    config: Any
    name: str

    @property
    def layers(self) -> int:
        return int(self.config.num_hidden_layers)

    @property
    def heads(self) -> int:
        return int(self.config.num_attention_heads)

    @property
    def kv_heads(self) -> int:
        return int(getattr(self.config, "num_key_value_heads", None) or self.heads)

    @property
    def head_dim(self) -> int:
        return int(getattr(self.config, "head_dim", None) or self.config.hidden_size // self.heads)

    @property
    def vocabulary(self) -> int:
        """Rows of the output head."""
        return int(self.config.vocab_size)

    @property
    def used_vocabulary(self) -> int:
        """Tokens the model may emit: the config key ``used_vocab_size``, else all."""
        return int(getattr(self.config, "used_vocab_size", None) or self.vocabulary)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters())


def require_plain_attention(config: Any, context_tokens: int, name: str, key: str = "") -> None:
    """Raises InputError where ``config`` asks for attention or positions that we do not implement."""

    def refuse(what: str) -> InputError:
        return InputError(
            f"{name} ({getattr(config, 'model_type', '?')}) {what}; "
            "allowed are causal models with full attention",
            key=key,
        )

    for attribute in ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size"):
        if not isinstance(getattr(config, attribute, None), int):
            raise refuse(f"has no {attribute} in its configuration")
    window = getattr(config, "sliding_window", None)
    sliding = getattr(config, "use_sliding_window", True) is not False
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if (
        sliding
        and window is not None
        and kinds == {"full_attention"}
        and "layer_types" not in config.to_dict()
    ):
        kinds = {"sliding_attention"}
    if kinds - {"full_attention", "sliding_attention"}:
        raise refuse(f"has layers of kind {', '.join(sorted(kinds - {'full_attention'}))}")
    if sliding and "sliding_attention" in kinds and window is not None and window < context_tokens:
        raise refuse(
            f"attends within a sliding window of {window} tokens, less than the context of {context_tokens}"
        )
    if getattr(config, "is_encoder_decoder", False):
        raise refuse("is an encoder-decoder")
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, dict) else "default"
    if isinstance(kind, str) and kind not in STATIC_ROPE:
        raise refuse(f"scales its rotary positions with the length so far ({kind})")
    trained = getattr(config, "max_position_embeddings", None)
    if isinstance(trained, int) and context_tokens > trained:
        raise InputError(
            f"{name} was made for {trained} tokens, the context is {context_tokens}; "
            f"allowed is at most {trained}",
            key=key,
        )


def load_model(
    source: str, *, context_tokens: int, dtype: torch.dtype, device: torch.device | str = "cpu", key: str = ""
) -> LoadedModel:
    """The model in the local folder or hub repository ``source``, checked and ready.

    Raises InputError (with the scenario path ``key``) when it cannot be read or is not supported.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    over_slots.register()
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"cannot read {source!r}: {reason}; a folder or hub name of a causal model", key=key
        ) from error
    require_plain_attention(config, context_tokens, source, key)
    try:
        module = AutoModelForCausalLM.from_pretrained(
            source, config=config, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"cannot load {source!r}: {reason}; safetensors of a causal model", key=key
        ) from error
    return prepare(module, source, device=device, key=key)


def random_model(
    config: Any,
    seed: int,
    *,
    context_tokens: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    name: str = "random",
    key: str = "",
) -> LoadedModel:
    """A model of ``config``'s architecture with seeded random weights, made on ``device``."""
    from transformers import AutoModelForCausalLM

    over_slots.register()
    config = copy.deepcopy(config)  # the caller's one does not learn of our attention
    require_plain_attention(config, context_tokens, name, key)
    build: Any = AutoModelForCausalLM.from_config
    place = torch.device(device)
    devices = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.device(place):
        torch.manual_seed(seed)
        try:
            module = build(config, dtype=dtype, trust_remote_code=False)
        except ValueError as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"{name}: {reason}; allowed are causal models", key=key) from error
    return prepare(module, name, device=place, key=key)


def prepare(module: Any, name: str, *, device: torch.device | str = "cpu", key: str = "") -> LoadedModel:
    """Checks a transformers model by a probe, then routes its attention through the slot cache."""
    from spinsim.runner.probe import probe

    over_slots.register()
    module = module.to(device).eval().requires_grad_(False)
    if not getattr(module, "_supports_attention_backend", False):
        raise InputError(
            f"{name} ({module.config.model_type}) does not let its attention be replaced; allowed are "
            "architectures that transformers marks as supporting attention backends",
            key=key,
        )
    loaded = LoadedModel(module, module.config, name)
    probe(loaded, key)
    return loaded


def read_config(path: str | Path, key: str = "") -> Any:
    """The transformers configuration in the JSON file ``path``. Raises InputError."""
    from transformers import AutoConfig

    try:
        data = json.loads(Path(path).read_text())
        return AutoConfig.for_model(**data)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"cannot read {path}: {error}; a transformers config.json", key=key) from error


def require_shared_vocabulary(
    target: LoadedModel, drafts: dict[str, LoadedModel], key: str = "models.drafts"
) -> None:
    """Raises InputError unless every draft emits the target's tokens.

    Compared: the number of tokens in use, and the tokenizers' vocabularies where both came with one.
    """
    wanted = token_ids(target.name)
    for name, draft in drafts.items():
        if draft.used_vocabulary != target.used_vocabulary:
            raise InputError(
                f"draft {draft.name} has {draft.used_vocabulary} tokens, the target {target.name} has "
                f"{target.used_vocabulary}; target and drafts must share a vocabulary",
                key=f"{key}.{name}",
            )
        given = token_ids(draft.name)
        if wanted is not None and given is not None and wanted != given:
            token = min(t for t in wanted.keys() | given.keys() if wanted.get(t) != given.get(t))
            raise InputError(
                f"token {token!r} is {given.get(token, 'missing')} in {draft.name} and "
                f"{wanted.get(token, 'missing')} in {target.name}; target and drafts must share a vocabulary",
                key=f"{key}.{name}",
            )


def token_ids(source: str) -> dict[str, int] | None:
    """The vocabulary in the folder's ``tokenizer.json``; None where ``source`` has none on this disk."""
    path = Path(source) / "tokenizer.json"
    if not path.is_file():
        return None
    model = json.loads(path.read_text())["model"]
    vocabulary = model.get("vocab", {})
    return (
        {token: i for i, (token, _) in enumerate(vocabulary)}
        if isinstance(vocabulary, list)
        else dict(vocabulary)
    )
