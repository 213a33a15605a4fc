"""Incomplete Cholesky factors against SciPy's whole ones, the defining property of level 0, and what is refused."""

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.gallery import diffusion, poisson
from resolvent.solvers.preconditioners import incomplete_cholesky


def product_of_factors(M):
    """L L^H in the units of A."""
    L = M.L.toarray() + np.diag(1 / M.inverse_diagonal)
    return (L @ L.conj().T) / np.outer(M.scale, M.scale)


def random_definite(n, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    G = rng.standard_normal((n, n)) * (rng.random((n, n)) < 0.05)
    if np.dtype(dtype).kind == "c":
        G = G + 1j * rng.standard_normal((n, n)) * (rng.random((n, n)) < 0.05)
    A = G @ G.conj().T
    return sparse.csr_array(A + np.diag(0.1 + np.abs(A).sum(axis=1)))


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_without_dropping_it_is_the_cholesky_factor(n, dtype):
    A = random_definite(n, dtype)
    M = incomplete_cholesky(A, drop_tol=0, fill_factor=1e6)
    D = np.diag(M.scale)
    np.testing.assert_allclose(
        M.L.toarray() + np.diag(1 / M.inverse_diagonal), np.linalg.cholesky(D @ A.toarray() @ D), atol=1e-14
    )
    r = np.arange(1.0, n + 1).astype(dtype)
    np.testing.assert_allclose(M @ r, np.linalg.solve(A.toarray(), r), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_level_zero_has_the_pattern_of_A_and_agrees_with_it_there(dtype):
    """What defines it (Meijerink & van der Vorst): L L^H - A vanishes where A has entries."""
    A = random_definite(40, dtype)
    M = incomplete_cholesky(A)
    pattern = A.toarray() != 0
    assert M.shift == 0
    assert not (M.L.toarray() != 0)[~pattern].any()
    np.testing.assert_allclose(product_of_factors(M)[pattern], A.toarray()[pattern], atol=1e-13 * abs(A).max())
    assert np.abs(product_of_factors(M) - A.toarray()).max() > 1e-3  # it is incomplete


def test_a_matrix_without_a_factor_of_level_zero_is_shifted():
    """Kershaw's (1978): positive definite, and the last pivot of level 0 is -5."""
    A = np.array([[3.0, -2, 0, 2], [-2, 3, -2, 0], [0, -2, 3, -2], [2, 0, -2, 3]])
    assert np.linalg.eigvalsh(A)[0] > 0
    M = incomplete_cholesky(A)
    assert M.shift > 0.1
    pattern = A != 0
    wanted = A + M.shift * np.diag(A.diagonal())
    np.testing.assert_allclose(product_of_factors(M)[pattern], wanted[pattern], atol=1e-13)
    with pytest.raises(rv.InputError, match=r"^A: no incomplete Cholesky factors with a shift of 0 "):
        incomplete_cholesky(A, shift=0.0)
    assert incomplete_cholesky(A, shift=1.0).shift == 1.0
    assert rv.cg(A, np.ones(4), M=M, rtol=1e-12).converged


@pytest.mark.parametrize("fill_factor", [1, 2, 3.5])
def test_no_more_entries_than_allowed(fill_factor):
    A = poisson((20, 20)).A
    M = incomplete_cholesky(A, drop_tol=1e-6, fill_factor=fill_factor)
    below = (A.tocsr().nnz - 400) // 2
    assert M.L.nnz <= fill_factor * below + 400
    assert M.L.nnz >= 0.8 * fill_factor * below


def test_iterations_fall_with_what_is_kept():
    problem = diffusion((40, 40), contrast=1e4)
    counts = [
        rv.cg(problem.A, problem.b, M=M, rtol=1e-8).iterations
        for M in (
            "jacobi",
            "incomplete_cholesky",
            incomplete_cholesky(problem.A, drop_tol=1e-2),
            incomplete_cholesky(problem.A, drop_tol=1e-4, fill_factor=20),
        )
    ]
    assert counts[0] > 2 * counts[1] > 2 * counts[2] > 2 * counts[3]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_in_single_precision_and_in_emulated_ones(backend):
    problem = poisson((16, 16))
    single = rv.cg(
        sparse.csr_array(problem.A).astype(np.float32),
        problem.b.astype(np.float32),
        M="incomplete_cholesky",
        rtol=1e-5,
        backend=backend,
    )
    assert single.converged
    assert single.x.dtype == np.float32
    rounded = rv.cg(problem.A, problem.b, M="incomplete_cholesky", rtol=2e-2, precision="bf16", backend=backend)
    assert rounded.converged
    assert np.linalg.norm(problem.b - problem.A @ rounded.x) <= 2.1e-2 * np.linalg.norm(problem.b)


def test_the_units_of_A_do_not_matter():
    problem = poisson((12, 12))
    for scale in (2.0**-900, 2.0**900):
        solution = rv.cg(scale * problem.A, scale * problem.b, M="incomplete_cholesky", rtol=1e-8)
        assert solution.converged
        assert solution.iterations == rv.cg(problem.A, problem.b, M="incomplete_cholesky", rtol=1e-8).iterations


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: incomplete_cholesky(np.array([[2.0, 1.0], [0.0, 2.0]])), "^A: .*not Hermitian"),
        (lambda: incomplete_cholesky(np.diag([1.0, 0.0])), "^A: the diagonal entry of row 1 is not positive"),
        (lambda: incomplete_cholesky(np.array([[1.0, 2.0], [2.0, 1.0]]), shift=0.0), "^A: no incomplete"),
        (lambda: incomplete_cholesky(np.eye(2), drop_tol=-1), "^drop_tol: "),
        (lambda: incomplete_cholesky(np.eye(2), drop_tol=np.nan), "^drop_tol: "),
        (lambda: incomplete_cholesky(np.eye(2), fill_factor=0.5), "^fill_factor: "),
        (lambda: incomplete_cholesky(np.eye(2), shift=-1), "^shift: "),
        (lambda: incomplete_cholesky(sparse.linalg.aslinearoperator(np.eye(2))), "^A: .*only multiplies"),
    ],
)
def test_what_has_no_factors_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_an_empty_matrix():
    assert rv.cg(np.zeros((0, 0)), np.zeros(0), M=incomplete_cholesky(np.zeros((0, 0)))).converged
