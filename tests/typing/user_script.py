"""What a type checker sees of a user's script; checked by ``make lint``, and run by the tests."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import resolvent as rv

A = np.diag([1.0, 2.0, 4.0])
b: NDArray[np.float64] = np.ones(3)

assert_type(rv.cg(A, b).x, NDArray[np.float64])
assert_type(rv.solve(A, b, method="chebyshev", interval=(1, 4)).x, NDArray[np.float64])
assert_type(rv.refine(A, b, inner_precision="bf16").x, NDArray[np.float64])
assert_type(rv.sor(A, b, omega=1.2, rtol=1e-8).raise_for_status().x, NDArray[np.float64])
assert_type(rv.cg(A, [1.0, 2.0, 3.0]).x, np.ndarray[tuple[Any, ...], np.dtype[Any]])

converged: bool = rv.cg(A, b, M=rv.precondition.jacobi(A), callback=lambda at: at.iteration > 5).converged
