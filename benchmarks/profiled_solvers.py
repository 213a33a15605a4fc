"""The solvers of the performance profile, in a process of their own.

    python benchmarks/profiled_solvers.py

Writes which solvers can run here, and whether each is for Hermitian matrices alone: a JSON object on a line. Then it
reads requests from standard input, a JSON object a line, and answers each by the seconds that the solver took, null for
a failure. A request names a solver, a file of NumPy's with a matrix in CSR and a right-hand side, and the seconds
allowed. SciPy, PyAMG, PETSc and Resolvent are imported by those who need them: where there is one alone, it runs alone.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

RTOL = 1e-8
ROOM = 1.01  # of the tolerance: what rounding in the norm of a peer's own may cost it
LONG = 10.0  # seconds after which a call is not repeated
SHORTEST = 0.3  # seconds of calls, from which no more are made


class System(NamedTuple):
    """A square matrix in CSR, and a right-hand side."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    b: np.ndarray

    def matrix(self) -> Any:
        """As SciPy has it."""
        from scipy.sparse import csr_matrix

        return csr_matrix((self.data.copy(), self.indices.copy(), self.indptr.copy()), shape=(self.b.size,) * 2)


Solver = Callable[[System, float], np.ndarray]


class TooSlow(Exception):
    """The time of a solver is up."""


def stop_at(deadline: float) -> Callable[..., None]:
    """A callback that ends a solver."""

    def callback(*_: Any) -> None:
        if time.perf_counter() > deadline:
            raise TooSlow

    return callback


def scipys(method: str, factored: bool) -> Solver:
    """One of SciPy's, with or without SuperLU's incomplete factors."""

    def run(system: System, deadline: float) -> np.ndarray:
        from scipy.sparse import linalg

        A = system.matrix()
        options: dict[str, Any] = {"rtol": RTOL, "maxiter": 10 * system.b.size, "callback": stop_at(deadline)}
        if method == "gmres":
            options |= {"restart": 30, "callback_type": "pr_norm"}
        if factored:
            factors = linalg.spilu(A.tocsc())
            options["M"] = linalg.LinearOperator(A.shape, factors.solve, dtype=A.dtype)
        return getattr(linalg, method)(A, system.b.copy(), **options)[0]

    return run


def spsolve(system: System, deadline: float) -> np.ndarray:
    """SciPy's direct solver."""
    from scipy.sparse import linalg

    return linalg.spsolve(system.matrix(), system.b.copy())


def blackbox(system: System, deadline: float) -> np.ndarray:
    """PyAMG's choice of its own."""
    import pyamg

    return pyamg.solve(system.matrix(), system.b.copy(), tol=RTOL, verb=False, maxiter=400)


def aggregation(system: System, deadline: float) -> np.ndarray:
    """PyAMG's smoothed aggregation with conjugate gradients."""
    import pyamg

    hierarchy = pyamg.smoothed_aggregation_solver(system.matrix())
    return hierarchy.solve(system.b.copy(), tol=RTOL, accel="cg", maxiter=400, callback=stop_at(deadline))


def petscs(method: str, preconditioner: str) -> Solver:
    """PETSc, one process."""

    def run(system: System, deadline: float) -> np.ndarray:
        from petsc4py import PETSc

        indptr, indices = (part.astype(PETSc.IntType) for part in (system.indptr, system.indices))
        n, rhs = system.b.size, system.b.copy()
        matrix = PETSc.Mat().createAIJ(size=(n, n), csr=(indptr, indices, system.data.copy()))
        b, x = PETSc.Vec().createWithArray(rhs), PETSc.Vec().createSeq(n)
        solver = PETSc.KSP().create()
        solver.setOperators(matrix)
        solver.setType(method)
        solver.getPC().setType(preconditioner)
        if method == "gmres":
            solver.setPCSide(PETSc.PC.Side.RIGHT)
        solver.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        solver.setTolerances(rtol=RTOL, max_it=10 * n)
        solver.setMonitor(lambda *_: stop_at(deadline)())
        solver.solve(b, x)
        return x.getArray().copy()

    return run


def resolvent(system: System, deadline: float) -> np.ndarray:
    """``rv.solve`` as it is called without arguments but the tolerance."""
    import resolvent as rv

    return rv.solve(system.matrix(), system.b.copy(), rtol=RTOL).x


def solvers() -> dict[str, tuple[Solver, bool]]:
    """The solvers, and whether they are for Hermitian matrices alone."""
    found: dict[str, tuple[Solver, bool]] = {}
    if find_spec("resolvent") is not None:
        found["Resolvent"] = (resolvent, False)
    if find_spec("scipy") is not None:
        found["SciPy spsolve"] = (spsolve, False)
        for method in ("cg", "minres", "gmres", "bicgstab"):
            hermitian = method in ("cg", "minres")
            found[f"SciPy {method}"] = (scipys(method, False), hermitian)
            if method != "minres":  # which wants a definite preconditioner
                found[f"SciPy {method} + spilu"] = (scipys(method, True), hermitian)
    if find_spec("pyamg") is not None:
        found["PyAMG solve"] = (blackbox, False)
        found["PyAMG SA + CG"] = (aggregation, True)
    if find_spec("petsc4py") is not None:
        import petsc4py

        petsc4py.init([])
        for method, preconditioner in (("cg", "icc"), ("cg", "gamg"), ("cg", "hypre"), ("gmres", "ilu")):
            found[f"PETSc {method} + {preconditioner}"] = (petscs(method, preconditioner), method == "cg")
    return found


def missed(system: System, x: Any) -> float:
    """||b - A x|| / ||b||, summed in extended precision."""
    x, b = np.asarray(x).ravel(), system.b
    if x.shape != b.shape or not np.isfinite(x).all():
        return float("inf")
    wide = np.clongdouble if np.iscomplexobj(x) or system.data.dtype.kind == "c" else np.longdouble
    rows = np.repeat(np.arange(b.size), np.diff(system.indptr))
    r = b.astype(wide)
    np.subtract.at(r, rows, system.data.astype(wide) * x.astype(wide)[system.indices])
    return float(np.linalg.norm(r.astype(complex)) / np.linalg.norm(b))


def timed(solve: Solver, system: System, limit: float, first_limit: float) -> float | None:
    """The shortest of some calls in seconds; None for a failure.

    The first call may take ``first_limit``; where that is more, it is one in which kernels are compiled, and does not
    count.
    """
    best, spent, first = float("inf"), 0.0, True
    while True:
        began = time.perf_counter()
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                x = solve(system, began + (first_limit if first else limit))
        except Exception:  # whatever a peer raises, it has not solved the system
            return None
        taken = time.perf_counter() - began
        if first and not missed(system, x) <= ROOM * RTOL:
            return None
        best, spent = min(best, taken), spent + taken
        compiling = first and first_limit > limit
        if compiling:
            best, spent = float("inf"), 0.0
        if (spent > SHORTEST and not first) or (taken > LONG and not compiling):
            return best if best <= limit else None
        first = False


def main() -> None:
    """Say what there is, and answer requests."""
    out, sys.stdout = sys.stdout, sys.stderr  # what peers print is no answer
    chosen = solvers()
    print(json.dumps({name: hermitian for name, (_, hermitian) in chosen.items()}), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        with np.load(request["file"]) as parts:
            system = System(*(parts[name] for name in System._fields))
        seconds = timed(chosen[request["solver"]][0], system, request["limit"], request["first_limit"])
        print(json.dumps(seconds), file=out, flush=True)


if __name__ == "__main__":
    main()
