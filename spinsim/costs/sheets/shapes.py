"""The shapes of decoder-only transformers: what decides their time and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from spinsim.errors import InputError

DTYPE_BYTES: Mapping[str, int] = MappingProxyType({"bf16": 2, "fp16": 2, "fp32": 4})


def dtype_bytes(dtype: str) -> int:
    """Bytes of one value. Raises InputError for an unknown dtype."""
    try:
        return DTYPE_BYTES[dtype]
    except KeyError:
        raise InputError(f"unknown dtype {dtype!r}; allowed: {', '.join(DTYPE_BYTES)}") from None


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A LLaMA-like decoder: grouped-query attention and a gated MLP in every layer.

    ``ours`` marks a shape whose published description leaves widths open, filled in by this
    project; ``source`` says where the numbers come from.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    source: str
    ours: bool = False
    qkv_bias: bool = False
    qk_norm: bool = False

    @property
    def attention_width(self) -> int:
        """Width of the queries of all heads."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of the keys (or of the values) of all K/V heads."""
        return self.kv_heads * self.head_dim

    def layer_parameters(self) -> int:
        """Weights of one layer, norms and biases included."""
        q, kv = self.attention_width, self.kv_width
        matrices = self.hidden * (q + 2 * kv) + q * self.hidden + 3 * self.hidden * self.intermediate
        vectors = 2 * self.hidden
        vectors += q + 2 * kv if self.qkv_bias else 0
        vectors += 2 * self.head_dim if self.qk_norm else 0
        return matrices + vectors

    def parameters(self) -> int:
        """All weights; a tied embedding counts once."""
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        return self.layers * self.layer_parameters() + self.hidden + embeddings

    def weight_bytes(self, dtype: str) -> int:
        """Bytes that the weights occupy on a device."""
        return self.parameters() * dtype_bytes(dtype)

    def kv_bytes_per_token(self, dtype: str) -> int:
        """Bytes of K and V of one token over all layers."""
        return 2 * self.layers * self.kv_width * dtype_bytes(dtype)


_LLAMA = "LLaMA paper, arXiv 2302.13971, table 2; the released config.json for the MLP width"
_LLAMA3 = "Llama 3 herd of models, arXiv 2407.21783, and the released config.json"
_LLAMA32 = "Llama 3.2 model card and the released config.json"
_QWEN3 = "Qwen3 technical report, arXiv 2505.09388, table 1, and the released config.json"
_OURS = "named in the SPIN paper (arXiv 2503.15921) without widths; widths are ours, made to meet the name"


