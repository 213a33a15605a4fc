"""Whether a space is worth keeping from one system to the next."""

from __future__ import annotations

from .thompson import GaussianThompson
from .tuner import Fallback

__all__ = ["Recycling"]

MEMORY = 50  # rounds after which a cost counts a third: what is kept may cease to be of use


class Recycling(GaussianThompson):
    """Thompson sampling between keeping some vectors and none.

    Parameters
    ----------
    values : list of int
        The two numbers, none and that wanted.
    seed : int
    """

    kind = "Recycling"

    def __init__(self, values: list[int], *, seed: int = 0) -> None:
        super().__init__(values, parameter="recycle", smoothness=0, memory=MEMORY, seed=seed)

    def fallback(self) -> Fallback | None:
        """The method without, which owes nothing to other systems."""
        return Fallback(0, None)
