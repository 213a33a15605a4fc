"""One matrix, many right-hand sides, one after the other: what is known of A is found once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.sparse as sparse

from ...backends import choose_backend
from ...errors import BackendError, InputError
from ...naming import refusing_other_names
from ...operators import CSR, Operator, check_square
from ...operators.libraries import library_of
from ...operators.stack import Pattern
from ...precision import working_dtype
from ..driver.batch import Batch, Together, as_array, one_or_many
from ..driver.iterate import iterate
from ..driver.solution import Solution
from ..driver.stopping import Options
from ..driver.turn import Turn
from ..krylov.cg import CG
from ..methods import STAGES, MethodName, is_auto, method_named
from .choose import solve_by_choice
from .method import LinearMethod
from .run import check_fits, solve_together
from .small import Room, Small, small_solver
from .system import LinearSystem, check_entries

if TYPE_CHECKING:
    from ...backends import Backend
    from ...precision import Precision
    from ...precision.formats import BlockFormat, Format

__all__ = ["PreparedSolver", "prepare"]


class PreparedSolver:
    """Solves with one matrix; made by ``resolvent.prepare``.

    Attributes
    ----------
    shape : (int, int)
    dtype : numpy dtype
    method : str
        Its name, or "auto".
    """

    def __init__(self, A: Any, method: LinearMethod[Any] | None, M: Any, backend: Any, precision: Any) -> None:
        self.backend, self._library = choose_backend(backend, A).keeping(), library_of(A)
        self.M, self.precision = M, precision
        self._method = method
        self.small: Small | None = small_solver(CG(), CG.why_chosen) if method is None else small_solver(method)
        self._turn = Turn()
        self._take(self.backend.operator(A))
        self._given = _Given(A)

    @property
    def shape(self) -> tuple[int, int]:
        """That of A."""
        return self._operator.shape

    @property
    def dtype(self) -> np.dtype:
        """That of A, in working precision."""
        return self._operator.dtype

    @property
    def method(self) -> str:
        """Its name."""
        return "auto" if self._method is None else self._method.name

    def _owned(self, operator: Operator, before: Operator | None = None) -> Operator:
        """Entries that the caller can no longer change; their places may be those of the operator before."""
        if isinstance(operator, CSR):
            ours = isinstance(before, CSR) and operator.indptr is before.indptr and operator.indices is before.indices
            indptr, indices = operator.indptr, operator.indices
            data = self.backend.copy(operator.data)
            return CSR(indptr, indices, data) if ours else CSR(indptr.copy(), indices.copy(), data)
        return operator.mapped(self.backend.copy) if operator.explicit else operator

    def _take(self, operator: Operator, before: Operator | None = None) -> None:
        """Look at a new A, and take it unless it is refused."""
        operator = self._owned(operator, before)
        facts = self.backend.facts(operator) if operator.explicit and operator.shape[0] else None
        if facts is not None:
            check_entries(operator, facts)
        self._operator = operator
        self._systems: dict[np.dtype, LinearSystem] = {}
        plain = self.small is not None and self.M is None and self.precision is None and self.backend.compiles_solves
        self._room = Room(facts) if plain and facts is not None else None

    @refusing_other_names
    def solve(
        self,
        b: Any,
        *,
        x0: Any = None,
        rtol: float = 1e-5,
        atol: float = 0.0,
        maxiter: int | None = None,
        callback: Any = None,
        progress: bool = False,
        time_limit: float | None = None,
        errors: str = "raise",
    ) -> Solution[Any]:
        """Solve A x = b; the parameters and errors are those of ``resolvent.cg``.

        Raises
        ------
        BusyError
            While it is solving already, in another thread or further up in this one.
        """
        options = Options(rtol, atol, maxiter, callback, progress, time_limit, errors=errors)
        with self._turn.taken("solver"):
            return one_or_many(self, self._operator, b, x0, options)

    def update(self, values: Any) -> PreparedSolver:
        """Take other entries in the places of the old ones.

        Parameters
        ----------
        values : array_like, or matrix like A
            Of a sparse A its data, in the order in which A held them, or a sparse matrix of the same pattern, in any
            format; of a full A the matrix.

        Returns
        -------
        PreparedSolver
            Itself.

        Raises
        ------
        InputError
            For another shape or pattern, entries that are not finite, and an A that only multiplies. The solver keeps
            the entries that it had.
        BusyError
            While it is solving.
        """
        with self._turn.taken("solver"):
            values = values if hasattr(values, "matvec") else as_array(values, "values")
            self._check_library("values", values)
            before = self._operator
            self._take(self._given.filled(self.backend, before, values), before)
        return self

    # How one_or_many solves.

    def alone(self, A: Any, b: Any, x0: Any, options: Options) -> Solution:
        """One system."""
        if self.small is not None and self._room is not None and options.unobserved:
            self._check_library("b, x0", b, x0)
            guess = None if x0 is None else self.backend.vector(x0, "x0")
            vector = self.backend.vector(b, "b")
            solution = self.small.solve(self.backend, self._operator, vector, guess, options, self._room)
            if solution is not None:
                return solution
        with np.errstate(all="ignore"):  # overflow and NaN are looked for, and reported in words
            system = self._system(b, x0)
            if self._method is None:
                return solve_by_choice(system, STAGES, options)
            check_fits(self._method, system)
            return iterate(system, self._method, options)

    def together(self, batch: Batch, options: Options) -> Together | None:
        """Those of many right-hand sides that are small and take the ordinary course."""
        self._check_library("b, x0", batch.b, batch.x0)
        return solve_together(self, batch, options)

    def _check_library(self, name: str, *arrays: Any) -> None:
        for x in arrays:
            if self._library is not None and library_of(x) not in (None, self._library):
                raise BackendError(
                    f"{name}: found {library_of(x)}, but A was given in {self._library} arrays; convert one of them, "
                    "since nothing is moved between libraries silently"
                )

    def _system(self, b: Any, x0: Any) -> LinearSystem:
        """The system of this right-hand side; what was done to A for earlier ones of its type is done."""
        self._check_library("b, x0", b, x0)
        dtypes = [
            _working(self.backend.numpy_dtype(self.backend.vector(x, name)), name)
            for x, name in ((b, "b"), (x0, "x0"))
            if x is not None
        ]
        dtype = working_dtype(self._operator.dtype, *dtypes)
        known = self._systems.get(dtype)
        if known is None:
            known = LinearSystem(self._operator, b, x0=x0, M=self.M, backend=self.backend, precision=self.precision)
            if known.facts is not None:  # otherwise units are found by a product with b
                known.prepare()
            self._systems[dtype] = known
        return known.again(b, x0)


class _Given:
    """Where the caller's A held its entries."""

    def __init__(self, A: Any) -> None:
        self._coordinates: tuple[np.ndarray, np.ndarray] | None = _coordinates(A)
        self._pattern: Pattern | None = None

    def filled(self, backend: Any, operator: Operator, values: Any) -> Operator:
        """The operator with other entries."""
        if not operator.explicit:
            raise InputError("values: A only multiplies, and has no entries to take others for; prepare anew")
        shape = tuple(values.shape)
        if self._coordinates is not None and len(shape) == 1:
            return self._of_data(operator, backend.vector(values, "values"))
        if shape != tuple(operator.shape):
            entries = "" if self._coordinates is None else f", or the {len(self._coordinates[0])} entries of A"
            raise InputError(f"values: found shape {shape}; wanted {tuple(operator.shape)}{entries}")
        other = backend.operator(values, "values")
        if other.kind != operator.kind:
            raise InputError(f"values: found a matrix stored as {other.kind}; A is stored as {operator.kind}")
        if isinstance(operator, CSR) and not (
            np.array_equal(other.indptr, operator.indptr) and np.array_equal(other.indices, operator.indices)
        ):
            raise InputError("values: the pattern is another than that of A; prepare anew")
        return other

    def _of_data(self, operator: Any, values: Any) -> Operator:
        assert self._coordinates is not None
        rows, columns = self._coordinates
        if values.shape != (len(rows),):
            raise InputError(f"values: found shape {tuple(values.shape)}; wanted ({len(rows)},), the entries of A")
        if self._pattern is None:
            self._pattern = Pattern.of_coordinates(rows, columns, operator.shape[0])
        placed = self._pattern.placed(np.asarray(values, _working(values.dtype, "values")))
        return CSR(operator.indptr, operator.indices, placed)


