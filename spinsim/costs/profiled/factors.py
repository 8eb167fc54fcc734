"""What a profile says of a draft and the target beside each other, as one factor: planners reckon with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spinsim.costs.profiled.profile import Point, Profile


def slowdown_of(profile: Profile, target: str, draft: str, *, of_target: bool) -> float | None:
    """The median factor (>= 1) on the target's time, or on the draft's; None where it was not measured.

    ``target`` and ``draft`` as the profile calls them.
    """
    return _median(_factors(profile, draft, of_target) or _pairs(profile, target, draft, of_target))


def _pairs(profile: Profile, target: str, draft: str, of_target: bool) -> list[Point]:
    """Where those two alone ran side by side."""
    groups: dict[float, list[Point]] = {}
    for point in profile.points:
        if point.operation == "beside":
            groups.setdefault(point.features["group"], []).append(point)
    return [
        point
        for members in groups.values()
        if sorted(member.model for member in members) == sorted((target, draft))
        for point in members
        if (point.model == target) == of_target
    ]


def _factors(profile: Profile, draft: str, of_target: bool) -> list[Point]:
    """Of older profiles; the oldest do not tell drafts apart."""
    points = [
        point
        for point in profile.points
        if point.operation == "lane_slowdown" and bool(point.features["target_lane"]) == of_target
    ]
    own = [point for point in points if point.model == draft]
    return own or [point for point in points if not point.model]


def _median(points: Sequence[Point]) -> float | None:
    ratios = [point.seconds / point.features["alone_s"] for point in points]
    return max(1.0, float(np.median(ratios))) if ratios else None
