"""Lookups before a round take the host's time, as in a live run (:mod:`spinsim.live.looking_ahead`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from spinsim.engine.world import Lookups


class ChargedLookups:
    """Implements :class:`spinsim.engine.world.Lookups` with what is ``known``.

    ``looks``: seconds of a look at a context, by draft. ``spend`` hears of them. ``prompts``: prompt lengths.
    """

    def __init__(
        self,
        known: Lookups,
        looks: Mapping[int, Callable[[int], float]],
        prompts: Sequence[int],
        spend: Callable[[float], None],
    ) -> None:
        self._known, self._looks, self._prompts, self._spend = known, looks, prompts, spend

    def at(self, request: int, position: int) -> tuple[Sequence[int], Sequence[int]]:
        """As known, for the time that it takes to look."""
        context = self._prompts[request] + position
        self._spend(sum(look(context) for look in self._looks.values()))
        return self._known.at(request, position)

    def agreed(self, request: int, position: int, committed: int) -> Sequence[int]:
        """As known."""
        return self._known.agreed(request, position, committed)
