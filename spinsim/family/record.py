"""Recording acceptance of real models over prompts, for any policy to replay.

A proposed token can be accepted only if every proposed token before it was, so acceptance is always
conditioned on the target's own prefix. One teacher-forced pass of each draft over the target's output
therefore gives, for every position, what any policy would have seen there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spinsim.acceptance.runs import runs_of
from spinsim.family import family
from spinsim.family.prompts import Prompt
from spinsim.recording import Ragged, Recording, Trace
from spinsim.runner.sampling import entropy
from spinsim.scenario import GREEDY_BELOW

TAIL = 16  # tokens generated beyond an output, so that runs near its end are not cut short


@dataclass(frozen=True, slots=True)
class Recorded:
    """``outputs[i]``: what the target generated (tail included). ``accepted[draft][i][t]``: greedy, whether
    the draft's argmax is output token t; sampling, the probability min(1, q(x)/p(x)) of acceptance at
    the emitted token x, p the target's distribution and q the draft's. ``entropies[draft][i][t]``: of q, in
    nats; greedy: of the softmax of the logits. Drafts that tell none are left out."""

    outputs: list[NDArray[np.int64]]
    accepted: dict[str, list[NDArray[np.float64]]]
    entropies: dict[str, list[NDArray[np.float64]]]


def used_vocabulary(model: Any) -> int:
    """How many tokens a model may emit; a widened one has more rows than tokens."""
    return int(getattr(model.config, "used_vocab_size", None) or model.config.vocab_size)


def _distribution(logits: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    from spinsim.runner.acceptance_rule import distribution  # the live world's own, so that both agree

    return distribution(logits, temperature, top_p)


def _batches(lengths: Sequence[int], batch: int) -> Iterator[list[int]]:
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    for start in range(0, len(order), batch):
        yield order[start : start + batch]


@torch.no_grad()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    lengths: Sequence[int],
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    streams: Sequence[int] | None = None,
) -> list[NDArray[np.int64]]:
    """``lengths[i]`` tokens after ``prompts[i]``, end-of-text or not, in one left-padded batch.

    Sampled tokens of prompt i use a stream of their own, (seed, ``streams[i]``): by default its index.
    """
    from spinsim.runner.acceptance_rule import draw

    device = next(model.parameters()).device
    used, rows, longest = used_vocabulary(model), len(prompts), max(map(len, prompts))
    ids = torch.zeros((rows, longest), dtype=torch.int64)
    mask = torch.zeros((rows, longest + max(lengths)), dtype=torch.int64)
    for i, prompt in enumerate(prompts):
        ids[i, longest - len(prompt) :] = torch.tensor(prompt)
        mask[i, longest - len(prompt) :] = 1
    streams = range(rows) if streams is None else streams
    uniform = np.stack([np.random.default_rng([seed, i]).random(max(lengths)) for i in streams])
    ids, mask, drawn = ids.to(device), mask.to(device), torch.from_numpy(uniform).to(device)
    positions = (mask[:, :longest].cumsum(1) - 1).clamp_min(0)
    cache, made = None, []
    for step in range(max(lengths)):
        answer = model(
            input_ids=ids,
            attention_mask=mask[:, : longest + step],
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache, logits = answer.past_key_values, answer.logits[:, -1, :used].float()
        if temperature < GREEDY_BELOW:
            ids = logits.argmax(-1, keepdim=True)
        else:
            ids = draw(_distribution(logits, temperature, top_p), drawn[:, step])[:, None]
        positions = positions[:, -1:] + 1
        made.append(ids)
    tokens = torch.cat(made, 1).cpu().numpy()
    return [tokens[i, : lengths[i]] for i in range(rows)]


@torch.no_grad()
def forced_logits(
    model: Any, prompts: Sequence[Sequence[int]], outputs: Sequence[NDArray[np.int64]]
) -> list[torch.Tensor]:
    """fp32 logits of every token of ``outputs[i]`` given all before it: shape (output, vocabulary)."""
    device, used = next(model.parameters()).device, used_vocabulary(model)
    longest = max(len(p) + len(o) for p, o in zip(prompts, outputs, strict=True))
    ids = torch.zeros((len(prompts), longest), dtype=torch.int64)
    for i, (prompt, output) in enumerate(
        zip(prompts, outputs, strict=True)
    ):  # padding behind: never attended to
        ids[i, : len(prompt) + len(output)] = torch.tensor([*prompt, *output.tolist()])
    logits = model(input_ids=ids.to(device), use_cache=False).logits
    return [
        logits[i, len(prompt) - 1 : len(prompt) - 1 + len(output), :used].float()
        for i, (prompt, output) in enumerate(zip(prompts, outputs, strict=True))
    ]


def record(
    target: Any,
    drafts: Mapping[str, Any],
    prompts: Sequence[Sequence[int]],
    output_tokens: Sequence[int],
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch: int = 32,
    tail: int = TAIL,
    report: Callable[[float], None] = lambda fraction: None,
) -> Recorded:
    """What each draft would have had accepted at each position of the target's outputs.

    Models are transformers causal LMs that share token ids. ``temperature`` 0 is greedy.
    """
    outputs: list[Any] = [None] * len(prompts)
    accepted: dict[str, list[Any]] = {name: [None] * len(prompts) for name in drafts}
    entropies: dict[str, list[Any]] = {name: [None] * len(prompts) for name in drafts}
    done = 0
    for chosen in _batches([len(p) for p in prompts], batch):
        texts = [prompts[i] for i in chosen]
        made = generate(
            target,
            texts,
            [output_tokens[i] + tail for i in chosen],
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            streams=chosen,
        )
        wanted = forced_logits(target, texts, made) if temperature >= GREEDY_BELOW else []
        for i, output in zip(chosen, made, strict=True):
            outputs[i] = output
        for name, draft in drafts.items():
            for place, logits in enumerate(forced_logits(draft, texts, made)):
                tokens = torch.from_numpy(made[place]).to(logits.device)
                if temperature < GREEDY_BELOW:
                    bits = logits.argmax(-1) == tokens
                    accepted[name][chosen[place]] = bits.cpu().numpy().astype(np.float64)
                    entropies[name][chosen[place]] = entropy(logits, None).double().cpu().numpy()
                    continue
                spread = _distribution(logits, temperature, top_p)
                entropies[name][chosen[place]] = entropy(logits, spread).double().cpu().numpy()
                q = spread.gather(1, tokens[:, None])[:, 0]
                p = _distribution(wanted[place], temperature, top_p).gather(1, tokens[:, None])[:, 0]
                ratio = (q.double() / p.double().clamp_min(1e-30)).clamp_max(1.0)
                accepted[name][chosen[place]] = ratio.cpu().numpy()
        done += len(chosen)
        report(done / len(prompts))
    return Recorded(outputs, accepted, entropies)


def runs(recorded: Recorded, draft: str, output_tokens: Sequence[int]) -> list[NDArray[np.int64]]:
    """Greedy acceptance runs at positions 0 .. output_tokens[i], counted into the tail."""
    return [
        runs_of(bits > 0.5)[: count + 1]
        for bits, count in zip(recorded.accepted[draft], output_tokens, strict=True)
    ]


def to_trace(
    recorded: Recorded,
    *,
    target: str,
    keys: Sequence[str],
    domains: Sequence[str],
    prompts: Sequence[Sequence[int]],
    output_tokens: Sequence[int],
    temperature: float = 0.0,
    top_p: float = 1.0,
    command: str = "",
    notes: Mapping[str, str] | None = None,
    keep_prompts: bool = True,
    keep_outputs: bool = False,
) -> Trace:
    """The recording as a trace for ``spinsim.recording.save_trace``.

    ``keep_outputs``: the token ids of outputs as well, as far as they were generated.
    """
    drafts = {}
    for name, values in recorded.accepted.items():
        if temperature < GREEDY_BELOW:
            drafts[name] = Recording.of_runs([r.tolist() for r in runs(recorded, name, output_tokens)])
        else:
            cut = [v[: n + 1].tolist() for v, n in zip(values, output_tokens, strict=True)]
            drafts[name] = Recording.of_probabilities(cut)
        if (sure := recorded.entropies.get(name)) is not None:
            drafts[name] = drafts[name].with_entropies(
                v[: n + 1] for v, n in zip(sure, output_tokens, strict=True)
            )
    return Trace(
        target=target,
        keys=tuple(keys),
        prompt_tokens=tuple(map(len, prompts)),
        drafts=drafts,
        domains=tuple(domains),
        prompts=Ragged.of([np.asarray(p) for p in prompts], np.uint32) if keep_prompts else None,
        temperature=temperature,
        top_p=top_p,
        command=command,
        notes=dict(notes or {}),
        outputs=Ragged.of(recorded.outputs, np.uint32) if keep_outputs else None,
    )


def trace_family(
    prompts: Sequence[Prompt],
    output_tokens: Sequence[int],
    *,
    names: Sequence[str] | None = None,
    root: Path = family.CHECKPOINTS,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch: int = 32,
    command: str = "",
    report: Callable[[float], None] = lambda fraction: None,
) -> Trace:
    """Record the embedded family: its target and the drafts of these ``names``, or the five of every
    scenario that ships.

    Outputs go on past end-of-text to their full length. Raises InputError without weights.
    """
    names = [draft.name for draft in family.DRAFTS] if names is None else list(names)
    target, *drafts = (
        family.load(name, dtype=dtype, device=device, root=root) for name in (family.TARGET.name, *names)
    )
    texts = [prompt.tokens for prompt in prompts]
    recorded = record(
        target,
        dict(zip(names, drafts, strict=True)),
        texts,
        output_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        batch=batch,
        report=report,
    )
    return to_trace(
        recorded,
        target=family.TARGET.name,
        keys=[prompt.key for prompt in prompts],
        domains=[prompt.domain for prompt in prompts],
        prompts=texts,
        output_tokens=output_tokens,
        temperature=temperature,
        top_p=top_p,
        command=command,
        notes={"family": "spinsim procedural family", "dtype": str(dtype), "device": device},
    )
