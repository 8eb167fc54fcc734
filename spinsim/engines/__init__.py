"""Engines that take an answer of ours: vLLM, SGLang, TensorRT-LLM.

One module an engine: what it can do, its fields, and how a plan is written in its terms. The fields and
limits are those of the engine's source at a commit (``docs/engines.md``). May import scenario and errors. A
new engine is one module and its line in :data:`ENGINES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from spinsim.engines.base import Engine
from spinsim.engines.sglang import SGLANG
from spinsim.engines.tensorrt_llm import TENSORRT_LLM
from spinsim.engines.vllm import VLLM
from spinsim.errors import InputError, did_you_mean
from spinsim.scenario.messages import one_of

ENGINES: Mapping[str, Engine] = MappingProxyType({e.name: e for e in (VLLM, SGLANG, TENSORRT_LLM)})


def engine_of(name: str) -> Engine:
    """The engine of that name. Raises InputError for an unknown one."""
    if name not in ENGINES:
        raise InputError(
            f"no engine {name!r}; {one_of(list(ENGINES))}{did_you_mean(name, tuple(ENGINES))}", key="--for"
        )
    return ENGINES[name]
