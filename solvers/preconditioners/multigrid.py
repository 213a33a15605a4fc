"""One cycle of geometric multigrid, on the grid behind a stencil or a matrix of few diagonals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from ...errors import BackendError, InputError, NotHermitianError
from ...naming import refusing_other_names
from ...operators import Diagonals, Facts, Operator, Stencil
from ...operators.grid import MOST_OFFSETS, GridMatrix, alike, grid_matrix, matrix_of_stencil, sides_of_grid
from ...precision import precision_facts
from .base import BoundPreconditioner, Preconditioner

__all__ = ["Level", "MultigridPreconditioner", "grid_behind", "grid_that_pays", "hierarchy", "multigrid"]

COARSEST = 128  # unknowns that are left to a full matrix
FEWEST = 3  # points along an axis that is coarsened
STRONG = 0.3  # of the strongest coupling: axes with less are not coarsened as yet
SAMPLED = 4096  # points that tell of what sign couplings are
FEW = 1000  # entries that tell most matrices which are on no grid
SHARP = 2.1  # a row sum over its diagonal entry that is sharp enough: couplings below zero, rows zero in sum, have 2
POWERS = 4
SPAN = 6.0  # of the part of the spectrum that smoothing has to reduce
PAYS_ABOVE = 36.0  # condition: below, conjugate gradients alone take less than 60 iterations to a residual of 1e-8
PAYS_MARGIN = 1e-8  # of a row sum: how far from dominant rounding may have left a row
PAYS_NEGATIVE = 0.9  # of the couplings, at least
INSTEAD = "rv.precondition.ssor and polynomial need no grid"


@dataclass(frozen=True)
class Level:
    """A grid, and how it hangs together with the next coarser one.

    Attributes
    ----------
    matrix : GridMatrix
    left, right : tuple of three ndarrays
        Interpolation weights along each axis, as ``backends.compiled.multigrid.Transfer`` has them.
    coarse_sides : (int, int, int)
    bound : float
        What no eigenvalue of D^-1 A exceeds.
    """

    matrix: GridMatrix
    left: tuple[np.ndarray, np.ndarray, np.ndarray]
    right: tuple[np.ndarray, np.ndarray, np.ndarray]
    coarse_sides: tuple[int, int, int]
    bound: float

    def factors(self, degree: int) -> np.ndarray:
        """Those of Jacobi steps whose product is Chebyshev's polynomial on [bound / SPAN, bound]."""
        angles = math.pi * (np.arange(degree) + 0.5) / degree
        low, high = self.bound / SPAN, self.bound
        return (2 / (high + low + (high - low) * np.cos(angles))).astype(self.matrix.data.dtype)


class MultigridPreconditioner(Preconditioner):
    """M r = the iterate of one V-cycle for A x = r from x = 0."""

    def __init__(self, A: Operator, grid: GridMatrix, degree: int) -> None:
        self.operator, self.grid, self.degree = A, grid, degree
        self.shape, self.dtype = A.shape, A.dtype
        self._made: dict[np.dtype, tuple[list[Level], np.ndarray]] = {}
        self.levels(self.dtype)

    def levels(self, dtype: np.dtype) -> tuple[list[Level], np.ndarray]:
        """The levels in this precision, and the inverse of the coarsest matrix."""
        if dtype not in self._made:
            self._made[dtype] = hierarchy(self.grid.astype(dtype))
        return self._made[dtype]

    def memory(self, dtype: np.dtype) -> float:
        levels, inverse = self.levels(dtype)
        arrays = [inverse, *(level.matrix.data for level in levels[1:])]
        arrays += [level.matrix.data[0] for level in levels]  # the inverse of the diagonal
        arrays += [weights for level in levels for weights in (*level.left, *level.right)]
        vectors = self.shape[0] + 3 * sum(math.prod(level.coarse_sides) for level in levels)
        return float(sum(array.nbytes for array in arrays)) + vectors * dtype.itemsize

    def rescaled(self, exponent: int) -> tuple[Preconditioner, int]:
        operator = self.operator.rescaled(-exponent)
        scaled = GridMatrix(self.grid.sides, self.grid.at, self.grid.offsets, np.ldexp(self.grid.data, -exponent))
        return MultigridPreconditioner(operator, scaled, self.degree), exponent

    def adjoint(self) -> MultigridPreconditioner:
        return self

    def bind(self, backend: Any, dtype: np.dtype) -> BoundPreconditioner:
        if backend.library != "numpy":
            raise BackendError(
                f"M: multigrid works on NumPy arrays, the system is on the {backend.name} backend; wanted an M of its "
                "library, since nothing is moved silently"
            )
        if dtype.kind == "c":
            raise InputError(f"M: multigrid is real, and found a {dtype} system; {INSTEAD}, and take complex ones")
        return _Cycle(self, dtype)


