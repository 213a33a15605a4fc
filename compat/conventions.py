"""SciPy's conventions in ours: signatures, what A, b, x0 and M may be, tolerances of any size, and no warnings."""

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

from ..errors import InputError, NotHermitianError
from ..operators import Operator, check_matrix
from ..operators.exchange import refuse_masked
from ..solvers.driver.batch import TELL
from ..solvers.driver.progress import Progress
from ..solvers.driver.solution import Solution
from ..solvers.driver.status import Status
from ..solvers.preconditioners.base import Preconditioner

__all__ = ["System", "drop_in", "every_iterate", "matrix", "shown", "solved", "tolerances", "vector"]

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound=Solution[Any])


def drop_in(function: F) -> F:
    """The function with the signature of the one of this name in the SciPy that is installed.

    Parameters that another version has besides, or takes by position, are that version's affair: a call with them is
    handed on to it.
    """
    theirs = getattr(linalg, function.__name__)
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


def _shape(signature: inspect.Signature) -> list[tuple[str, Any, Any]]:
    """What decides which calls are taken, without the types."""
    return [(one.name, one.kind, one.default) for one in signature.parameters.values()]


def matrix(A: Any) -> Any:
    """An array or sparse matrix in one of SciPy's four precisions, an Operator of ours, or a LinearOperator."""
    if isinstance(A, Operator):
        return A
    if isinstance(A, np.matrix):
        A = np.asarray(A)
    if not (isinstance(A, np.ndarray) or sparse.issparse(A)):
        return linalg.aslinearoperator(A)
    check_matrix(A.shape)
    return A if A.dtype.char in "fdFD" else A.astype(_working(A.dtype))


def vector(given: Any, name: str, size: int, dtype: Any) -> np.ndarray:
    """(size,) or (size, 1) as a flat array."""
    refuse_masked(given, name)
    array = np.asarray(given)
    if array.shape not in ((size,), (size, 1)):
        raise InputError(f"{name}: found shape {array.shape}; wanted ({size},) or ({size}, 1)")
    return array.astype(dtype, copy=False).ravel()


def _working(dtype: Any) -> np.dtype:
    """Of SciPy's four precisions the one that stands for this type: what is none of them becomes a double."""
    dtype = np.dtype(dtype)
    return dtype if dtype.char in "fdFD" else np.dtype(np.complex128 if dtype.kind == "c" else np.float64)


class System(NamedTuple):
    """A x = b as SciPy's solvers take it.

    Attributes
    ----------
    A, M : as ``matrix`` makes them; M may be None
    b : ndarray of shape (n,)
    x0 : ndarray of shape (n,) or None
    """

    A: Any
    b: np.ndarray
    x0: np.ndarray | None
    M: Any

    @classmethod
    def of(cls, A: Any, b: Any, x0: Any, M: Any) -> System:
        """The arguments of a call, checked. An A with a method ``psolve`` brings its preconditioner."""
        psolve = getattr(A, "psolve", None)
        A = matrix(A)
        check_matrix(A.shape, square=True)
        n = A.shape[0]
        dtype = np.result_type(_working(A.dtype), _working(np.asarray(b).dtype))
        b = vector(b, "b", n, dtype)
        if M is None and psolve is not None:
            M = linalg.LinearOperator(A.shape, matvec=psolve, dtype=A.dtype)
        elif M is not None and not isinstance(M, Preconditioner):
            M = matrix(M)
        if isinstance(x0, str):
            if x0 != "Mb":
                raise InputError(f'x0: found {x0!r}; wanted an array, None, or "Mb", which stands for M b')
            x0 = b if M is None else M @ b
        elif x0 is not None:
            x0 = vector(x0, "x0", n, dtype)
        return cls(A, b, x0, M)


def tolerances(rtol: Any, atol: Any, b: np.ndarray) -> dict[str, Any]:
    """rtol below 1 and a finite atol that ask as much of a residual as max(rtol ||b||, atol), which may be infinite."""
    if isinstance(rtol, Real) and isinstance(atol, Real):
        relative, absolute = float(rtol), float(atol)
        if relative >= 1 or absolute == math.inf:
            if absolute >= 0:
                absolute = max(absolute, relative * float(norm(b, check_finite=False)))
            return {"rtol": 0.0, "atol": min(absolute, sys.float_info.max)}
    return {"rtol": rtol, "atol": atol}


def every_iterate(callback: Any) -> Callable[[Progress], None] | None:
    """A callback of ours that hands x to one of SciPy's, whose result means nothing."""
    if not callback:
        return None

    def watch(progress: Progress) -> None:
        callback(progress.x)

    return watch


def solved(solver: Callable[..., S], A: Any, b: Any, *, trusted: bool = True, **options: Any) -> S:
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
        solution = solver(linalg.aslinearoperator(A), b, **options)
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
