"""What users hand over as A and b comes to the same solution, in an ordinary array."""

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv

A, B = np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0])
X = np.linalg.solve(A, B)


@pytest.mark.parametrize(
    ("matrix", "rhs"),
    [
        (np.matrix(A), B),
        (A, np.matrix(B).T),
        (A.tolist(), B.tolist()),
        (A, sparse.csc_array(B[:, None])),
        (sparse.csr_matrix(A), sparse.csr_matrix(B[:, None])),
    ],
)
def test_kinds_of_arrays(matrix, rhs):
    x = rv.cg(matrix, rhs, backend="numpy", rtol=1e-12).x
    assert type(x) is np.ndarray
    assert np.allclose(x.ravel(), X, rtol=1e-10)
