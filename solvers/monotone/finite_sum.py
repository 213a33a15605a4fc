"""F(z) = 0 where F is the mean of many operators, of which some may be evaluated without the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from ...backends import Backend
from ...errors import InputError
from ..driver.problem import Vector, Words
from .problem import MonotoneProblem

__all__ = ["FiniteSumProblem"]


class FiniteSumProblem(MonotoneProblem):
    """The z for which F(z) = (F_1(z) + ... + F_n(z)) / n = 0, where F is monotone.

    Solved when ||F(z)|| <= max(rtol ||F(z0)||, atol), in the 2-norm over all blocks.

    Parameters
    ----------
    components : sequence of callables, or callable
        The F_i, each as F in ``MonotoneProblem``; or one function of z and an integer array of indices from 0 to
        ``count`` - 1, possibly repeated, that returns the mean of these F_i(z).
    z0 : array, number, or tuple, list or dict of such
        As in ``FixedPointProblem``.
    lipschitz : float
        L: the mean of ||F_i(z) - F_i(w)||^2 over i is at most L^2 ||z - w||^2.
    count : int, optional
        n, where ``components`` is one function.
    backend, precision :
        As in ``FixedPointProblem``.

    Attributes
    ----------
    count : int
    matvecs : int
        Evaluations of components so far; one of F counts n.

    Raises
    ------
    InputError, TypeError
        As in ``MonotoneProblem``, and for no components or a count that is missing or does not fit.

    Examples
    --------
    >>> from resolvent.solvers.monotone.finite_sum import FiniteSumProblem
    >>> problem = FiniteSumProblem([lambda z: z - 1, lambda z: z - 3], 0.0, lipschitz=1.0)
    >>> problem.initial()[2], problem.matvecs
    (2.0, 2)
    """

    words = Words(residual="||F(z)||", reference="||F(z0)||", products="evaluations of components")
    called = "components"

    def __init__(
        self,
        components: Sequence[Callable[[Any], Any]] | Callable[[Any, np.ndarray], Any],
        z0: Any,
        *,
        lipschitz: float,
        count: int | None = None,
        backend: str | Backend | None = None,
        precision: Any = None,
    ) -> None:
        each = None if callable(components) else list(components)
        if each is not None:
            if not each:
                raise InputError("components: found none; wanted at least one")
            for i, one in enumerate(each):
                if not callable(one):
                    raise TypeError(f"components[{i}]: found {type(one).__name__}; wanted a callable")
            if count is not None and count != len(each):
                raise InputError(f"count: found {count!r} for {len(each)} components; wanted their number, or None")
            count = len(each)
        elif not isinstance(count, Integral) or isinstance(count, bool):
            raise TypeError(f"count: found {count!r}; wanted the number of components that one function stands for")
        if count < 1:
            raise InputError(f"count: found {count}; wanted at least 1")
        first: Any = components if each is None else each[0]
        super().__init__(
            first,
            z0,
            lipschitz=lipschitz,
            backend=backend,
            precision=precision,
        )
        if self.estimated:
            raise InputError("lipschitz: found None; wanted a finite number above 0")
        self.count = int(count)
        self.each = None if each is None else [self.backend.undifferentiated(one) for one in each]
        self.everything = np.arange(self.count)

    def _value(self, x: Vector, which: np.ndarray | None = None) -> Vector:
        """The mean of these components, or of all, in the caller's units."""
        which = self.everything if which is None else which
        self.matvecs += which.size
        exact = self.backend.exact
        if self.iterate_exponent:
            x = exact.ldexp(exact.copy(x), self.iterate_exponent)
        if self.each is None:
            lent, flat = self.structure.lent(x)
            return self.structure.received(self.function(lent, which.copy()), flat, self.called)
        total = None
        for i in which.tolist():
            lent, flat = self.structure.lent(x)
            part = self.structure.received(self.each[i](lent), flat, f"{self.called}[{i}]")
            total = exact.copy(part) if total is None else exact.axpy(1.0, part, total)
        return exact.axpby(0.0, total, 1 / which.size, total)

    def sampled(self, x: Vector, which: np.ndarray, out: Vector) -> Vector:
        """The mean of these components at x, in internal units and in place of out."""
        return self._residual(self.backend, self._scaled(self._value(x, which)), x, out)
