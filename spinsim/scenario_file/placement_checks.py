"""Is everything placed on a device that is there, and nothing that has a place of its own?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from spinsim.drafters.base import HOST
from spinsim.drafters.registry import KINDS
from spinsim.errors import did_you_mean
from spinsim.scenario import Scenario
from spinsim.scenario.messages import Problem, one_of


def placement_problems(scenario: Scenario) -> Iterator[Problem]:
    """What is placed twice, nowhere or where nothing is."""
    devices, drafts, placement = scenario.devices, scenario.models.drafts, scenario.placement
    homes = {name: KINDS[spec.kind].home for name, spec in drafts.items() if spec.kind in KINDS}
    used = set(placement.target) | set(placement.drafts.values())
    for i, device in enumerate(placement.target):
        here = ("placement", "target", str(i))
        if device not in devices:
            yield Problem(here, unknown("device", device, devices))
        elif device in placement.target[:i]:
            yield Problem(here, f"device {device!r} twice; tensor parallelism takes different devices")
    for draft, device in placement.drafts.items():
        here = ("placement", "drafts", draft)
        if draft not in drafts:
            yield Problem(here, unknown("draft", draft, drafts))
        if homes.get(draft, "device") != "device":
            where = "the host" if homes[draft] == "host" else "the target's devices"
            yield Problem(here, f"a draft of kind {drafts[draft].kind} runs on {where}; leave it out")
        elif device not in devices:
            yield Problem(here, unknown("device", device, devices))
    if HOST in devices and "host" in homes.values():
        yield Problem(("devices", HOST), "the place of drafts that run on the host; another name")
    for draft in drafts:
        if draft not in placement.drafts and homes.get(draft) == "device":
            yield Problem(
                ("placement", "drafts", draft),
                f"draft {draft!r} is not placed; give its device, {one_of(devices)}",
            )
    for device in devices:
        if device not in used:
            yield Problem(
                ("devices", device), "no model is placed on it; place one there, or leave the device out"
            )


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """That there is no such thing; what there is."""
    names = list(known)
    allowed = one_of(names) if names else f"the scenario has no {kind}s"
    return f"no such {kind}, {name!r}; {allowed}{did_you_mean(name, names)}"
