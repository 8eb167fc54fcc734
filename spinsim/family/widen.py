"""Function-preserving widening and deepening: a small LLaMA at the cost of a large one.

The widened model computes what the small one computes (exactly in fp32, in bf16 up to rounding)
and takes the time and memory of the larger shape. Such a model is a *cost stand-in* and says so
in its config. The construction is ours, in the spirit of Net2Net (arXiv 1511.05641):

- The residual grows from d to D. An RMSNorm sees sqrt(d/D) of the root mean square, so its weight
  is scaled by sqrt(d/D) and its epsilon by d/D.
- The head size grows from h to H = r h. Rotary pair i of the small head lies at pair r i of the
  large one, which turns at the same frequency; scores are divided by sqrt(H), so queries are
  scaled by sqrt(H/h).
- Heads, MLP units and layers that are added get random inner weights, and output projections so
  small that they vanish in rounding. Nothing is exactly zero: zeros run faster than data.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spinsim.costs.sheets.shapes import ModelShape
from spinsim.errors import InputError
from spinsim.family.llama_modules import config_of, empty_llama, fill_random
from spinsim.runner import checkpoint

TINY = 1e-20  # below rounding beside any real value, in bf16 and fp32, and still no zero
SPREAD = 0.02  # standard deviation of the inner weights that are added

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Small:
    """What widening needs to know of the small model."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    units: int
    layers: int
    vocab: int
    epsilon: float
    theta: float

    @classmethod
    def of(cls, config: Any) -> Small:
        rope = getattr(config, "rope_parameters", None) or {
            "rope_theta": getattr(config, "rope_theta", 10000.0)
        }
        scaling = rope.get("rope_type", "default")
        if scaling != "default" or getattr(config, "rope_scaling", None) not in (None, rope):
            raise InputError(f"rotary scaling {scaling!r} cannot be widened; allowed: default")
        if config.model_type != "llama":
            raise InputError(f"model type {config.model_type!r} cannot be widened; allowed: llama")
        if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
            raise InputError("a model with biases cannot be widened; allowed: plain LLaMA")
        return cls(
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            units=config.intermediate_size,
            layers=config.num_hidden_layers,
            vocab=getattr(config, "used_vocab_size", None) or config.vocab_size,
            epsilon=config.rms_norm_eps,
            theta=float(rope["rope_theta"]),
        )


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the small model's heads go. ``queries[i]`` is the large head of small query head i;
    ``keys`` lists (small, large) K/V heads, a small one more than once where it is repeated."""

    queries: tuple[int, ...]
    keys: tuple[tuple[int, int], ...]


def place_heads(heads: int, kv_heads: int, large_heads: int, large_kv_heads: int) -> Placement:
    """Every query head in a group of its own K/V head; K/V heads are repeated where a large group is
    smaller than a small one. Raises InputError when the heads do not fit."""
    group, large_group = heads // kv_heads, large_heads // large_kv_heads
    needed = kv_heads * -(-group // large_group)
    if needed > large_kv_heads:
        raise InputError(
            f"{heads} query heads over {kv_heads} K/V heads need {needed} K/V heads with groups of "
            f"{large_group}; the shape has {large_kv_heads}"
        )
    queries: list[int] = []
    keys: list[tuple[int, int]] = []
    for head in range(heads):
        place = head % group
        if place % large_group == 0:
            keys.append((head // group, len(keys)))
        queries.append((len(keys) - 1) * large_group + place % large_group)
    return Placement(tuple(queries), tuple(keys))


def _check(small: Small, shape: ModelShape) -> None:
    for what, have, room in (
        ("hidden width", small.hidden, shape.hidden),
        ("MLP width", small.units, shape.intermediate),
        ("layers", small.layers, shape.layers),
        ("vocabulary", small.vocab, shape.vocab),
    ):
        if have > room:
            raise InputError(f"{what} {have} does not fit shape {shape.name!r}; at most {room}")
    if shape.head_dim % small.head_dim:
        raise InputError(
            f"head size {small.head_dim} does not divide that of shape {shape.name!r}; "
            f"allowed: divisors of {shape.head_dim}"
        )


def rotary_rows(head_dim: int, large_head_dim: int) -> list[int]:
    """Where the dimensions of a small head lie in a large one, pair i at pair i * H / h.

    transformers turns dimension i together with dimension i + H/2.
    """
    ratio, half, large_half = large_head_dim // head_dim, head_dim // 2, large_head_dim // 2
    return [i * ratio for i in range(half)] + [large_half + i * ratio for i in range(half)]


class Writer:
    """Writes the small weights into a large module that already holds random ones.

    Its parts may be on ``device`` one at a time, if they are written in order: embeddings, then layers.
    """

    def __init__(
        self, state: State, small: Small, shape: ModelShape, model: Any, device: torch.device, seed: int
    ) -> None:
        self.state, self.small, self.shape, self.model = state, small, shape, model
        self.device = device
        self.noise = torch.Generator(self.device).manual_seed(seed)
        self.norm_scale = math.sqrt(small.hidden / shape.hidden)
        self.place = place_heads(small.heads, small.kv_heads, shape.heads, shape.kv_heads)
        h, H = small.head_dim, shape.head_dim
        self.rotary = torch.tensor(rotary_rows(h, H), device=self.device)
        self.query_scale = math.sqrt(H / h)

    def _source(self, name: str) -> torch.Tensor:
        return self.state[name].to(self.device, torch.float32)

    def norm(self, target: torch.Tensor, name: str) -> None:
        target.fill_(1.0)
        target[: self.small.hidden] = (self._source(name) * self.norm_scale).to(target.dtype)

    def embeddings(self) -> None:
        v, d = self.small.vocab, self.small.hidden
        table = self.model.model.embed_tokens.weight
        table[:, d:].normal_(0.0, TINY, generator=self.noise)
        table[:v, :d] = self._source("model.embed_tokens.weight")[:v].to(table.dtype)
        head = self.model.lm_head.weight
        name = "lm_head.weight" if "lm_head.weight" in self.state else "model.embed_tokens.weight"  # tied
        head[:v, :d] = self._source(name)[:v].to(head.dtype)

    def last_norm(self) -> None:
        self.norm(self.model.model.norm.weight, "model.norm.weight")

    def attention(self, block: Any, prefix: str) -> None:
        H, h, d = self.shape.head_dim, self.small.head_dim, self.small.hidden
        query, key = self._source(f"{prefix}.q_proj.weight"), self._source(f"{prefix}.k_proj.weight")
        value, out = self._source(f"{prefix}.v_proj.weight"), self._source(f"{prefix}.o_proj.weight")
        block.o_proj.weight.normal_(0.0, TINY, generator=self.noise)
        for head, large in enumerate(self.place.queries):
            rows = block.q_proj.weight[large * H : (large + 1) * H]
            rows.normal_(
                0.0, TINY, generator=self.noise
            )  # queries vanish where the small head has no dimension: scores stay
            rows[self.rotary, :d] = (query[head * h : (head + 1) * h] * self.query_scale).to(rows.dtype)
            columns = block.o_proj.weight[:d, large * H : large * H + h]
            columns.copy_(out[:, head * h : (head + 1) * h])
        for head, large in self.place.keys:
            rows = block.k_proj.weight[large * H : (large + 1) * H]
            rows[self.rotary, :d] = key[head * h : (head + 1) * h].to(rows.dtype)
            block.v_proj.weight[large * H : large * H + h, :d] = value[head * h : (head + 1) * h].to(
                rows.dtype
            )

    def mlp(self, block: Any, prefix: str) -> None:
        d, f = self.small.hidden, self.small.units
        for part in ("gate_proj", "up_proj"):
            weight = getattr(block, part).weight
            weight[:f, :d] = self._source(f"{prefix}.{part}.weight").to(weight.dtype)
        block.down_proj.weight.normal_(0.0, TINY, generator=self.noise)
        block.down_proj.weight[:d, :f] = self._source(f"{prefix}.down_proj.weight").to(
            block.down_proj.weight.dtype
        )

    def layer(self, index: int) -> None:
        layer = self.model.model.layers[index]
        if index >= self.small.layers:
            layer.self_attn.o_proj.weight.normal_(0.0, TINY, generator=self.noise)
            layer.mlp.down_proj.weight.normal_(0.0, TINY, generator=self.noise)
            return
        prefix = f"model.layers.{index}"
        self.norm(layer.input_layernorm.weight, f"{prefix}.input_layernorm.weight")
        self.norm(layer.post_attention_layernorm.weight, f"{prefix}.post_attention_layernorm.weight")
        self.attention(layer.self_attn, f"{prefix}.self_attn")
        self.mlp(layer.mlp, f"{prefix}.mlp")


@torch.no_grad()
def widen(
    model: Any,
    shape: ModelShape,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    out: Path | None = None,
    seed: int = 0,
) -> Any:
    """``model`` (a LlamaForCausalLM or its folder) with the same outputs in another LLaMA shape.

    Built on ``device`` in ``dtype``; the seed draws the weights that do not matter. Token ids from
    ``config.used_vocab_size`` upwards must be masked by whoever reads the logits. Saved to
    ``out`` when given. Raises InputError when the model does not fit into the shape.
    """
    config, settings, state = read_small(model)
    small = Small.of(config)
    wide = wide_config(model, config, small, shape, dtype, seed)
    place = torch.device(device)
    large = empty_llama(wide, dtype, place)
    fill_random(large, seed=seed, sd=SPREAD)
    writer = Writer(state, small, shape, large, place, seed)
    writer.embeddings()
    for index in range(shape.layers):
        writer.layer(index)
    writer.last_norm()
    if settings is not None:  # where its text ends
        large.generation_config = copy.deepcopy(settings)
    if out is not None:
        large.save_pretrained(out)
    return large


def wide_config(
    model: Any, config: Any, small: Small, shape: ModelShape, dtype: torch.dtype, seed: int
) -> Any:
    """Of the widened model. Raises InputError when the small one does not fit into the shape."""
    if dtype not in (torch.bfloat16, torch.float32):
        raise InputError(f"{dtype} cannot hold {TINY}, which widening needs; allowed: bf16, fp32")
    _check(small, shape)
    return config_of(
        shape,
        rms_norm_eps=small.epsilon * small.hidden / shape.hidden,
        rope_theta=small.theta,
        max_position_embeddings=config.max_position_embeddings,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        used_vocab_size=small.vocab,
        spinsim_cost_stand_in=True,
        spinsim_provenance={
            "shape": shape.name,
            "from_hidden_x_layers": [small.hidden, small.layers],
            "from": Path(model).name if isinstance(model, str | Path) else Path(config._name_or_path).name,
            "construction": "spinsim.family.widen: function-preserving, a stand-in for cost only",
            "seed": seed,
        },
    )


def read_small(model: Any) -> tuple[Any, Any, State]:
    """Configuration, generation settings (None where a folder has none) and weights."""
    if not isinstance(model, str | Path):
        return model.config, model.generation_config, model.state_dict()
    from safetensors.torch import load_file
    from transformers import GenerationConfig

    files = sorted(Path(model).glob("*.safetensors"))
    if not files:
        raise InputError(f"no *.safetensors under {model}; expected the folder of a LLaMA checkpoint")
    config = checkpoint.read_config(str(model))
    checkpoint.require_plain_weights(config, str(model))
    checkpoint.require_sound_files(str(model))
    state: dict[str, torch.Tensor] = {}
    for file in files:
        state |= load_file(file)
    if config.model_type == "llama":  # others are refused in their turn
        checkpoint.require_all_loaded(_differences(config, state), str(model))
    settings = None
    if (Path(model) / checkpoint.GENERATION_CONFIG).is_file():
        settings = GenerationConfig.from_pretrained(model)
    return config, settings, state


def _differences(config: Any, state: State) -> dict[str, Any]:
    """Names and shapes of a LLaMA's weights that are not those of its configuration."""
    from transformers import LlamaForCausalLM

    build: Any = LlamaForCausalLM
    with torch.device("meta"):
        said = {name: tuple(weight.shape) for name, weight in build(config).state_dict().items()}
    if config.tie_word_embeddings and "lm_head.weight" not in state:
        del said["lm_head.weight"]
    rotary = {name for name in state if name.endswith("rotary_emb.inv_freq")}  # of old checkpoints: derived
    return {
        "missing_keys": said.keys() - state.keys(),
        "unexpected_keys": state.keys() - said.keys() - rotary,
        "mismatched_keys": [
            (name, tuple(state[name].shape), said[name])
            for name in said.keys() & state.keys()
            if tuple(state[name].shape) != said[name]
        ],
    }
