"""Outputs and acceptance through a deployment's runners: what the target says, and what drafts would have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from spinsim.errors import InputError
from spinsim.family.record import Recorded
from spinsim.live.deployment import Deployment
from spinsim.progress import Progress
from spinsim.runner.acceptance_rule import distribution
from spinsim.runner.base import Runner
from spinsim.runner.batch import Rows
from spinsim.runner.eager import ModelRunner
from spinsim.runner.rows import ChunkRows, Proposal, VerifyRows
from spinsim.runner.sampling import entropy
from spinsim.scenario import Scenario

Scores = np.ndarray[Any, Any]  # float64 [output tokens]

TAIL = 16  # tokens generated beyond an output, so that runs near its end are not cut short
LOGIT_BYTES = 1 << 30  # of one pass's logits, at most
PROMPT_SHARE = 4  # times as many tokens in all are read in a pass


@dataclass(frozen=True)
class _Text:
    """A prompt of ``prompt`` tokens and what was generated behind it."""

    tokens: list[int]
    prompt: int


class _Said(NamedTuple):
    """Of a draft, at every output token of a text: agreement, and the entropy of its distribution in nats.

    A draft in another process tells no entropies.
    """

    agreement: Scores
    entropies: Scores | None


class Recorder:
    """Generates with the target's runner and reads with the drafts', as many rows as have whole slots."""

    def __init__(self, deployment: Deployment, progress: Progress | None = None) -> None:
        self._target = deployment.target
        self._drafts = dict(zip(deployment.models.drafts, deployment.drafts, strict=True))
        self._sampling = deployment.sampling
        runners: tuple[Runner, ...] = (deployment.target, *deployment.drafts)
        self._rows = min(runner.apart() for runner in runners)
        self._span = min(runner.slot_tokens for runner in runners)
        self._vocabulary = deployment.models.target.vocabulary
        self._progress = progress

    def record(
        self, prompts: Sequence[Sequence[int]], output_tokens: Sequence[int], streams: Sequence[int]
    ) -> Recorded:
        """Outputs with their tails, and each draft's agreement with every token of them, and how sure it was.

        ``streams[i]`` numbers the random stream of prompt i when sampling: its request, as in a run.
        """
        outputs: list[Any] = [None] * len(prompts)
        accepted: dict[str, list[Any]] = {name: [None] * len(prompts) for name in self._drafts}
        entropies: dict[str, list[Any]] = {name: [None] * len(prompts) for name in self._drafts}
        done = 0
        for chosen in self._groups(prompts, output_tokens):
            made = self._generate(
                [prompts[i] for i in chosen],
                [output_tokens[i] + TAIL for i in chosen],
                [streams[i] for i in chosen],
            )
            for row, i in enumerate(chosen):
                outputs[i] = np.asarray(made[row], np.int64)
            texts = [_Text([*prompts[i], *made[row]], len(prompts[i])) for row, i in enumerate(chosen)]
            for name, read in self._read(texts).items():
                for i, (scores, sure) in zip(chosen, read, strict=True):
                    accepted[name][i], entropies[name][i] = scores, sure
            done += len(chosen)
            if self._progress is not None:
                self._progress("trace", done, len(prompts))
        told = {name: each for name, each in entropies.items() if all(sure is not None for sure in each)}
        return Recorded(outputs, accepted, told)

    def _groups(self, prompts: Sequence[Sequence[int]], output_tokens: Sequence[int]) -> Iterator[list[int]]:
        """Rows of about equal outputs together: a group generates as long as its longest."""
        order = sorted(range(len(prompts)), key=lambda i: (output_tokens[i], len(prompts[i])))
        for start in range(0, len(order), self._rows):
            yield order[start : start + self._rows]

    def _generate(
        self, prompts: Sequence[Sequence[int]], lengths: Sequence[int], streams: Sequence[int]
    ) -> list[list[int]]:
        target, sampling = self._target, self._sampling
        rows = range(len(prompts))
        # Where the context ends, the tail is shorter.
        lengths = [min(n, self._span - len(p)) for n, p in zip(lengths, prompts, strict=True)]
        made: list[list[int]] = []
        for row in rows:
            prompt = ChunkRows([row], [0], [prompts[row]], [streams[row]])
            made.append([int(token) for token in target.prefill(prompt, sampling).tolist()])
        while going := [row for row in rows if len(made[row]) < lengths[row]]:
            nothing = np.zeros((len(going), 0), np.int64)
            decoding = VerifyRows(
                going,
                last=[made[row][-1] for row in going],
                contexts=[len(prompts[row]) + len(made[row]) for row in going],
                lengths=[0] * len(going),
                proposal=Proposal(nothing),
                requests=[streams[row] for row in going],
            )
            for row, tokens in zip(going, target.verify(decoding, sampling=sampling).tokens, strict=True):
                made[row] += tokens
        return made

    def _read(self, texts: Sequence[_Text]) -> dict[str, list[_Said]]:
        """By draft and text: agreement (0 or 1, or a probability) and entropy at every output token."""
        if self._sampling.greedy:
            return {name: self._agreement(runner, texts) for name, runner in self._drafts.items()}
        wanted = self._probability(self._target, texts)
        return {
            name: [
                _Said((q / p.clamp_min(1e-30)).clamp_max(1.0).numpy(), sure)
                for (q, sure), (p, _) in zip(self._probability(runner, texts), wanted, strict=True)
            ]
            for name, runner in self._drafts.items()
        }

    def _agreement(self, runner: Runner, texts: Sequence[_Text]) -> list[_Said]:
        if not isinstance(runner, ModelRunner):
            return self._agreement_elsewhere(runner, texts)
        found = []
        for text, logits in _logits(runner, texts, self._vocabulary):
            hits = logits.argmax(-1).cpu() == torch.tensor(text.tokens[text.prompt :])
            found.append(_Said(hits.double().numpy(), entropy(logits, None).double().cpu().numpy()))
        return found

    def _agreement_elsewhere(self, runner: Runner, texts: Sequence[_Text]) -> list[_Said]:
        """Of a draft in another process, whose logits stay there: it says its most likely tokens."""
        found = []
        for some in _groups(texts, self._vocabulary):
            fed = [text.tokens[:-1] for text in some]
            best = runner.catch_up(ChunkRows(range(len(some)), [0] * len(some), fed))
            ends = np.cumsum([len(tokens) for tokens in fed])
            for text, end in zip(some, ends.tolist(), strict=True):
                wanted = text.tokens[text.prompt :]
                hits = best[end - len(wanted) : end] == wanted
                found.append(_Said(hits.astype(np.float64), None))
        return found

    def _probability(self, runner: Runner, texts: Sequence[_Text]) -> list[tuple[torch.Tensor, Scores]]:
        """Of each output token, after temperature and top-p, and the entropy: float64, on the host."""
        found = []
        for text, logits in _logits(runner, texts, self._vocabulary):
            spread = distribution(logits, self._sampling.temperature, self._sampling.top_p)
            tokens = torch.tensor(text.tokens[text.prompt :], device=spread.device)
            sure = entropy(logits, spread).double().cpu().numpy()
            found.append((spread.gather(1, tokens[:, None])[:, 0].double().cpu(), sure))
        return found


def require_recordable(scenario: Scenario) -> None:
    """Raises InputError where a recording needs logits that are nowhere together, or in another process."""
    target = scenario.placement.target
    if scenario.sampling.greedy or len(target) == 1:
        return
    raise InputError(
        "sampled acceptance is recorded from a target's probabilities, and those of one on several "
        "devices are nowhere together; allowed: one device, or greedy sampling",
        key="placement.target",
    )


def _logits(runner: Runner, texts: Sequence[_Text], vocabulary: int) -> Iterator[tuple[_Text, torch.Tensor]]:
    """Of each text, logits ``[output tokens, V]`` for every token behind its prompt, in order.

    Of a whole model in this process. Several texts are read in one pass, text i of it in slot i.
    """
    assert isinstance(runner, ModelRunner), "a recording of others was refused"
    for some in _groups(texts, vocabulary):
        yield from _pass(runner, list(range(len(some))), some)


def _groups(texts: Sequence[_Text], vocabulary: int) -> Iterator[Sequence[_Text]]:
    """As many texts at a time as bounded memory allows."""
    most = max(1, LOGIT_BYTES // (8 * vocabulary))
    first = 0
    while first < len(texts):
        last, written, read = first, 0, 0
        while last < len(texts):
            text = texts[last]
            written, read = written + len(text.tokens) - text.prompt, read + len(text.tokens)
            if last > first and (written > most or read > PROMPT_SHARE * most):
                break
            last += 1
        yield texts[first:last]
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
