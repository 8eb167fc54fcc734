"""From accepted-or-not at every position to runs, and the cache that all fields share."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray


def runs_of(accepted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many positions in a row hold from each one on: (..., n) bits to (..., n) lengths.

    ``out[..., p] = 0`` where ``accepted[..., p]`` is false, else ``1 + out[..., p + 1]``. The end of
    the axis counts as a refusal.
    """
    index = np.arange(accepted.shape[-1])
    stop = np.where(accepted, accepted.shape[-1], index)
    stop = np.minimum.accumulate(stop[..., ::-1], axis=-1)[..., ::-1]
    return cast("NDArray[np.int64]", stop - index)
