"""Matrix products through cuBLASLt by an algorithm of one's choice; torch takes the library's first guess.

For a product of few tokens the first is not always the fastest: by 5 to 8 % with 240 tokens on an H200.
:func:`guesses` asks for many of them, and :func:`multiply` runs one, on torch's current stream, so that it
can be captured. bfloat16 and float16, sums in float32. The functions and constants are those of NVIDIA's
documentation of cuBLASLt (cublasLtMatmulAlgoGetHeuristic, cublasLtMatmul); the library is torch's own.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

WORKSPACE_BYTES = 64 << 20  # for products whose inner dimension is split
_FLOAT, _TYPES = 0, {torch.float16: 2, torch.bfloat16: 14}  # cudaDataType
_SUMS_IN_FLOAT = 68  # CUBLAS_COMPUTE_32F
_TRANSPOSE_FIRST, _TRANSPOSE_SECOND = 3, 4  # attributes of a product
_MAX_WORKSPACE = 1  # attribute of a search
_ALIGNED = 256  # bytes; what a search assumes of every pointer


class LibraryError(RuntimeError):
    """cuBLASLt said no."""


class _Algorithm(ctypes.Structure):
    _fields_ = (("data", ctypes.c_uint64 * 8),)


class _Guess(ctypes.Structure):
    _fields_ = (
        ("algorithm", _Algorithm),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


@dataclass(frozen=True, slots=True)
class Guess:
    """One algorithm for one shape. ``waves``: of the processors' programs, as the library counts them."""

    product: Any
    algorithm: Any
    workspace: int
    waves: float


class _Product:
    """``[tokens, inner]`` times the transpose of ``[outer, inner]``, as the library has it described."""

    def __init__(self, tokens: int, outer: int, inner: int, dtype: torch.dtype) -> None:
        self.shape, self.dtype = (tokens, outer, inner), dtype
        kind = _TYPES[dtype]
        self.described = ctypes.c_void_p()
        _call("cublasLtMatmulDescCreate", ctypes.byref(self.described), _SUMS_IN_FLOAT, _FLOAT)
        for attribute, value in ((_TRANSPOSE_FIRST, 1), (_TRANSPOSE_SECOND, 0)):
            held = ctypes.c_int32(value)
            _call(
                "cublasLtMatmulDescSetAttribute",
                self.described,
                attribute,
                ctypes.byref(held),
                ctypes.c_size_t(ctypes.sizeof(held)),
            )
        # Its matrices have columns one after the other: ours, seen so, are transposed.
        self.first, self.second, self.result = (
            _layout(kind, *sizes) for sizes in ((inner, outer), (inner, tokens), (outer, tokens))
        )


def _layout(kind: int, rows: int, columns: int) -> ctypes.c_void_p:
    found = ctypes.c_void_p()
    _call(
        "cublasLtMatrixLayoutCreate",
        ctypes.byref(found),
        kind,
        ctypes.c_uint64(rows),
        ctypes.c_uint64(columns),
        ctypes.c_int64(rows),
    )
    return found


@cache
def _library() -> ctypes.CDLL:
    """The one that torch has loaded already."""
    major = str(torch.version.cuda).split(".")[0]
    return ctypes.CDLL(f"libcublasLt.so.{major}")


def _call(name: str, *arguments: Any) -> None:
    status = getattr(_library(), name)(*arguments)
    if status:
        raise LibraryError(f"{name} answered {status}")


@cache
def _handle(device: int) -> ctypes.c_void_p:
    found = ctypes.c_void_p()
    with torch.cuda.device(device):
        _call("cublasLtCreate", ctypes.byref(found))
    return found


def works(*matrices: torch.Tensor) -> bool:
    """Can products of such matrices run here?"""
    x = matrices[0]
    if x.device.type != "cuda" or x.dtype not in _TYPES or torch.version.hip:
        return False
    if any(each.data_ptr() % _ALIGNED or not each.is_contiguous() for each in matrices):
        return False
    try:
        _handle(x.device.index or 0)
    except (OSError, LibraryError, AttributeError):
        return False
    return True


def guesses(tokens: int, weight: torch.Tensor, most: int) -> list[Guess]:
    """The library's ``most`` best guesses, in its order, for so many tokens and a ``weight`` of this shape.

    Raises LibraryError where it has none.
    """
    product = _Product(tokens, weight.shape[0], weight.shape[1], weight.dtype)
    search = ctypes.c_void_p()
    _call("cublasLtMatmulPreferenceCreate", ctypes.byref(search))
    size = ctypes.c_uint64(WORKSPACE_BYTES)
    _call(
        "cublasLtMatmulPreferenceSetAttribute",
        search,
        _MAX_WORKSPACE,
        ctypes.byref(size),
        ctypes.c_size_t(ctypes.sizeof(size)),
    )
    found, count = (_Guess * most)(), ctypes.c_int()
    try:
        _call(
            "cublasLtMatmulAlgoGetHeuristic",
            _handle(weight.device.index or 0),
            product.described,
            product.first,
            product.second,
            product.result,
            product.result,
            search,
            most,
            ctypes.byref(found),
            ctypes.byref(count),
        )
    finally:
        _call("cublasLtMatmulPreferenceDestroy", search)
    return [
        Guess(product, one.algorithm, one.workspace, one.waves)
        for one in found[: count.value]
        if not one.state
    ]


def multiply(x: torch.Tensor, weight: torch.Tensor, guess: Guess) -> torch.Tensor:
    """``x`` ``[tokens, inner]`` times the transpose of ``weight`` ``[outer, inner]``, on the current stream.

    Raises ValueError where the guess is of another shape, LibraryError where the library refuses.
    """
    product: _Product = guess.product
    if (len(x), *weight.shape) != product.shape or x.dtype != product.dtype:
        raise ValueError(f"of {product.shape}, where {tuple(x.shape)} times {tuple(weight.shape)} is asked")
    x = x.contiguous()
    if x.data_ptr() % _ALIGNED or weight.data_ptr() % _ALIGNED or not weight.is_contiguous():
        raise ValueError(f"neither matrix may begin off a multiple of {_ALIGNED} bytes, or have gaps")
    out = torch.empty(len(x), len(weight), dtype=x.dtype, device=x.device)
    stream = torch.cuda.current_stream(x.device).cuda_stream
    # Of its own: within a graph it is memory of the graph's, and two lanes' products may run at once.
    space = torch.empty(guess.workspace, dtype=torch.uint8, device=x.device)
    _call(
        "cublasLtMatmul",
        _handle(x.device.index or 0),
        product.described,
        ctypes.byref(ctypes.c_float(1.0)),
        ctypes.c_void_p(weight.data_ptr()),
        product.first,
        ctypes.c_void_p(x.data_ptr()),
        product.second,
        ctypes.byref(ctypes.c_float(0.0)),
        ctypes.c_void_p(out.data_ptr()),
        product.result,
        ctypes.c_void_p(out.data_ptr()),
        product.result,
        ctypes.byref(guess.algorithm),
        ctypes.c_void_p(space.data_ptr()),
        ctypes.c_size_t(guess.workspace),
        ctypes.c_void_p(stream),
    )
    return out
