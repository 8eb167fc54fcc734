"""Does a model behave the same through our packed, cached passes as by itself?

The last gate before an architecture is accepted: it catches what no configuration key says
(attention that ignores the registered function, states beside the KV cache, unusual positions).
"""

from __future__ import annotations

import torch

from spinsim.errors import InputError
from spinsim.runner.attention import over_slots
from spinsim.runner.batch import Rows, build_batch
from spinsim.runner.device import on
from spinsim.runner.kv import SlotCache
from spinsim.runner.loaded_model import LoadedModel

# Largest relative error of the logits (Frobenius norms): rounding, not another function.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 1e-1}


@torch.inference_mode()
def probe(model: LoadedModel, key: str = "") -> None:
    """Raises InputError when the two differ; leaves the model on our attention function."""
    module = model.module
    device, dtype = module.device, module.dtype
    if module.config._attn_implementation == over_slots.NAME:  # a configuration that we have seen before
        module.set_attn_implementation("eager")
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, model.used_vocabulary, (2, 11), generator=generator).to(device)
    own = module(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits.float()
    module.set_attn_implementation(over_slots.NAME)
    cache = SlotCache(model.layers, 2, 16, model.kv_heads, model.head_dim, device=device, dtype=dtype)
    ours = torch.zeros_like(own)
    try:
        # Rows of unequal progress in one pass, out of slot order, in three chunks.
        for first, second in (((0, 6), (0, 2)), ((6, 7), (2, 10)), ((7, 11), (10, 11))):
            rows = Rows([1, 0], [first[1] - first[0], second[1] - second[0]], [first[1], second[1]])
            batch, positions = build_batch(cache, rows)
            packed = torch.cat((tokens[0, slice(*first)], tokens[1, slice(*second)]))
            with on(device):
                logits = module(
                    input_ids=packed[None],
                    position_ids=positions[None],
                    use_cache=False,
                    attention_batch=batch,
                ).logits[0]
            ours[0, slice(*first)], ours[1, slice(*second)] = logits.float().split(rows.query_lens)
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise _refusal(model, reason, key) from error
    worst = ((ours - own).norm() / own.norm().clamp_min(1e-30)).item()
    if not worst <= TOLERANCE.get(dtype, 1e-3):
        raise _refusal(model, f"its logits differ by {worst:.2g}", key)


def _refusal(model: LoadedModel, reason: str, key: str) -> InputError:
    return InputError(
        f"{model.name} ({model.config.model_type}) does not run through the slot KV cache: {reason}; "
        "allowed are causal models with full attention over a plain KV cache",
        key=key,
    )
