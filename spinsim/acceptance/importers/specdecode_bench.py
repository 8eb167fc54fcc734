"""SpecDecode-Bench (arXiv 2601.11580): two real drafters on Llama-3.1-8B, with token ids."""

from __future__ import annotations

from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np

from spinsim.acceptance.importers.base import Imported, Importer, ImportOptions
from spinsim.acceptance.known_text import EVERYTHING, Replayed, Text, replay
from spinsim.acceptance.prompt_lookup import PromptLookup
from spinsim.acceptance.specdecode_bench import EXPECTED, load_specdecode_bench
from spinsim.recording import Lookup, Ragged, Recording

MAX_SIZE, MIN_SIZE, LONGEST = 7, 3, 20  # of the recorded drafter: suffixes, and tokens of a proposal
TARGET = "Llama-3.1-8B-Instruct"  # where the format has no field for it
LOOKED_UP = "ngram"  # the drafter of the recording that needs nothing but token ids


def read(path: Path, options: ImportOptions) -> Imported:
    """Runs as recorded; what the n-gram drafter knew before it proposed is replayed from the token ids.

    EAGLE was recorded over a generation of its own. Where that has another length than the generated text,
    its values do not belong to the text's positions: the notes count such requests.

    Raises:
        InputError: no such file, or a line that is not such a recording.
    """
    trace = load_specdecode_bench(path, "--import")
    if trace.outputs is None or trace.prompts is None:
        note = "generated_token_ids are missing in some requests: nothing is looked up in their texts"
        return Imported(replace(trace, target=TARGET, temperature=0.0), (note,))
    prompts, outputs = _rows(trace.prompts), _rows(trace.outputs)
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
    whole = replace(trace, target=TARGET, drafts=drafts, temperature=0.0)
    return Imported(whole, tuple(notes))


def _rows(ids: Ragged) -> list[list[int]]:
    return [ids.row(row).tolist() for row in range(len(ids))]


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
