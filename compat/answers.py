"""What the functions of ``scipy.sparse.linalg``, and of CuPy's like it, answer: our solvers by their conventions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import NotHermitianError
from ..solvers.driver.progress import Progress
from ..solvers.driver.solution import Solution
from ..solvers.driver.status import Cause, Status
from ..solvers.krylov import bicgstab as _bicgstab
from ..solvers.krylov import cg as _cg
from ..solvers.krylov import gmres as _gmres
from ..solvers.krylov import minres as _minres
from ..solvers.least_squares import lsmr as _lsmr
from .conventions import Library, System, every_iterate, shown, solved, tolerances

__all__ = ["bicgstab", "cg", "gmres", "lsmr", "minres"]

BREAKDOWN = -10  # what SciPy's bicgstab returns of a recurrence that ended

Result = tuple[Any, int]


def cg(
    library: Library, A: Any, b: Any, x0: Any, M: Any, rtol: Any, atol: Any, maxiter: int | None, callback: Any
) -> Result:
    """Conjugate gradients; where A turns out to be indefinite, or negative definite, MINRES goes on from there."""
    system = System.of(library, A, b, x0, M)
    options = {**tolerances(rtol, atol, system), "callback": every_iterate(callback)}
    solution = _of_system(_cg.cg, system, **options, maxiter=maxiter)
    if solution.cause is Cause.PRECONDITIONER and solution.iterations == 0:  # the iterates do not depend on its sign
        system = system._replace(M=-library.linalg.aslinearoperator(system.M))
        solution = _of_system(_cg.cg, system, **options, maxiter=maxiter)
    if solution.cause is not Cause.INDEFINITE:
        return solution.x, _info(solution)
    before = solution.iterations
    left = None if maxiter is None else maxiter - before
    solution = _of_system(_minres.minres, system._replace(x0=solution.x), **options, maxiter=left)
    return solution.x, 0 if solution.converged else max(1, before + solution.iterations)


def bicgstab(
    library: Library, A: Any, b: Any, x0: Any, M: Any, rtol: Any, atol: Any, maxiter: int | None, callback: Any
) -> Result:
    """The stabilised method of biconjugate gradients."""
    system = System.of(library, A, b, x0, M)
    options = {**tolerances(rtol, atol, system), "maxiter": maxiter, "callback": every_iterate(callback)}
    solution = _of_system(_bicgstab.bicgstab, system, **options)
    return solution.x, BREAKDOWN if solution.status is Status.BREAKDOWN else _info(solution)


def minres(
    library: Library,
    A: Any,
    b: Any,
    x0: Any,
    M: Any,
    rtol: Any,
    shift: float,
    maxiter: int | None,
    callback: Any,
    *,
    show: bool = False,
    check: bool = False,
) -> Result:
    """The method of minimal residuals for A - shift I."""
    system = System.of(library, A, b, x0, M)
    if check:
        for name, product in (("A", system.A), ("M", system.M)):
            if product is not None:
                _check_hermitian(library, product, name, system.b)
    if shift:
        system = system.shifted(shift)
    options = {**tolerances(rtol, 0.0, system), "maxiter": maxiter, "callback": every_iterate(callback)}
    solution = _of_system(_minres.minres, system, trusted=not check, **options)
    return shown(solution, show).x, _info(solution)


def gmres(
    library: Library,
    A: Any,
    b: Any,
    x0: Any,
    M: Any,
    rtol: Any,
    atol: Any,
    restart: int | None,
    maxiter: int | None,
    callback: Any,
    each: str,
    by_iterations: bool,
) -> Result:
    """The generalised method of minimal residuals.

    ``each`` is what the callback gets: "x" or "basis norm" after every basis, "norm" after every iteration.
    ``by_iterations`` says that ``maxiter`` and the code count these, not bases.
    """
    system = System.of(library, A, b, x0, M)
    n = system.b.size
    length = min(20 if restart is None else restart, max(n, 1))
    counted = 1 if by_iterations else length
    most: Any = 10 * n if maxiter is None else maxiter
    if isinstance(most, (int, np.integer)) and most > 0:
        most *= counted

    told = None
    if callback is not None:
        told = _positions(callback) if each == "x" else _norms(callback, system)
        told = told if each == "norm" else _after_each_basis(told, length)
    options = tolerances(rtol, atol, system)
    solution = _of_system(_gmres.gmres, system, **options, restart=length, maxiter=most, callback=told)
    if callback is not None and solution.iterations % length:
        if each == "x":
            callback(solution.x.copy())
        elif each == "basis norm":
            callback(np.float64(solution.relative_residual))
    return solution.x, _info(solution, counted)


def lsmr(
    library: Library,
    A: Any,
    b: Any,
    damp: float | None,
    atol: float | None,
    btol: float | None,
    conlim: float | None,
    maxiter: int | None,
    x0: Any,
    *,
    show: bool = False,
) -> tuple[Any, int, int, float, float, float, float, float]:
    """Least squares."""
    A, xp = library.matrix(A), library.xp
    b = xp.atleast_1d(xp.squeeze(library.array(np.asarray(b) if isinstance(b, np.matrix) else b, "b")))
    if not damp and not b.any():
        x0 = None  # zero is a solution
    x0 = None if x0 is None else library.array(x0, "x0")
    given = [A.dtype, b.dtype] if x0 is None else [A.dtype, b.dtype, x0.dtype]
    solution = solved(
        library,
        _lsmr.lsmr,
        A,
        library.vector(b, "b", A.shape[0], np.result_type(*given, np.float64)),
        damp=damp,
        atol=_below_one(atol),
        btol=_below_one(btol),
        conlim=1e8 if conlim is None else conlim if conlim > 0 else math.inf,
        maxiter=min(A.shape) if maxiter is None else maxiter,
        x0=None if x0 is None else library.vector(x0, "x0", A.shape[1], x0.dtype),
    )
    s = shown(solution, show)
    size = s.norma if s.spectrum is None else max(s.norma, s.spectrum[1])
    condition = 1.0 if s.condition is None else s.condition
    return s.x, _istop(s), s.iterations, s.normr, s.normar, size, condition, s.normx


def _of_system(solver: Callable[..., Solution[Any]], system: System, **options: Any) -> Solution[Any]:
    return solved(system.library, solver, system.A, system.b, x0=system.x0, M=system.M, **options)


def _info(solution: Solution[Any], counted: int = 1) -> int:
    """0, or how many times so many iterations were taken, at least one."""
    return 0 if solution.converged else max(1, -(-solution.iterations // counted))


def _istop(solution: Any) -> int:
    """SciPy's code for the end of a least-squares solve."""
    kind = 1 if solution.consistent else 2
    if solution.converged:
        return kind if solution.iterations else 0
    if solution.cause is Cause.CONDITION:
        return 3
    if solution.status is Status.STAGNATED or solution.relative_residual <= 10 * solution.attainable_residual:
        return kind + 3
    return 7 if solution.status is Status.MAX_ITERATIONS else 6


