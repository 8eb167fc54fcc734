"""Loading target and drafts, and refusing what the runner cannot execute exactly.

Weights come from safetensors only and no remote code is ever executed. A model is refused before
a run when its attention is not plain causal attention over all earlier tokens: first by what its
configuration says, then by a probe that compares our cached, packed passes with its own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from spinsim.costs.sheets.vocabulary import Vocabulary, disagreement
from spinsim.errors import InputError
from spinsim.runner import checkpoint
from spinsim.runner.attention import over_slots
from spinsim.runner.loaded_model import LoadedModel
from spinsim.runner.probe import probe

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
STATIC_ROPE = {"default", "linear", "llama3", "yarn"}  # rotations that do not depend on the length so far


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
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    over_slots.register()
    config = checkpoint.read_config(source, key)
    require_plain_attention(config, context_tokens, source, key)
    checkpoint.require_plain_weights(config, source, key)
    checkpoint.require_sound_files(source, key)
    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        with _in_silence():
            module, report = load(
                source,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that they are in the report, which is judged
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"cannot load {source!r}: {reason}; safetensors of a causal model", key=key
        ) from error
    checkpoint.require_all_loaded(report, source, key)
    return prepare(module, source, source=source, device=device, key=key)


@contextmanager
def _in_silence() -> Iterator[None]:
    """transformers reports what it loads on stderr; here that is judged, and told in one line."""
    from transformers import utils

    logging: Any = utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


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
    """A model of ``config``'s architecture with seeded random weights, made on ``device``.

    ``key``: the scenario's, for messages. Raises InputError for an architecture that generates no text, and
    for what :func:`require_plain_attention` and :func:`prepare` refuse.
    """
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


def prepare(
    module: Any, name: str, *, source: str = "", device: torch.device | str = "cpu", key: str = ""
) -> LoadedModel:
    """Checks a transformers model by a probe, then routes its attention through the slot cache.

    Raises InputError where the model's attention cannot be replaced, or where the probe's logits differ then.
    """
    over_slots.register()
    module = module.to(device).eval().requires_grad_(False)
    if not getattr(module, "_supports_attention_backend", False):
        raise InputError(
            f"{name} ({module.config.model_type}) does not let its attention be replaced; allowed are "
            "architectures that transformers marks as supporting attention backends",
            key=key,
        )
    loaded = LoadedModel(module, module.config, name, source)
    probe(loaded, key)
    return loaded


def require_shared_vocabulary(
    target: LoadedModel, drafts: Mapping[str, LoadedModel], key: str = "models.drafts"
) -> None:
    """Raises InputError unless every draft speaks the target's tokens (costs/sheets/vocabulary.py)."""
    wanted = vocabulary_of(target, "models.target.weights")
    for name, draft in drafts.items():
        why = disagreement(wanted, vocabulary_of(draft, f"{key}.{name}.weights"))
        if why:
            raise InputError(
                f"draft {draft.name} {why} ({target.name}); target and drafts must share a vocabulary",
                key=f"{key}.{name}",
            )


def vocabulary_of(model: LoadedModel, key: str = "") -> Vocabulary:
    """What a model may say, with its tokenizer's ids where it came with a ``tokenizer.json``."""
    return Vocabulary(model.used_vocabulary, token_ids(model.source, key) if model.source else None)


def token_ids(source: str, key: str = "") -> dict[str, int] | None:
    """The vocabulary in the checkpoint's ``tokenizer.json``; None where it has none.

    Raises InputError for a file that cannot be read.
    """
    path = checkpoint.checkpoint_file(source, "tokenizer.json")
    if path is None:
        return None
    model = checkpoint.read_json(path, key).get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not vocabulary:
        return None
    return (
        {token: i for i, (token, _) in enumerate(vocabulary)}
        if isinstance(vocabulary, list)
        else dict(vocabulary)
    )


def speaking_as(target: LoadedModel, draft: LoadedModel) -> LoadedModel:
    """``draft`` with the target's number of rows: it can be told every token, and probabilities compare.

    Rows that it lacks are zeros: it never emits those tokens. Rows that the target lacks are dropped.
    """
    own, rows = draft.config.vocab_size, target.vocabulary
    if own == rows:
        return draft
    module, config = draft.module, copy.deepcopy(draft.config)
    devices = [module.device] if module.device.type == "cuda" else []
    with _in_silence(), torch.random.fork_rng(devices=devices):  # new rows are drawn before they are zeroed
        module.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for part in (module.get_input_embeddings(), module.get_output_embeddings()):
            part.weight[own:] = 0
    module.requires_grad_(False)
    return replace(draft, config=config)
