"""How much of an oracle's gain selectors take on recordings of real drafters.

    python -m spinsim.studies.selection_on_recordings SCENARIO --train FILE... --judge FILE... --out OUT.json

Recordings of SpecDecode-Bench are the requests and their acceptance; the scenario says what time everything
takes. A file that is named on both sides is halved: its even requests train, its odd ones are judged. Every
judged file is judged alone, and several of them mixed as well. Requests over which a drafter was recorded
with another text, and outputs over 2,000 tokens, are left out, and kept in a second table.

What is compared, in tokens per second of a closed loop:

best fixed     drafter and length chosen on the judged requests themselves
vLLM           its adaptive verification with the drafter and the longest proposal that are best on them
contextual     our selector, with lengths by row
oracle         knows which drafter wins, with the blind lengths of ``contextual``
clairvoyant    knows the lengths as well
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spinsim.acceptance.importers import IMPORTERS
from spinsim.acceptance.importers.base import Imported, ImportOptions, merge
from spinsim.errors import InputError
from spinsim.recording import Trace, save_trace
from spinsim.scenario_file import load
from spinsim.scenario_file.variants import override
from spinsim.studies.selector_training import train
from spinsim.studies.simulate import simulate

BATCHES = (1, 8, 32)
ORDERS = 3  # of the requests; a figure is the mean, and its range the noise
LONGEST_OUTPUT = 2000
LONGEST = 20  # tokens of a lookup's proposal
MODELS_LONGEST = 3  # of a model's: a published cost holds for the proposal that it was measured at
FIXED_LENGTHS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20)
PLANNED = {"name": "planned"}


@dataclass(frozen=True)
class Judged:
    """One set of requests at one batch size: tokens per second by policy, one for each order."""

    name: str
    batch: int
    requests: int
    tokens: int
    best: str  # which fixed drafter and length
    vllm: str  # which drafter and longest proposal
    rates: Mapping[str, list[float]] = field(default_factory=dict)

    def mean(self, policy: str) -> float:
        """Tokens per second."""
        return float(np.mean(self.rates[policy]))

    def share(self, policy: str = "contextual") -> float:
        """Of the oracle's gain over the best fixed policy."""
        fixed = self.mean("best fixed")
        return (self.mean(policy) - fixed) / (self.mean("oracle") - fixed)

    def noise(self) -> float:
        """The largest relative range of a policy over the orders of requests."""
        return max((max(each) - min(each)) / float(np.mean(each)) for each in self.rates.values())


def agreeing(trace: Trace) -> list[int]:
    """Requests over which every drafter was recorded with the same text, and whose outputs are not huge."""
    lengths = np.stack([draft.rows.lengths() for draft in trace.drafts.values()])
    assert trace.outputs is not None
    texts = trace.outputs.lengths()
    kept = (lengths == texts).all(0) & (texts <= LONGEST_OUTPUT)
    return np.flatnonzero(kept).tolist()


def prepared(
    training: Sequence[Path], judging: Sequence[Path], folder: Path, *, whole: bool = False
) -> tuple[Path, dict[str, Trace]]:
    """The file of what was trained, in ``folder``, and the judged sets by name.

    ``whole``: the requests that are else left out are judged, too. They never train.

    Raises:
        InputError: a file that is no such recording.
    """
    read = {path: IMPORTERS["specdecode_bench"].read(path, ImportOptions()) for path in {*training, *judging}}
    both = set(training) & set(judging)

    def part(path: Path, half: int) -> tuple[str, Imported]:
        trace = read[path].trace
        # Every recording is halved by its own order, whoever is left out.
        rows = range(half, len(trace.keys), 2) if path in both else range(len(trace.keys))
        kept = set(range(len(trace.keys))) if whole and half else set(agreeing(trace))
        return path.stem, Imported(trace.select([row for row in rows if row in kept]), ())

    trained = folder / "trained.json"
    trained.write_text(json.dumps(train(merge([part(path, 0) for path in training]))), encoding="utf-8")
    sets = {path.stem: merge([part(path, 1)]) for path in judging}
    if len(judging) > 1:
        sets["mix"] = merge([part(path, 1) for path in judging])
    return trained, sets