class _Cycle(BoundPreconditioner):
    """The V-cycle: on each level steps from zero, the residual to the next coarser one, its answer, the same steps."""

    kind = "multigrid"

    def __init__(self, M: MultigridPreconditioner, dtype: np.dtype) -> None:
        from ...backends.compiled import multigrid as kernels
        from ...backends.compiled.coarsening import arrays_of_grid

        levels, self.inverse = M.levels(dtype)
        self.degree = M.degree
        self.grids = []
        for level in levels:
            A = level.matrix
            left, right = level.left, level.right
            arrays = arrays_of_grid(A)
            between = (left[0], right[0], left[1], right[1], left[2], right[2])
            transfer = kernels.Transfer(*level.coarse_sides, *between)
            coarse = math.prod(level.coarse_sides)
            room = np.empty(A.n, dtype), np.empty(coarse, dtype), np.empty(coarse, dtype)
            down, up = kernels.descend.for_size(A.n), kernels.ascend.for_size(A.n)
            self.grids.append((down, up, arrays, transfer, level.factors(M.degree), *room))

    def work(self, entries: int) -> int:
        return 3 * self.degree * entries

    def apply(self, r: Any, out: Any) -> Any:
        return self._cycle(0, r, out)

    def _cycle(self, level: int, r: Any, out: Any) -> Any:
        if level == len(self.grids):
            return np.matmul(self.inverse, r, out=out)
        down, up, A, P, factors, x, rest, correction = self.grids[level]
        down(A, P, factors, r, x, rest)
        self._cycle(level + 1, rest, correction)
        up(A, P, factors, r, x, correction, out)
        return out


def hierarchy(A: GridMatrix) -> tuple[list[Level], np.ndarray]:
    """Coarser and coarser grids, and the inverse of the matrix on the last.

    Raises
    ------
    InputError
        Where it shows that A is not positive definite.
    """
    levels: list[Level] = []
    while A.n > COARSEST:
        axes = _axes_to_coarsen(A)
        if not axes:
            break
        level, A = _coarsened(A, axes)
        if not math.isfinite(level.bound):
            raise InputError(
                f"A: found a diagonal entry that is not positive on grid {len(levels)}; wanted a positive definite "
                f"matrix; rv.minres solves with others"
            )
        levels.append(level)
    return levels, _inverse(A)


def _axes_to_coarsen(A: GridMatrix) -> list[int]:
    """The last axis first: those along which points are coupled strongly, of the others errors are not smooth."""
    able = [axis for axis in (2, 1, 0) if A.sides[axis] >= FEWEST]
    strength = {}
    for axis in able:
        alone = [d for d, step in enumerate(A.offsets) if step[axis] and np.abs(step).sum() == 1]
        last = A.data.shape[1] - (axis == 0)  # of what leads out of the last unit nothing is read
        strength[axis] = float(np.abs(A.data[alone, :last]).mean()) if alone else 0.0
    most = max(strength.values(), default=0.0)
    return [axis for axis in able if strength[axis] >= STRONG * most]


def _coarsened(A: GridMatrix, axes: list[int]) -> tuple[Level, GridMatrix]:
    """One level, and the matrix on the next."""
    none = np.empty((0, 0), np.float32)
    left, right = [none] * 3, [none] * 3
    coarse, bound = A, 0.0
    for axis in axes:
        left[axis], right[axis], ratio, coarse = _coarsened_along(coarse, axis)
        bound = bound or ratio
    if SHARP < bound < math.inf and A.data.shape[1] == A.sides[0]:
        bound = _sharpened(A, bound)
    return Level(A, tuple(left), tuple(right), coarse.sides, bound), coarse  # type: ignore[arg-type]


def _sharpened(A: GridMatrix, bound: float) -> float:
    """What no eigenvalue of D^-1 A exceeds, by row sums weighted with powers of D^-1 |A| (Collatz)."""
    from ...backends.compiled import coarsening as kernels

    arrays, product = kernels.arrays_of_grid(A), kernels.product_of_moduli.for_size(A.n)
    inverse = arrays.inverse.ravel()
    weights, sums = np.ones(A.n, inverse.dtype), np.empty(A.n, inverse.dtype)
    for _ in range(POWERS):
        product(arrays, weights, sums)
        sums *= inverse
        bound = min(bound, float((sums / weights).max()))
        weights, sums = sums / sums.max(), weights
    return bound


