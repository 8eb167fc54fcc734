"""``spinsim trace``: the acceptance that a scenario's own models would have, recorded over its own prompts.

The target generates every output once, and each draft reads it once (teacher-forced), through the runners
of the live world. That gives, for every output position, what any policy would have seen there.

The trace is a workload too: ``workload.source: {format: spinsim, path: ...}`` gives both worlds its prompts,
lengths and keys, so that they serve the same requests. A scenario whose prompts are procedural may also
keep its workload: its requests are then joined by their number.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spinsim.acceptance.trace import Trace, save_trace
from spinsim.errors import InputError
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.prompts import Prompted, materialise
from spinsim.live.runner.batch import Rows
from spinsim.live.runner.forward import ModelRunner
from spinsim.live.runner.sampling import Sampling
from spinsim.live.runner.verification import distribution
from spinsim.models.record import Recorded, to_trace
from spinsim.reporting.environment import command_line, environment
from spinsim.scenario import Scenario
from spinsim.scenario_file import LoadedScenario
from spinsim.workload.build import build_workload
from spinsim.workload.request import Request

Progress = Callable[[str, float, float], None]
TAIL = 16  # tokens generated beyond an output, so that runs near its end are not cut short
LOGIT_BYTES = 1 << 30  # of one pass's logits, at most

Scores = np.ndarray[Any, Any]  # float64 [output tokens]


@dataclass(frozen=True)
class Traced:
    """What was recorded, and where. ``skipped``: requests that no run of the scenario would admit."""

    trace: Trace
    path: Path
    skipped: int


def trace(
    loaded: LoadedScenario, out: Path | None, *, force: bool = False, progress: Progress | None = None
) -> Traced:
    """Deploy the models, record the scenario's workload, save the trace.

    Raises InputError where ``out`` exists and ``force`` is not given, or nothing can be recorded.
    """
    scenario = loaded.scenario
    path = out or Path("traces") / f"{scenario.name}.npz"
    if path.exists() and not force:
        raise InputError("exists already; --force replaces it, --out names another file", file=str(path))
    deployment = deploy(scenario, loaded.base_dir, progress)
    prompted = materialise(scenario, build_workload(scenario, loaded.base_dir), deployment.models.target)
    recorded, skipped = record_workload(scenario, deployment, prompted, progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_trace(recorded, path)
    return Traced(recorded, path, skipped)


def record_workload(
    scenario: Scenario, deployment: Deployment, prompted: Prompted, progress: Progress | None = None
) -> tuple[Trace, int]:
    """The trace of a workload's requests, and how many it left out because they exceed the context.

    Requests of one key are recorded once, at their longest output. Those without a key are named by
    their number. An output that may stop ends with its end-of-text token.
    """
    limit = scenario.limits.context_tokens
    chosen: dict[str, Request] = {}
    skipped = 0
    for request in prompted.workload.requests:
        if request.prompt_tokens + request.output_tokens > limit:
            skipped += 1
            continue
        key = request.key or f"{scenario.name}/{request.id}"
        if key not in chosen or chosen[key].output_tokens < request.output_tokens:
            chosen[key] = request
    if not chosen:
        raise InputError(
            f"every request exceeds limits.context_tokens ({limit}); at least one that fits",
            key="limits.context_tokens",
        )
    return record_requests(scenario, deployment, prompted, chosen, progress), skipped


def record_requests(
    scenario: Scenario,
    deployment: Deployment,
    prompted: Prompted,
    chosen: Mapping[str, Request],
    progress: Progress | None = None,
) -> Trace:
    """The trace of ``chosen`` requests of ``prompted``, by the keys that it is to have."""
    if not deployment.drafts:
        raise InputError("no draft to record acceptance of; at least one", key="models.drafts")
    picked = list(chosen.values())
    prompts = [list(prompted.prompts[request.id]) for request in picked]
    recorder = Recorder(deployment, progress)
    recorded = recorder.record(
        prompts, [request.output_tokens for request in picked], [request.id for request in picked]
    )
    outputs = []
    for request, output in zip(picked, recorded.outputs, strict=True):
        count = request.output_tokens
        if request.id in prompted.stops:
            ends = np.flatnonzero(output[:count] == prompted.end_of_text)
            count = int(ends[0]) + 1 if len(ends) else count
        outputs.append(count)
    sampling = deployment.sampling
    return to_trace(
        recorded,
        target=deployment.models.notes["target"],
        keys=list(chosen),
        domains=[request.domain for request in picked],
        prompts=prompts,
        # A round starts at a position before the last: so many positions are all that is asked for.
        output_tokens=[count - 1 for count in outputs],
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        command=" ".join(command_line(sys.argv)),
        notes=_notes(scenario, deployment),
    )


@dataclass(frozen=True)
class _Text:
    """A prompt of ``prompt`` tokens and what was generated behind it."""

    tokens: list[int]
    prompt: int


class Recorder:
    """Generates with the target's runner and reads with the drafts', as many rows as they have slots."""

    def __init__(self, deployment: Deployment, progress: Progress | None = None) -> None:
        self._target = deployment.target
        self._drafts = dict(zip(deployment.models.drafts, deployment.drafts, strict=True))
        self._sampling = deployment.sampling
        self._rows = min(deployment.kv_slots.values())
        self._span = min(runner.cache.slot_tokens for runner in (deployment.target, *deployment.drafts))
        self._vocabulary = deployment.models.target.vocabulary
        self._progress = progress

    def record(
        self, prompts: Sequence[Sequence[int]], output_tokens: Sequence[int], streams: Sequence[int]
    ) -> Recorded:
        """Outputs with their tails, and each draft's agreement with every token of them.

        ``streams[i]`` numbers the random stream of prompt i when sampling: its request, as in a run.
        """
        outputs: list[Any] = [None] * len(prompts)
        accepted: dict[str, list[Any]] = {name: [None] * len(prompts) for name in self._drafts}
        done = 0
        for chosen in self._groups(prompts, output_tokens):
            sampling = self._sampling._replace(requests=[streams[i] for i in chosen])
            made = self._generate(
                [prompts[i] for i in chosen], [output_tokens[i] + TAIL for i in chosen], sampling
            )
            for row, i in enumerate(chosen):
                outputs[i] = np.asarray(made[row], np.int64)
            texts = [_Text([*prompts[i], *made[row]], len(prompts[i])) for row, i in enumerate(chosen)]
            for name, scores in self._read(texts).items():
                for i, values in zip(chosen, scores, strict=True):
                    accepted[name][i] = values
            done += len(chosen)
            if self._progress is not None:
                self._progress("trace", done, len(prompts))
        return Recorded(outputs, accepted)

    def _groups(self, prompts: Sequence[Sequence[int]], output_tokens: Sequence[int]) -> Iterator[list[int]]:
        """Rows of about equal outputs together: a group generates as long as its longest."""
        order = sorted(range(len(prompts)), key=lambda i: (output_tokens[i], len(prompts[i])))
        for start in range(0, len(order), self._rows):
            yield order[start : start + self._rows]

    def _generate(
        self, prompts: Sequence[Sequence[int]], lengths: Sequence[int], sampling: Sampling
    ) -> list[list[int]]:
        target = self._target
        rows = range(len(prompts))
        requests = list(sampling.requests)
        # Where the context ends, the tail is shorter.
        lengths = [min(n, self._span - len(p)) for n, p in zip(lengths, prompts, strict=True)]
        made: list[list[int]] = []
        for row in rows:
            keyed = sampling._replace(requests=[requests[row]])
            made.append([int(t) for t in target.prefill([row], [0], [prompts[row]], keyed).tolist()])
        while going := [row for row in rows if len(made[row]) < lengths[row]]:
            nothing = np.zeros((len(going), 0), np.int64)
            verified = target.verify(
                going,
                [made[row][-1] for row in going],
                [len(prompts[row]) + len(made[row]) for row in going],
                [0] * len(going),
                nothing,
                sampling=sampling._replace(requests=[requests[row] for row in going]),
            )
            for row, tokens in zip(going, verified.tokens, strict=True):
                made[row] += tokens
        return made

    def _read(self, texts: Sequence[_Text]) -> dict[str, list[Scores]]:
        """By draft and text: the agreement (0 or 1, or a probability) at every output token."""
        if self._sampling.greedy:
            return {name: self._agreement(runner, texts) for name, runner in self._drafts.items()}
        p = self._probability(self._target, texts)
        scores: dict[str, list[Scores]] = {}
        for name, runner in self._drafts.items():
            q = self._probability(runner, texts)
            scores[name] = [
                (said / wanted.clamp_min(1e-30)).clamp_max(1.0).numpy()
                for said, wanted in zip(q, p, strict=True)
            ]
        return scores

    def _agreement(self, runner: ModelRunner, texts: Sequence[_Text]) -> list[Scores]:
        return [
            (logits.argmax(-1).cpu() == torch.tensor(text.tokens[text.prompt :])).double().numpy()
            for text, logits in _logits(runner, texts, self._vocabulary)
        ]

    def _probability(self, runner: ModelRunner, texts: Sequence[_Text]) -> list[torch.Tensor]:
        """Of each output token, after temperature and top-p: float64, on the host."""
        found = []
        for text, logits in _logits(runner, texts, self._vocabulary):
            spread = distribution(logits, self._sampling.temperature, self._sampling.top_p)
            tokens = torch.tensor(text.tokens[text.prompt :], device=spread.device)
            found.append(spread.gather(1, tokens[:, None])[:, 0].double().cpu())
        return found


def _logits(
    runner: ModelRunner, texts: Sequence[_Text], vocabulary: int
) -> Iterator[tuple[_Text, torch.Tensor]]:
    """Of each text, logits ``[output tokens, V]`` for every token behind its prompt, in order.

    Several texts are read in one pass, as many as bounded memory allows; text i is in slot i.
    """
    most = max(1, LOGIT_BYTES // (8 * vocabulary))
    first = 0
    while first < len(texts):
        last, tokens = first + 1, len(texts[first].tokens)
        while last < len(texts) and tokens + len(texts[last].tokens) <= most:
            tokens += len(texts[last].tokens)
            last += 1
        yield from _pass(runner, list(range(first, last)), texts[first:last])
        first = last


@torch.inference_mode()
def _pass(
    runner: ModelRunner, slots: Sequence[int], texts: Sequence[_Text]
) -> list[tuple[_Text, torch.Tensor]]:
    lengths = [len(text.tokens) - 1 for text in texts]  # nothing comes after the last token
    packed = torch.tensor([token for text in texts for token in text.tokens[:-1]], device=runner.device)
    starts = np.cumsum([0, *lengths])
    chosen = np.concatenate(
        [np.arange(start + text.prompt - 1, start + n)
         for start, n, text in zip(starts, lengths, texts, strict=False)]
    )  # fmt: skip
    index = torch.from_numpy(chosen).to(runner.device)
    logits = runner.forward(packed, Rows(slots, lengths, lengths), chosen=index)
    counts = [n - text.prompt + 1 for n, text in zip(lengths, texts, strict=True)]
    parts = torch.split(logits, counts)
    return list(zip(texts, parts, strict=True))


def _notes(scenario: Scenario, deployment: Deployment) -> Mapping[str, str]:
    packages = environment()["packages"]
    return {
        "dtype": scenario.models.target.dtype,
        "device": str(deployment.target.device.type),
        "torch": str(packages.get("torch", "")),
        "transformers": str(packages.get("transformers", "")),
        **{f"draft {name}": note for name, note in deployment.models.notes.items() if name != "target"},
    }
