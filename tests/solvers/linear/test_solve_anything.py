"""rv.solve solves what has a solution, says so truly where there is none, and keeps within its limits."""

import warnings
from importlib import import_module

import numpy as np
import pytest
import scipy.sparse as sparse
import scipy.sparse.linalg

import resolvent as rv
from resolvent.gallery import poisson
from resolvent.solvers.linear import direct, shortest

RNG = np.random.default_rng


def quietly(A, b, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return rv.solve(A, b, **options)


def residual(A, b, x):
    """||b - A x|| / ||b||, accumulated in more than double precision."""
    A = sparse.coo_array(A)
    r = np.asarray(b, np.clongdouble if np.iscomplexobj(A.data) else np.longdouble).copy()
    np.subtract.at(r, A.row, A.data.astype(r.dtype) * np.asarray(x)[A.col])
    return float(np.linalg.norm(r.astype(complex)) / np.linalg.norm(b))


KINDS = ("definite", "indefinite", "nonsymmetric", "badly scaled", "nearly singular", "zero diagonal")


def random_system(kind, seed):
    rng = RNG([seed, KINDS.index(kind)])
    n = int(rng.integers(20, 300))
    density = min(1.0, rng.uniform(2, 8) / n)
    R = sparse.csr_array(sparse.random_array((n, n), density=density, rng=rng, data_sampler=rng.standard_normal))
    D = sparse.diags_array(3 * rng.standard_normal(n))
    if kind == "definite":
        A = R @ R.T + 10 ** rng.uniform(-6, 0) * sparse.eye_array(n)
    elif kind == "indefinite":
        A = R + R.T + D
    elif kind == "nonsymmetric":
        A = R + D
    elif kind == "badly scaled":
        left, right = (sparse.diags_array(10 ** rng.uniform(-8, 8, n)) for _ in range(2))
        A = left @ (R + D) @ right
    elif kind == "nearly singular":
        U, values, Vh = np.linalg.svd((R + D).toarray())
        values[-1] = values[0] * 10 ** rng.uniform(-15, -9)
        A = U * values @ Vh
    else:
        A = R + sparse.coo_array((3 * rng.standard_normal(n), (np.arange(n), rng.permutation(n))))
        A = sparse.lil_array(A)
        A.setdiag(0)
    A = sparse.csr_array(A)
    return A, A @ rng.standard_normal(n) if rng.random() < 0.5 else rng.standard_normal(n)


@pytest.mark.parametrize("seed", range(34))
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_direct_solver_solves_is_solved(kind, seed):
    A, b = random_system(kind, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = scipy.sparse.linalg.spsolve(A.tocsc(), b)
    solution = quietly(A, b, rtol=1e-8)
    if np.isfinite(theirs).all() and residual(A, b, theirs) <= 1e-8:
        assert solution.converged, solution.reason
    if solution.converged:
        assert residual(A, b, solution.x) <= 1e-8 * (1 + 1e-6)
    elif solution.status is rv.Status.STAGNATED:
        assert solution.backward_error <= solution.unit_roundoff  # no x of this precision is nearer
    else:
        assert solution.cause is rv.solvers.driver.status.Cause.INCONSISTENT
        s = A.T @ (b - A @ solution.x)
        assert np.linalg.norm(s) <= 1e-8 * scipy.sparse.linalg.norm(A) * np.linalg.norm(b)


# Singular systems -----------------------------------------------------------------------------------------------------


def singular(kind, n=40):
    rng = RNG(3)
    if kind == "graph":
        A = sparse.lil_array(sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)))
        A[0, 0] = A[n - 1, n - 1] = 1
        return sparse.csr_array(A)
    if kind == "indefinite":
        Q, _ = np.linalg.qr(rng.standard_normal((n, n)))
        values = np.linspace(-1, 2, n)
        values[:3] = 0
        return (Q * values @ Q.T + (Q * values @ Q.T).T) / 2
    A = rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if kind == "complex" else 0)
    A[:, 3] = A[:, 7]
    return sparse.csr_array(A) if kind == "sparse" else A