def study(
    scenario: Path,
    training: Sequence[Path],
    judging: Sequence[Path],
    *,
    whole: bool = False,
    orders: int = ORDERS,
) -> Iterator[Judged]:
    """Every judged set, batch by batch; ``orders`` of its requests, and the rest as of :func:`prepared`.

    Raises:
        InputError: a file that is no recording, or of drafts that the scenario does not have.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained, sets = prepared(training, judging, folder, whole=whole)
        for title, trace in sets.items():
            yield from _judged(scenario, title, trace, trained, folder, orders)


def our_selector(trace: Trace, trained: Path) -> dict[str, Any]:
    """The selector as it is judged: models propose no more than their published cost was measured at."""
    return {"name": "contextual", "trained": str(trained), "longest": _longest_of_models(trace)}


def _longest_of_models(trace: Trace) -> dict[str, int]:
    return {draft: MODELS_LONGEST for draft, recorded in trace.drafts.items() if recorded.lookup is None}


def _judged(
    scenario: Path, name: str, trace: Trace, trained: Path, folder: Path, orders: int
) -> Iterator[Judged]:
    files = []
    for seed in range(orders):
        order = np.random.default_rng(seed).permutation(len(trace.keys)).tolist()
        files.append(folder / f"{name}-{seed}.npz")
        save_trace(trace.select(order), files[-1])
    models, contextual = _longest_of_models(trace), our_selector(trace, trained)
    oracle = {**contextual, "name": "contextual_oracle"}
    for batch in BATCHES:

        def rates(selector: dict[str, Any], length: dict[str, Any], *, first: bool = False) -> list[float]:
            chosen = files[:1] if first else files
            return [_rate(scenario, file, batch, selector, length) for file in chosen]  # noqa: B023

        fixed = {
            f"{draft} {tokens}": ({"name": "fixed", "draft": draft}, {"name": "fixed", "tokens": tokens})
            for draft in trace.drafts
            for tokens in FIXED_LENGTHS
            if tokens <= models.get(draft, LONGEST)
        }
        fixed["none"] = ({"name": "fixed", "draft": "none"}, {"name": "none"})
        vllm = {
            f"{draft} {tokens}": (
                {"name": "fixed", "draft": draft},
                {"name": "adaptive_verification", "tokens": tokens},
            )
            for draft in trace.drafts
            for tokens in ([models[draft]] if draft in models else [8, LONGEST])
        }
        best = max(fixed, key=lambda each: rates(*fixed[each], first=True)[0])
        anchor = max(vllm, key=lambda each: rates(*vllm[each], first=True)[0])
        yield Judged(
            name,
            batch,
            len(trace.keys),
            int(trace.output_tokens().sum()),
            best,
            anchor,
            {
                "best fixed": rates(*fixed[best]),
                "vLLM": rates(*vllm[anchor]),
                "contextual": rates(contextual, PLANNED),
                "oracle": rates(oracle, PLANNED),
                "clairvoyant": rates({**oracle, "knows_lengths": True}, PLANNED),
            },
        )


def overrides(file: Path, batch: int, selector: Mapping[str, Any], length: Mapping[str, Any]) -> list[str]:
    """The scenario's keys for one run: requests and acceptance of ``file``, so many at a time."""
    return [
        override("workload.source", {"format": "spinsim", "path": str(file)}),
        override("acceptance", {"model": "trace", "path": str(file)}),
        override("workload.arrivals", {"process": "closed", "concurrency": batch}),
        override("policies.selector", dict(selector)),
        override("policies.length", dict(length)),
        f"policies.allow_none={str(length.get('name') == 'planned').lower()}",
        override("limits", {"batch": batch, "context_tokens": 16384, "max_length": LONGEST}),
        override("kv", {"target_tokens": batch * 16384, "draft_tokens": batch * 16384}),
        "devices.gpu.memory_gib=2000",  # memory is not what is compared
    ]


def _rate(
    scenario: Path, file: Path, batch: int, selector: Mapping[str, Any], length: Mapping[str, Any]
) -> float:
    summary = simulate(load(scenario, overrides(file, batch, selector, length)), None)
    return float(summary["goodput_tokens_per_s"])


def table(found: Sequence[Judged]) -> str:
    """The results in Markdown."""
    policies = ("best fixed", "vLLM", "contextual", "oracle", "clairvoyant")
    lines = [
        f"| requests | batch | {' | '.join(policies)} | of the oracle's gain | over best fixed | over vLLM |",
        "|---|---|" + "---|" * (len(policies) + 3),
    ]
    for one in found:
        ours = one.mean("contextual")
        named = {"best fixed": f" ({one.best})", "vLLM": f" ({one.vllm})"}
        cells = [f"{one.mean(policy):,.0f}{named.get(policy, '')}" for policy in policies]
        over = [f"{100 * (ours / one.mean(other) - 1):+.1f} %" for other in ("best fixed", "vLLM")]
        lines.append(
            f"| {one.name} ({one.requests}) | {one.batch} | {' | '.join(cells)} | {one.share():.2f} | "
            f"{' | '.join(over)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Selection on recordings of real drafters.")
    parser.add_argument("scenario", type=Path, help="what everything costs, and the drafts that are recorded")
    parser.add_argument("--train", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--judge", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--whole", action="store_true", help="keep the requests that are else left out")
    parser.add_argument("--orders", type=int, default=ORDERS, help="of the requests; figures are means [3]")
    parser.add_argument("--out", type=Path, help="the figures as JSON")
    given = parser.parse_args()
    found = []
    arguments = given.scenario, given.train, given.judge
    try:
        for one in study(*arguments, whole=given.whole, orders=given.orders):
            found.append(one)
            print(table([one]).splitlines()[-1], flush=True)
    except InputError as error:
        parser.exit(2, f"{error}\n")
    print(table(found))
    if given.out is not None:
        given.out.write_text(json.dumps([asdict(one) for one in found], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
