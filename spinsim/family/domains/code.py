"""Things a program reads: JSON from a description, Python functions, tables in another notation."""

from __future__ import annotations

import json
from collections.abc import Callable

from spinsim.family.domains.words import (
    CITIES,
    COLOURS,
    FIELDS,
    GOODS,
    HOBBIES,
    JOBS,
    NAMES,
    OBJECTS,
    SURNAMES,
)
from spinsim.family.draw import Draw


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def _person(draw: Draw) -> tuple[str, object]:
    name = f"{draw.pick(NAMES)} {draw.pick(SURNAMES)}"
    age, city, job = draw.between(18, 80), draw.pick(CITIES), draw.pick(JOBS)
    likes = draw.some(HOBBIES, draw.between(1, 4))
    text = f"{name} is {age} years old, lives in {city}, works as a {job} and likes {_listed(likes)}."
    return text, {"name": name, "age": age, "city": city, "job": job, "likes": likes}


def _order(draw: Draw) -> tuple[str, object]:
    buyer, number = draw.pick(NAMES), draw.between(1000, 9999)
    items = [
        {"item": item, "colour": draw.pick(COLOURS), "count": draw.between(1, 20)}
        for item in draw.some(GOODS, draw.between(1, 4))
    ]
    paid = draw.chance(0.5)
    bought = _listed([f"{i['count']} {i['colour']} {i['item']}" for i in items])
    text = f"In order {number}, {buyer} bought {bought}. It is {'paid' if paid else 'not paid yet'}."
    return text, {"order": number, "buyer": buyer, "items": items, "paid": paid}


def _event(draw: Draw) -> tuple[str, object]:
    title, city = draw.pick(HOBBIES), draw.pick(CITIES)
    day, month, hour = draw.between(1, 28), draw.between(1, 12), draw.between(8, 20)
    guests = draw.some(NAMES, draw.between(2, 5))
    text = (
        f"A {title} event takes place in {city} on {day}.{month}. at {hour} o'clock with {_listed(guests)}."
    )
    record = {
        "event": title,
        "city": city,
        "date": {"day": day, "month": month},
        "hour": hour,
        "guests": guests,
    }
    return text, record


_RECORDS: tuple[Callable[[Draw], tuple[str, object]], ...] = (_person, _order, _event)


def json_record(draw: Draw) -> tuple[str, str]:
    """A description, and the record it describes."""
    text, record = draw.pick(_RECORDS)(draw)
    indent = 2 if draw.chance(0.5) else None
    return f"Write {'indented ' if indent else ''}JSON: {text}", json.dumps(record, indent=indent)


_CONDITIONS = (
    ("even", "{x} % 2 == 0"),
    ("odd", "{x} % 2 == 1"),
    ("above {n}", "{x} > {n}"),
    ("at least {n}", "{x} >= {n}"),
    ("below {n}", "{x} < {n}"),
    ("divisible by {n}", "{x} % {n} == 0"),
    ("different from {n}", "{x} != {n}"),
)
_TERMS = (
    ("", "{x}"),
    ("the square of ", "{x} * {x}"),
    ("{n} times ", "{n} * {x}"),
    ("the absolute value of ", "abs({x})"),
    ("{n} plus ", "{x} + {n}"),
)
_GROUPS = (
    "daily",
    "early",
    "final",
    "first",
    "hourly",
    "late",
    "local",
    "new",
    "old",
    "raw",
    "total",
    "weekly",
)


def functions(draw: Draw) -> tuple[str, str]:
    """A Python function that loops over a list: sum, count, list, or largest."""
    field = f"{draw.pick(_GROUPS)}_{draw.pick(FIELDS)}"
    item = field.split("_")[1][:-1]
    chosen = [(pair, draw.between(2, 99)) for pair in draw.some(_CONDITIONS, draw.between(1, 2))]
    told_if = " and ".join(told.format(n=n) for (told, _), n in chosen)
    code_if = " and ".join(code.format(x=item, n=n) for (_, code), n in chosen)
    n = draw.between(2, 99)
    told_term, code_term = (part.format(x=item, n=n) for part in draw.pick(_TERMS))
    kind = draw.pick(("sum", "count", "list", "largest"))
    name = f"{draw.pick(('find', 'get', 'make', 'compute', 'return'))}_{kind}_of_{field}"
    loop = f"    for {item} in {field}:\n        if {code_if}:\n            "
    if kind == "sum":
        told = f"sums {told_term}each {item} that is {told_if}"
        body = f"    total = 0\n{loop}total += {code_term}\n    return total"
    elif kind == "count":
        told = f"counts each {item} that is {told_if}"
        body = f"    count = 0\n{loop}count += 1\n    return count"
    elif kind == "list":
        told = f"lists {told_term}each {item} that is {told_if}"
        body = f"    result = []\n{loop}result.append({code_term})\n    return result"
    else:
        told = f"finds the largest {item} that is {told_if}"
        better = f"if largest is None or {item} > largest:\n                largest = {item}"
        body = f"    largest = None\n{loop}{better}\n    return largest"
    documented = f'def {name}({field}):\n    """{told[0].upper()}{told[1:]}."""\n{body}'
    return f"Write a Python function {name} that {told}.", documented


def tables(draw: Draw) -> tuple[str, str]:
    """Comma-separated rows as a Markdown table or as SQL inserts."""
    columns = draw.some(("city", "colour", "count", "item", "name", "price"), draw.between(2, 4))
    makers: dict[str, Callable[[], str]] = {
        "city": lambda: draw.pick(CITIES),
        "colour": lambda: draw.pick(COLOURS),
        "count": lambda: str(draw.between(1, 99)),
        "item": lambda: draw.pick(OBJECTS),
        "name": lambda: draw.pick(NAMES),
        "price": lambda: str(draw.between(1, 999)),
    }
    rows = [[makers[column]() for column in columns] for _ in range(draw.between(2, 6))]
    given = "\n".join(",".join(row) for row in [columns, *rows])
    if draw.chance(0.6):
        lines = [columns, ["---"] * len(columns), *rows]
        return f"Markdown table:\n{given}", "\n".join("| " + " | ".join(row) + " |" for row in lines)
    into = f"INSERT INTO {draw.pick(('goods', 'log', 'stock', 'things'))}"
    quoted = [", ".join(value if value.isdigit() else f"'{value}'" for value in row) for row in rows]
    table = into.split()[-1]
    return f"SQL for table {table}:\n{given}", "\n".join(
        f"{into} ({', '.join(columns)}) VALUES ({values});" for values in quoted
    )