def _llama(name: str, layers: int, hidden: int, heads: int, mlp: int, source: str, ours: bool) -> ModelShape:
    return ModelShape(name, layers, hidden, heads, heads, hidden // heads, mlp, 32000, False, source, ours)


def _llama3(name: str, layers: int, hidden: int, heads: int, mlp: int, tied: bool, source: str) -> ModelShape:
    return ModelShape(name, layers, hidden, heads, 8, hidden // heads, mlp, 128256, tied, source)


def _qwen3(name: str, layers: int, hidden: int, heads: int, mlp: int, tied: bool) -> ModelShape:
    return ModelShape(name, layers, hidden, heads, 8, 128, mlp, 151936, tied, _QWEN3, qk_norm=True)


_SHAPES: Mapping[str, ModelShape] = MappingProxyType(
    {
        shape.name: shape
        for shape in (
            _llama(
                "llama-68m",
                2,
                768,
                12,
                3072,
                "JackFram/llama-68m, used by SpecInfer (arXiv 2305.09781)",
                False,
            ),
            _llama("llama-265m", 16, 1024, 16, 2688, _OURS, True),
            _llama("llama-616m", 20, 1536, 24, 3584, _OURS, True),
            ModelShape(
                "llama-1.1b", 22, 2048, 32, 4, 64, 5632, 32000, False, "TinyLlama, arXiv 2401.02385, table 1"
            ),
            _llama("llama-1.4b", 24, 2048, 32, 5632, _OURS, True),
            _llama("llama-7b", 32, 4096, 32, 11008, _LLAMA, False),
            _llama("llama-13b", 40, 5120, 40, 13824, _LLAMA, False),
            _llama("llama-30b", 60, 6656, 52, 17920, _LLAMA, False),
            _llama3("llama-3-1b", 16, 2048, 32, 8192, True, _LLAMA32),
            _llama3("llama-3-3b", 28, 3072, 24, 8192, True, _LLAMA32),
            _llama3("llama-3-8b", 32, 4096, 32, 14336, False, _LLAMA3),
            _llama3("llama-3-70b", 80, 8192, 64, 28672, False, _LLAMA3),
            _qwen3("qwen3-0.6b", 28, 1024, 16, 3072, True),
            _qwen3("qwen3-1.7b", 28, 2048, 16, 6144, True),
            _qwen3("qwen3-4b", 36, 2560, 32, 9728, True),
            _qwen3("qwen3-8b", 36, 4096, 32, 12288, False),
            _qwen3("qwen3-14b", 40, 5120, 40, 17408, False),
            _qwen3("qwen3-32b", 64, 5120, 64, 25600, False),
        )
    }
)


def shape_names() -> tuple[str, ...]:
    """The shapes known by name."""
    return tuple(_SHAPES)


def shape_of(name_or_path: str, base_dir: str | Path | None = None) -> ModelShape:
    """A named shape, or the one that a transformers ``config.json`` (or its folder) describes.

    A relative path counts from ``base_dir`` (the scenario's folder). Raises InputError for an
    unknown name, an unreadable file, a missing key, or an architecture that this cost model does
    not describe (mixtures of experts).
    """
    known = _SHAPES.get(name_or_path)
    if known is not None:
        return known
    path = Path(name_or_path)
    if base_dir is not None and not path.is_absolute():
        path = Path(base_dir) / path
    if path.is_dir():
        path = path / "config.json"
    if not path.is_file():
        raise InputError(
            f"unknown model shape {name_or_path!r}; "
            f"allowed: {', '.join(_SHAPES)}, or the path of a transformers config.json"
        )
    return _read_config(path)


def _read_config(path: Path) -> ModelShape:
    import json

    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"not readable as JSON ({error}); expected a transformers config.json", file=str(path)
        ) from None
    if not isinstance(config, dict):
        raise InputError("not a JSON object; expected a transformers config.json", file=str(path))
    return shape_from_config(config, name=path.parent.name or path.stem, source=str(path))


def shape_from_config(config: Mapping[str, Any], *, name: str, source: str) -> ModelShape:
    """A shape from the keys of a LLaMA-, Qwen- or Mistral-like ``config.json``.

    Raises InputError when a key is missing, is no positive integer, or when the model is a
    mixture of experts.
    """

    def number(key: str, default: int | None = None) -> int:
        value = config.get(key)
        if value is None:
            value = default
        if value is None:
            raise InputError(
                f"key {key!r} is missing; expected a LLaMA-, Qwen- or Mistral-like config.json", file=source
            )
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"key {key!r} is {value!r}; expected a positive integer", file=source)
        return value

    experts = next(
        (k for k in ("num_experts", "num_local_experts", "n_routed_experts") if config.get(k)), None
    )
    if experts is not None:
        raise InputError(
            f"key {experts!r}: mixtures of experts are not modelled; use a dense model", file=source
        )
    hidden, heads = number("hidden_size"), number("num_attention_heads")
    kv_heads = number("num_key_value_heads", heads)
    if heads % kv_heads:
        raise InputError(
            f"{heads} attention heads over {kv_heads} key/value heads; must divide evenly", file=source
        )
    if config.get("head_dim") is None and hidden % heads:
        raise InputError(
            f"hidden_size {hidden} over {heads} heads; must divide evenly without head_dim", file=source
        )
    family = str(config.get("model_type", ""))
    return ModelShape(
        name=name,
        layers=number("num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=number("head_dim", max(1, hidden // heads)),
        intermediate=number("intermediate_size"),
        vocab=number("vocab_size"),
        tied=bool(config.get("tie_word_embeddings", False)),
        source=source,
        qkv_bias=bool(config.get("attention_bias", family == "qwen2")),
        qk_norm=family == "qwen3",
    )
