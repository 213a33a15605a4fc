"""What the methods for finite sums share: how many components they draw, and by which generator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from ...errors import InputError
from ..fixed_point.method import EquationMethod
from .finite_sum import FiniteSumProblem

__all__ = ["SamplingMethod"]


@dataclass(frozen=True)
class SamplingMethod(EquationMethod[FiniteSumProblem]):
    """A method that draws components.

    Parameters
    ----------
    batch : int, optional
        Components drawn at a time, with replacement; by default sqrt(n), rounded up.
    seed : int or numpy.random.Generator
        A generator goes on where it was left.
    """

    batch: int | None = None
    seed: int | np.random.Generator = 0

    def __post_init__(self) -> None:
        if self.batch is not None:
            if not isinstance(self.batch, Integral) or isinstance(self.batch, bool):
                raise TypeError(f"batch: found {self.batch!r}; wanted an integer")
            if self.batch < 1:
                raise InputError(f"batch: found {self.batch}; wanted at least 1")
        if isinstance(self.seed, np.random.Generator):
            return
        if not isinstance(self.seed, Integral) or isinstance(self.seed, bool) or self.seed < 0:
            raise TypeError(f"seed: found {self.seed!r}; wanted an integer of at least 0 or a numpy.random.Generator")

    def size(self, problem: FiniteSumProblem) -> int:
        """Components drawn at a time."""
        return min(self.batch or math.ceil(math.sqrt(problem.count)), problem.count)
