"""Policies as overrides of a scenario, for benchmarks that vary them."""

from __future__ import annotations

SERIAL = "policies.pipeline={name: serial}"


def fixed(draft: str) -> str:
    """One draft for everyone."""
    return f"policies.selector={{name: fixed, draft: {draft}}}"


def packing(name: str) -> str:
    """Every verification packed so."""
    return f"policies.packing={{name: {name}}}"


def depth(micro_batches: int) -> str:
    """A fixed number of micro-batches."""
    return f"policies.pipeline={{name: fixed, micro_batches: {micro_batches}}}"