def _working(dtype: Any, name: str) -> np.dtype:
    """The type that numbers of this one are worked with in."""
    try:
        return working_dtype(dtype)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def _coordinates(A: Any) -> tuple[Any, Any] | None:
    """Row and column of each entry of a SciPy sparse matrix, in the order of its data; None for anything else."""
    if not sparse.issparse(A):
        return None
    if A.format in ("csr", "csc"):
        lines = np.repeat(np.arange(len(A.indptr) - 1), np.diff(A.indptr))
        return (lines, A.indices.copy()) if A.format == "csr" else (A.indices.copy(), lines)
    A = A.tocoo()
    return A.row.copy(), A.col.copy()


@refusing_other_names
def prepare(
    A: Any,
    *,
    method: Literal["auto"] | MethodName = "auto",
    M: Any = None,
    backend: str | Backend | None = None,
    precision: str | Format | BlockFormat | Precision | None = None,
    **parameters: Any,
) -> PreparedSolver:
    """A solver for one matrix and many right-hand sides, given one after the other.

    A is checked, copied, looked at and put into the storage that is multiplied fastest once; so is M. Parameters that a
    method finds for itself (``omega``, ``interval``) are found in each solve.

    Parameters
    ----------
    A, M, backend, precision :
        As in ``resolvent.cg``, A a single matrix. Its entries are copied: what the caller does to A is not seen, see
        ``PreparedSolver.update``. A callable is called as it is.
    method : str
        "auto" or a name in ``resolvent.METHODS``.
    **parameters
        Of the method named.

    Returns
    -------
    PreparedSolver
        With ``solve(b, ...)`` and ``update(values)``. One thread at a time: others are refused with a ``BusyError``.

    Raises
    ------
    InputError
        As in ``resolvent.solve``.

    Notes
    -----
    Costs a copy of A, and about two passes over its entries.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.array([[4.0, 1.0], [1.0, 3.0]])
    >>> solver = rv.prepare(A, method="cg")
    >>> np.allclose(solver.solve([1.0, 2.0], rtol=1e-12).x, [1 / 11, 7 / 11])
    True
    >>> solver.update(2 * A).solve([2.0, 4.0], rtol=1e-12).converged
    True
    """
    chosen = None if is_auto(method, parameters) else method_named(method, parameters)
    if not (callable(A) or hasattr(A, "shape")):
        A = as_array(A, "A")
    check_square(getattr(A, "shape", ()))
    return PreparedSolver(A, chosen, M, backend, precision)
