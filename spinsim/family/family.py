"""The declared members of the family, where their checkpoints lie, and how to load them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from spinsim.errors import InputError
from spinsim.family import tokenizer

if TYPE_CHECKING:
    import torch

CONTEXT = 512  # trained context, tokens
CHECKPOINTS = Path(__file__).with_name("checkpoints")
BUDGET_BYTES = 25_000_000  # all shipped weights together

_HEAD_DIM = 32


@dataclass(frozen=True, slots=True)
class Member:
    """One model of the family: its LLaMA config, its training mix, and the shape it stands in for.

    K/V heads are few, so that the member also widens into grouped-query shapes.
    """

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    mix: str
    stands_for: str
    learning_rate: float

    def config(self) -> dict[str, Any]:
        """Keys of its transformers LlamaConfig."""
        return {
            "vocab_size": tokenizer.VOCABULARY,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": _HEAD_DIM,
            "max_position_embeddings": CONTEXT,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "bos_token_id": tokenizer.BOS_ID,
            "eos_token_id": tokenizer.EOS_ID,
            "pad_token_id": tokenizer.PAD_ID,
        }


TARGET = Member("target", 256, 6, 8, 4, 704, "all", "llama-3-8b", 2e-3)
DRAFTS = (
    Member("tiny", 64, 1, 2, 1, 192, "all", "llama-68m", 6e-3),
    Member("code", 128, 2, 4, 2, 352, "code", "llama-68m", 4e-3),
    Member("maths", 128, 2, 4, 2, 352, "maths", "llama-68m", 4e-3),
    Member("small", 128, 2, 4, 2, 352, "all", "llama-265m", 4e-3),
    Member("large", 192, 3, 6, 3, 512, "all", "llama-1.1b", 3e-3),
)
# A third specialist, trained later from the same target. What was recorded of the five stays as it is.
ADDED = (Member("prose", 128, 2, 4, 2, 352, "prose", "llama-68m", 4e-3),)
MEMBERS: Mapping[str, Member] = MappingProxyType({m.name: m for m in (TARGET, *DRAFTS, *ADDED)})


def member(name: str, key: str = "") -> Member:
    """A member by name. Raises InputError (with the scenario path ``key``) for an unknown one."""
    if name not in MEMBERS:
        raise InputError(f"unknown family member {name!r}; allowed: {', '.join(MEMBERS)}", key=key)
    return MEMBERS[name]


def folder(name: str, root: Path = CHECKPOINTS, key: str = "") -> Path:
    """The member's checkpoint folder, as transformers loads it.

    Raises InputError (with the scenario path ``key``) for an unknown member or one without weights.
    """
    path = root / member(name, key).name
    if not (path / "model.safetensors").is_file():
        raise InputError(
            f"no weights of family member {name!r} under {root}; train it with `spinsim models train`",
            key=key,
        )
    return path


def load(
    name: str, *, dtype: torch.dtype, device: torch.device | str = "cpu", root: Path = CHECKPOINTS
) -> Any:
    """The member as a transformers LlamaForCausalLM in evaluation mode.

    Raises InputError where its weights are damaged, or not all of them.
    """
    from safetensors.torch import load_file
    from transformers import LlamaConfig

    from spinsim.family.llama_modules import empty_llama
    from spinsim.runner import checkpoint

    path = folder(name, root)
    model = empty_llama(LlamaConfig.from_pretrained(path), dtype, device)
    checkpoint.require_sound_files(str(path))
    loaded = model.load_state_dict(load_file(path / checkpoint.SINGLE), strict=False)
    lost = {"missing_keys": loaded.missing_keys, "unexpected_keys": loaded.unexpected_keys}
    checkpoint.require_all_loaded(lost, str(path))
    return model