@pytest.mark.parametrize("kind", ["graph", "indefinite", "full", "sparse", "complex"])
def test_singular_systems_that_have_solutions_are_solved(kind):
    A = singular(kind)
    b = A @ np.linspace(1, 2, A.shape[0])
    solution = rv.solve(A, b, rtol=1e-9)
    assert residual(A, b, solution.x) <= 1e-9 * (1 + 1e-6)


@pytest.mark.parametrize("kind", ["graph", "indefinite", "full", "sparse", "complex"])
def test_of_those_that_have_none_the_least_squares_solution_comes_back(kind):
    A = singular(kind)
    b = RNG(0).standard_normal(A.shape[0])
    solution = quietly(A, b, rtol=1e-9)
    assert solution.status is rv.Status.INFEASIBLE
    assert "no solution exists" in solution.reason
    full = A.toarray() if sparse.issparse(A) else A
    best, *_ = np.linalg.lstsq(full, b)
    smallest = np.linalg.norm(b - full @ best)
    assert smallest > 1e-3
    assert np.linalg.norm(b - full @ solution.x) <= smallest * (1 + 1e-9)
    np.testing.assert_allclose(solution.x, best, atol=1e-6 * np.linalg.norm(best))


def test_a_row_of_zeros_does_not_hide_the_least_squares_solution():
    A = sparse.lil_array(poisson((5, 5)).A)
    A[7] = 0
    A, b = sparse.csr_array(A), np.ones(25)
    solution = quietly(A, b)
    assert solution.status is rv.Status.INFEASIBLE
    assert "row 7" in solution.reason
    np.testing.assert_allclose(solution.x, np.linalg.lstsq(A.toarray(), b)[0], rtol=1e-6, atol=1e-8)
    assert quietly(np.zeros((3, 3)), np.ones(3)).status is rv.Status.INFEASIBLE
    assert rv.solve(np.zeros((3, 3)), np.zeros(3)).converged


# Rectangular systems --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array, scipy.sparse.linalg.aslinearoperator])
def test_rectangular_systems_that_have_solutions_are_solved_by_the_shortest(shape, storage):
    A = RNG(0).standard_normal(shape)
    b = A @ np.linspace(1, 2, shape[1])
    solution = rv.solve(storage(A), b, rtol=1e-9)
    assert residual(A, b, solution.x) <= 1e-9 * (1 + 1e-6)
    np.testing.assert_allclose(solution.x, np.linalg.lstsq(A, b)[0], rtol=1e-6)


def test_a_rectangular_system_without_a_solution_says_so():
    A, b = RNG(0).standard_normal((30, 12)), RNG(1).standard_normal(30)
    solution = quietly(A, b)
    best = np.linalg.lstsq(A, b)[0]
    assert solution.status is rv.Status.INFEASIBLE
    assert f"{np.linalg.norm(b - A @ best) / np.linalg.norm(b):.2e} of ||b||" in solution.reason
    np.testing.assert_allclose(solution.x, best, rtol=1e-8)
    several = quietly(A, np.stack([b, A @ np.ones(12)], -1))
    assert several.x.shape == (12, 2)
    assert [system.converged for system in several.systems] == [False, True]
    with pytest.raises(rv.InputError, match=r"^A: "):
        rv.solve(A, b, method="gmres")


# Limits ---------------------------------------------------------------------------------------------------------------


def test_the_iteration_limit_is_for_all_methods_together():
    A = poisson((10, 11, 12)).A - 1.5 * sparse.eye_array(1320)
    b = RNG(0).standard_normal(1320)
    solution = quietly(A, b, rtol=1e-12, maxiter=20)
    assert solution.status is rv.Status.MAX_ITERATIONS
    assert solution.iterations <= 20
    assert "lu" not in solution.reason


