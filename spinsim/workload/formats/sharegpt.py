"""ShareGPT conversations: ``[{"id", "conversations": [{"from", "value"}]}]``."""

from __future__ import annotations

from pathlib import Path

from spinsim.workload.formats.files import Record, json_rows
from spinsim.workload.formats.row import BadRow, Reader, Row, Rows, estimate_tokens, key_field, text_field

HUMAN = ("human", "user")
ASSISTANT = ("gpt", "assistant", "chatgpt", "bing", "bard")


def read(path: Path) -> Rows:
    """The first exchange of a conversation makes the request, as serving benchmarks have it.

    Its prompt is what comes before the first assistant turn that answers a human one (a system
    turn included), its output that assistant turn. Later turns would have to wait for the answer and for
    the user to think, which the data do not time; they are not used.
    """
    return json_rows(path, _row)


def _row(record: Record, index: int) -> Row:
    turns = record.get("conversations")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise BadRow("conversations is no list of turns; [{from, value}, ...]")
    prompt: list[str] = []
    asked = False
    for turn in turns:
        speaker = turn.get("from")
        if speaker in ASSISTANT and not asked:
            continue  # conversations cut in two begin with an answer
        text = text_field(turn, "value")
        if speaker in ASSISTANT:
            asking = "\n".join(prompt)
            return Row(
                key_field(record, "id", index), estimate_tokens(asking), estimate_tokens(text), text=asking
            )
        asked = asked or speaker in HUMAN
        prompt.append(text)
    raise BadRow("no human turn that an assistant answers")


READER = Reader(read, "a JSON array of {id, conversations: [{from, value}, ...]}")
