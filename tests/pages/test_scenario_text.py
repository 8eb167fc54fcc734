"""Values of a scenario's keys in words, as tables and legends of pages have them."""

from __future__ import annotations

import pytest

from spinsim.pages.scenario_text import value_text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (4, "4"),
        (0.25, "0.25"),
        (True, "yes"),
        ("ucb1", "ucb1"),
        ('{"name": "ucb1"}', "ucb1"),
        ('{"name": "spin", "explore": 0.1, "share": "prior"}', "spin (explore 0.1, share prior)"),
        ({"process": "poisson", "rate_per_s": 4}, "poisson (rate per s 4)"),
        ('["gpu0", "gpu1"]', "gpu0, gpu1"),
        ("{not yaml: [", "{not yaml: ["),
    ],
)
def test_a_value_reads_as_words(value: object, said: str) -> None:
    assert value_text(value) == said
