"""Blocks along the diagonal against their inverses in NumPy, on every backend; incomplete LU against SuperLU's own."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sparse
from scipy.sparse.linalg import aslinearoperator, spilu

import resolvent as rv
from resolvent.gallery import convection_diffusion
from resolvent.solvers.preconditioners import block_jacobi, ilu


def as_matrix(M):
    return np.array([M @ e for e in np.eye(M.shape[0])]).T


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(("n", "size"), [(12, 3), (12, 5), (7, 7), (7, 10), (5, 1)])
def test_the_inverse_of_the_blocks(n, size, storage):
    A = np.random.default_rng(n).standard_normal((n, n)) + 4 * np.eye(n)
    ends = [*range(0, n, size), n]
    blocks = [A[low:high, low:high] for low, high in pairwise(ends)]
    np.testing.assert_allclose(
        as_matrix(block_jacobi(storage(A), size)), np.linalg.inv(scipy.linalg.block_diag(*blocks)), atol=1e-13
    )


def test_on_tensors_and_on_strict_arrays():
    torch = pytest.importorskip("torch")
    strict = pytest.importorskip("array_api_strict")
    A = np.kron(np.eye(4), [[2.0, 1.0], [1.0, 3.0]]) + 0.01
    b = np.arange(8.0)
    for convert in (np.asarray, torch.tensor, strict.asarray):
        solution = rv.cg(convert(A), convert(b), M=block_jacobi(convert(A), 2), rtol=1e-10)
        assert solution.converged
        assert solution.iterations <= 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: block_jacobi(np.zeros((4, 4)), 2), "^A: the block of rows 0 to 1 is singular"),
        (lambda: block_jacobi(np.diag([1.0, 1, 0]), 2), "^A: the block of rows 2 to 2 is singular"),
        (lambda: block_jacobi(np.eye(3), 0), "^block_size: "),
        (lambda: block_jacobi(aslinearoperator(np.eye(3))), "^A: .*only multiplies"),
        (lambda: ilu(np.zeros((2, 2))), "^A: a pivot of its incomplete factors is zero"),
        (lambda: ilu(np.eye(2), drop_tol=2), "^drop_tol: "),
        (lambda: ilu(np.eye(2), fill_factor=0), "^fill_factor: "),
        (lambda: ilu(aslinearoperator(np.eye(3))), "^A: .*only multiplies"),
    ],
)
def test_what_cannot_be_made_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_incomplete_lu_is_that_of_scipy():
    problem = convection_diffusion((12, 12), 1.0)
    A = sparse.csc_array(sparse.csr_array(problem.A))
    theirs = spilu(A, drop_tol=1e-2, fill_factor=3)
    np.testing.assert_array_equal(ilu(problem.A, drop_tol=1e-2, fill_factor=3) @ problem.b, theirs.solve(problem.b))
    assert rv.bicgstab(problem.A, problem.b, M="ilu", rtol=1e-8).iterations < 6
