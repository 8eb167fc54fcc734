"""Readers of public traces and data sets, by the name that the scenario uses."""

from __future__ import annotations

from spinsim.scenario import Source
from spinsim.workload.formats import (
    alpaca,
    azure,
    burstgpt,
    gsm8k,
    mooncake,
    prompt_csv,
    sharegpt,
    spec_bench,
    specdecode_bench,
    spinsim_trace,
)
from spinsim.workload.formats.own import own_reader
from spinsim.workload.formats.row import Reader

READERS: dict[str, Reader] = {
    "csv": own_reader("csv", None),
    "jsonl": own_reader("jsonl", None),
    "azure": azure.READER,
    "mooncake": mooncake.READER,
    "burstgpt": burstgpt.READER,
    "sharegpt": sharegpt.READER,
    "spec_bench": spec_bench.READER,
    "alpaca": alpaca.READER,
    "gsm8k": gsm8k.READER,
    "prompt_csv": prompt_csv.READER,
    "specdecode_bench": specdecode_bench.READER,
    "spinsim": spinsim_trace.READER,
}


def reader_of(source: Source) -> Reader:
    """The reader of the source's format; that of traffic of one's own follows the mapping of its columns."""
    if source.columns is not None:
        return own_reader(source.format, source.columns)
    return READERS[source.format]