def _coarsened_along(A: GridMatrix, axis: int) -> tuple[np.ndarray, np.ndarray, float, GridMatrix]:
    """Weights to the left and right, the largest row sum over a diagonal entry, and P^T A P."""
    from ...backends.compiled import coarsening as kernels

    arrays = kernels.arrays_of_grid(A)
    kept = A.kept
    between = list(A.sides[1:])
    if axis:
        between[axis - 1] = (A.sides[axis] + 1) // 2
    left, right = np.zeros((2, kept.size, math.prod(between)), np.float32)
    ratios = np.empty(kept.size)
    kernels.interpolation.for_size(A.n)(arrays, kept, axis, left, right, ratios)

    sides = [side // 2 if k == axis else side for k, side in enumerate(A.sides)]
    at = A.at
    if axis == 0:
        at = np.arange(sides[0]) if kept.size == A.sides[0] else alike(sides[0])
        kept = np.unique(at, return_index=True)[1]
    offsets = _offsets_on_coarse(A.offsets, axis)
    index = np.full(27, -1)
    index[(offsets + 1) @ (9, 3, 1)] = np.arange(len(offsets))
    data = np.empty((len(offsets), kept.size, sides[1] * sides[2]), A.data.dtype)
    one = np.ones(1, np.float32)
    kernels.product_on_coarse.for_size(A.n)(arrays, axis, left, right, kept, index, one, data)
    return left, right, float(ratios.max()), GridMatrix(tuple(sides), at, offsets, data)  # type: ignore[arg-type]


def _offsets_on_coarse(offsets: np.ndarray, axis: int) -> np.ndarray:
    """The steps to neighbours of P^T A P: those of A, any one along the axis; the point itself first."""
    found = {(0, 0, 0)}
    for step in offsets.tolist():
        for along in (-1, 0, 1):
            step[axis] = along
            # Of two opposite ones that after the point.
            found.add(max(tuple(step), tuple(-one for one in step)))
    return np.array(sorted(found))


def _inverse(A: GridMatrix) -> np.ndarray:
    """Of the full matrix; where it is singular to rounding, of what it is on the rest of the space."""
    full = np.zeros((*A.sides, *A.sides))
    points = np.indices(A.sides).reshape(3, -1).T
    for d, step in enumerate(A.offsets):
        there = points + step
        inside = ((there >= 0) & (there < A.sides)).all(1)
        here, there = points[inside], there[inside]
        values = A.data[d, A.at[here[:, 0]], here[:, 1] * A.sides[2] + here[:, 2]]
        full[(*here.T, *there.T)] = full[(*there.T, *here.T)] = values
    values, vectors = np.linalg.eigh(full.reshape(A.n, A.n))
    rounding = A.n * precision_facts(A.data.dtype).unit_roundoff * float(np.abs(values).max(initial=0.0))
    if values.size and values[0] < -10 * rounding:
        raise InputError(
            "A: found an eigenvalue below zero on the coarsest grid; wanted a positive definite matrix; "
            "rv.minres solves with others"
        )
    regular = values > 10 * rounding
    inverse = (vectors[:, regular] / values[regular]) @ vectors[:, regular].T
    return inverse.astype(A.data.dtype)


def grid_behind(A: Operator, backend: Any) -> GridMatrix:
    """The grid of a matrix.

    Raises
    ------
    InputError
        Where there is none, or the matrix is not real; NotHermitianError where it is not symmetric.
    """
    if isinstance(A, Stencil):
        return matrix_of_stencil(A)
    if A.dtype.kind == "c":
        raise InputError(f"A: found {A.dtype}; wanted a real matrix for multigrid; {INSTEAD}")
    if A.library != "numpy" or not A.explicit:
        raise InputError(f"A: multigrid needs entries in NumPy arrays; {INSTEAD}")
    diagonals = _diagonals(A, backend)
    if diagonals is None:
        raise InputError(f"A: found more diagonals than a point of a grid has neighbours; {INSTEAD}")
    if not diagonals.symmetric:
        facts = backend.facts(diagonals)
        if not facts.hermitian(precision_facts(A.dtype).unit_roundoff):
            raise NotHermitianError(
                f"A: multigrid needs a symmetric matrix, but A and its transpose differ by "
                f"{facts.asymmetry / facts.max_abs:.1e} of the largest entry; rv.gmres takes others, with M='ssor'"
            )
    try:
        return grid_matrix(diagonals)
    except InputError as error:
        raise InputError(f"{error}; {INSTEAD}") from None


def grid_that_pays(A: Operator, facts: Facts, backend: Any) -> tuple[int, ...] | None:
    """The grid of a symmetric matrix for which conjugate gradients gain by multigrid; None where they do not.

    Making the preconditioner costs about ten iterations without it, an application about four. What it takes on trust
    is that errors which Jacobi steps leave are smooth, as they are where rows are zero in sum, or nearly so, and
    couplings negative.
    """
    if A.library != "numpy" or A.dtype.kind == "c" or not facts.diagonal_positive:
        return None
    if facts.margin < -PAYS_MARGIN * facts.row_sum or facts.margin * PAYS_ABOVE > facts.row_sum:
        return None
    if isinstance(A, Stencil):
        return A.grid if np.all(A.coefficients[1:] <= 0) else None
    diagonals = backend.prepare(A, facts)
    if not isinstance(diagonals, Diagonals):
        return None
    grid = sides_of_grid(diagonals)
    couplings = diagonals.data[diagonals.offsets != 0, :: max(1, A.shape[0] // SAMPLED)]
    return grid if grid is not None and couplings.sum() <= -PAYS_NEGATIVE * np.abs(couplings).sum() else None


def _diagonals(A: Operator, backend: Any) -> Diagonals | None:
    """The matrix by diagonals, unless there are too many."""
    A = backend.prepare(A, None)
    if isinstance(A, Diagonals):
        return A
    matrix = A.tocsr()
    rows = np.repeat(np.arange(A.shape[0]), np.diff(matrix.indptr))
    distances = matrix.indices - rows
    for some in (distances[:FEW], distances):
        offsets = np.unique(some)
        if offsets.size > 2 * MOST_OFFSETS - 1:
            return None
    data = np.zeros((offsets.size, A.shape[0]), A.dtype)
    data[np.searchsorted(offsets, distances), rows] = matrix.data
    return Diagonals(data, offsets)


@refusing_other_names
def multigrid(A: Any, degree: int = 2, *, backend: Any = None) -> MultigridPreconditioner:
    """A V-cycle of multigrid, for a matrix on a regular grid of one to three axes.

    The grid is that of a ``Stencil``, or is recognised by the diagonals that a matrix has: points are numbered line
    after line, and coupled to some of their 2, 8 or 26 neighbours. Coarser grids have every other point along each
    axis, but for those along which points are coupled weakly; interpolation follows the couplings, so that coefficients
    may jump; and their matrices are P^T A P. On each grid ``degree`` damped Jacobi steps smooth before and after the
    coarser ones.

    Parameters
    ----------
    A : real symmetric positive definite matrix with entries at hand, or Stencil, (n, n)
    degree : int
        Steps, which make Chebyshev's polynomial over the upper part of the spectrum.
    backend : str, optional
        As in ``resolvent.cg``.

    Returns
    -------
    MultigridPreconditioner
        Symmetric positive definite. An application costs about ``3 * degree`` products with A. Beside A it keeps what
        six vectors take, two or three where the lines (in three dimensions, planes) are all alike.

    Raises
    ------
    InputError
        For a matrix that is not on a grid, complex, or seen not to be positive definite; a degree below 1.
    NotHermitianError
        For one that is not symmetric.

    Notes
    -----
    Making it costs about as much as 20 products with A. Iterations of conjugate gradients hardly depend on n: 6 to 8 to
    a residual of 1e-8 for Poisson's equation, more where coefficients jump from point to point.

    References
    ----------
    Dendy (1982), "Black box multigrid", for the interpolation, here one axis after the other; Adams, Brezina, Hu &
    Tuminaro (2003), "Parallel multigrid smoothing: polynomial versus Gauss-Seidel".

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> problem = rv.gallery.poisson((63, 63))
    >>> solution = rv.cg(problem.A, problem.b, M="multigrid", rtol=1e-8)
    >>> solution.converged, solution.iterations < 9
    (True, True)
    """
    from ...backends import choose_backend

    if not isinstance(degree, Integral) or isinstance(degree, bool) or degree < 1:
        raise InputError(f"degree: found {degree!r}; wanted an integer of at least 1")
    chosen = choose_backend(backend, A).exact
    operator = chosen.operator(A)
    return MultigridPreconditioner(operator, grid_behind(operator, chosen), int(degree))
