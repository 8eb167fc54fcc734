"""outputs.parquet of a live run: what every request was asked and answered, as token ids and as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from spinsim.live.outlined import EMBEDDED
from spinsim.workload.request import Workload

OUTPUTS = pa.schema(
    [
        ("request", pa.int32()),
        ("key", pa.string()),
        ("prompt", pa.list_(pa.int32())),
        ("tokens", pa.list_(pa.int32())),  # of the output, first token included
        ("text", pa.string()),  # null without a tokenizer
    ]
)
Decode = Callable[[Sequence[int]], str]


def outputs_table(
    workload: Workload,
    prompts: Mapping[int, Sequence[int]],
    outputs: Mapping[int, Sequence[int]],
    decode: Decode | None,
) -> pa.Table:
    """A row for each request that got a token, in the workload's order."""
    served = [request for request in workload.requests if outputs.get(request.id)]
    data = {
        "request": [request.id for request in served],
        "key": [request.key for request in served],
        "prompt": [list(prompts[request.id]) for request in served],
        "tokens": [list(outputs[request.id]) for request in served],
        "text": [decode(outputs[request.id]) if decode else None for request in served],
    }
    return pa.table(data, schema=OUTPUTS)


def decoder(weights: str, source: str) -> Decode | None:
    """From token ids to text, special tokens left out; None where the target has no tokenizer that loads."""
    if weights == "random":
        return None
    if weights.startswith(EMBEDDED):
        from spinsim.family.tokenizer import load

        return lambda tokens: str(load().decode(list(tokens), skip_special_tokens=True))
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception:  # what the tokenizers library raises has no class of its own
        return None
    return lambda tokens: str(tokenizer.decode(list(tokens), skip_special_tokens=True))
