"""How many bytes a weight takes where a checkpoint is quantized.

Matrices of the layers are quantized, experts included; embeddings, head, norms and biases keep the model's
dtype, as the published fp8, AWQ and GPTQ checkpoints have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

GROUP = 128  # weights that share a scale and a zero point in int4, as AWQ and GPTQ checkpoints ship

# fp8: a byte; its scales are one a channel or a block, and are left out. int4: four bits, and for each group
# a scale of 16 bits and a zero point of 4.
WEIGHT_BYTES: Mapping[str, float] = MappingProxyType({"fp8": 1.0, "int4": (4 + 20 / GROUP) / 8})
FOUR_BITS = ("awq", "gptq")


def method_of(config: Mapping[str, Any]) -> str:
    """What a config.json's ``quantization_config`` says: "fp8", "int4", or the name of another method."""
    method = str(config.get("quant_method", "quantization_config"))
    if method in FOUR_BITS:
        bits = config.get("bits", config.get("w_bit"))
        return "int4" if bits == 4 else f"{method}, {bits} bits" if bits is not None else method
    return method
