"""Words: short stories, spelling backwards, remembering who has what."""

from __future__ import annotations

from spinsim.family.domains.words import (
    ANIMALS,
    COLOURS,
    CONTAINERS,
    JOBS,
    LETTERS,
    NAMES,
    OBJECTS,
    PLACES,
    TRAITS,
    article,
    plural,
)
from spinsim.family.draw import Draw


def stories(draw: Draw) -> tuple[str, str]:
    """A short story of a hero, a lost thing and a helper; the middle is left to chance."""
    hero, friend = draw.some(NAMES, 2)
    trait, animal, other = draw.pick(TRAITS), *draw.some(ANIMALS, 2)
    thing, colour = draw.pick(OBJECTS), draw.pick(COLOURS)
    home, place = draw.some(PLACES, 2)
    when = draw.pick(("morning", "evening", "winter day", "summer day"))
    prompt = f"Tell a story about {hero}, {article(trait)} {animal} who looks for {article(colour)} {thing}."
    told = [
        f"Once upon a time, {article(trait)} {animal} named {hero} lived near the {home}.",
        f"One {when}, {hero} could not find the {colour} {thing}.",
        f'"Where is my {thing}?" asked {hero}.',
    ]
    for searched in draw.some(PLACES, draw.between(1, 3)):
        told.append(
            draw.pick(
                (
                    f"{hero} looked in the {searched}, but there was nothing there.",
                    f"Then {hero} went to the {searched} and searched until dark.",
                    f"In the {searched} it was too quiet, and {hero} walked on.",
                )
            )
        )
    told.append(f"At the {place}, {hero} met {article(other)} named {friend}.")
    told.append(
        draw.pick(
            (
                f'"I saw the {colour} {thing} under a stone," said {friend}.',
                f'"The wind took your {thing} to the {home}," said {friend}.',
                f'"I kept your {colour} {thing} safe," said {friend}.',
            )
        )
    )
    ending = draw.pick(("sang", "danced", "laughed", "talked"))
    told.append(f"{hero} thanked {friend}, and the two {ending} all night.")
    told.append(f"From then on, {hero} the {animal} and {friend} the {other} were friends.")
    return prompt, " ".join(told)


def backwards(draw: Draw) -> tuple[str, str]:
    """Words spelled from the end: real ones, and ones made of random letters."""
    words = []
    for _ in range(draw.between(2, 5)):
        if draw.chance(0.6):
            words.append(draw.pick(draw.pick((OBJECTS, ANIMALS, PLACES, TRAITS, JOBS))))
        else:
            words.append("".join(draw.pick(LETTERS) for _ in range(draw.between(3, 8))))
    return f"Spell backwards: {' '.join(words)}", "; ".join("-".join(reversed(word)) for word in words)


def recall(draw: Draw) -> tuple[str, str]:
    """Facts about who keeps what where, asked in another order."""
    count = draw.between(3, 8)
    people, things = draw.some(NAMES, count), draw.some(OBJECTS, count)
    spots = [f"{draw.pick(COLOURS)} {draw.pick(CONTAINERS)}" for _ in range(count)]
    facts = [f"{p} keeps the {t} in the {s}." for p, t, s in zip(people, things, spots, strict=True)]
    asked = draw.some(range(count), draw.between(1, count))
    if draw.chance(0.5):
        question = f"Where are the things of {', '.join(people[i] for i in asked)}?"
        answers = [f"{people[i]} has the {things[i]} in the {spots[i]}." for i in asked]
    else:
        question = f"Who keeps what: {', '.join(things[i] for i in asked)}?"
        answers = [f"The {things[i]} of {people[i]} is in the {spots[i]}." for i in asked]
    return " ".join([*facts, question]), " ".join(answers)


def inventory(draw: Draw) -> tuple[str, str]:
    """A list of goods told back sentence by sentence, with counts and colours copied."""
    count = draw.between(3, 7)
    entries = [
        (draw.between(2, 40), draw.pick(COLOURS), plural(thing), draw.pick(PLACES))
        for thing in draw.some(OBJECTS, count)
    ]
    listed = "; ".join(f"{place}: {n} {colour} {things}" for n, colour, things, place in entries)
    return f"Describe the inventory. {listed}", " ".join(
        f"In the {place} there are {n} {colour} {things}." for n, colour, things, place in entries
    )
