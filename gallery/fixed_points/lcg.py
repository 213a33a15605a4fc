"""A congruential generator of 15 bits, with which some published problems draw the same numbers in any language."""

from __future__ import annotations

import numpy as np

__all__ = ["uniforms"]


def uniforms(count: int) -> np.ndarray:
    """The first numbers ``r / 32768`` of ``r <- floor((3685477807 r + 12345) / 65536) mod 32768``, from r = 1.

    They repeat themselves after some 300 draws.

    Examples
    --------
    >>> uniforms(3) * 32768
    array([23468., 13569., 29665.])
    """
    r, drawn = 1, []
    for _ in range(count):
        r = (r * 3685477807 + 12345) // 65536 % 32768
        drawn.append(r / 32768)
    return np.array(drawn)
