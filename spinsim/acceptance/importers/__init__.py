"""Readers of acceptance that others recorded: ``spinsim trace --import FORMAT FILE``.

One module a format; each turns a file into requests (:mod:`.base`). May import the recording's format, the
workload's readers and what rebuilds hits. A new format is one module and its line in :data:`IMPORTERS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from spinsim.acceptance.importers.base import Importer
from spinsim.acceptance.importers.rounds import ROUNDS
from spinsim.acceptance.importers.spec_bench import SPEC_BENCH
from spinsim.acceptance.importers.specdecode_bench import SPECDECODE_BENCH
from spinsim.acceptance.importers.vllm_metrics import VLLM_METRICS

IMPORTERS: Mapping[str, Importer] = {
    "specdecode_bench": SPECDECODE_BENCH,
    "spec_bench": SPEC_BENCH,
    "vllm_metrics": VLLM_METRICS,
    "rounds": ROUNDS,
}
