"""The corpus: the same everywhere, true, and not the same in training and in prompts."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim.errors import InputError
from spinsim.family.corpus import ASK, BOS, EOS, HELD_OUT, MIXES, REPLY, Example, document, example, turn
from spinsim.family.domains import DOMAINS
from spinsim.family.draw import Draw

INDICES = st.integers(0, 2 * HELD_OUT)


def test_examples_are_pinned() -> None:
    """Any change of a generator changes what shipped models were trained on."""
    assert example("sorting", 0).answer == "4, 13, 19, 40, 49, 50, 57, 63, 65, 90, 95"
    assert example("backwards", 1).question.startswith("Spell backwards: ")
    assert document("recall", 5) == document("recall", 5)
    assert len({document("recall", index) for index in range(50)}) == 50


@given(INDICES)
def test_arithmetic_is_true(index: int) -> None:
    question, answer = example("arithmetic", index)
    claims = re.findall(r"(\d+) ([-+x]) (\d+) = (\d+)\.", answer)
    assert claims
    for left, sign, right, result in claims:
        a, b = int(left), int(right)
        assert {"+": a + b, "-": a - b, "x": a * b}[sign] == int(result)
    assert "-" not in re.sub(r" - ", " ", answer)  # no negative counts
    final = re.search(r"has (\d+) \w+\.$", answer)
    assert final is not None
    assert final[1] == claims[-1][3]
    assert claims[0][1] == "x" or claims[0][0] == re.findall(r"\d+", question)[0]


@given(INDICES)
def test_sorted_numbers_are_those_asked_in_order(index: int) -> None:
    question, answer = example("sorting", index)
    given_, got = (list(map(int, text.split(": ")[-1].split(", "))) for text in (question, answer))
    assert got == sorted(given_, reverse="descending" in question)


@given(INDICES)
def test_sequences_continue(index: int) -> None:
    question, answer = example("sequences", index)
    count = int(re.search(r"with (\d+) terms", question)[1])  # type: ignore[index]
    new = list(map(int, answer.split(", ")))
    terms = list(map(int, question.split(": ")[1].split(", "))) + new
    assert len(new) == count
    steps = [b - a for a, b in pairwise(terms)]
    constant = len(set(steps)) == 1
    growing = {b - a for a, b in pairwise(steps)} == {1}
    alternating = len(set(steps[::2])) == 1 and len(set(steps[1::2])) == 1
    assert constant or growing or alternating


@given(INDICES)
def test_json_parses_and_holds_what_was_told(index: int) -> None:
    question, answer = example("json", index)

    def leaves(value: object) -> list[object]:
        if isinstance(value, dict):
            return [leaf for item in value.values() for leaf in leaves(item)]
        if isinstance(value, list):
            return [leaf for item in value for leaf in leaves(item)]
        return [value]

    found = leaves(json.loads(answer))
    assert found
    assert all(str(leaf) in question for leaf in found if not isinstance(leaf, bool))


@given(INDICES)
def test_functions_compile_and_run(index: int) -> None:
    question, answer = example("functions", index)
    names: dict[str, object] = {}
    exec(compile(answer, "<corpus>", "exec"), names)
    name = question.split()[4]
    function = names[name]
    assert callable(function)
    result = function([3, -8, 40, 12])
    assert isinstance(result, list) if "_list_of_" in name else result is None or isinstance(result, int)


@given(INDICES)
def test_backwards_is_backwards(index: int) -> None:
    question, answer = example("backwards", index)
    words = question.removeprefix("Spell backwards: ").split()
    assert answer == "; ".join("-".join(word[::-1]) for word in words)


@given(INDICES)
def test_recall_states_only_facts(index: int) -> None:
    question, answer = example("recall", index)
    facts = set(re.findall(r"(\w+) keeps the (\w+) in the (\w+ \w+)\.", question))
    said = set(re.findall(r"(\w+) has the (\w+) in the (\w+ \w+)\.", answer))
    said |= {(p, t, s) for t, p, s in re.findall(r"The (\w+) of (\w+) is in the (\w+ \w+)\.", answer)}
    assert said
    assert said <= facts


@given(INDICES)
def test_tables_and_inventories_keep_every_value(index: int) -> None:
    question, answer = example("tables", index)
    rows = [line.split(",") for line in question.split("\n")[1:]]
    assert all(value in answer for row in rows for value in row)
    question, answer = example("inventory", index)
    entries = re.findall(r"(\w+): (\d+) (\w+) (\w+)", question)
    assert answer == " ".join(f"In the {p} there are {n} {c} {t}." for p, n, c, t in entries)


@given(INDICES)
def test_stories_remember_the_hero_and_the_thing(index: int) -> None:
    question, answer = example("stories", index)
    hero = question.split("about ")[1].split(",")[0]
    assert answer.count(hero) >= 4
    assert question.rstrip(".").split()[-1] in answer


@pytest.mark.parametrize("domain", DOMAINS)
def test_held_out_questions_are_new(domain: str) -> None:
    trained = {example(domain, index).question for index in range(4000)}
    held_out = [example(domain, HELD_OUT + index).question for index in range(300)]
    assert sum(question in trained for question in held_out) <= 9


def test_documents_are_whole_turns() -> None:
    for index in range(20):
        text = document("sorting", index)
        turns = [
            part.split(REPLY) for part in text.removeprefix(BOS + ASK).removesuffix(EOS).split(EOS + ASK)
        ]
        assert text == BOS + "".join(turn(Example(question, answer)) for question, answer in turns)


def test_mixes_name_domains() -> None:
    assert all(set(mix) <= set(DOMAINS) for mix in MIXES.values())
    assert set(MIXES["all"]) == set(DOMAINS)


def test_unknown_domain() -> None:
    with pytest.raises(InputError, match="unknown domain 'poems'; the corpus has arithmetic"):
        example("poems", 0)


@given(st.text(), st.integers(1, 30), st.data())
def test_draws_stay_in_range(key: str, size: int, data: st.DataObject) -> None:
    draw = Draw(key)
    count = data.draw(st.integers(0, size))
    some = draw.some(range(size), count)
    assert len(set(some)) == count
    assert set(some) <= set(range(size))
    assert 0 <= draw.below(size) < size
    assert -3 <= draw.between(-3, size) <= size
