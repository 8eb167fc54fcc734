"""SPIN's request decomposition, where plugins find it; it is :mod:`spinsim.packings.decomposed`."""

from spinsim.packings.decomposed import Decomposed, candidates, decompose

__all__ = ["Decomposed", "candidates", "decompose"]
