"""vLLM's speculative metrics of a request: responses of a server with ``--per-request-spec-decode-metrics
detailed``.

The fields are those that ``docs/features/speculative_decoding/acceptance_metrics.md`` of vLLM lists at commit
02cf515f0b62e6fc36d5ff8fb9b486a30e8dbe08: ``metrics.speculative_decoding`` with ``per_step_accepted`` and
``per_step_drafted``, an entry for every verification that had proposals. Verifications without any are left
out there, so that ``usage.completion_tokens`` has to tell whether there were some.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from spinsim.acceptance.chains import Rebuilt, probabilities, rebuild
from spinsim.acceptance.importers.base import Imported, Importer, ImportOptions, counts, json_lines
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
    for line, record in json_lines(path, EXPECTED):
        try:
            response = _response(record, line)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{reason}; {EXPECTED}", file=str(path), line=line) from error
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
        keys=tuple(response.key for response in kept),
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


def _response(record: dict[str, Any], line: int) -> Response:
    metrics = record["metrics"]["speculative_decoding"]
    accepted, drafted = counts(metrics, "per_step_accepted"), counts(metrics, "per_step_drafted")
    if len(accepted) != len(drafted):
        raise ValueError(f"{len(accepted)} steps accepted, {len(drafted)} drafted")
    usage = record["usage"]
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    if not all(type(n) is int and n >= 1 for n in (prompt, completion)):
        raise ValueError("prompt_tokens and completion_tokens are no whole numbers from 1 on")
    committed = 1 + sum(accepted) + len(accepted)
    rebuilt = rebuild(accepted, drafted, 1, completion)
    return Response(str(record.get("id", line)), prompt, rebuilt, max(0, completion - committed))


VLLM_METRICS = Importer(read, EXPECTED)
