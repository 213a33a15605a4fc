"""The names of ``cupyx.scipy.sparse.linalg``: those that are solved here, and all the others as CuPy has them.

    from resolvent.gpu.cupy.linalg import LinearOperator, cg, spsolve  # was: from cupyx.scipy.sparse.linalg import ...

``info`` is 0 only where the residual, recomputed from x, meets the tolerance. Arrays stay on the device; those of the
host are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...compat import answers
from ...compat.conventions import Library
from ...errors import InputError

try:
    import cupy
    import cupyx.scipy.sparse
    from cupyx.scipy.sparse import linalg
except ModuleNotFoundError as error:  # whose signatures and other names these are
    raise ModuleNotFoundError(
        f"{__name__} needs CuPy ({error}); install resolvent[cuda12] or resolvent[cuda13]", name=error.name
    ) from error

__all__ = sorted(name for name in dir(linalg) if not name.startswith("_") and callable(getattr(linalg, name)))

CUPYX = Library("CuPy", cupy, cupyx.scipy.sparse, linalg)
drop_in = CUPYX.drop_in

Result = tuple[Any, int]


def __getattr__(name: str) -> Any:
    if name.startswith("_") or not hasattr(linalg, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}, nor has {linalg.__name__}", name=name)
    return getattr(linalg, name)


def __dir__() -> list[str]:
    return list(__all__)


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
    callback: Callable[[Any], Any] | None = None,
) -> Result:
    """Solve A x = b, A Hermitian positive definite, by conjugate gradients: CuPy's function over ``resolvent.cg``.

    Where A turns out to be indefinite, or negative definite, ``resolvent.minres`` goes on from there.

    Parameters
    ----------
    A : cupy.ndarray, sparse matrix or LinearOperator of CuPy's, (n, n)
    b : cupy.ndarray, (n,) or (n, 1)
    x0 : cupy.ndarray like b, optional
        First guess.
    rtol, atol : float
        The residual is to meet ||b - A x|| <= max(rtol ||b||, atol).
    maxiter : int, optional
        Iterations at most; by default 10 n, and at least 1000.
    M : like A, or one of ``resolvent.precondition``, optional
        Approximates the inverse of A.
    callback : callable, optional
        Called with a copy of x after every iteration, which has the host wait for the device each time.

    Returns
    -------
    x : cupy.ndarray, (n,)
        Without convergence the best iterate met.
    info : int
        0 where the tolerance was met by the residual recomputed from x, otherwise the number of iterations, at least 1.

    Raises
    ------
    InputError, BackendError
        As ``resolvent.cg``, but for an A that is not Hermitian, which is taken on trust; arrays of the host.
    """
    return answers.cg(CUPYX, A, b, x0, M, rtol, atol, maxiter, callback)


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
    callback: Callable[[Any], Any] | None = None,
) -> Result:
    """Solve A x = b by the stabilised method of biconjugate gradients: CuPy's function over ``resolvent.bicgstab``.

    Parameters
    ----------
    A, b, x0, rtol, atol, maxiter, M, callback :
        As in ``cg`` here.

    Returns
    -------
    x : cupy.ndarray, (n,)
    info : int
        0 where the tolerance was met by the residual recomputed from x; -10 where the recurrence cannot go on;
        otherwise the number of iterations, at least 1.
    """
    return answers.bicgstab(CUPYX, A, b, x0, M, rtol, atol, maxiter, callback)


@drop_in
def minres(
    A: Any,
    b: Any,
    x0: Any = None,
    shift: float = 0.0,
    tol: float = 1e-5,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callable[[Any], Any] | None = None,
    check: bool = False,
) -> Result:
    """Solve (A - shift I) x = b, A Hermitian, by the method of minimal residuals: CuPy's over ``resolvent.minres``.

    Parameters
    ----------
    A, b, x0, maxiter, M, callback :
        As in ``cg`` here.
    shift : float
    tol : float
        The residual is to meet ||b - (A - shift I) x|| <= tol ||b||.
    check : bool
        Refuse an A or M that is not Hermitian, as far as its entries, or two products with it, show it.

    Returns
    -------
    x : cupy.ndarray, (n,)
        Where no solution exists, the least-squares solution of smallest norm.
    info : int
        0 where the tolerance was met by the residual recomputed from x, otherwise the number of iterations, at least 1.
    """
    return answers.minres(CUPYX, A, b, x0, M, tol, shift, maxiter, callback, check=check)


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
    """Solve A x = b by the generalised minimal residual method: CuPy's function over ``resolvent.gmres``.

    Parameters
    ----------
    A, b, x0, rtol, atol, M :
        As in ``cg`` here. M is applied from the right, so that the residual of A x = b is minimised.
    restart : int, optional
        Iterations to a basis; by default 20, and never more than n.
    maxiter : int, optional
        Iterations at most, not bases; by default 10 n.
    callback : callable, optional
        Called after every basis; with what, ``callback_type`` says.
    callback_type : {"pr_norm", "x"}, optional
        "pr_norm", the default: ||b - A x|| / ||b||. "x": a copy of x.

    Returns
    -------
    x : cupy.ndarray, (n,)
        Without convergence the best iterate met.
    info : int
        0 where the tolerance was met by the residual recomputed from x, otherwise the number of iterations, at least 1.
    """
    kind = "pr_norm" if callback_type is None else callback_type
    if kind not in ("x", "pr_norm"):
        raise InputError(f'callback_type: found {callback_type!r}; wanted "x" or "pr_norm"')
    each = "x" if kind == "x" else "basis norm"
    return answers.gmres(CUPYX, A, b, x0, M, rtol, atol, restart, maxiter, callback, each, by_iterations=True)


@drop_in
def lsmr(
    A: Any,
    b: Any,
    x0: Any = None,
    damp: float | None = 0.0,
    atol: float | None = 1e-6,
    btol: float | None = 1e-6,
    conlim: float | None = 1e8,
    maxiter: int | None = None,
) -> tuple[Any, int, int, float, float, float, float, float]:
    """Minimise ||b - A x||^2 + damp^2 ||x - x0||^2: CuPy's function over ``resolvent.lsmr``.

    Parameters
    ----------
    A : cupy.ndarray, sparse matrix or LinearOperator of CuPy's, (m, n)
    b : cupy.ndarray, (m,) or (m, 1)
    x0, damp, atol, btol :
        As in ``resolvent.lsmr``; tolerances of 1 or more ask for nothing.
    conlim : float
        Stop where the condition number is seen to be above it; 0 stands for no limit.
    maxiter : int, optional
        By default min(m, n).

    Returns
    -------
    x : cupy.ndarray, (n,)
    istop, itn, normr, normar, norma, conda, normx :
        As in ``resolvent.compat.scipy.lsmr``.
    """
    return answers.lsmr(CUPYX, A, b, damp, atol, btol, conlim, maxiter, x0)
