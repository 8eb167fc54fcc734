"""Importer for the recordings of SpecDecode-Bench (arXiv 2601.11580): two real drafters on Llama-3.1-8B."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from spinsim.errors import InputError, reason_of
from spinsim.files import DAMAGED, open_text
from spinsim.recording import Ragged, Recording, Trace

PREFIX = "acc_"


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
    try:
        with open_text(path) as file:
            for line, text in enumerate(file, 1):
                if text.isspace():
                    continue
                try:
                    name, prompt, output, drafters = _recorded(json.loads(text))
                    if keys and drafters.keys() != runs.keys():
                        raise ValueError(f"drafters {', '.join(drafters)}, but {', '.join(runs)} before")
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    reason = f"no {error}" if isinstance(error, KeyError) else str(error)
                    raise InputError(
                        f"no SpecDecode-Bench recording: {reason}; id, prompt_token_ids, acc_<name>.acc_len",
                        key=key,
                        file=str(path),
                        line=line,
                    ) from error
                keys.append(name)
                prompts.append(prompt)
                outputs.append(output)
                for drafter, values in drafters.items():
                    runs.setdefault(drafter, []).append(values)
    except (OSError, *DAMAGED) as error:
        raise InputError(
            f"cannot read {path}: {reason_of(error)}; a SpecDecode-Bench recording", key=key
        ) from error
    if not keys:
        raise InputError(f"{path} holds no recording; JSON Lines with acc_<drafter>.acc_len", key=key)
    return Trace(
        target="",
        keys=tuple(keys),
        prompt_tokens=tuple(map(len, prompts)),
        drafts={drafter: Recording.of_runs(values) for drafter, values in runs.items()},
        prompts=Ragged.of(prompts, np.uint32),
        outputs=Ragged.of(outputs, np.uint32) if all(outputs) else None,
    )


def _recorded(row: dict[str, Any]) -> tuple[str, list[int], list[int], dict[str, list[int]]]:
    """Key, ids of prompt and output (empty where there are none), and runs by drafter of one line."""
    drafters: dict[str, list[int]] = {}
    for name, value in row.items():
        if name.startswith(PREFIX):
            lengths = value["acc_len"]
            if not lengths or not all(type(n) is int and n >= 1 for n in lengths):
                raise ValueError(f"{name}.acc_len is no list of integers >= 1")
            drafters[name.removeprefix(PREFIX)] = [n - 1 for n in lengths]
    if not drafters:
        raise ValueError("no acc_<drafter>")
    return str(row["id"]), row["prompt_token_ids"], row.get("generated_token_ids") or [], drafters
