"""Batches of fixed points: g maps a stack to a stack, and each member is a problem of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from ...errors import InputError
from ..driver.batch import gathered, index_of
from ..driver.batch_solution import BatchSolution
from ..driver.iterate import iterate
from ..driver.problem import Words
from ..driver.solution import Solution
from ..driver.stopping import Options
from .iterates import steps_for
from .method import FixedPointMethod
from .problem import WORDS, FixedPointProblem
from .stacked import Stacked
from .structure import Structure

__all__ = ["FixedPoints", "MemberProblem"]


class FixedPoints:
    """The members of a batch.

    Parameters
    ----------
    method : FixedPointMethod
    g : callable
        From a stack to a stack.
    x0 : array, or tuple, list or dict of arrays
        First guesses.
    batch_ndim : int
        Axes of the batch, the first ones of each array.
    backend, precision :
        As in ``FixedPointProblem``.

    Attributes
    ----------
    at : array, (members, n)
        Where each member is held; in the end what is returned.
    first : array, (members, n), or None
        The values of g at the first guesses, if there are any.
    evaluations : ndarray of int, (members,)
        Of the stack, that a member has asked for.
    """

    words: ClassVar[Words] = WORDS

    def __init__(
        self, method: FixedPointMethod, g: Callable[[Any], Any], x0: Any, batch_ndim: int, backend: Any, precision: Any
    ) -> None:
        if not callable(g):
            raise TypeError(f"g: found {type(g).__name__}; wanted a callable")
        self.method, self.precision = method, precision
        self.structure = Structure(x0, "x0", backend, batch_ndim)
        self.backend = self.structure.backend
        self.g = self.backend.undifferentiated(g)
        self.shape = self.structure.lead
        self.n, self.dtype = self.structure.n, self.structure.dtype
        values, xp = self.structure.values, array_namespace(self.structure.values)
        finite = xp.isfinite(values)
        self.finite = np.asarray(self.backend.to_numpy(xp.all(finite, axis=-1)), bool)
        # What no iteration begins at is of no consequence, but g has to be given something.
        self.at = values if self.finite.all() else xp.where(finite, values, xp.zeros_like(values))
        self.first: Any = None
        self.evaluations = np.zeros(math.prod(self.shape), int)

    def value(self, points: Any) -> Any:
        """g of a stack (members, n), possibly in memory of the caller's."""
        lent, flat = self.structure.lent(points)
        return self.structure.received(self.g(lent), flat, "g")

    def with_member(self, k: int, x: Any) -> Any:
        """Where all members are, but for this one."""
        place = (np.arange(len(self.finite)) == k)[:, None].astype(float)
        here = self.backend.from_numpy(place, np.dtype(np.float64)) > 0
        others = self.backend.copy(self.at, self.backend.numpy_dtype(x))
        return array_namespace(x).where(here, x[None, :], others)

    def problem(self, k: int) -> MemberProblem:
        """One member, iterated in the precision of the data."""
        return MemberProblem(self, k)

    # What a solve of a batch asks for.

    def alone(self, k: int, options: Options) -> Solution:
        """One member, by the driver."""
        problem = MemberProblem(self, k, self.precision)
        solution = iterate(problem, self.method, options)
        solution.matvecs += max(0, int(self.evaluations[k]) - 1)  # the first one serves both
        self.at = self.with_member(k, self.structure.member(k).flat(solution.x))
        return solution

    def together(self, options: Options) -> Stacked:
        """Those that take the ordinary course."""
        if options.errors == "raise" and not self.finite.all():
            MemberProblem(self, int(np.argmin(self.finite)), self.precision, named=True)
        steps = steps_for(self.method) if self.precision is None and options.callback is None else None
        stacked = Stacked(self, replace(options, callback=None))
        with np.errstate(all="ignore"):
            stacked.run(steps)
        return stacked

    def finish(self) -> None:
        """Let go of g, which is not evaluated again, and of what it came to first."""
        self.g, self.first = _evaluated, None

    def nowhere(self, k: int) -> Any:
        """NaN in place of a member that is refused."""
        member = self.structure.member(k)
        return member.outside(math.nan * member.values)

    def joined(self, systems: Any) -> BatchSolution:
        """That of no members."""
        return gathered(self.structure.outside(self.structure.values), systems, self.shape)


def _evaluated(x: Any) -> Any:
    raise AssertionError("the batch is solved")


class MemberProblem(FixedPointProblem):
    """One member of a batch as a problem of its own."""

    def __init__(self, batch: FixedPoints, k: int, precision: Any = None, named: bool = False) -> None:
        self._batch, self._k = batch, k
        self._first = None if batch.first is None else batch.first[k, :]
        try:
            super().__init__(batch.g, batch.structure.member(k), precision=precision)
        except InputError as error:
            which = f" (system {index_of(batch.shape, k)} of the batch)" if named else ""
            raise InputError(f"{error}{which}") from None

    def _value(self, x: Any) -> Any:
        self.matvecs += 1
        exact = self.backend.exact
        if self._first is not None and self._first.dtype == x.dtype:
            value, self._first = self._first, None
            return value
        if self.iterate_exponent:
            x = exact.ldexp(exact.copy(x), self.iterate_exponent)
        return self._batch.value(self._batch.with_member(self._k, x))[self._k, :]
