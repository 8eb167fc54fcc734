"""The paper's ladder as overrides of a scenario, step by step."""

from __future__ import annotations

SERIAL = "policies.pipeline={name: serial}"
SPIN = "policies.selector={name: spin, explore: 0.1, share: prior, prior_weight: 2}"
JOINT = "policies.selector={name: joint}"
SPIN_PIPELINE = "policies.pipeline={name: spin}"
DEPTHS = (2, 3, 4, 6)
VANILLA, BEST, BEST_RAGGED = "vanilla", "best fixed", "best fixed, ragged"


def fixed(draft: str) -> str:
    """One draft for everyone."""
    return f"policies.selector={{name: fixed, draft: {draft}}}"


def packing(name: str) -> str:
    """Every verification packed so."""
    return f"policies.packing={{name: {name}}}"


def depth(micro_batches: int) -> str:
    """A fixed number of micro-batches."""
    return f"policies.pipeline={{name: fixed, micro_batches: {micro_batches}}}"


def ladder(smallest: str, best: str) -> dict[str, list[str]]:
    """Overrides by step. Vanilla: the smallest draft, padded, serial; our reading of the paper's baseline."""
    steps = {
        "autoregressive": [fixed("none"), "policies.length={name: none}", packing("ragged"), SERIAL],
        VANILLA: [fixed(smallest), packing("padded"), SERIAL],
        BEST: [fixed(best), packing("padded"), SERIAL],
        "+ selection": [SPIN, packing("padded"), SERIAL],
        "+ decomposition": [SPIN, packing("decomposed"), SERIAL],
        "+ pipeline": [SPIN, packing("decomposed"), SPIN_PIPELINE],
        "+ ragged": [SPIN, packing("ragged"), SPIN_PIPELINE],
        BEST_RAGGED: [fixed(best), packing("ragged"), SERIAL],
        "ragged, serial": [SPIN, packing("ragged"), SERIAL],
        "joint, ragged, serial": [JOINT, packing("ragged"), SERIAL],
    }
    for count in DEPTHS:
        steps[f"ragged, {count} micro-batches"] = [SPIN, packing("ragged"), depth(count)]
    return steps


NAMES = tuple(ladder("", ""))
