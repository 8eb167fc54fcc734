"""The one implementation of an acceptance field: a pure function of the request, and a cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spinsim.acceptance.lookups import RecordedLookups

Draw = Callable[[int], list[list[int]]]


class CachedField:
    """``draw(request)`` gives the runs of every draft, plain lists that index fast; kept until ``forget``.

    ``draw`` must be pure: a request forgotten and asked for again has the same runs.
    """

    def __init__(
        self, source: str, draw: Draw, joined: str = "", lookups: RecordedLookups | None = None
    ) -> None:
        self.source = source
        self.lookups = lookups  # where lookup drafters were recorded
        self.joined = joined  # how recordings were assigned to requests; empty where there are none
        self._draw = draw
        self._known: dict[int, list[list[int]]] = {}

    def runs(self, request: int, draft: int) -> Sequence[int]:
        """See :class:`spinsim.acceptance.field.AcceptanceField`."""
        known = self._known.get(request)
        if known is None:
            known = self._known[request] = self._draw(request)
        return known[draft]

    def forget(self, request: int) -> None:
        """Release a request's runs; unknown requests are ignored."""
        self._known.pop(request, None)
        if self.lookups is not None:
            self.lookups.forget(request)
