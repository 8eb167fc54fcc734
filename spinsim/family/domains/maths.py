"""Numbers: word problems with worked answers, sorting, continuing sequences."""

from __future__ import annotations

from collections.abc import Callable

from spinsim.family.domains.words import CONTAINERS, GOODS, NAMES, plural
from spinsim.family.draw import Draw

# A step of a word problem: its sentence, its working, and the count after it.
_Step = tuple[str, str, int]


def _gain(draw: Draw, who: str, what: str, count: int) -> _Step:
    n = draw.between(2, 60)
    verb = draw.pick(("buys", "finds", "gets", "picks"))
    return f"{who} {verb} {n} more.", f"{count} + {n} = {count + n}.", count + n


def _loss(draw: Draw, who: str, what: str, count: int) -> _Step:
    n = draw.between(1, count)
    verb = draw.pick(("gives away", "loses", "sells", "uses"))
    return f"{who} {verb} {n}.", f"{count} - {n} = {count - n}.", count - n


def _packs(draw: Draw, who: str, what: str, count: int) -> _Step:
    packs, size = draw.between(2, 9), draw.between(2, 12)
    container = plural(draw.pick(CONTAINERS))
    total = packs * size
    working = f"{packs} x {size} = {total}. {count} + {total} = {count + total}."
    return f"{who} buys {packs} {container} with {size} {what} each.", working, count + total


def _gift(draw: Draw, who: str, what: str, count: int) -> _Step:
    friends = draw.between(2, 5)
    each = draw.between(0, count // friends)
    total = friends * each
    working = f"{friends} x {each} = {total}. {count} - {total} = {count - total}."
    return f"{who} gives {each} to each of {friends} friends.", working, count - total


_STEPS: tuple[Callable[[Draw, str, str, int], _Step], ...] = (_gain, _packs, _loss, _gift)


def arithmetic(draw: Draw) -> tuple[str, str]:
    """A story of one to four changes of a count, and its working."""
    who, what = draw.pick(NAMES), draw.pick(GOODS)
    count = draw.between(3, 80)
    told, worked = [f"{who} has {count} {what}."], []
    for _ in range(draw.between(1, 4)):
        possible = _STEPS if count >= 5 else _STEPS[:2]  # what is given away must be there
        sentence, working, count = draw.pick(possible)(draw, who, what, count)
        told.append(sentence)
        worked.append(working)
    told.append(f"How many {what} does {who} have now?")
    return " ".join(told), " ".join([*worked, f"{who} has {count} {what}."])


def sorting(draw: Draw) -> tuple[str, str]:
    """Four to fourteen different numbers, in order."""
    numbers = draw.some(range(1, 100 if draw.chance(0.6) else 1000), draw.between(4, 14))
    down = draw.chance(0.3)
    listed = ", ".join(map(str, numbers))
    ordered = ", ".join(map(str, sorted(numbers, reverse=down)))
    return f"Sort in {'descending' if down else 'ascending'} order: {listed}", ordered


def sequences(draw: Draw) -> tuple[str, str]:
    """The next terms of x[n+1] = x[n] + step, with the step constant, growing, or alternating."""
    kind = draw.pick(("constant", "constant", "growing", "alternating"))
    value, step = draw.between(1, 400), draw.between(2, 40)
    other = draw.between(1, step - 1)
    terms = [value]
    shown, asked = draw.between(4, 6), draw.between(4, 12)
    for n in range(shown + asked - 1):
        if kind == "constant":
            value += step
        elif kind == "growing":
            value += step + n
        else:
            value += step if n % 2 == 0 else -other
        terms.append(value)
    first = ", ".join(map(str, terms[:shown]))
    return f"Continue the sequence with {asked} terms: {first}", ", ".join(map(str, terms[shown:]))
