"""The colours of every page: a variable of CSS for each, light and dark."""

from __future__ import annotations

from collections.abc import Sequence

_LIGHT = ("#2f6d9c", "#c56a1f", "#33876a", "#83539f", "#a88a1c", "#b8486f", "#3f97a8", "#6f6f3a")
_DARK = ("#6fb0de", "#e79a55", "#67bf9c", "#b98fd4", "#d3b84e", "#e587a6", "#77c6d4", "#b3b377")
SERIES = len(_LIGHT)  # colours s0, s1, ... for drafts and other series, used in turn

LIGHT = {
    **{f"s{i}": colour for i, colour in enumerate(_LIGHT)},
    "paper": "#fcfcfa", "ink": "#1d1f21", "muted": "#676c72", "rule": "#dfe0dc", "soft": "#f1f1ed",
    "none": "#a3a7ab", "bad": "#a8322a",
}  # fmt: skip
DARK = {
    **{f"s{i}": colour for i, colour in enumerate(_DARK)},
    "paper": "#17181a", "ink": "#e6e5e1", "muted": "#9a9da1", "rule": "#35373a", "soft": "#222427",
    "none": "#74787d", "bad": "#e5847c",
}  # fmt: skip


def shade(index: int) -> str:
    """The colour variable of the i-th series."""
    return f"s{index % SERIES}"


def colours_of(names: Sequence[str], none: str = "none") -> dict[str, str]:
    """A colour variable for each series, the same in every figure of a page; ``none`` is grey."""
    return {name: "none" if name == none else shade(i) for i, name in enumerate(names)}
