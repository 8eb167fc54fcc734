"""``live.acceptance: field``: the scenario's acceptance over real kernels.

Every kernel runs, those that judge proposals included, and the host reads their verdict as in any live run.
Then the verdict is replaced by what the scenario's acceptance says. So any shape and any recording can be
executed at their real cost without their weights. The text means nothing: end of text is ignored, no output
is kept, and nothing is said of losslessness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from spinsim.acceptance import verdicts
from spinsim.acceptance.entropies import Stops
from spinsim.acceptance.field import AcceptanceField, Offer
from spinsim.acceptance.for_scenario import recorded_outputs
from spinsim.acceptance.lookups import KnownLookups
from spinsim.drafters.acceptance import build_field, offers_of, stops_of
from spinsim.errors import InputError
from spinsim.operations import CatchUp, Propose, Verify
from spinsim.policies.build import KINDS, reads_entropies
from spinsim.scenario import Scenario
from spinsim.workload.for_scenario import build_workload
from spinsim.workload.request import Workload


@dataclass(frozen=True)
class GivenAcceptance:
    """What is accepted, known before the run. ``texts``: recorded output tokens by request, where any are.

    ``stops``: where proposals end by their entropy; None: where the models' own says so. ``offers`` and
    ``lookups``: where the text means nothing, how much lookups have to propose (as much as they are asked for
    where a draft is not named), and what they find beforehand. None: what they find in the text.

    Nothing is forgotten when a request ends, and everything is drawn beforehand: a live run's engine thread
    has no time for it.
    """

    field: AcceptanceField
    texts: Mapping[int, Sequence[int]]
    stops: Stops | None = None
    offers: Mapping[int, Offer] | None = None
    lookups: KnownLookups | None = None

    def accepted(self, operation: Verify) -> list[int]:
        """How many proposals of each row stand."""
        return verdicts.accepted(self.field, operation)

    def offered(self, operation: Propose, found: list[list[int]]) -> list[list[int]]:
        """What a lookup proposes: what it found, where the text is a recorded one.

        Elsewhere so many tokens as the field has on offer, whatever they are.
        """
        if self.offers is None:
            return found
        offer = self.offers.get(operation.draft)
        rows = zip(operation.requests, operation.contexts, operation.lengths, found, strict=True)
        counts = [
            (length if offer is None else min(length, offer(request, context)), tokens)
            for request, context, length, tokens in rows
        ]
        return [[*tokens[:count], *[0] * (count - len(tokens))] for count, tokens in counts]

    def hits(self, operation: CatchUp, most: int) -> list[bytes]:
        """Which of the last ``most`` output tokens of a row that are fed the draft would have proposed."""
        return verdicts.hits(self.field, operation, most)

    def said(self, request: int, position: int, own: Sequence[int]) -> list[int]:
        """The tokens that stand from output ``position`` on: the recorded ones, else the models' ``own``."""
        recorded = list(self.texts.get(request, ())[position : position + len(own)])
        return recorded + list(own[len(recorded) :])


def is_given(scenario: Scenario) -> bool:
    """Is what a live run accepts known before it?"""
    return scenario.live.acceptance == "field"


def refuse_unknown_future(scenario: Scenario) -> None:
    """Raises InputError for a policy that sees the future, where the models decide what is accepted."""
    if is_given(scenario):
        return
    for kind, known in KINDS.items():
        name = getattr(getattr(scenario.policies, kind), "name", "")
        if getattr(known.get(name), "sees_future", False):
            raise InputError(
                f"{name!r} has to know the future, and in a live run the models decide it; "
                "allowed with live.acceptance: field",
                key=f"policies.{kind}.name",
            )


def given_acceptance(
    scenario: Scenario, base_dir: Path, workload: Workload, vocabulary: int
) -> GivenAcceptance | None:
    """The scenario's field over its workload, drawn; None where the models decide.

    ``workload`` is the one that a simulation of the scenario serves. Raises InputError for acceptance that
    does not cover it, and for recorded tokens beyond the target's ``vocabulary``.
    """
    if not is_given(scenario):
        return None
    known = build_field(scenario, workload, base_dir)
    texts = recorded_outputs(scenario, workload, base_dir)
    beyond = max((max(text, default=0) for text in texts.values()), default=0)
    if beyond >= vocabulary:
        raise InputError(
            f"token {beyond} was recorded, and the target's vocabulary has {vocabulary}; "
            "a target of the recording's vocabulary",
            key="acceptance.path",
        )
    if scenario.models.drafts:
        for request in workload.requests:
            known.runs(request.id, 0)  # draws those of all drafts
    reads = reads_entropies(KINDS["length"].get(scenario.policies.length.name))
    stops = stops_of(known, workload) if reads else None
    if texts:
        return GivenAcceptance(known, texts, stops)
    return GivenAcceptance(known, texts, stops, offers_of(scenario, workload, known), known.lookups)


class Future(TypedDict, total=False):
    """What policies that see the future are handed."""

    future: AcceptanceField | None
    workload: Workload | None


def known_future(given: GivenAcceptance | None, workload: Workload) -> Future:
    """Acceptance and lengths, where they are known beforehand: an oracle can then be run live."""
    return {} if given is None else {"future": given.field, "workload": workload}


def replayed_future(scenario: Scenario, base_dir: Path, workload: Workload) -> Future:
    """:func:`known_future` of a run that is replayed: read where a policy looks at it, and nowhere else."""
    selector = KINDS["selector"].get(scenario.policies.selector.name)
    if not is_given(scenario) or not getattr(selector, "sees_future", False):
        return {}
    return {"future": build_field(scenario, workload, base_dir), "workload": workload}


def modelled_lookups(scenario: Scenario, base_dir: Path, workload: Workload) -> KnownLookups | None:
    """What lookups find where a field models it, of a run that is replayed."""
    if not is_given(scenario) or getattr(scenario.acceptance, "matches", "unknown") != "modelled":
        return None
    return build_field(scenario, workload, base_dir).lookups


def repeated_acceptance(scenario: Scenario, base_dir: Path, positions: int) -> GivenAcceptance | None:
    """The scenario's field for a workload that is not its own, as of a rehearsal; None where models decide.

    Its requests are taken in turn, and each over and over for outputs of up to ``positions`` tokens.
    """
    if not is_given(scenario) or not scenario.models.drafts:
        return None
    workload = build_workload(scenario, base_dir)
    known = build_field(scenario, workload, base_dir)
    requests = [request.id for request in workload.requests]
    return GivenAcceptance(Repeated(known, requests, positions + scenario.limits.max_length + 1), {})


class Repeated:
    """The field of some requests over and over, for any number of others of any length."""

    def __init__(self, known: AcceptanceField, requests: Sequence[int], positions: int) -> None:
        self.source = known.source
        self._known, self._requests, self._positions = known, requests, positions

    def runs(self, request: int, draft: int) -> Sequence[int]:
        """See :class:`spinsim.acceptance.field.AcceptanceField`."""
        runs = self._known.runs(self._requests[request % len(self._requests)], draft)
        return [runs[position % len(runs)] for position in range(self._positions)]

    def forget(self, request: int) -> None:
        """Nothing is kept of a request."""
