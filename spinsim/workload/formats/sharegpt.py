"""ShareGPT conversations, ``[{"id", "conversations": [{"from", "value"}]}]``, and their relatives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spinsim.workload.formats.files import Record, json_rows
from spinsim.workload.formats.row import BadRow, Reader, Row, Rows, estimate_tokens, key_field, text_field

CONVERSATION = ("conversations", "conversation", "messages", "items")
SPEAKER, TEXT = ("from", "role"), ("value", "content")
HUMAN = ("human", "user")
ASSISTANT = ("gpt", "assistant", "chatgpt", "bing", "bard", "model")


def read(path: Path) -> Rows:
    """The first exchange of a conversation makes the request, as serving benchmarks have it.

    Its prompt is what comes before the first assistant turn that answers a human one (a system
    turn included), its output that assistant turn. Later turns would have to wait for the answer and for
    the user to think, which the data do not time; they are not used. Blank turns are left out. Chat messages
    with ``role`` and ``content`` are read, too, and so are other names that published files give the list.
    """
    return json_rows(path, _row)


def _row(record: Record, index: int) -> Row:
    turns = next((record[name] for name in CONVERSATION if name in record), None)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise BadRow("conversations is no list of turns; [{from, value}, ...] or [{role, content}, ...]")
    prompt: list[str] = []
    asked = False
    for turn in turns:
        speaker = str(turn.get(_name(turn, SPEAKER))).lower()
        if speaker in ASSISTANT and not asked:
            continue  # conversations cut in two begin with an answer
        name = _name(turn, TEXT)
        if _blank(turn.get(name), needed=speaker in HUMAN or speaker in ASSISTANT):
            continue
        text = text_field(turn, name)
        if speaker in ASSISTANT:
            asking = "\n".join(prompt)
            return Row(
                key_field(record, "id", index), estimate_tokens(asking), estimate_tokens(text), text=asking
            )
        asked = asked or speaker in HUMAN
        prompt.append(text)
    raise BadRow("no human turn that an assistant answers")


def _name(turn: Mapping[str, Any], names: tuple[str, str]) -> str:
    """The one of two names that the turn uses; the first where it uses neither."""
    return names[1] if names[1] in turn and names[0] not in turn else names[0]


def _blank(value: object, *, needed: bool) -> bool:
    """Is there nothing said? A missing text is an error where somebody must have said something."""
    return (isinstance(value, str) and not value.strip()) or (value is None and not needed)


READER = Reader(
    read,
    "a JSON array of {id, conversations: [{from, value}, ...]}, or of {messages: [{role, content}, ...]}",
)
