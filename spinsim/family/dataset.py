"""The corpus as token rows: packed documents, each row addressable by (domain, index)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinsim.family.corpus import HELD_OUT, document
from spinsim.family.family import CONTEXT
from spinsim.family.tokenizer import encode

ROW = CONTEXT + 1  # inputs and labels overlap in all but one token
HELD_OUT_ROWS = HELD_OUT // 64  # a row draws on 64 documents of its own at most

_CHUNK = 128


def row(domain: str, index: int) -> list[int]:
    """Documents of one domain, end to end, cut at ``ROW`` tokens; it starts with a whole document."""
    ids: list[int] = []
    for part in range(64):
        ids += encode(document(domain, index * 64 + part))
        if len(ids) >= ROW:
            return ids[:ROW]
    raise AssertionError(f"64 documents of {domain} fill no row")


def rows(domain: str, first: int, count: int) -> NDArray[np.uint16]:
    """Rows ``first .. first + count - 1``: shape (count, ROW)."""
    return np.array([row(domain, index) for index in range(first, first + count)], dtype=np.uint16)


def _chunk(task: tuple[str, int, int]) -> NDArray[np.uint16]:
    return rows(*task)


def generate(
    domains: Sequence[str],
    rows_per_domain: int,
    folder: Path,
    *,
    workers: int | None = None,
    report: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Write ``<folder>/<domain>.npy`` for every domain, on ``workers`` processes (all cores by default)."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [
        (domain, first, min(_CHUNK, rows_per_domain - first))
        for domain in domains
        for first in range(0, rows_per_domain, _CHUNK)
    ]
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process a core already
    parts: dict[str, list[NDArray[np.uint16]]] = {domain: [] for domain in domains}
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for done, (task, part) in enumerate(zip(tasks, pool.map(_chunk, tasks), strict=True), start=1):
            parts[task[0]].append(part)
            report(done / len(tasks))
    for domain, arrays in parts.items():
        np.save(folder / f"{domain}.npy", np.concatenate(arrays))


def load(folder: Path, domains: Sequence[str]) -> dict[str, NDArray[np.uint16]]:
    """The rows that ``generate`` wrote, mapped from disk."""
    return {domain: np.load(folder / f"{domain}.npy", mmap_mode="r") for domain in domains}


def sample(
    sizes: Mapping[str, int], weights: Mapping[str, float], batch: int, seed: int, step: int
) -> list[tuple[str, int]]:
    """The (domain, row) of each row of batch ``step``: a function of (seed, step) alone, so that
    training resumes exactly."""
    generator = np.random.Generator(np.random.Philox(key=[seed, step]))
    names = list(weights)
    share = np.array([weights[name] for name in names])
    domains = generator.choice(len(names), size=batch, p=share / share.sum())
    places = generator.random(batch)
    return [(names[d], int(u * sizes[names[d]])) for d, u in zip(domains, places, strict=True)]
