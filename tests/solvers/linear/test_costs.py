"""What a factorisation is taken to cost, and what is lost at most by trying iterations first."""

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.operators import as_operator
from resolvent.solvers.linear.costs import factoring, iterations_worth, patience


def chain(n):
    return sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n), format="csr")


@pytest.mark.parametrize(
    ("A", "wanted"),
    [
        (chain(50), 1),
        (sparse.eye_array(7, format="csr"), 0),
        (sparse.csr_array((5, 5)), 0),
        (sparse.csr_array(np.fliplr(np.eye(6))), 5),
        (np.ones((4, 4)), 3),
        (rv.gallery.poisson((6, 9)).A, 9),
        (rv.gallery.poisson((3, 4, 5), matrix_free=True).A, 20),
        (rv.gallery.poisson(9, matrix_free=True).A, 1),
        (rv.Diagonals(np.ones((2, 8)), [0, -3]), 3),
    ],
)
def test_how_far_from_the_diagonal_entries_lie(A, wanted):
    assert as_operator(A).bandwidth == wanted


def test_costs_grow_as_they_do():
    """In one dimension like n, in two more than that, full ones like n^3."""
    line = [factoring(as_operator(chain(n))) for n in (1000, 10000)]
    assert line[1] == pytest.approx(10 * line[0])
    grid = [factoring(as_operator(sparse.csr_array(rv.gallery.poisson((n, n)).A))) for n in (30, 60)]
    assert 4 < grid[1] / grid[0] < 16
    full = [factoring(as_operator(np.eye(n))) for n in (100, 200)]
    assert full[1] == pytest.approx(8 * full[0])
    assert iterations_worth(as_operator(chain(100000))) < 60


def two_chains(n):
    return sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-2, 0, 2], shape=(n, n), format="csr")


def test_two_chains_are_factored_after_a_few_iterations():
    """Conjugate gradients would take n / 2 of them."""
    A = two_chains(3000)
    x = np.random.default_rng(0).standard_normal(3000)
    solution = rv.solve(A, A @ x, rtol=1e-10)
    assert solution.converged
    assert solution.method == "lu"
    assert "cg was chosen" in solution.reason
    assert solution.matvecs <= 1.5 * patience(as_operator(A)) + 20
    np.testing.assert_allclose(solution.x, x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [2, 3, 70, 3000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_a_chain_is_factored_at_once(n, dtype):
    A = chain(n).astype(dtype)
    if dtype == np.complex128:
        A = A + 1j * sparse.diags_array([0.3, -0.3], offsets=[-1, 1], shape=(n, n))
    x = np.linspace(1, 2, n).astype(dtype)
    solution = rv.solve(A, A @ x, rtol=1e-5, backend="numpy")
    assert (solution.method, solution.iterations, solution.converged) == ("lu", 1, True)
    assert "narrow band" in solution.reason
    np.testing.assert_allclose(
        solution.x, np.linalg.solve(A.toarray(), A @ x), rtol=2e-2 if dtype == np.float32 else 1e-8
    )


def test_bands_are_those_of_lapack():
    """Whatever the bands: above and below, wide and narrow, with pivots that have to be looked for."""
    rng = np.random.default_rng(3)
    for offsets in ([-1, 0, 1], [-3, 0, 1], [0, 2], [-1, 1], [-4, -2, 0, 1, 5]):
        A = sparse.diags_array([rng.standard_normal(80) for _ in offsets], offsets=offsets, shape=(80, 80)).tocsr()
        b = A @ rng.standard_normal(80)
        solution = rv.solve(A, b, rtol=1e-12)
        assert solution.method == ("gauss_seidel" if offsets == [0, 2] else "lu"), offsets
        np.testing.assert_allclose(A @ solution.x, b, atol=1e-8 * np.linalg.norm(b))


def test_a_chain_that_is_singular_is_said_to_be():
    A = chain(50).tolil()
    A[0, 0] = A[49, 49] = 1
    with pytest.warns(rv.ConvergenceWarning, match="singular"):
        solution = rv.solve(A.tocsr(), np.ones(50))
    assert not solution.converged


def test_of_two_iterations_that_do_not_get_there_the_second_is_not_begun():
    rng = np.random.default_rng(0)
    A = sparse.csr_array(rng.standard_normal((400, 400)) * (rng.random((400, 400)) < 0.05))
    solution = rv.solve(A, A @ np.ones(400), rtol=1e-9)
    assert solution.converged
    assert solution.method == "lu"
    assert solution.reason.count("was chosen") == 2
    assert "gmres" not in solution.reason
