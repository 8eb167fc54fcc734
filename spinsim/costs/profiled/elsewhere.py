"""Whether a profile is of another machine, or of K/V laid otherwise, than what it is used for."""

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


def laid_elsewhere(profile: Profile, block_tokens: int) -> str:
    """Why a profile is of K/V laid otherwise, in words; empty where it is not.

    ``block_tokens``: of a block here; 0 for whole slots. Attention takes longer over small blocks, and their
    page tables are written between passes: a profile of whole slots is too fast for blocks. Profiles that do
    not say how theirs lay were made when slots were whole unless a scenario asked for blocks.
    """
    there = profile.kv_block_tokens
    if there == block_tokens or (there is None and not block_tokens):
        return ""
    laid = _laid(there or 0) + (" (or does not say)" if there is None else "")
    return f"measured with K/V in {laid}, here in {_laid(block_tokens)}"


def _laid(block_tokens: int) -> str:
    return f"blocks of {block_tokens} tokens" if block_tokens else "whole slots"
