"""Does the kernel cover a run? The one question that is asked before it plays."""

from __future__ import annotations

from spinsim.native.costs import windowed
from spinsim.native.parts import Parts, declared
from spinsim.policies.build import reads_entropies

MOST = 2**31 - 1  # of what tables keep in 32 bits
LONGEST = 2**15 - 2  # of a proposal, in 16 bits


def fits(parts: Parts) -> list[str]:
    """What of a run the kernel does not repeat, each in a few words; nothing where it covers all.

    Policies and costs that it does not know are asked in Python, as long as they ask for nothing of the
    engine beyond their protocol.
    """
    settings, policies = parts.serving.settings, parts.serving.policies
    rows = settings.batch_limit
    found = {
        "no requests": not parts.workload.requests,
        "a cache of prompts' beginnings (kv.prefix_cache)": bool(settings.prefix_block_tokens),
        "drafts that look their proposals up": parts.field.lookups is not None or bool(parts.offers),
        "a selector that hears what drafts would have proposed": policies.scored_tokens > 0,
        "proposals that end by their entropy": reads_entropies(policies.length),
        "an admission policy of its own": not declared(policies.admission),
        "costs that declare nothing": not declared(parts.predictor),
        "plans of packings that take the host its time": getattr(parts.predictor, "plans", False),
        "sizes beyond 32 bits": rows * max(settings.context_tokens, settings.prefill_chunk_tokens) > MOST,
        "proposals beyond 16 bits": settings.max_length > LONGEST,
    }
    if len(parts.serving.layout.lanes) > 1 and _shares_devices(parts):
        law, loads = parts.predictor.contention()
        found["a law of contention of its own"] = not declared(law) or not declared(
            getattr(law, "among", None) or law
        )
        found["loads of shared devices that declare nothing"] = not declared(loads)
        found["windowed attention on shared devices"] = declared(loads) == "roofline" and windowed(loads)
    return [what for what, so in found.items() if so]


def _shares_devices(parts: Parts) -> bool:
    devices = [device for lane in parts.serving.layout.lanes for device in lane.devices]
    return len(set(devices)) < len(devices)
