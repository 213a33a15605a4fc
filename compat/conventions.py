"""SciPy's conventions in ours: signatures, what A, b, x0 and M may be, tolerances of any size, and no warnings.

CuPy follows them on its own arrays; what the two libraries call differently is a ``Library``.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple, TypeVar

import numpy as np
from scipy import sparse
from scipy.linalg import norm
from scipy.sparse import linalg

from ..errors import BackendError, InputError, NotHermitianError
from ..operators import Operator, check_matrix
from ..operators.exchange import refuse_masked
from ..solvers.driver.batch import TELL
from ..solvers.driver.progress import Progress
from ..solvers.driver.solution import Solution
from ..solvers.driver.status import Status
from ..solvers.preconditioners.base import Preconditioner

__all__ = ["SCIPY", "Library", "System", "every_iterate", "shown", "solved", "tolerances"]

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound=Solution[Any])


class Library(NamedTuple):
    """A library with functions like those of ``scipy.sparse.linalg``.

    Attributes
    ----------
    name : str
    xp, sparse, linalg : module
        Its arrays, its sparse matrices, and the functions themselves.
    """

    name: str
    xp: Any
    sparse: Any
    linalg: Any

    def drop_in(self, function: F) -> F:
        """The function with the signature of the one of this name in the library that is installed.

        Parameters that another version has besides, or takes by position, are that version's affair: a call with them
        is handed on to it.
        """
        theirs = getattr(self.linalg, function.__name__)
        signature, own = inspect.signature(theirs), inspect.signature(function)
        call: Any = function
        if _shape(signature) != _shape(own):

            @functools.wraps(function)
            def call(*args: Any, **kwargs: Any) -> Any:
                try:
                    bound = signature.bind(*args, **kwargs)
                except TypeError:
                    return theirs(*args, **kwargs)
                if not set(bound.arguments) <= set(own.parameters):
                    return theirs(*args, **kwargs)
                bound.apply_defaults()
                return function(**{name: value for name, value in bound.arguments.items() if name in own.parameters})

        call.__signature__ = signature
        return call

    def array(self, given: Any, name: str) -> Any:
        """An array of this library; others than NumPy take nothing from the host unasked."""
        refuse_masked(given, name)
        if self.xp is not np and not isinstance(given, self.xp.ndarray):
            raise BackendError(f"{name}: found {type(given).__name__}; wanted an array of {self.name}")
        return self.xp.asarray(given)

    def matrix(self, A: Any, name: str = "A") -> Any:
        """An array or sparse matrix in one of SciPy's four precisions, an Operator of ours, or a LinearOperator."""
        if isinstance(A, Operator):
            return A
        if self.xp is not np and (isinstance(A, np.ndarray) or sparse.issparse(A)):
            raise BackendError(f"{name}: found {type(A).__name__}; wanted a matrix of {self.name}")
        if isinstance(A, np.matrix):
            A = np.asarray(A)
        if not (isinstance(A, self.xp.ndarray) or self.sparse.issparse(A)):
            return self.linalg.aslinearoperator(A)
        check_matrix(A.shape)
        return A if A.dtype.char in "fdFD" else A.astype(_working(A.dtype))

    def vector(self, given: Any, name: str, size: int, dtype: Any) -> Any:
        """(size,) or (size, 1) as a flat array."""
        array = self.array(given, name)
        if array.shape not in ((size,), (size, 1)):
            raise InputError(f"{name}: found shape {array.shape}; wanted ({size},) or ({size}, 1)")
        return array.astype(dtype, copy=False).ravel()

    def norm(self, x: Any) -> float:
        """Euclidean norm of a vector."""
        return float(norm(x, check_finite=False) if self.xp is np else self.xp.linalg.norm(x))

    def identity(self, n: int) -> Any:
        """The sparse one."""
        return self.sparse.eye_array(n) if hasattr(self.sparse, "eye_array") else self.sparse.identity(n)


SCIPY = Library("NumPy", np, sparse, linalg)


