"""The one implementation of an acceptance field: a pure function of the request, and a cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spinsim.acceptance.entropies import Entropies, Runs
from spinsim.acceptance.lookups import KnownLookups

Draw = Callable[[int], list[list[int]]]
Offers = Callable[[int], Sequence[Sequence[int] | None]]


class CachedField:
    """``draw(request)`` gives the runs of every draft, plain lists that index fast; kept until ``forget``.

    ``draw`` must be pure: a request forgotten and asked for again has the same runs. ``offers(request)`` says
    of each draft how many tokens it has to propose at each position, None where as many as it is asked for.
    ``entropies``: how sure drafts are, made for this field; None where nobody knows.
    """

    def __init__(
        self,
        source: str,
        draw: Draw,
        joined: str = "",
        lookups: KnownLookups | None = None,
        offers: Offers | None = None,
        entropies: Callable[[Runs], Entropies] | None = None,
    ) -> None:
        self.source = source
        self.entropies = None if entropies is None else entropies(self)
        self.lookups = lookups  # where it is known what lookup drafters find
        self.joined = joined  # how recordings were assigned to requests; empty where there are none
        self._draw, self.offers = draw, offers
        self._known: dict[int, list[list[int]]] = {}

    def runs(self, request: int, draft: int) -> Sequence[int]:
        """See :class:`spinsim.acceptance.field.AcceptanceField`."""
        known = self._known.get(request)
        if known is None:
            known = self._known[request] = self._draw(request)
        return known[draft]

    def offered(self, request: int, draft: int) -> Sequence[int] | None:
        """Tokens that a draft has to propose at each position; None: as many as it is asked for."""
        return None if self.offers is None else self.offers(request)[draft]

    def forget(self, request: int) -> None:
        """Release a request's runs; unknown requests are ignored."""
        self._known.pop(request, None)
        if self.entropies is not None:
            self.entropies.forget(request)
        if self.lookups is not None:
            self.lookups.forget(request)
