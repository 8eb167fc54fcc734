"""Whether a profile is of another machine than the one that it is used for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from spinsim.costs.profiled.profile import Profile


@dataclass(frozen=True)
class Machine:
    """``device``: what the driver calls its GPU, or "cpu".

    ``id``: a digest of the GPUs' or the system's own identifiers, which tells machines apart and names none;
    empty where it is not known. A profile's ``versions`` have both, as ``device`` and ``machine``.
    """

    device: str
    id: str = ""

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def profile_elsewhere(profile: Profile, here: Machine) -> str:
    """Why a profile is of another machine than ``here``, in words; empty where it is not, or does not say."""
    device, machine = profile.versions.get("device", ""), profile.versions.get("machine", "")
    if here.device != "cpu" and device and device != here.device:
        return f"measured on another machine: {device}, here {here.device}"
    if machine and here.id and machine != here.id:
        return f"measured on another machine with the same {device or 'devices'} ({profile.created[:10]})"
    return ""
