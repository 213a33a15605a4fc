"""The names of ``scipy.sparse.linalg``: those that are solved here, and all the others as SciPy has them.

>>> from resolvent.compat.scipy import LinearOperator, cg, spsolve
>>> import scipy.sparse.linalg
>>> spsolve is scipy.sparse.linalg.spsolve
True

``info`` is 0 only where the residual, recomputed from x, meets the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import linalg

from ..errors import InputError, warn_caller
from . import answers
from .conventions import SCIPY

__all__ = list(linalg.__all__)

drop_in = SCIPY.drop_in


def __getattr__(name: str) -> Any:
    if name.startswith("_") or not hasattr(linalg, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}, nor has scipy.sparse.linalg", name=name)
    return getattr(linalg, name)


def __dir__() -> list[str]:
    return sorted(__all__)


Result = tuple[np.ndarray, int]


@drop_in
def cg(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callable[[np.ndarray], Any] | None = None,
) -> Result:
    """Solve A x = b, A Hermitian positive definite, by conjugate gradients: SciPy's function over ``resolvent.cg``.

    Where A turns out to be indefinite, or negative definite, ``resolvent.minres`` goes on from there.

    Parameters
    ----------
    A : ndarray, sparse matrix, LinearOperator or object with shape and matvec, (n, n)
    b : array_like, (n,) or (n, 1)
    x0 : array_like like b, or "Mb", optional
        First guess; "Mb" stands for M b.
    rtol, atol : float
        The residual is to meet ||b - A x|| <= max(rtol ||b||, atol); either may be as large as one likes.
    maxiter : int, optional
        Iterations at most; by default 10 n, and at least 1000.
    M : like A, or one of ``resolvent.precondition``, optional
        Approximates the inverse of A.
    callback : callable, optional
        Called with a copy of x after every iteration; its result means nothing.

    Returns
    -------
    x : ndarray, (n,)
        Without convergence the best iterate met.
    info : int
        0 where the tolerance was met by the residual recomputed from x, otherwise the number of iterations, at least 1.

    Raises
    ------
    InputError
        As ``resolvent.cg``, but for an A that is not Hermitian, which is taken on trust.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.compat.scipy import cg
    >>> x, info = cg(np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0]), rtol=1e-12)
    >>> np.allclose(x, [1 / 11, 7 / 11]), info
    (True, 0)
    """
    return answers.cg(SCIPY, A, b, x0, M, rtol, atol, maxiter, callback)


@drop_in
def bicgstab(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callable[[np.ndarray], Any] | None = None,
) -> Result:
    """Solve A x = b by the stabilised method of biconjugate gradients: SciPy's function over ``resolvent.bicgstab``.

    Parameters
    ----------
    A, b, x0, rtol, atol, maxiter, M, callback :
        As in ``resolvent.compat.scipy.cg``.

    Returns
    -------
    x : ndarray, (n,)
    info : int
        0 where the tolerance was met by the residual recomputed from x; -10 where the recurrence cannot go on;
        otherwise the number of iterations, at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.compat.scipy import bicgstab
    >>> x, info = bicgstab(np.array([[4.0, 1.0], [-2.0, 3.0]]), np.array([1.0, 2.0]), rtol=1e-12)
    >>> np.allclose(x, [1 / 14, 10 / 14]), info
    (True, 0)
    """
    return answers.bicgstab(SCIPY, A, b, x0, M, rtol, atol, maxiter, callback)


@drop_in
def minres(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    shift: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callable[[np.ndarray], Any] | None = None,
    show: bool = False,
    check: bool = False,
) -> Result:
    """Solve (A - shift I) x = b, A Hermitian, by the method of minimal residuals: SciPy's over ``resolvent.minres``.

    Parameters
    ----------
    A, b, x0, maxiter, M, callback :
        As in ``resolvent.compat.scipy.cg``.
    rtol : float
        The residual is to meet ||b - (A - shift I) x|| <= rtol ||b||. (SciPy's own function asks for
        rtol ||A|| ||x||, of carried norms.)
    shift : float
    show : bool
        Write the report of the solve to standard output when it has ended.
    check : bool
        Refuse an A or M that is not Hermitian, as far as its entries, or two products with it, show it.

    Returns
    -------
    x : ndarray, (n,)
        Where no solution exists, the least-squares solution of smallest norm.
    info : int
        0 where the tolerance was met by the residual recomputed from x, otherwise the number of iterations, at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.compat.scipy import minres
    >>> x, info = minres(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([1.0, 2.0]), rtol=1e-12)
    >>> np.allclose(x, [1.0, 0.0]), info
    (True, 0)
    """
    return answers.minres(SCIPY, A, b, x0, M, rtol, shift, maxiter, callback, show=show, check=check)


@drop_in
def gmres(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    restart: int | None = None,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callable[[Any], Any] | None = None,
    callback_type: str | None = None,
) -> Result:
    """Solve A x = b by the generalised minimal residual method: SciPy's function over ``resolvent.gmres``.

    Parameters
    ----------
    A, b, x0, rtol, atol, M :
        As in ``resolvent.compat.scipy.cg``. M is applied from the right, so that the residual of A x = b is minimised.
    restart : int, optional
        Iterations to a basis; by default 20, and never more than n.
    maxiter : int, optional
        Bases at most; by default 10 n. With ``callback_type="legacy"`` iterations.
    callback : callable, optional
        What it is called with, ``callback_type`` says.
    callback_type : {"x", "pr_norm", "legacy"}, optional
        "x": a copy of x after every basis. "pr_norm": ||M (b - A x)|| / ||b|| after every iteration, which costs two
        products with M and one with A where there is an M. "legacy", the default: the same, and ``maxiter`` counts
        iterations.

    Returns
    -------
    x : ndarray, (n,)
        Without convergence the best iterate met.
    info : int
        0 where the tolerance was met by the residual recomputed from x; otherwise the number of bases, or of iterations
        where these are counted, at least 1.

    Warns
    -----
    DeprecationWarning
        For a callback without ``callback_type``, as in SciPy.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.compat.scipy import gmres
    >>> x, info = gmres(np.array([[4.0, 1.0], [-2.0, 3.0]]), np.array([1.0, 2.0]), rtol=1e-12)
    >>> np.allclose(x, [1 / 14, 10 / 14]), info
    (True, 0)
    """
    if callback is not None and callback_type is None:
        warn_caller(
            "gmres called without specifying `callback_type`. SciPy is going to change the default; say "
            "callback_type='pr_norm', or callback_type='legacy' for what is done now",
            DeprecationWarning,
        )
    kind = "legacy" if callback_type is None else callback_type
    if kind not in ("x", "pr_norm", "legacy"):
        raise InputError(f'callback_type: found {callback_type!r}; wanted "x", "pr_norm" or "legacy"')
    by_iterations = kind == "legacy" and callback is not None
    each = "x" if kind == "x" else "norm"
    return answers.gmres(SCIPY, A, b, x0, M, rtol, atol, restart, maxiter, callback, each, by_iterations)


@drop_in
def lsmr(
    A: Any,
    b: Any,
    damp: float | None = 0.0,
    atol: float | None = 1e-6,
    btol: float | None = 1e-6,
    conlim: float | None = 1e8,
    maxiter: int | None = None,
    show: bool = False,
    x0: Any = None,
) -> tuple[np.ndarray, int, int, float, float, float, float, float]:
    """Minimise ||b - A x||^2 + damp^2 ||x - x0||^2: SciPy's function over ``resolvent.lsmr``.

    Parameters
    ----------
    A : ndarray, sparse matrix, LinearOperator or object with shape, matvec and rmatvec, (m, n)
    b : array_like, (m,) or (m, 1)
    damp, atol, btol, x0 :
        As in ``resolvent.lsmr``; tolerances of 1 or more ask for nothing.
    conlim : float
        Stop where the condition number is seen to be above it; 0 stands for no limit.
    maxiter : int, optional
        By default min(m, n).
    show : bool
        Write the report of the solve to standard output when it has ended.

    Returns
    -------
    x : ndarray, (n,)
    istop : int
        0 where x0 (or 0) is a solution; 1 where the system is solved; 2 where the least-squares problem is; 3 where the
        condition number is above ``conlim``; 4 and 5 as 1 and 2, where not the tolerances were met but the accuracy of
        the precision; 6 where A is singular to rounding; 7 where ``maxiter`` was reached. 1 and 2 are said of norms
        that were recomputed from x.
    itn : int
        Iterations.
    normr, normar : float
        ||b - A x||, with damp ||x - x0|| below it, and the norm of the gradient.
    norma : float
        ||A||, with damp below it: a lower bound of the 2-norm.
    conda : float
        The condition number of that, from below, and 1 where nothing was seen of it.
    normx : float

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.compat.scipy import lsmr
    >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> x, istop, *_ = lsmr(A, np.array([1.0, 0.0, 1.0]), atol=1e-12)
    >>> np.allclose(x, [1 / 3, 1 / 3]), istop
    (True, 2)
    """
    return answers.lsmr(SCIPY, A, b, damp, atol, btol, conlim, maxiter, x0, show=show)
