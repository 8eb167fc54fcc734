"""Model shapes by name, or by the path of a transformers config.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from spinsim.costs.sheets.config_json import read_config_json, shape_from_config
from spinsim.costs.sheets.model_shape import DTYPE_BYTES, Experts, ModelShape, dtype_bytes
from spinsim.errors import InputError, did_you_mean

__all__ = ["DTYPE_BYTES", "ModelShape", "dtype_bytes", "shape_from_config", "shape_names", "shape_of"]

_LLAMA = "LLaMA paper, arXiv 2302.13971, table 2; the released config.json for the MLP width"
_LLAMA3 = "Llama 3 herd of models, arXiv 2407.21783, and the released config.json"
_LLAMA32 = "Llama 3.2 model card and the released config.json"
_QWEN3 = "Qwen3 technical report, arXiv 2505.09388, table 1, and the released config.json"
_OURS = "named in the SPIN paper (arXiv 2503.15921) without widths; widths are ours, made to meet the name"

_OURS_FOR_LLAMA3 = (
    "ours: the widths of the LLaMA drafts of 68M to 1.4B with Llama 3's vocabulary, tied, which makes them "
    "117M to 1.5B"
)


def _llama(name: str, layers: int, hidden: int, heads: int, mlp: int, source: str, ours: bool) -> ModelShape:
    sizes = (layers, hidden, heads, heads, hidden // heads, mlp, 32000)
    return ModelShape(name, *sizes, False, source, ours, context=None if ours else 2048)


def _llama3(name: str, layers: int, hidden: int, heads: int, mlp: int, tied: bool, source: str) -> ModelShape:
    sizes = (layers, hidden, heads, 8, hidden // heads, mlp, 128256)
    return ModelShape(name, *sizes, tied, source, context=131072)


def _llama3_draft(name: str, layers: int, hidden: int, heads: int, mlp: int) -> ModelShape:
    sizes = (layers, hidden, heads, heads, hidden // heads, mlp, 128256)
    return ModelShape(name, *sizes, True, _OURS_FOR_LLAMA3, True, context=32768)


def _qwen3(name: str, layers: int, hidden: int, heads: int, mlp: int, tied: bool) -> ModelShape:
    sizes = (layers, hidden, heads, 8, 128, mlp, 151936)
    return ModelShape(name, *sizes, tied, _QWEN3, qk_norm=True, context=40960)


def _qwen3_moe(name: str, layers: int, hidden: int, heads: int, kv_heads: int, expert: int) -> ModelShape:
    sizes = (layers, hidden, heads, kv_heads, 128, 3 * hidden, 151936)
    experts = Experts(128, 8, layers, expert)
    return ModelShape(name, *sizes, False, _QWEN3, qk_norm=True, context=40960, experts=experts)


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
                *("llama-1.1b", 22, 2048, 32, 4, 64, 5632, 32000, False),
                "TinyLlama, arXiv 2401.02385, table 1",
                context=2048,
            ),
            _llama("llama-1.4b", 24, 2048, 32, 5632, _OURS, True),
            _llama("llama-7b", 32, 4096, 32, 11008, _LLAMA, False),
            _llama("llama-13b", 40, 5120, 40, 13824, _LLAMA, False),
            _llama("llama-30b", 60, 6656, 52, 17920, _LLAMA, False),
            _llama3("llama-3-1b", 16, 2048, 32, 8192, True, _LLAMA32),
            _llama3("llama-3-3b", 28, 3072, 24, 8192, True, _LLAMA32),
            _llama3("llama-3-8b", 32, 4096, 32, 14336, False, _LLAMA3),
            _llama3("llama-3-70b", 80, 8192, 64, 28672, False, _LLAMA3),
            _llama3_draft("llama-3-117m", 2, 768, 12, 3072),
            _llama3_draft("llama-3-330m", 16, 1024, 16, 2688),
            _llama3_draft("llama-3-716m", 20, 1536, 24, 3584),
            _llama3_draft("llama-3-1.5b", 24, 2048, 32, 5632),
            _qwen3("qwen3-0.6b", 28, 1024, 16, 3072, True),
            _qwen3("qwen3-1.7b", 28, 2048, 16, 6144, True),
            _qwen3("qwen3-4b", 36, 2560, 32, 9728, True),
            _qwen3("qwen3-8b", 36, 4096, 32, 12288, False),
            _qwen3("qwen3-14b", 40, 5120, 40, 17408, False),
            _qwen3("qwen3-32b", 64, 5120, 64, 25600, False),
            _qwen3_moe("qwen3-30b-a3b", 48, 2048, 32, 4, 768),
            _qwen3_moe("qwen3-235b-a22b", 94, 4096, 64, 4, 1536),
        )
    }
)


def shape_names() -> tuple[str, ...]:
    """The shapes known by name."""
    return tuple(_SHAPES)


def shape_of(name_or_path: str, base_dir: str | Path | None = None) -> ModelShape:
    """A named shape, or the one that a transformers ``config.json`` (or its folder) describes.

    A relative path counts from ``base_dir`` (the scenario's folder). Raises InputError for an
    unknown name, an unreadable file, or a key that is out of range or not understood.
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
            f"{did_you_mean(path.name, _SHAPES)}"
        )
    return read_config_json(path)
