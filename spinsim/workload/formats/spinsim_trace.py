"""The requests of an acceptance trace that `spinsim trace` recorded; acceptance joins them by key."""

from __future__ import annotations

from pathlib import Path

from spinsim.recording import load_trace
from spinsim.workload.formats.row import Reader, Row, Rows


def read(path: Path) -> Rows:
    """Prompt ids where the trace keeps them; the output is as long as every draft's recording of it."""
    trace = load_trace(path, "workload.source.path")
    for i, (key, prompt, output) in enumerate(
        zip(trace.keys, trace.prompt_tokens, trace.output_tokens().tolist(), strict=True)
    ):
        ids = None if trace.prompts is None else tuple(trace.prompts.row(i).tolist())
        yield Row(key, prompt, output, prompt=ids, domain=trace.domains[i] if trace.domains else "")


READER = Reader(read, "an acceptance trace written by `spinsim trace`")
