"""The numbers of a summary that experiments compare, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spinsim.errors import InputError

ALIASES = {
    "goodput": "goodput_tokens_per_s",
    "slo_goodput": "slo.goodput_requests_per_s",
    "attainment": "slo.attainment",
    "acceptance_length": "speculation.acceptance_length",
    "acceptance_rate": "speculation.acceptance_rate",
    "padding": "verification.padding_fraction",
    **{
        f"{point}_{name}": f"latency.{name}_s.{point}"
        for name in ("ttft", "tpot", "e2e")
        for point in ("mean", "p50", "p90", "p99")
    },
}
_TITLES = {
    "goodput_tokens_per_s": "goodput, tokens/s",
    "slo.goodput_requests_per_s": "goodput within SLO, requests/s",
    "slo.attainment": "SLO attainment",
    "speculation.acceptance_length": "acceptance length",
    "speculation.acceptance_rate": "acceptance rate",
    "verification.padding_fraction": "padding",
    **{
        f"latency.{name}_s.{point}": f"{title} {point}, ms"
        for name, title in (("ttft", "TTFT"), ("tpot", "TPOT"), ("e2e", "E2E"))
        for point in ("mean", "p50", "p90", "p99")
    },
}
_LOWER = ("latency.", "verification.padding_fraction", "host.", "requests.cancelled", "requests.rejected")
USUAL = (
    "goodput_tokens_per_s",
    "latency.ttft_s.p50",
    "latency.ttft_s.p99",
    "latency.tpot_s.p50",
    "latency.tpot_s.p99",
    "latency.e2e_s.p50",
    "speculation.acceptance_length",
)


@dataclass(frozen=True, slots=True)
class Metric:
    """``path`` is the dotted place in a summary; ``lower`` says that less is better."""

    path: str
    lower: bool

    @property
    def title(self) -> str:
        """Name and unit, for tables and axes."""
        return _TITLES.get(self.path, self.path)

    @property
    def scale(self) -> float:
        """What a value is multiplied by to be in the title's unit."""
        return 1e3 if self.title.endswith(", ms") else 1.0


def metric(name: str) -> Metric:
    """By alias (``goodput``, ``p99_tpot``, ...) or by a summary's dotted path."""
    path = ALIASES.get(name, name)
    return Metric(path, path.startswith(_LOWER))


def usual_metrics(slo: bool) -> list[Metric]:
    """What a comparison shows unless asked for something else."""
    paths = [*USUAL[:1], *(("slo.attainment", "slo.goodput_requests_per_s") if slo else ()), *USUAL[1:]]
    return [metric(path) for path in paths]


def value(summary: Mapping[str, Any], metric: Metric) -> float | None:
    """The metric in a summary; None where there was nothing to measure.

    Names are checked before anything runs (:func:`spinsim.results.expected_metrics.check_metrics`): a number
    that is missing belongs to what did not happen. Raises InputError for what is no number.
    """
    here: Any = summary
    for part in metric.path.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return None
        here = here[part]
    if here is None or (isinstance(here, int | float) and not isinstance(here, bool)):
        return here
    raise InputError(f"{metric.path!r} is no number; give a dotted path to a number", key="metric")


def flatten(summary: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value of a summary with its dotted path; lists stay lists."""
    for key, item in summary.items():
        if isinstance(item, Mapping):
            yield from flatten(item, f"{prefix}{key}.")
        elif not isinstance(item, Sequence) or isinstance(item, str) or _numbers(item):
            yield f"{prefix}{key}", item


def _numbers(items: Sequence[Any]) -> bool:
    return all(isinstance(item, int | float) for item in items)
