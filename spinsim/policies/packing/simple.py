"""The two packings that leave nothing to decide, where plugins find them: see :mod:`spinsim.packings`."""

from spinsim.packings.padded import Padded
from spinsim.packings.ragged import Ragged

__all__ = ["Padded", "Ragged"]
