"""vLLM's speculative metrics of a request: responses of a server with ``--per-request-spec-decode-metrics
detailed``.

The fields are those that ``docs/features/speculative_decoding/acceptance_metrics.md`` of vLLM lists at commit
02cf515f0b62e6fc36d5ff8fb9b486a30e8dbe08: ``metrics.speculative_decoding`` with ``per_step_accepted`` and
``per_step_drafted``, an entry for every verification that had proposals. Verifications without any are left
out there, so that ``usage.completion_tokens`` has to tell whether there were some.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from spinsim.acceptance.chains import Rebuilt, probabilities, rebuild
from spinsim.acceptance.importers.base import Imported, Importer, ImportOptions
from spinsim.acceptance.json_records import Fields, distinct, json_records
from spinsim.errors import InputError
from spinsim.recording import Recording, Trace

EXPECTED = (
    "JSON Lines of responses with metrics.speculative_decoding (per_step_accepted, per_step_drafted) "
    "and usage (prompt_tokens, completion_tokens)"
)


class Response(NamedTuple):
    """One response. ``apart``: tokens of verifications without proposals, whose places are unknown."""

    key: str
    prompt_tokens: int
    rebuilt: Rebuilt
    apart: int


def read(path: Path, options: ImportOptions) -> Imported:
    """A chain's hits, rebuilt from what each step drafted and accepted.

    Prefill yields the first output token, and each step one more than it accepted. A last step may reach
    past the end of the output. A response with tokens from steps without proposals cannot be rebuilt and is
    left out, as is one that was never drafted for. Structured output that invalidated proposals counts as
    vLLM counts it: they were not drafted.

    Raises:
        InputError: no such file, a line that is no such response, or nothing that can be rebuilt.
    """
    kept: list[Response] = []
    apart = undrafted = 0
    for record in json_records(path, EXPECTED):
        response = _response(record)
        if response.apart:
            apart += 1
        elif not response.rebuilt.known():
            undrafted += 1
        else:
            kept.append(response)
    if not kept:
        raise InputError(
            f"none of {apart + undrafted} responses can be rebuilt: {apart} have steps without "
            f"proposals, whose places are not recorded, {undrafted} no proposals at all; {EXPECTED}",
            file=str(path),
        )
    rebuilt = [response.rebuilt for response in kept]
    trace = Trace(
        target="",
        keys=distinct([response.key for response in kept]),
        prompt_tokens=tuple(response.prompt_tokens for response in kept),
        drafts={path.stem: Recording.of_probabilities(probabilities(rebuilt))},
    )
    known, positions = sum(one.known() for one in rebuilt), sum(len(one.hits) for one in rebuilt)
    notes = [f"{known} of {positions} positions rebuilt; the others are drawn at the request's own rate"]
    if apart:
        notes.append(
            f"{apart} responses left out: they have steps without proposals, whose places are not recorded"
        )
    if undrafted:
        notes.append(f"{undrafted} responses left out: nothing was drafted for them")
    return Imported(trace, tuple(notes))


def _response(record: Fields) -> Response:
    metrics = record.object("metrics").object("speculative_decoding")
    accepted, drafted = metrics.numbers("per_step_accepted"), metrics.numbers("per_step_drafted")
    if len(accepted) != len(drafted):
        raise metrics.wrong(f"{len(accepted)} steps accepted, {len(drafted)} drafted", "per_step_accepted")
    usage = record.object("usage")
    prompt, completion = usage.number("prompt_tokens", 1), usage.number("completion_tokens", 1)
    committed = 1 + sum(accepted) + len(accepted)
    try:
        rebuilt = rebuild(accepted, drafted, 1, completion)
    except ValueError as error:
        raise metrics.wrong(str(error), "per_step_accepted") from error
    key = record.name("id") if "id" in record.values else str(record.line)
    return Response(key, prompt, rebuilt, max(0, completion - committed))


VLLM_METRICS = Importer(read, EXPECTED)
