"""What lookup drafters knew before they proposed, shown to policies and told to learners."""

from __future__ import annotations

from spinsim.acceptance.lookups import NOT_LOOKED_UP, RecordedLookups
from spinsim.engine.committing import credited
from spinsim.policies.base import NO_DRAFT, RequestView
from spinsim.recording import Lookup, Recording
from spinsim.studies.selection_on_recordings import Judged, table


def lookups() -> RecordedLookups:
    found = Recording.of_runs([[0, 0], [0, 9, 2, 0]])
    known = Lookup.of([[0, 0], [0, 5, 6, 0]], [[0, 0], [0, 4, 3, 0]])
    model = Recording.of_runs([[1, 1], [1, 1, 1, 1]])
    return RecordedLookups([model, Recording(found.kind, found.rows, known)], [1, 0])


def test_a_request_has_what_its_recording_has():
    told = lookups()
    assert told.at(0, 1) == ([NOT_LOOKED_UP, 5], [NOT_LOOKED_UP, 4])
    assert told.at(1, 1) == ([NOT_LOOKED_UP, 0], [NOT_LOOKED_UP, 0])
    assert told.at(0, 99) == ([NOT_LOOKED_UP, 0], [NOT_LOOKED_UP, 0])


def test_a_lookup_is_judged_by_what_was_committed_and_by_what_it_had_on_offer():
    told = lookups()
    assert told.agreed(0, 1, 3) == [NOT_LOOKED_UP, 3]
    assert told.agreed(0, 1, 8) == [NOT_LOOKED_UP, 4]  # its run goes on, its proposal does not
    assert told.agreed(0, 2, 8) == [NOT_LOOKED_UP, 2]
    told.forget(0)
    assert told.agreed(0, 2, 8) == [NOT_LOOKED_UP, 2]


def test_a_choice_that_had_nothing_on_offer_is_told_of():
    """A learner that heard only of the rounds with a proposal would take the drafter to be always right."""
    views = [RequestView(i, 8, 0, 2) for i in range(4)]
    for view, offered in zip(views, (0, 3, NOT_LOOKED_UP, 0), strict=True):
        view.offered = [NOT_LOOKED_UP, offered]
    chosen, used = [1, 1, 1, NO_DRAFT], [NO_DRAFT, 1, NO_DRAFT, NO_DRAFT]
    assert credited(views, chosen, used) == [1, 1, NO_DRAFT, NO_DRAFT]


def test_the_table_says_what_share_of_the_oracles_gain_is_taken():
    rates = {
        "best fixed": [100.0],
        "vLLM": [110.0],
        "contextual": [160.0],
        "oracle": [200.0],
        "clairvoyant": [210.0],
    }
    one = Judged("mix", 8, 12, 900, "eagle 3", "ngram 8", rates)
    assert one.share() == 0.6
    assert table([one]).splitlines()[-1] == (
        "| mix (12) | 8 | 100 (eagle 3) | 110 (ngram 8) | 160 | 200 | 210 | 0.60 | +60.0 % | +45.5 % |"
    )
