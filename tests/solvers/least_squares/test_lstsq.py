"""rv.lstsq: what it chooses, and that every choice is certified."""

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.solvers.driver.status import Cause, Status
from resolvent.solvers.least_squares import lstsq as choosing


def test_a_small_full_matrix_goes_to_lapack():
    rng = np.random.default_rng(0)
    for A in (rng.standard_normal((20, 8)), rng.standard_normal((8, 20)) + 1j * rng.standard_normal((8, 20))):
        b = rng.standard_normal(A.shape[0])
        solution = rv.lstsq(A, b, atol=1e-13, btol=1e-13)
        assert (solution.method, solution.rank, solution.converged) == ("lapack", 8, True)
        np.testing.assert_allclose(solution.x, np.linalg.lstsq(A, b, rcond=None)[0], atol=1e-12)
        values = np.linalg.svd(A, compute_uv=False)
        np.testing.assert_allclose(solution.singular_values, values[[-1, 0]])
        assert "lapack was chosen: A is full and small" in solution.reason


@pytest.mark.parametrize("damp", [0.0, 0.5])
def test_rank_and_the_shortest_solution(damp):
    rng = np.random.default_rng(1)
    A = rng.standard_normal((20, 3)) @ rng.standard_normal((3, 8))
    b, x0 = rng.standard_normal(20), rng.standard_normal(8)
    solution = rv.lstsq(A, b, damp=damp, x0=x0)
    assert (solution.rank, solution.converged) == (3, True)
    full = np.vstack([A, damp * np.eye(8)])
    wanted = x0 + np.linalg.pinv(full, rcond=1e-12) @ np.concatenate([b - A @ x0, np.zeros(8)])
    np.testing.assert_allclose(solution.x, wanted, atol=1e-10)
    assert "has rank 3" in solution.reason


def test_a_sparse_matrix_goes_to_lsmr_its_columns_scaled_where_they_differ():
    rng = np.random.default_rng(2)
    A = sparse.random_array((200, 50), density=0.1, rng=rng, format="csr")
    b = rng.standard_normal(200)
    plain = rv.lstsq(A, b)
    assert (plain.method, plain.preconditioned, plain.rank) == ("lsmr", False, None)
    scaled = rv.lstsq(A * np.geomspace(1, 1e5, 50), b, atol=1e-12)
    assert (scaled.method, scaled.preconditioned, scaled.converged) == ("lsmr", True, True)
    assert "columns" in scaled.reason
    np.testing.assert_allclose(
        scaled.x, np.linalg.lstsq(A.toarray() * np.geomspace(1, 1e5, 50), b, rcond=None)[0], rtol=1e-6
    )


def slow(rows=300):
    """A second difference: consistent, and slow for any iteration."""
    ones = np.ones(rows)
    A = sparse.diags_array([-ones, 2 * ones, -ones], offsets=[-1, 0, 1], shape=(rows, rows))
    return sparse.csr_array(A @ A)


@pytest.mark.parametrize("last", ["lapack", "superlu"])
def test_what_iterations_do_not_solve_is_factored(last, monkeypatch):
    monkeypatch.setattr(choosing.Options, "most_iterations", lambda self, n: self.maxiter or 20)
    if last == "superlu":
        monkeypatch.setattr(choosing.Lapack, "memory", lambda problem: np.inf)
    A = slow()
    b = A @ np.linspace(0, 1, 300)
    solution = rv.lstsq(A, b, atol=1e-12, btol=1e-12)
    assert (solution.method, solution.converged) == (last, True)
    assert "lsmr was chosen" in solution.reason
    assert f"{last} was chosen: iterations were no cheaper" in solution.reason
    assert solution.iterations > 20


def test_what_would_not_fit_is_not_factored(monkeypatch):
    monkeypatch.setattr(choosing, "MEMORY", 1000.0)
    monkeypatch.setattr(choosing.Options, "most_iterations", lambda self, n: self.maxiter or 20)
    with pytest.warns(rv.ConvergenceWarning, match="A factorisation may take"):
        solution = rv.lstsq(slow(), np.ones(300), atol=1e-12, btol=1e-12)
    assert solution.method == "lsmr"
    assert solution.status is Status.MAX_ITERATIONS


@pytest.mark.parametrize("shape", [(40, 15), (15, 40), (20, 20)])
@pytest.mark.parametrize("damp", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [float, complex])
def test_the_augmented_system(shape, damp, dtype):
    rng = np.random.default_rng(3)
    A = rng.standard_normal(shape) * np.geomspace(1, 1e4, shape[1])
    A = A + 1j * rng.standard_normal(shape) if dtype is complex else A
    b, x0 = rng.standard_normal(shape[0]), rng.standard_normal(shape[1])
    solution = rv.lstsq(sparse.csr_array(A), b, damp=damp, x0=x0, method="superlu", atol=1e-12, btol=1e-12)
    assert solution.converged
    assert solution.iterations <= 2
    full = np.vstack([A, damp * np.eye(shape[1])])
    wanted = x0 + np.linalg.lstsq(full, np.concatenate([b - A @ x0, np.zeros(shape[1])]), rcond=None)[0]
    np.testing.assert_allclose(solution.x, wanted, rtol=1e-6, atol=1e-8)


def test_a_factorisation_of_what_lacks_rank_is_no_answer():
    A = sparse.csr_array(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]))
    b = np.array([1.0, 2.0, 3.0, 5.0])
    with pytest.warns(rv.ConvergenceWarning, match="A lacks rank to rounding"):
        assert rv.lstsq(A, b, method="superlu").cause is Cause.SINGULAR
    solution = rv.lstsq(A, b, atol=1e-10)
    np.testing.assert_allclose(solution.x, np.linalg.lstsq(A.toarray(), b, rcond=None)[0], atol=1e-8)


def test_methods_by_name():
    A, b = np.arange(12.0).reshape(4, 3) ** 2, np.ones(4)
    for name in ("lsmr", "cgls", "lapack"):
        assert rv.lstsq(A, b, method=name).method == name
    with pytest.raises(rv.InputError, match="method: found 'qr'; wanted one of auto, lsmr, cgls, lapack, superlu"):
        rv.lstsq(A, b, method="qr")
    with pytest.raises(rv.InputError, match="superlu factors entries"):
        rv.lstsq(A, b, method="superlu")
    with pytest.raises(rv.InputError, match="lapack factors entries"):
        rv.lstsq(A, b, method="lapack", precision="bf16")


def test_time_and_callbacks_end_the_search():
    A = slow()
    with pytest.warns(rv.ConvergenceWarning):
        solution = rv.lstsq(A, np.ones(300), atol=1e-14, btol=1e-14, callback=lambda p: p.iteration == 3)
    assert (solution.status, solution.iterations) == (Status.STOPPED, 3)
