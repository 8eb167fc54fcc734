"""Importer for the recordings of SpecDecode-Bench (arXiv 2601.11580): two real drafters on Llama-3.1-8B."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spinsim.acceptance.json_records import Fields, distinct, json_records
from spinsim.errors import InputError
from spinsim.recording import Ragged, Recording, Trace

PREFIX, OUTPUT = "acc_", "generated_token_ids"
EXPECTED = (
    "a SpecDecode-Bench recording: JSON Lines with id, prompt_token_ids, generated_token_ids and "
    "acc_<drafter>.acc_len"
)


def load_specdecode_bench(path: Path, key: str = "acceptance.path") -> Trace:
    """Read the recording as a trace with a draft for every ``acc_<name>`` in it.

    ``acc_<name>.acc_len[p]`` is how many tokens a round that starts with p output tokens commits, the
    target's own included: the run there is one less. At position 0, which prefill yields, every run
    is 0. The n-gram drafter's last runs stop at the end of the output; EAGLE's may reach one token past
    it. EAGLE was recorded over a generation of its own, so that it may cover more or fewer positions
    than ``generated_token_ids``, which are kept with the prompts' ids.

    Raises:
        InputError: no such file, or a line that is not such a recording.
    """
    keys: list[str] = []
    prompts: list[list[int]] = []
    outputs: list[list[int]] = []
    runs: dict[str, list[list[int]]] = {}
    for record in json_records(path, EXPECTED):
        drafters = _runs(record)
        if keys and drafters.keys() != runs.keys():
            raise record.wrong(f"drafters {', '.join(drafters)}, but {', '.join(runs)} before")
        prompt = record.token_ids("prompt_token_ids")
        if not prompt:
            raise record.wrong("no token", "prompt_token_ids")
        keys.append(record.name("id"))
        prompts.append(prompt)
        outputs.append(record.token_ids(OUTPUT) if record.values.get(OUTPUT) is not None else [])
        for drafter, values in drafters.items():
            runs.setdefault(drafter, []).append(values)
    if not keys:
        raise InputError(f"holds no recording; {EXPECTED}", key=key, file=str(path))
    return Trace(
        target="",
        keys=distinct(keys),
        prompt_tokens=tuple(map(len, prompts)),
        drafts={drafter: Recording.of_runs(values) for drafter, values in runs.items()},
        prompts=Ragged.of(prompts, np.uint32),
        outputs=Ragged.of(outputs, np.uint32) if all(outputs) else None,
    )


def _runs(record: Fields) -> dict[str, list[int]]:
    """Runs by drafter of one request."""
    drafters: dict[str, list[int]] = {}
    for name in record.values:
        if name.startswith(PREFIX):
            drafter = record.object(name)
            lengths = drafter.numbers("acc_len", 1)
            if not lengths:
                raise drafter.wrong("no position", "acc_len")
            drafters[name.removeprefix(PREFIX)] = [length - 1 for length in lengths]
    if not drafters:
        raise record.wrong("no acc_<drafter>")
    return drafters
