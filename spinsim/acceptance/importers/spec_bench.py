"""Spec-Bench's answers (arXiv 2401.07851): ``model_answer/*.jsonl``, accepted tokens by round."""

from __future__ import annotations

import re
from pathlib import Path

from spinsim.acceptance.chains import LengthSchedule, Rebuilt, probabilities, rebuild
from spinsim.acceptance.importers.base import Imported, Importer, ImportOptions
from spinsim.acceptance.json_records import MOST_TOKENS, Fields, distinct, json_records
from spinsim.errors import InputError
from spinsim.recording import Recording, Trace

EXPECTED = "JSON Lines with question_id, model_id and choices[0] with decoding_steps and accept_lengths"
# Methods of Spec-Bench that verify a tree, or several branches at once, by a word of model_id.
TREES = frozenset(
    (
        "eagle",
        "eagle2",
        "eagle3",
        "medusa",
        "hydra",
        "rest",
        "recycling",
        "lade",
        "lookahead",
        "samd",
        "sequoia",
    )
)


def read(path: Path, options: ImportOptions) -> Imported:
    """A chain's hits, rebuilt from its rounds by ``options.schedule``; each turn is a request of its own.

    ``accept_lengths`` count the target's own token. The file has text and no token ids, and no prompt:
    prompts are as long as ``options.prompts`` says, else 1 token. The first turn's key is the question's
    number, later ones add ``/turnN``.

    Raises:
        InputError: no schedule, a tree of proposals, a line that is no such answer, or a round
            that accepted more than the schedule proposed.
    """
    if options.schedule is None:
        raise InputError(
            "answers of Spec-Bench do not say how many tokens were proposed; --schedule constant:K, "
            "stopped:K or heuristic[:START[:MOST]]",
            key="--schedule",
        )
    keys: list[str] = []
    rebuilt: list[Rebuilt] = []
    model = ""
    for record in json_records(path, EXPECTED):
        question, name = record.name("question_id"), record.name("model_id")
        model = model or name
        for number, turn in enumerate(_turns(record.object("choices", 0), options.schedule), 1):
            keys.append(question + (f"/turn{number}" if number > 1 else ""))
            rebuilt.append(turn)
    if not keys:
        raise InputError(f"holds no answer; {EXPECTED}", file=str(path))
    if TREES.intersection(re.split(r"[^a-z0-9]+", model.lower())):
        raise InputError(
            f"{model} proposes a tree, whose accepted path does not say what a chain would have "
            "proposed; answers of a chain (a draft model, prompt lookup)",
            file=str(path),
        )
    lengths = options.prompts or {}
    trace = Trace(
        target=model,
        keys=distinct(keys),
        prompt_tokens=tuple(lengths.get(key, 1) for key in keys),
        drafts={path.stem: Recording.of_probabilities(probabilities(rebuilt))},
        temperature=0.0 if "temp-0.0" in model or "temperature-0.0" in model else None,
    )
    known, positions = sum(one.known() for one in rebuilt), sum(len(one.hits) for one in rebuilt)
    notes = [
        f"{known} of {positions} positions rebuilt; the others, each after a proposal accepted whole, are "
        "drawn at the request's own rate"
    ]
    if missing := sum(key not in lengths for key in keys):
        notes.append(f"prompts of {missing} requests are unknown and count as 1 token")
    return Imported(trace, tuple(notes))


def _turns(choice: Fields, schedule: LengthSchedule) -> list[Rebuilt]:
    lengths = choice.numbers("accept_lengths", 1)  # 1: the target's own token alone
    steps = choice.numbers("decoding_steps")
    if sum(steps) != len(lengths):
        raise choice.wrong(f"{len(lengths)} rounds for {sum(steps)} decoding_steps", "accept_lengths")
    if sum(lengths) > MOST_TOKENS:
        raise choice.wrong(f"{sum(lengths)} tokens in all, above {MOST_TOKENS}", "accept_lengths")
    turns, at = [], 0
    for count in steps:
        accepted = [length - 1 for length in lengths[at : at + count]]
        at += count
        # The first round's verification is the prompt's own pass: it begins at the first output token.
        try:
            turns.append(rebuild(accepted, schedule.proposed(accepted), 0, sum(accepted) + count))
        except ValueError as error:
            raise choice.wrong(str(error), "accept_lengths") from error
    return [turn for turn in turns if turn.hits]


SPEC_BENCH = Importer(read, EXPECTED)
