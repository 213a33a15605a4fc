"""Algebraic multigrid: hierarchies set up by PyAMG, cycled here."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import scipy.sparse as sparse

from ...errors import BackendError, InputError, NotHermitianError
from ...naming import choice, refusing_other_names
from ...operators import Facts, Operator
from ...precision import precision_facts
from .multilevel import Hierarchy, Level
from .polynomial import guarded_largest

__all__ = ["amg", "is_elliptic", "is_installed"]

METHODS = ("auto", "ruge_stuben", "smoothed_aggregation", "rootnode")
COARSEST = 300  # unknowns, up to which a level is solved by its inverse
SLACK = 1e-3  # of the largest row sum: rows with more on the diagonal make conjugate gradients fast without
LANCZOS = 10  # steps, for the upper end of the spectrum of each level
POSITIVE = 0.1  # of the sum of the moduli off the diagonal, up to which it is scalar diffusion
RANGE = 6.0  # of the part of the spectrum that a cycle smooths


@refusing_other_names
def amg(
    A: Any,
    method: str = "auto",
    *,
    degree: int = 2,
    hierarchy: Any = None,
    backend: Any = None,
    **options: Any,
) -> Hierarchy:
    """Algebraic multigrid: one V-cycle over a hierarchy that PyAMG sets up.

    Parameters
    ----------
    A : Hermitian positive definite matrix with entries at hand, (n, n)
    method : {"auto", "ruge_stuben", "smoothed_aggregation", "rootnode"}
        PyAMG's way to coarsen. By default that of Ruge and Stueben where hardly an entry off the diagonal is positive,
        as in scalar diffusion; smoothed aggregation otherwise, as in elasticity.
    degree : int
        Steps of Chebyshev iteration that smooth the error before, and as many after each correction.
    hierarchy : pyamg.MultilevelSolver, optional
        One that was set up for A already.
    backend : str, optional
        As in ``resolvent.cg``.
    **options
        For PyAMG's ``smoothed_aggregation_solver`` and its like: ``B``, the near null space, for elasticity.

    Returns
    -------
    Hierarchy
        Hermitian positive definite. An application costs ``2 * degree`` products with each matrix, about half as many
        again in all as with A alone; kept are the matrices below A, the prolongations, and five vectors a level.

    Raises
    ------
    ImportError
        Where PyAMG is not installed.
    InputError
        For a matrix-free A, one whose diagonal is not positive, an unknown method, a degree below 1, and a hierarchy
        of another shape.
    NotHermitianError
        For an A that is not Hermitian.
    BackendError
        For an A that is not in NumPy arrays, of which a hierarchy can be set up.

    References
    ----------
    Vanek, Mandel & Brezina (1996), "Algebraic multigrid by smoothed aggregation for second and fourth order elliptic
    problems"; Ruge & Stueben (1987), "Algebraic multigrid"; Adams, Brezina, Hu & Tuminaro (2003), "Parallel multigrid
    smoothing: polynomial versus Gauss-Seidel"; Bell, Olson, Schroder & Southworth (2023), "PyAMG: algebraic multigrid
    solvers in Python".

    Examples
    --------
    >>> import resolvent as rv
    >>> grid = rv.gallery.poisson((64, 64))
    >>> rv.cg(grid.A, grid.b, M=rv.precondition.amg(grid.A), rtol=1e-8).iterations < 20
    True
    """
    from ...backends import choose_backend

    if not isinstance(degree, (int, np.integer)) or isinstance(degree, bool) or degree < 1:
        raise InputError(f"degree: found {degree!r}; wanted an integer of at least 1")
    method = choice("method", method, METHODS)
    chosen = choose_backend(backend, A)
    operator = chosen.operator(A)
    diagonal = operator.diagonal()
    if operator.library != "numpy":
        raise BackendError(f"A: found a matrix on the {chosen.name} backend; wanted NumPy arrays or SciPy matrices")
    facts = operator.facts()
    if facts is not None and not facts.hermitian(precision_facts(operator.dtype).unit_roundoff):
        raise NotHermitianError("A: found a matrix that is not Hermitian; wanted one, or use ilu or ssor")
    if facts is not None and not facts.diagonal_positive:
        row = int(np.argmin(np.real(diagonal) > 0))
        raise InputError(
            f"A: the diagonal entry of row {row} is not positive, so A is not positive definite; use ilu or ssor"
        )
    matrix = operator.tocsr()
    method = _fitting(matrix) if method == "auto" else method
    solver = _set_up(matrix, method, options) if hierarchy is None else hierarchy
    levels = solver.levels
    if levels[0].A.shape != operator.shape:
        raise InputError(f"hierarchy: found one of the shape {levels[0].A.shape}; wanted {operator.shape}, that of A")
    return Hierarchy([_level(level) for level in levels[:-1]], _dense(levels[-1].A), int(degree), RANGE)


def _fitting(A: Any) -> str:
    off = A.data.real[A.indices != np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))]
    positive = float(off[off > 0].sum())
    return "ruge_stuben" if positive <= POSITIVE * float(np.abs(off).sum()) else "smoothed_aggregation"


def is_installed() -> bool:
    """Whether PyAMG can be imported."""
    return importlib.util.find_spec("pyamg") is not None


def is_elliptic(A: Operator, facts: Facts | None) -> bool:
    """Whether the rows of a symmetric A are those of diffusion: sparse, and next to nothing in sum, but for few."""
    if facts is None or A.kind == "dense" or not facts.diagonal_positive:
        return False
    rounding = 1e3 * precision_facts(A.dtype).unit_roundoff * facts.row_sum
    return -rounding <= facts.margin <= SLACK * facts.row_sum


def _set_up(A: Any, method: str, options: dict[str, Any]) -> Any:
    try:
        import pyamg
    except ImportError:
        raise ImportError("amg: PyAMG is not installed; pip install 'resolvent[amg]'") from None
    make = {
        "smoothed_aggregation": pyamg.smoothed_aggregation_solver,
        "ruge_stuben": pyamg.ruge_stuben_solver,
        "rootnode": pyamg.rootnode_solver,
    }[method]
    return make(sparse.csr_matrix(A), **{"max_coarse": COARSEST, **options})


def _level(level: Any) -> Level:
    A, P, R = (sparse.csr_array(part) for part in (level.A, level.P, level.R))
    return Level(A, P, R, _largest(A))


def _dense(A: Any) -> np.ndarray:
    return A.toarray() if sparse.issparse(A) else np.asarray(A)


def _largest(A: Any) -> float:
    """The largest eigenvalue of D^{-1} A and a margin, by Lanczos steps; no more than Gershgorin allows."""
    from ...backends import choose_backend

    scale = 1 / np.sqrt(A.diagonal().real)
    scaled = sparse.diags_array(scale) @ A @ sparse.diags_array(scale)
    backend = choose_backend(None, scaled)
    bound = float(np.max(abs(scaled).sum(axis=1), initial=0.0))
    return min(bound, guarded_largest(backend, backend.operator(scaled), LANCZOS))
