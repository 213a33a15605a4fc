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


def test_a_chain_is_factored_after_a_few_iterations():
    """Conjugate gradients would take n of them."""
    A = chain(3000)
    x = np.random.default_rng(0).standard_normal(3000)
    solution = rv.solve(A, A @ x, rtol=1e-10)
    assert solution.converged
    assert solution.method == "lu"
    assert "cg was chosen" in solution.reason
    assert solution.matvecs <= 1.5 * patience(as_operator(A)) + 20
    np.testing.assert_allclose(solution.x, x, rtol=1e-5, atol=1e-6)


def test_of_two_iterations_that_do_not_get_there_the_second_is_not_begun():
    rng = np.random.default_rng(0)
    A = sparse.csr_array(rng.standard_normal((400, 400)) * (rng.random((400, 400)) < 0.05))
    solution = rv.solve(A, A @ np.ones(400), rtol=1e-9)
    assert solution.converged
    assert solution.method == "lu"
    assert solution.reason.count("was chosen") == 2
    assert "gmres" not in solution.reason
