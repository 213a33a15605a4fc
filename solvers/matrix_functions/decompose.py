"""rv.polar and rv.orthogonalize."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from ...errors import InputError
from ...naming import choice
from ..driver.batch import as_array
from .call import MatrixCommon, matrix_function, solve_matrix
from .gram import GramNewtonSchulz
from .method import checked_schedule
from .newton_schulz import Schedule
from .polar import NewtonSchulz, OrthogonalProblem, PolarProblem
from .scaling import SCALINGS
from .solution import MatrixSolution

__all__ = ["orthogonalize", "polar"]

LONG = 3  # times as long as wide: then steps of the Gram matrix alone are the cheaper ones


def _keeps_signs(schedule: Schedule) -> None:
    """Refuse a schedule that flips signs, since no residual of A - U H tells."""
    values = np.geomspace(1e-8, 1, 4096)
    if (flipped := values[schedule(values) < 0]).size:
        raise InputError(
            f"schedule: it takes the singular value {flipped[-1]:.2g} to a negative one, so that H would not be "
            "positive semidefinite; wanted one that keeps signs (rv.orthogonalize takes any)"
        )


@matrix_function
def polar(
    A: Any,
    *,
    side: str = "right",
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
    products: int | None = None,
    form: str = "auto",
    **common: Unpack[MatrixCommon],
) -> MatrixSolution[Any]:
    """The polar decomposition A = U H by products alone: U orthonormal, H Hermitian positive semidefinite.

    Parameters
    ----------
    A : array of shape (..., m, n)
        Real or complex, of NumPy, PyTorch, CuPy or another array library. Never written to.
    side : {"right", "left"}
        A = U H with H of shape (..., n, n), or A = H U with H of shape (..., m, m).
    schedule : Schedule or str, optional
        Of ``rv.newton_schulz.schedule``, or the name of a preset; by default the cheapest one that reaches ``rtol``.
        When it was not enough, steps of the flattest polynomial follow.
    lower : float, optional
        A lower bound of the smallest singular value relative to the largest, in (0, 1]: one over the condition number.
        By default the schedule is for 1e-3 of the bound of the largest; where that was too much, more steps follow.
    scaling : {"schatten-8", "schatten-4", "frobenius", "power"}
        The upper bound of the largest singular value: (sum of its 8th powers)^(1/8), which the first step computes
        anyway; the same of 4th powers; the Frobenius norm; or 1.1 times what power iterations find, which is
        tightest and no bound.
    products : int, optional
        Products of two matrices at most.
    form : {"auto", "standard", "gram"}
        Whether steps are of A or of its Gram matrix alone; by default of the latter where one side of A is three times
        the other or more.
    rtol : float
        Converged when ||I - U^H U||_F <= rtol sqrt(n) (of a wide A, ||I - U U^H||) and ||A - U H||_F <= rtol ||A||_F,
        both computed from U, H and A in the precision of the data. Then ||U - polar(A)||_F <= rtol sqrt(n) too, but for
        rounding, which the condition number magnifies.
    maxiter : int, optional
        Steps at most.
    callback, progress, time_limit, backend, precision :
        As in ``resolvent.solve``; backend "numba" stands for NumPy.

    Returns
    -------
    MatrixSolution
        ``U`` (the same as ``x``) and ``H``; ``orthogonality``, ``error_bound``, ``products``, ``lower``. Residuals are
        those of the worst matrix of a stack, and those of each in ``residuals``.

    Raises
    ------
    InputError, TypeError, BackendError
        For NaN and infinite entries, parameters outside their range, and what is no stack of matrices; for a schedule
        that takes a singular value to a negative one, whose U would be orthonormal and H indefinite.

    Warns
    -----
    ConvergenceWarning
        When the tolerance was not reached, with the reason.

    Notes
    -----
    What lacks rank is defined up to the rank: directions in which A is nothing but rounding may come back as
    orthonormal columns of any direction, as they do from a singular value decomposition, or as zero; then
    ``orthogonality`` says how many are missing, and the residual is that of a partial isometry. Zero comes back as
    zero.

    A step takes 2 to 5 products, of which that of X^H X is half one on a CPU; the certificate takes two more.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 1.0]])
    >>> found = rv.polar(A, rtol=1e-10)
    >>> np.allclose(found.U @ found.H, A), np.allclose(found.U.T @ found.U, np.eye(2))
    (True, True)
    >>> found.error_bound < 1e-10
    True
    """
    if schedule is not None:
        _keeps_signs(checked_schedule(schedule, 1))
    method = _method(A, form)(schedule, lower, scaling, products)
    scaling = choice("scaling", scaling, SCALINGS)  # scaled rows would have another polar factor
    return solve_matrix(method, PolarProblem, A, side=side, **common)


@matrix_function
def orthogonalize(
    A: Any,
    *,
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
    products: int | None = None,
    form: str = "auto",
    **common: Unpack[MatrixCommon],
) -> MatrixSolution[Any]:
    """The matrix with orthonormal columns (rows, of a wide A) that is nearest to A, by products alone.

    Parameters
    ----------
    A, schedule, lower, products :
        As in ``resolvent.polar``.
    scaling : str
        As in ``resolvent.polar``, or "aol": each column (row, of a wide A) is divided by the square root of its sum of
        moduli in the Gram matrix, which bounds the norm by one and balances the columns. The result is orthonormal, but
        another than the nearest: by 1 % for Gaussian matrices, by 18 % where columns differ a hundredfold in size.
    form : {"auto", "standard", "gram"}
        As in ``resolvent.polar``.
    rtol : float
        Converged when ||I - U^H U||_F <= rtol sqrt(n).
    maxiter, callback, progress, time_limit, backend, precision :
        As in ``resolvent.polar``.

    Returns
    -------
    MatrixSolution

    Raises
    ------
    InputError, TypeError, BackendError
        As in ``resolvent.polar``.

    Warns
    -----
    ConvergenceWarning
        When the tolerance was not reached, with the reason.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> stack = np.random.default_rng(0).standard_normal((5, 4, 7))
    >>> found = rv.orthogonalize(stack, rtol=1e-8)
    >>> found.x.shape, bool(np.allclose(found.x @ found.x.swapaxes(1, 2), np.eye(4)))
    ((5, 4, 7), True)
    """
    return solve_matrix(_method(A, form)(schedule, lower, scaling, products), OrthogonalProblem, A, **common)


def _method(A: Any, form: str) -> type[NewtonSchulz]:
    """The form of the iteration for matrices of this shape."""
    form = choice("form", form, ("auto", "standard", "gram"))
    sides = as_array(A, "A").shape[-2:]
    long = len(sides) == 2 and max(sides) >= LONG * min(sides)
    return GramNewtonSchulz if form == "gram" or (form == "auto" and long) else NewtonSchulz
