"""Inverses and pseudo-inverses, as differentiable functions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from ...solvers.matrix_functions.inverse import chebyshev_schedule
from ...solvers.matrix_functions.inverse import inverse as rv_inverse
from ...solvers.matrix_functions.inverse import pinv as rv_pinv
from ...solvers.matrix_functions.method import LOWER
from .forward import Solver, checked_matrix
from .implicit import MatrixFunction, hermitian_part
from .unrolled import hyperpower
from .ways import Way, differentiable

__all__ = ["inverse", "pinv"]


@dataclass(frozen=True)
class Inverse(MatrixFunction):
    """Y = A^-1: dY = -Y dA Y."""

    solver: Solver
    positive: bool

    def run(self, *tensors: Any) -> Any:
        Y = self.solver(tensors[0])
        return hermitian_part(Y) if self.positive else Y

    def derivative(self, A: Any, x: Any, E: Any) -> Any:
        return -x @ (hermitian_part(E) if self.positive else E) @ x


@dataclass(frozen=True)
class PseudoInverse(MatrixFunction):
    """P with A P and P A orthogonal projectors, among matrices of one rank."""

    solver: Solver

    def run(self, *tensors: Any) -> Any:
        return self.solver(tensors[0])

    def derivative(self, A: Any, x: Any, E: Any) -> Any:
        P, F = x, E.mH
        left, right = F @ P.mH @ P, P @ P.mH @ F  # of which the parts outside the ranges of A^H and of A count
        return -P @ E @ P + (left - P @ (A @ left)) + (right - (right @ A) @ P)


def inverse(
    A: Any,
    *,
    positive: bool = False,
    method: str = "implicit",
    order: int = 3,
    rtol: float | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
) -> Any:
    r"""The inverse, differentiably.

    Parameters
    ----------
    A : Tensor (..., n, n)
        Real or complex. Half precision is worked on and returned in float32.
    positive : bool
        A is Hermitian positive definite: the function is that of its Hermitian part, with Hermitian gradients.
    method : {"implicit", "unrolled", "checkpoint"}
        As in ``orthogonalize``.
    order : int
        Of the iteration, as in ``resolvent.inverse``.
    rtol : float, optional
        Of the forward solve, as in ``resolvent.inverse``; by default 1e-12 in double precision and 1e-5 in single, or
        what rounding allows.
    lower, scaling :
        As in ``resolvent.inverse``, without "power" for unrolled iterations.

    Returns
    -------
    Tensor (..., n, n)

    Raises
    ------
    InputError, TypeError, SingularError
        As in ``resolvent.inverse``, and NotHermitianError with ``positive``.

    Warns
    -----
    ConvergenceWarning
        When the forward solve did not reach its tolerance: of a matrix that is singular to rounding.

    Notes
    -----
    The derivative in the direction E is :math:`-Y E Y`.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import inverse
    >>> A = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    >>> inverse(A)[0, 0].backward()
    >>> torch.allclose(A.grad, torch.tensor([[-1.0, 1.0], [1.0, -1.0]], dtype=torch.float64))
    True
    """
    A, way = checked_matrix(A, square=True), Way(method, rtol, None, lower, scaling)
    parameters = {"positive": positive, "order": order, "lower": lower, "scaling": scaling}
    rule = Inverse(Solver(rv_inverse, "inverse", rtol, parameters), positive)
    A = hermitian_part(A) if positive and method != "implicit" else A
    return differentiable(way, rule, partial(hyperpower, scaling=scaling), partial(_polynomials, way, order), A)


def pinv(
    A: Any,
    *,
    method: str = "implicit",
    order: int = 3,
    rtol: float | None = None,
    rcond: float | None = None,
    scaling: str = "schatten-8",
) -> Any:
    r"""The pseudo-inverse of a matrix of full rank, differentiably.

    Parameters
    ----------
    A : Tensor (..., m, n)
        Real or complex. Half precision is worked on and returned in float32.
    method, order, rtol, scaling :
        As in ``inverse``.
    rcond : float, optional
        Singular values below it, relative to the largest, are taken for zero, as in ``resolvent.pinv``. Unrolled
        iterations are for singular values above it, or 1e-3.

    Returns
    -------
    Tensor (..., n, m)

    Raises
    ------
    InputError, TypeError
        As in ``resolvent.pinv``.

    Warns
    -----
    ConvergenceWarning
        When the forward solve did not reach its tolerance.

    Notes
    -----
    The derivative in the direction E is :math:`-P E P + P P^H E^H (I - A P) + (I - P A) E^H P^H P`. Of a matrix that
    lacks rank the pseudo-inverse is not continuous; what is returned there is the derivative among matrices of that
    rank.

    References
    ----------
    Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973), (4.12).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import pinv
    >>> A = torch.tensor([[1.0], [2.0]], dtype=torch.float64, requires_grad=True)
    >>> pinv(A)[0, 0].backward()  # of a_1 / (a_1^2 + a_2^2)
    >>> torch.allclose(A.grad, torch.tensor([[0.12], [-0.16]], dtype=torch.float64))
    True
    """
    A, way = checked_matrix(A), Way(method, rtol, None, rcond, scaling)
    rule = PseudoInverse(Solver(rv_pinv, "pinv", rtol, {"order": order, "rcond": rcond, "scaling": scaling}))
    wide = A.shape[-2] < A.shape[-1] and method != "implicit"
    steps = partial(_polynomials, way, order)
    P = differentiable(way, rule, partial(hyperpower, scaling=scaling), steps, A.mH if wide else A)
    return P.mH if wide else P


def _polynomials(way: Way, order: int, A: Any) -> tuple[tuple[float, ...], ...]:
    """Of the steps of an unrolled hyperpower iteration."""
    return chebyshev_schedule(way.least(LOWER, (A,)) ** 2, way.tolerance(A.dtype), order).coefficients