def _below_one(tolerance: Any) -> Any:
    """A tolerance of at least 1, which every x meets, as the largest that is less."""
    return math.nextafter(1.0, 0.0) if tolerance is not None and tolerance >= 1 else tolerance


def _positions(callback: Callable[[Any], Any]) -> Callable[[Progress], None]:
    return lambda progress: callback(progress.x)


def _after_each_basis(told: Callable[[Progress], None], length: int) -> Callable[[Progress], None]:
    def watch(progress: Progress) -> None:
        if progress.iteration % length == 0:
            told(progress)

    return watch


def _norms(callback: Callable[[Any], Any], system: System) -> Callable[[Progress], None]:
    """Hands on the norm of the preconditioned residual over that of b."""
    library, A, b, _, M = system

    def watch(progress: Progress) -> None:
        if M is None:
            callback(np.float64(progress.relative_residual))
        else:
            callback(np.float64(library.norm(M @ (b - A @ progress.x)) / library.norm(b)))

    return watch


def _check_hermitian(library: Library, A: Any, name: str, b: Any) -> None:
    """Refuse an A of which (A b, A b) and (b, A (A b)) differ, as SciPy does."""
    image = A @ b
    square, other = library.xp.vdot(image, image).real.item(), library.xp.vdot(b, A @ image).item()
    if not abs(square - other) <= square * float(np.finfo(np.float64).eps) ** (1 / 3):
        raise NotHermitianError(
            f"{name}: found (A p, A p) = {square:.6g} and (p, A A p) = {other:.6g} for p = b; wanted a symmetric "
            "(complex: Hermitian) matrix"
        )
