"""The request as the workload knows it: the whole truth, of which policies see a part."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

PREFIX_BLOCK = 512  # tokens behind one of ``hash_ids``, as Mooncake's traces have it


@dataclass(frozen=True, slots=True)
class Request:
    """One client request.

    ``id`` numbers the workload's requests from 0 in order of arrival. ``output_tokens`` is how
    many tokens the request will generate (a live run that honours end-of-text may stop earlier);
    no policy but an oracle ever sees it. ``key`` names the request in its source, so that
    recorded acceptance can be joined to it. ``prompt`` holds token ids when the source has them.
    ``blocks``: names of the prompt's blocks of ``PREFIX_BLOCK`` tokens; two requests with the same first
    names begin with the same tokens.
    """

    id: int
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    patience_s: float = math.inf
    domain: str = ""
    key: str = ""
    prompt: tuple[int, ...] | None = None
    text: str | None = None
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MalformedRow:
    """A row of a source that could not become a request."""

    file: str
    line: int
    problem: str


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests in order of arrival.

    With ``concurrency`` the loop is closed: that many clients each send the next request when
    their last one ended, and ``arrival_s`` of the requests is ignored.
    """

    requests: tuple[Request, ...]
    concurrency: int | None = None
    malformed: tuple[MalformedRow, ...] = field(default=())
    rows_read: int = 0  # of the source, malformed ones not counted
