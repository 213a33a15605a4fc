"""What a strict type checker sees of a user's script; checked by ``make lint``, and run by the tests.

Lines that must be refused name the error they are to give: one that gives another, or none, is itself an error.
"""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import resolvent as rv

A = np.diag([1.0, 2.0, 4.0])
b: NDArray[np.float64] = np.ones(3)
counts: NDArray[np.int64] = np.array([1, 2, 3])
complex_b: NDArray[np.complex128] = np.ones(3, np.complex128)

# x is an array of b's kind: of the type that is worked in, where b holds integers; a NumPy array, where b is a list.
assert_type(rv.cg(A, b), rv.Solution[NDArray[np.float64]])
assert_type(rv.cg(A, b).x, NDArray[np.float64])
assert_type(rv.cg(A, complex_b).x, NDArray[np.complex128])
assert_type(rv.cg(A, counts).x, NDArray[np.float64])
assert_type(rv.solve(A, b, method="chebyshev", interval=(1, 4)).x, NDArray[np.float64])
assert_type(rv.refine(A, b, inner_precision="bf16").x, NDArray[np.float64])
assert_type(rv.sor(A, b, omega=1.2, rtol=1e-8).raise_for_status().x, NDArray[np.float64])
assert_type(rv.cg(A, [1.0, 2.0, 3.0]).x, np.ndarray[tuple[Any, ...], np.dtype[Any]])


def device_array(A: "Tensor", b: "Tensor") -> "Tensor":
    """Arrays of other libraries come back as what they are."""
    return assert_type(rv.cg(A, b).x, Tensor)


class Tensor:
    """What an array has to have."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return (3,)

    @property
    def dtype(self) -> object:
        """Type of the entries."""
        return float


def report(solution: rv.Solution) -> str:
    """A Solution without more words is one of NumPy's."""
    assert_type(solution.x, np.ndarray[tuple[Any, ...], np.dtype[Any]])
    return solution.reason


solution = rv.cg(A, b, M=rv.precondition.jacobi(A), callback=lambda at: at.iteration > 5)
converged: bool = solution.converged
assert_type(solution.status, rv.Status)
assert solution.status is rv.Status.CONVERGED, report(rv.cg(A, [1.0, 2.0, 3.0]))
assert_type(rv.fixed_point(lambda x: 0.5 * x + 1.0, 0.0, method="anderson").x, float)
assert_type(rv.condition_number(A, method="exact").lower, float)
for name in rv.METHODS:
    rv.prepare(A, method=name)


def refused() -> None:
    """Never called."""
    rv.cg(A, b, rtl=1e-8)  # type: ignore[call-overload]
    rv.cg(A, b, rtol="small")  # type: ignore[call-overload]
    rv.cg(A, b, maxiter=1.5)  # type: ignore[call-overload]
    rv.cg(A, b, callback=3)  # type: ignore[call-overload]
    rv.cg(A, "b")  # type: ignore[arg-type]
    rv.cg("A", b)  # type: ignore[arg-type]
    rv.cg(A)  # type: ignore[call-overload]
    rv.gauss_seidel(A, b, M=A)  # type: ignore[call-overload]
    rv.solve(A, b, method="gc")  # type: ignore[call-overload]
    rv.solve(A, b, callback=3)  # type: ignore[call-overload]
    rv.solve(A, b, precision=16)  # type: ignore[call-overload]
    rv.refine(A, b, inner="gc")  # type: ignore[call-overload]
    rv.prepare(A, method="gc")  # type: ignore[arg-type]
    rv.fixed_point(lambda x: x, 0.0, method="newton")  # type: ignore[arg-type]
    rv.condition_number(A, norm=3)  # type: ignore[arg-type]
    rv.precision.equilibrate(A, "rows")  # type: ignore[arg-type]
    rv.conjugate(A, b)  # type: ignore[attr-defined]
    rv.cg(A, b).y  # type: ignore[attr-defined]  # noqa: B018
    text: str = rv.cg(A, b).x  # type: ignore[assignment]
    status: str = rv.cg(A, b).status  # type: ignore[assignment]
    print(text, status)
