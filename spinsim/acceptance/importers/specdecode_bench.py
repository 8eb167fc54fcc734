"""SpecDecode-Bench (arXiv 2601.11580): two real drafters on Llama-3.1-8B, with token ids."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np

from spinsim.acceptance.importers.base import Imported, Importer, ImportOptions, counts, json_lines
from spinsim.acceptance.known_text import EVERYTHING, Replayed, Text, replay
from spinsim.acceptance.prompt_lookup import PromptLookup
from spinsim.acceptance.specdecode_bench import load_specdecode_bench
from spinsim.errors import InputError
from spinsim.recording import Lookup, Ragged, Recording, Trace

MAX_SIZE, MIN_SIZE, LONGEST = 7, 3, 20  # of the recorded drafter: suffixes, and tokens of a proposal
LOOKED_UP = "ngram"  # the drafter of the recording that needs nothing but token ids
EXPECTED = "JSON Lines with id, prompt_token_ids, generated_token_ids and acc_<drafter>.acc_len"


def read(path: Path, options: ImportOptions) -> Imported:
    """Runs as recorded; what the n-gram drafter knew before it proposed is replayed from the token ids.

    EAGLE was recorded over a generation of its own. Where that has another length than the generated text,
    its values do not belong to the text's positions: the notes count such requests.

    Raises:
        InputError: no such file, or a line that is not such a recording.
    """
    trace = load_specdecode_bench(path, "--import")
    prompts, outputs = _token_ids(path)
    drafts, notes = dict(trace.drafts), []
    lengths = np.array([len(output) for output in outputs])
    for name, draft in trace.drafts.items():
        other = int((draft.rows.lengths() != lengths).sum())
        if other:
            notes.append(f"{name} has another length than the text in {other} of {len(outputs)} requests")
    if LOOKED_UP in drafts:
        rule = PromptLookup(MAX_SIZE, MIN_SIZE, LONGEST, latest=False)
        texts = [Text(array("i", p), array("i", o)) for p, o in zip(prompts, outputs, strict=True)]
        looked = [replay(rule, text, len(text.output), EVERYTHING) for text in texts]
        recorded = drafts[LOOKED_UP]
        lookup = Lookup.of((one.matched for one in looked), (one.offered for one in looked))
        drafts[LOOKED_UP] = Recording(recorded.kind, recorded.rows, lookup)
        notes.append(_agreement(recorded, looked))
    whole = Trace(
        target="Llama-3.1-8B-Instruct",
        keys=trace.keys,
        prompt_tokens=trace.prompt_tokens,
        drafts=drafts,
        prompts=Ragged.of(prompts, np.uint32),
        outputs=Ragged.of(outputs, np.uint32),
        temperature=0.0,
    )
    return Imported(whole, tuple(notes))


def _token_ids(path: Path) -> tuple[list[list[int]], list[list[int]]]:
    prompts, outputs = [], []
    for line, record in json_lines(path, EXPECTED):
        try:
            prompts.append(counts(record, "prompt_token_ids"))
            outputs.append(counts(record, "generated_token_ids"))
        except ValueError as error:
            raise InputError(f"{error}; {EXPECTED}", file=str(path), line=line) from error
    return prompts, outputs


def _agreement(recorded: Recording, looked: list[Replayed]) -> str:
    """How well prompt lookup with these settings reproduces what was recorded of it."""
    alike = positions = 0
    for row, one in enumerate(looked):
        runs = recorded.rows.row(row)
        # The first value is of the token that prefill yields, at which no round starts.
        said, replayed = runs[1 : len(one.runs)], np.array(one.runs[1 : len(runs)])
        alike += int((said == replayed).sum())
        positions += len(said)
    share = alike / positions if positions else 1.0
    return (
        f"{LOOKED_UP}: suffixes of {MAX_SIZE} to {MIN_SIZE} tokens, the earliest match and "
        f"{LONGEST} tokens reproduce {100 * share:.2f} % of {positions} positions"
    )


SPECDECODE_BENCH = Importer(read, EXPECTED)
