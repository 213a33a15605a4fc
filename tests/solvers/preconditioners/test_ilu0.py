"""Incomplete LU factors with the pattern of A."""

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.sparse.linalg import aslinearoperator

import resolvent as rv
from resolvent.gallery import convection_diffusion
from resolvent.solvers.preconditioners import ilu0

RNG = np.random.default_rng(4)


def matrix(n, complex_=False):
    """A random nonsymmetric one with a dominant diagonal, and both triangles."""
    A = sparse.random_array((n, n), density=0.1, rng=RNG, data_sampler=RNG.standard_normal).toarray()
    if complex_:
        A = A + 1j * A.T
    return sparse.csr_array(A + np.diag(1 + abs(A).sum(1)))


def factors(M):
    """L and U as full matrices."""
    LU = sparse.csr_array((M.data, M.indices, M.indptr), shape=M.shape).toarray()
    return np.tril(LU, -1) + np.eye(len(LU)), np.triu(LU, 1) + np.diag(1 / np.diag(LU))


@pytest.mark.parametrize("complex_", [False, True])
def test_the_product_is_a_where_a_has_entries(complex_):
    A = matrix(60, complex_)
    L, U = factors(ilu0(A))
    stands = A.toarray() != 0
    assert abs((L @ U - A.toarray())[stands]).max() < 1e-13
    assert not ((L != 0) & ~stands)[~np.eye(60, dtype=bool)].any()
    assert not ((U != 0) & ~stands).any()


@pytest.mark.parametrize("complex_", [False, True])
def test_it_solves_with_the_factors_and_with_their_adjoint(complex_):
    A = matrix(60, complex_)
    M = ilu0(A)
    L, U = factors(M)
    r = RNG.standard_normal(60) + (1j * RNG.standard_normal(60) if complex_ else 0)
    np.testing.assert_allclose(M @ r, np.linalg.solve(L @ U, r), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(M.adjoint() @ r, np.linalg.solve((L @ U).conj().T, r), rtol=1e-12, atol=1e-14)
    assert M.adjoint().adjoint().transposed is False


def test_a_matrix_whose_factors_fill_nothing_is_solved_at_once():
    A = sparse.diags_array([np.full(49, -1.0), np.full(50, 3.0), np.full(49, -1.5)], offsets=[-1, 0, 1]).tocsr()
    b = RNG.standard_normal(50)
    np.testing.assert_allclose(ilu0(A) @ b, np.linalg.solve(A.toarray(), b), rtol=1e-13)
    assert rv.gmres(A, b, M="ilu0", rtol=1e-12).iterations == 1


def test_a_has_the_entries_that_it_had():
    A = matrix(40)
    before = A.data.copy()
    ilu0(A)
    np.testing.assert_array_equal(A.data, before)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ilu0(sparse.csr_array([[0.0, 1], [1, 0]])), "^A: row 0 has no diagonal entry.*use ilu"),
        (lambda: ilu0(np.array([[1.0, 1], [1, 1]])), "^A: the pivot of row 1 is next to zero.*use ilu"),
        (lambda: ilu0(aslinearoperator(np.eye(3))), "^A: .*only multiplies"),
        (lambda: ilu0(np.ones((2, 3))), "^A: "),
        (lambda: ilu0(np.array([[1.0, np.nan], [0, 1]])), "^A: "),
    ],
)
def test_what_cannot_be_factored_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_solve_takes_it_for_large_systems_that_are_not_hermitian():
    problem = convection_diffusion((64, 64), (100.0, 40.0))
    found = rv.solve(problem.A, problem.b, rtol=1e-10)
    assert found.converged
    assert found.iterations < 10
    assert "incomplete factors" in found.reason
    plain = rv.bicgstab(problem.A, problem.b, rtol=1e-10)
    np.testing.assert_allclose(found.x, plain.x, rtol=1e-6, atol=1e-8)


def test_where_its_factors_are_of_no_use_solve_goes_on_without():
    """I + 3 S with the cyclic shift S, which is well conditioned; without the fill, substitution multiplies by 3."""
    n = 2500
    A = sparse.diags_array([1.0, 3.0, 3.0], offsets=[0, 1, 1 - n], shape=(n, n)).tocsr()
    with pytest.raises(rv.SingularError, match="overflows"):
        ilu0(A)
    b = RNG.standard_normal(n)
    found = rv.solve(A, b, rtol=1e-8)
    assert found.converged
    assert np.linalg.norm(b - A @ found.x) <= 1.01e-8 * np.linalg.norm(b)
