"""rv.lstsq: least squares by whatever finds them, cheap ways first."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from ...errors import InputError
from ...naming import choice
from ..driver.iterate import iterate
from ..driver.solution import Solution
from ..driver.status import Status
from ..driver.stopping import Deadline, Options
from .call import LeastSquaresOptions, least_squares_solver
from .cgls import CGLS, PreconditionedCGLS
from .direct import DirectMethod, Lapack, SuperLU
from .lsmr import LSMR, PreconditionedLSMR
from .method import LeastSquaresMethod
from .problem import LeastSquares
from .right import column_norms, right_preconditioner
from .run import solve_least_squares
from .solution import LeastSquaresSolution

__all__ = ["by_choice", "lstsq"]

SMALL = 2e9  # m n min(m, n) up to which a full matrix is factored at once: about a second
MEMORY = 2.0**31  # bytes that a factorisation may take, foreseen from the size of A
UNEVEN = 10.0  # ratio of the norms of columns from which they are scaled
REFINED = 10  # solves with the factors at most
FEWEST = 500  # iterations that are tried before a factorisation, however cheap that is

METHODS: dict[str, type[LeastSquaresMethod[Any]]] = {
    "lsmr": LSMR,
    "cgls": CGLS,
    "lapack": Lapack,
    "superlu": SuperLU,
}
WITH_M: dict[type[LeastSquaresMethod[Any]], type[LeastSquaresMethod[Any]]] = {
    LSMR: PreconditionedLSMR,
    CGLS: PreconditionedCGLS,
}

# What ends a search: the answer, or somebody who wants it ended.
_OVER = (Status.CONVERGED, Status.TIME_LIMIT, Status.INTERRUPTED, Status.STOPPED)


@least_squares_solver
def lstsq(A: Any, b: Any, *, method: str = "auto", **common: Unpack[LeastSquaresOptions]) -> LeastSquaresSolution[Any]:
    r"""Minimise ||b - A x||^2 + damp^2 ||x - x0||^2 by a method that fits A.

    With ``method="auto"`` a small full A is factored by LAPACK (gelsd), which tells its rank. Any other goes to LSMR,
    its columns scaled where their norms differ tenfold and there are no more of them than rows. Where that does not
    get there in as many iterations as a factorisation would cost, A is factored: as a full matrix by LAPACK, or the
    augmented system by SuperLU, within 2 GiB foreseen from the size of A. Whatever found it, x is certified, and
    ``Solution.reason`` tells what was done.

    Parameters
    ----------
    A, b, damp, atol, btol, maxiter, x0, M, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.lsmr``. A factorisation has no use for M.
    method : str
        "auto", "lsmr", "cgls", "lapack" (the singular value decomposition) or "superlu" (the augmented system, of a
        sparse A of full rank).

    Returns
    -------
    LeastSquaresSolution
        ``rank`` is set by LAPACK. Without a rank x is the solution nearest to x0 whatever the rank is, unless columns
        were scaled, where it is nearest in the scaled norm: the reason says so.

    Raises
    ------
    InputError
        As in ``resolvent.lsmr``; for an unknown method, and one that cannot work on this A.

    Warns
    -----
    ConvergenceWarning
        When nothing passed the tests; x is then the best of all that was found.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> solution = rv.lstsq(np.array([[1.0, 1.0], [2.0, 2.0], [0.0, 0.0]]), np.array([1.0, 2.0, 5.0]))
    >>> np.allclose(solution.x, [0.5, 0.5]), solution.rank, solution.method
    (True, 1, 'lapack')
    """
    method = choice("method", method, ("auto", *METHODS))

    def driver(problem: LeastSquares, options: Options) -> Solution[Any]:
        return by_choice(problem, options) if method == "auto" else _by_name(problem, METHODS[method], options)

    return solve_least_squares(driver, A, b, **common)


def _by_name(problem: LeastSquares, kind: type[LeastSquaresMethod[Any]], options: Options) -> Solution[Any]:
    if issubclass(kind, DirectMethod):
        if math.isinf(kind.memory(problem)):
            wanted = "a sparse matrix" if kind is SuperLU else "a matrix"
            raise InputError(
                f"method: {kind.name} factors entries in NumPy arrays, in the precision of the data; wanted {wanted} "
                "there and no precision, or another method"
            )
        problem.M = None
    return iterate(problem, _made(kind, problem), _limited(kind, options.maxiter, options))


def _limited(kind: type[LeastSquaresMethod[Any]], limit: int | None, options: Options) -> Options:
    """With so many iterations at most, of which a factorisation has few."""
    if issubclass(kind, DirectMethod):
        limit = REFINED if limit is None else min(limit, REFINED)
    return replace(options, maxiter=limit)


def _made(kind: type[LeastSquaresMethod[Any]], problem: LeastSquares) -> LeastSquaresMethod[Any]:
    return (WITH_M.get(kind, kind) if problem.M is not None else kind)()


def by_choice(problem: LeastSquares, options: Options) -> Solution[Any]:
    """Try one after the other until one gets there, and return the best of what was found."""
    if problem.settled() is not None:
        return iterate(problem, LSMR(), options)
    said: list[str] = []
    clock = problem.backend.clock
    deadline = None if options.time_limit is None else Deadline(clock() + options.time_limit, clock)
    best: Solution[Any] | None = None
    iterations = matvecs = 0
    for kind, limit, why in _ways(problem, options):
        if deadline is not None:
            options = replace(options, time_limit=max(deadline.left, 1e-9))
        said.append(f"{kind.name} was chosen: {why}.")
        problem.start_anew()
        if issubclass(kind, DirectMethod):
            problem.M = None
        solution = iterate(problem, _made(kind, problem), _limited(kind, limit, options))
        iterations, matvecs = iterations + solution.iterations, solution.matvecs
        if best is None or solution.relative_residual <= best.relative_residual:
            best = solution
        if solution.status in _OVER:
            break
        said.append(solution.reason)
    assert best is not None
    best.iterations, best.matvecs = iterations, matvecs
    if best.status in _OVER:
        best.reason = " ".join([*said, best.reason])
    else:
        best.reason = " ".join([*said, f"x is that of {best.method}.", _not_factored(problem)]).rstrip()
    return best


def _ways(problem: LeastSquares, options: Options) -> Any:
    """Methods, how many iterations each is given, and what recommends it; asked for one by one."""
    m, n = problem.m, problem.n
    dense, least = problem.truth.kind == "dense", min(m, n)
    by_lapack, by_lu = (kind.memory(problem) <= MEMORY for kind in (Lapack, SuperLU))
    if dense and by_lapack and m * n * least <= SMALL:
        yield Lapack, options.maxiter, "A is full and small"
        return
    why = "A only multiplies" if not problem.explicit else "A is large" if dense else "A is sparse"
    if problem.explicit and m >= n and problem.M is None:
        norms = column_norms(problem.true_adjoint, problem.backend.exact)
        norms = norms[norms > 0]
        if norms.size and norms.max() > UNEVEN * norms.min():
            problem.M = right_preconditioner("jacobi", problem)
            why += (
                f", and its columns, whose norms differ by {norms.max() / norms.min():.1e}, are scaled (if A lacks "
                "rank, x is the solution that is shortest in the scaled norm)"
            )
    default = options.most_iterations(n)
    limit = default
    if options.maxiter is None and (by_lapack or by_lu):
        flops = 4.0 * m * n * least if by_lapack else least**3
        limit = int(min(default, max(FEWEST, flops / (4.0 * max(1, problem.truth.entries)))))
    yield LSMR, limit, why
    if by_lapack:
        yield Lapack, options.maxiter, "iterations were no cheaper"
    elif by_lu:
        yield SuperLU, options.maxiter, "iterations were no cheaper"


def _not_factored(problem: LeastSquares) -> str:
    """Why nothing was factored, where nothing was."""
    least = min(kind.memory(problem) for kind in (Lapack, SuperLU))
    if least <= MEMORY or not np.isfinite(least):
        return ""
    return f"A factorisation may take {least / 2**30:.1f} GiB, more than the {MEMORY / 2**30:.0f} that are allowed."