def _shape(signature: inspect.Signature) -> list[tuple[str, Any, Any]]:
    """What decides which calls are taken, without the types."""
    return [(one.name, one.kind, one.default) for one in signature.parameters.values()]


def _working(dtype: Any) -> np.dtype:
    """Of SciPy's four precisions the one that stands for this type: what is none of them becomes a double."""
    dtype = np.dtype(dtype)
    return dtype if dtype.char in "fdFD" else np.dtype(np.complex128 if dtype.kind == "c" else np.float64)


class System(NamedTuple):
    """A x = b as the library's solvers take it.

    Attributes
    ----------
    library : Library
    A, M : as ``Library.matrix`` makes them; M may be None
    b : array of shape (n,)
    x0 : array of shape (n,) or None
    """

    library: Library
    A: Any
    b: Any
    x0: Any
    M: Any

    @classmethod
    def of(cls, library: Library, A: Any, b: Any, x0: Any, M: Any) -> System:
        """The arguments of a call, checked. An A with a method ``psolve`` brings its preconditioner."""
        psolve = getattr(A, "psolve", None)
        A = library.matrix(A)
        check_matrix(A.shape, square=True)
        n = A.shape[0]
        dtype = np.result_type(_working(A.dtype), _working(library.array(b, "b").dtype))
        b = library.vector(b, "b", n, dtype)
        if M is None and psolve is not None:
            M = library.linalg.LinearOperator(A.shape, matvec=psolve, dtype=A.dtype)
        elif M is not None and not isinstance(M, Preconditioner):
            M = library.matrix(M, "M")
        if isinstance(x0, str):
            if x0 != "Mb":
                raise InputError(f'x0: found {x0!r}; wanted an array, None, or "Mb", which stands for M b')
            x0 = b if M is None else M @ b
        elif x0 is not None:
            x0 = library.vector(x0, "x0", n, dtype)
        return cls(library, A, b, x0, M)

    def shifted(self, shift: float) -> System:
        """With A - shift I, by its entries where they are at hand."""
        A, library, n = self.A, self.library, self.A.shape[0]
        if isinstance(A, library.xp.ndarray):
            return self._replace(A=A - shift * library.xp.eye(n))
        if library.sparse.issparse(A):
            return self._replace(A=A - shift * library.identity(n))
        product = library.linalg.LinearOperator(A.shape, matvec=lambda x: A.matvec(x) - shift * x, dtype=A.dtype)
        return self._replace(A=product)


def tolerances(rtol: Any, atol: Any, system: System) -> dict[str, Any]:
    """rtol below 1 and a finite atol that ask as much of a residual as max(rtol ||b||, atol), which may be infinite."""
    if isinstance(rtol, Real) and isinstance(atol, Real):
        relative, absolute = float(rtol), float(atol)
        if relative >= 1 or absolute == math.inf:
            if absolute >= 0:
                absolute = max(absolute, relative * system.library.norm(system.b))
            return {"rtol": 0.0, "atol": min(absolute, sys.float_info.max)}
    return {"rtol": rtol, "atol": atol}


def every_iterate(callback: Any) -> Callable[[Progress], None] | None:
    """A callback of ours that hands x to one of SciPy's, whose result means nothing."""
    if not callback:
        return None

    def watch(progress: Progress) -> None:
        callback(progress.x)

    return watch


def solved(library: Library, solver: Callable[..., S], A: Any, b: Any, *, trusted: bool = True, **options: Any) -> S:
    """The Solution of one of our solvers, about which nobody is warned; an interrupt is the caller's.

    That A is Hermitian is taken on trust, as SciPy takes it: where it is not, A is one that only multiplies. Not where
    ``trusted`` is False.
    """
    token = TELL.set(lambda solution: None)
    try:
        solution = solver(A, b, **options)
    except NotHermitianError:
        if not trusted:
            raise
        solution = solver(library.linalg.aslinearoperator(A), b, **options)
    finally:
        TELL.reset(token)
    if solution.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return solution


def shown(solution: S, show: bool) -> S:
    """The report of a solve on standard output, which is what ``show`` asks for."""
    if show:
        sys.stdout.write(f"{solution}\n")
    return solution
