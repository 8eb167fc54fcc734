"""What is looked up: against definitions written out, and against a public recording."""

from __future__ import annotations

import os
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim.acceptance.known_text import EVERYTHING, Text, replay
from spinsim.acceptance.specdecode_bench import load_specdecode_bench
from spinsim.drafters.automaton import SuffixAutomaton
from spinsim.drafters.base import Drafter, Lookup
from spinsim.drafters.for_scenario import drafter_of
from spinsim.drafters.recorded import agreement
from spinsim.drafters.suffix import EDGE
from spinsim.scenario import DrafterChoice

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=60)
DATA = os.environ.get("SPINSIM_DATA")


def drafter(kind: str, **keys: Any) -> Drafter:
    return drafter_of("look", DrafterChoice(kind=kind, **keys))


def lookup(kind: str, **keys: Any) -> Lookup:
    made = drafter(kind, **keys).lookup()
    assert made is not None
    return made


def ends(tokens: list[int], size: int) -> list[int]:
    """Where the last ``size`` tokens also end earlier."""
    last = tokens[len(tokens) - size :]
    return [end for end in range(size, len(tokens)) if tokens[end - size : end] == last]


@given(
    TOKENS, st.integers(1, 4), st.integers(0, 3), st.integers(1, 6), st.sampled_from(["earliest", "latest"])
)
def test_ngram_is_its_definition(tokens: list[int], low: int, more: int, most: int, match: str) -> None:
    expected: list[int] = []
    for size in range(low + more, low - 1, -1):
        if size < len(tokens) and (found := ends(tokens, size)):
            first = min(found) if match == "earliest" else max(found)
            expected = tokens[first : first + most]
            break
    made = lookup("ngram", max_size=low + more, min_size=low, match=match)
    assert made.propose(0, array("i", tokens), most) == expected


@given(st.lists(st.integers(0, 2**31 - 1), min_size=8, max_size=30))
def test_ids_are_matched_whole(tokens: list[int]) -> None:
    """Bytes of two neighbouring ids may look like a third one."""
    context = [256, 65536, *tokens, 1, 256]
    made = lookup("ngram", max_size=2, min_size=1, longest=1).propose(0, array("i", context), 1)
    sizes = [size for size in (2, 1) if ends(context, size)]
    assert made == [context[min(ends(context, sizes[0]))]]


@given(TOKENS, st.integers(1, 3), st.integers(1, 6))
def test_suffix_proposes_after_the_longest_repeat(tokens: list[int], low: int, most: int) -> None:
    made = lookup("suffix", min_size=low)
    for end in range(1, len(tokens) + 1):  # contexts come in order, not every one is asked about
        seen = tokens[:end]
        sizes = [size for size in range(1, end) if ends(seen, size)]
        expected = seen[min(ends(seen, max(sizes))) :][:most] if sizes and max(sizes) >= low else []
        if end % 2 or end == len(tokens):
            assert made.propose(0, array("i", seen), most) == expected


@given(st.lists(TOKENS, min_size=1, max_size=5), TOKENS, st.integers(1, 4))
def test_earlier_outputs_are_found(outputs: list[list[int]], context: list[int], keep: int) -> None:
    """The longest suffix that an earlier output has, where it is longer than any within the request."""
    made = lookup("suffix", min_size=1, earlier=keep)
    for number, output in enumerate(outputs):
        made.ended(number, output)
    kept = outputs[-((len(outputs) - 1) % keep + 1) :]
    memory = [token for output in kept for token in (*output, EDGE)]

    def first(size: int) -> int:
        last = context[len(context) - size :]
        found = (end for end in range(size, len(memory)) if memory[end - size : end] == last)
        return next(found, -1)

    own = max((size for size in range(1, len(context)) if ends(context, size)), default=0)
    there = max((size for size in range(1, len(context) + 1) if first(size) >= 0), default=0)
    proposed = made.propose(99, array("i", context), 4)
    if there > own:
        tail = memory[first(there) :][:4]
        assert proposed == (tail[: tail.index(EDGE)] if EDGE in tail else tail)
    elif own:
        assert proposed == context[min(ends(context, own)) :][:4]
    else:
        assert proposed == []


@given(TOKENS)
def test_an_automaton_is_small(tokens: list[int]) -> None:
    made = SuffixAutomaton()
    made.extend(tokens)
    assert len(made.link) <= max(2, 2 * len(tokens))
    assert sum(map(len, made.edges)) <= 3 * len(tokens) + 1


@given(TOKENS, TOKENS)
def test_a_replay_counts_what_stands(prompt: list[int], output: list[int]) -> None:
    text = Text(array("i", prompt), array("i", output))
    made = replay(lookup("ngram", max_size=3, min_size=1, longest=5), text, len(output), EVERYTHING)
    for position in range(1, len(output)):
        run, offered = made.runs[position], made.offered[position]
        assert 0 <= run <= min(offered, len(output) - position)


@pytest.mark.parametrize("name", ["gsm8k", "instructcoder"])
@pytest.mark.skipif(not DATA, reason="no $SPINSIM_DATA")
def test_ngram_gives_back_the_recorded_lengths(name: str) -> None:
    path = Path(str(DATA)) / f"specdecode_bench_llama31_8b_{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    found = agreement(load_specdecode_bench(path), "ngram", drafter("ngram"))
    assert found.positions > 40_000
    assert found.share >= 0.999
    assert found.more == 0, "where they differ, the recorded run reaches past the end of the text"


@pytest.mark.skipif(not DATA, reason="no $SPINSIM_DATA")
def test_a_command_prints_the_agreement() -> None:
    path = Path(str(DATA)) / "specdecode_bench_llama31_8b_gsm8k.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    command = [sys.executable, "-m", "spinsim.drafters.recorded", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "99.98 %" in said
