"""What a target's own generation settings say: where a text ends, and what else chooses its tokens.

They are those of transformers' ``generate``: of ``generation_config.json`` alone where there is one, else of
``config.json``. A live run ends where they say, and applies none of the rest. By penalties and the like
``generate`` chooses other tokens, so that a run which left them out unsaid would not be lossless.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spinsim.errors import InputError
from spinsim.runner.checkpoint import CONFIG, GENERATION_CONFIG, checkpoint_file

# Settings of GenerationConfig by which ``generate`` chooses other tokens, and the values at which it does
# not. Caches, outputs and assistants are not among them. Lengths and temperatures are the scenario's own.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "bad_words_ids": (None, []),
    "begin_suppress_tokens": (None, []),
    "constraints": (None, []),
    "diversity_penalty": (None, 0.0),
    "dola_layers": (None,),
    "encoder_no_repeat_ngram_size": (None, 0),
    "encoder_repetition_penalty": (None, 1.0),
    "exponential_decay_length_penalty": (None,),
    "force_words_ids": (None, []),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "guidance_scale": (None, 1.0),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "no_repeat_ngram_size": (None, 0),
    "num_beam_groups": (None, 1),
    "num_beams": (None, 1),
    "penalty_alpha": (None, 0.0),
    "repetition_penalty": (None, 1.0),
    "sequence_bias": (None, {}, []),
    "stop_strings": (None, "", []),
    "suppress_tokens": (None, []),
    "token_healing": (None, False),
    "watermarking_config": (None,),
}
NEUTRAL_SAMPLED: Mapping[str, tuple[Any, ...]] = {  # these count where tokens are drawn
    "epsilon_cutoff": (None, 0.0, 1.0),
    "eta_cutoff": (None, 0.0, 1.0),
    "min_p": (None, 0.0),
    "top_h": (None,),
    "top_k": (None, 0),
    "typical_p": (None, 1.0),
}


def settings_file(source: str) -> Path | None:
    """The file that the settings of the checkpoint ``source`` come from; None where there is none."""
    return checkpoint_file(source, GENERATION_CONFIG) or checkpoint_file(source, CONFIG)


def end_of_text(settings: Any, source: str = "", key: str = "") -> frozenset[int]:
    """The tokens any of which ends a text; ``settings`` is the model's GenerationConfig.

    Raises InputError where ``eos_token_id`` is neither a token nor a list of tokens.
    """
    said = getattr(settings, "eos_token_id", None)
    tokens = said if isinstance(said, list | tuple) else [] if said is None else [said]
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in tokens):
        path = settings_file(source) if source else None
        raise InputError(
            f"eos_token_id {said!r} is no token; a token's number, or a list of them",
            key=key,
            file=str(path or source),
        )
    return frozenset(tokens)


def not_applied(settings: Any, *, sampled: bool) -> dict[str, Any]:
    """The settings by which ``generate`` would choose other tokens than a live run, by name."""
    neutral = {**NEUTRAL, **NEUTRAL_SAMPLED} if sampled else NEUTRAL
    found = {name: getattr(settings, name, None) for name in sorted(neutral)}
    return {name: value for name, value in found.items() if value not in neutral[name]}
