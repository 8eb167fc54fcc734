"""Token ids for every request: the source's own, its text's, or procedural ones of the asked length."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spinsim.errors import InputError
from spinsim.live.generation import end_of_text
from spinsim.live.outlined import EMBEDDED
from spinsim.runner.loaded_model import LoadedModel
from spinsim.scenario import Scenario
from spinsim.workload.request import Request, Workload


@dataclass(frozen=True, slots=True)
class Prompted:
    """A workload whose lengths are those of its token ids.

    ``stops``: requests that end early, at any token of ``end_of_text``.
    """

    workload: Workload
    prompts: dict[int, Sequence[int]]
    stops: frozenset[int]
    end_of_text: frozenset[int]


def materialise(scenario: Scenario, workload: Workload, target: LoadedModel) -> Prompted:
    """Give every request its token ids.

    Requests with text are encoded by the target's tokenizer, cut to the source's ``max_prompt_tokens``,
    and may end at end-of-text where the scenario says so. Requests of lengths only get procedural
    prompts of exactly that length (for random weights: random tokens), and their output lengths are
    forced. Where acceptance is the field's, no text ends early, requests keep their names and domains, which
    the field knows them by, and random weights need no tokenizer: a text is as long as its source says.
    Raises InputError where text has no tokenizer or an id is outside the vocabulary.
    """
    given = scenario.live.acceptance == "field"
    weights = scenario.models.target.weights
    family = weights.startswith(EMBEDDED)
    source = scenario.workload.source
    longest = None if source is None else source.max_prompt_tokens
    encode: Callable[[str], list[int]] | None = None
    prompts: dict[int, Sequence[int]] = {}
    requests: list[Request] = []
    stops: set[int] = set()
    bare: list[Request] = []
    for request in workload.requests:
        if request.prompt is not None:
            ids: Sequence[int] = request.prompt
        elif request.text is not None and not (given and weights == "random"):
            if encode is None:
                encode = _encoder(weights, target.name)
            ids = encode(request.text)[:longest]
            if scenario.sampling.stop_at_end_of_text and not given:
                stops.add(request.id)
        else:
            bare.append(request)
            continue
        if max(ids, default=0) >= target.used_vocabulary:
            raise InputError(
                f"request {request.key or request.id} has token {max(ids)}; "
                f"the target's vocabulary has {target.used_vocabulary}",
                key="workload.source",
            )
        prompts[request.id] = ids
        requests.append(replace(request, prompt_tokens=len(ids)))
    requests += _procedural(scenario, bare, prompts, target, family)
    requests.sort(key=lambda request: request.id)
    return Prompted(
        replace(workload, requests=tuple(requests)),
        prompts,
        frozenset(stops),
        end_of_text(target.module.generation_config),
    )


def _procedural(
    scenario: Scenario,
    requests: Sequence[Request],
    prompts: dict[int, Sequence[int]],
    target: LoadedModel,
    family: bool,
) -> list[Request]:
    # What will be rejected for its length needs no prompt.
    limit = scenario.limits.context_tokens
    if not family:
        for request in requests:
            rng = random.Random(f"{scenario.seed}/prompt/{request.id}")
            count = min(request.prompt_tokens, limit)
            prompts[request.id] = [rng.randrange(target.used_vocabulary) for _ in range(count)]
        return list(requests)
    from spinsim.family.prompts import prompts as family_prompts

    made = family_prompts(scenario.seed, [min(request.prompt_tokens, limit) for request in requests])
    named = []
    for request, prompt in zip(requests, made, strict=True):
        prompts[request.id] = prompt.tokens
        known = scenario.live.acceptance == "field"
        named.append(request if known else replace(request, key=prompt.key, domain=prompt.domain))
    return named


def _encoder(weights: str, source: str) -> Callable[[str], list[int]]:
    if weights.startswith(EMBEDDED):
        from spinsim.family.corpus import ASK, REPLY
        from spinsim.family.tokenizer import BOS_ID, encode

        return lambda text: [BOS_ID, *encode(f"{ASK}{text}{REPLY}")]
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # what the tokenizers library raises has no class of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{source} has no tokenizer that loads ({reason}); text needs one", key="models.target.weights"
        ) from error
    folder = Path(source).name
    return lambda text: _ids(tokenizer, text, folder)


def _ids(tokenizer: object, text: str, name: str) -> list[int]:
    ids = tokenizer(text)["input_ids"]  # type: ignore[operator]
    if not ids:
        raise InputError(f"a prompt of {name} is empty; every request needs a token", key="workload.source")
    return [int(token) for token in ids]