def test_factors_that_are_too_large_are_foreseen(monkeypatch):
    rng = RNG(0)
    A = sparse.csr_array(sparse.random_array((300, 300), density=0.05, rng=rng, data_sampler=rng.standard_normal))
    monkeypatch.setattr(direct, "MEMORY", 1e5)
    monkeypatch.setattr(direct, "_by_superlu", None)
    solution = quietly(A, np.ones(300), rtol=1e-10, maxiter=700)
    assert "lu was chosen" not in solution.reason
    assert not solution.converged


def test_what_was_given_up_for_a_factorisation_that_cannot_be_had_goes_on(monkeypatch):
    """The best iterate is taken up again, so that more iterations find what fewer did not."""
    n = 1500
    A = sparse.diags_array([-1.0, 2.0 + 1e-9, -1.0], offsets=[-1, 0, 1], shape=(n, n), format="csr")
    b = RNG(0).standard_normal(n)
    monkeypatch.setattr(direct, "MEMORY", 0.0)
    monkeypatch.setattr(shortest, "WORK", 0.0)
    monkeypatch.setattr(import_module("resolvent.solvers.least_squares.lstsq"), "MEMORY", 0.0)
    solution = rv.solve(A, b, rtol=1e-9)
    assert solution.converged
    assert solution.method == "minres"  # its residual was the smallest
    assert "goes on" in solution.reason
    assert residual(A, b, solution.x) <= 1e-9 * (1 + 1e-6)


def test_factors_are_kept_for_further_right_hand_sides(monkeypatch):
    A = RNG(0).standard_normal((30, 30))
    solver = rv.prepare(A)
    assert solver.solve(A @ np.ones(30), rtol=1e-12).method == "lu"
    monkeypatch.setattr(direct, "_by_lapack", None)
    again = solver.solve(A @ np.linspace(1, 2, 30), rtol=1e-12)
    np.testing.assert_allclose(again.x, np.linspace(1, 2, 30), rtol=1e-9)
    monkeypatch.undo()
    solver.update(2 * A)
    np.testing.assert_allclose(solver.solve(A @ np.ones(30), rtol=1e-12).x, 0.5 * np.ones(30), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128"])
def test_factors_serve_every_precision(dtype):
    rng = RNG(0)
    A = rng.standard_normal((40, 40)) + (1j * rng.standard_normal((40, 40)) if dtype.startswith("c") else 0)
    A = A.astype(dtype)
    b = A @ np.linspace(1, 2, 40).astype(dtype)
    solution = rv.solve(A, b, rtol=3e-6)
    assert (solution.method, solution.x.dtype) == ("lu", np.dtype(dtype))
    assert residual(A, b, solution.x) <= 3e-6


def test_an_operator_that_only_multiplies_and_that_nothing_solves_is_declined_in_words():
    A = RNG(0).standard_normal((60, 60))
    alone = quietly(rv.as_operator(lambda x: A @ x, (60, 60)), np.ones(60), rtol=1e-12)
    assert not alone.converged
    assert "products with A^H" in alone.reason or alone.status is not rv.Status.CONVERGED
    beside = rv.solve(rv.as_operator(lambda x: A @ x, (60, 60), rmatvec=lambda x: A.T @ x), np.ones(60), rtol=1e-8)
    assert residual(A, np.ones(60), beside.x) <= 1e-8 * (1 + 1e-6)


@pytest.mark.parametrize("when", [1, 2, 3, 40])
def test_an_interrupt_at_any_product_keeps_the_best(when):
    A = RNG(0).standard_normal((60, 60))
    calls = []

    def multiply(x):
        calls.append(None)
        if len(calls) == when:
            raise KeyboardInterrupt
        return A @ x

    solution = quietly(rv.as_operator(multiply, (60, 60)), np.ones(60), rtol=1e-12)
    assert solution.status is rv.Status.INTERRUPTED
    assert residual(A, np.ones(60), solution.x) <= 1 + 1e-12
