"""Parameters that the Lanczos process finds for each system of a batch, in compiled calls."""

import functools
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.backends.compiled import tridiagonal
from resolvent.solvers.linear import learning, small
from resolvent.solvers.spectra.ritz import Tridiagonal, ritz_values

N = 12
METHODS = ("chebyshev", "richardson", "sor", "ssor")
ARRAYS = ("status", "iterations", "matvecs", "relative_residual", "residual_norm", "tolerance")
OF_EACH = (*ARRAYS, "reason", "backward_error", "condition", "spectrum", "predicted_iterations", "smallest_eigenvalue")


# To compile these takes tens of seconds; tests/solvers/linear/test_small.py has those that need no parameter found.
pytestmark = [pytest.mark.usefixtures("compiled_small_solves"), pytest.mark.slow]


@pytest.fixture(autouse=True)
def quiet():
    """Solves that do not converge are meant here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        yield


def definite(count, n=N):
    """Symmetric positive definite, each with a spectrum of its own, by Gershgorin above 0.5."""
    rng = np.random.default_rng(0)
    A = rng.uniform(-1, 0, (count, n, n))
    A = A + A.mT
    A[:, np.arange(n), np.arange(n)] += np.abs(A).sum(-1) + rng.uniform(0.5, 3, (count, n))
    return A


def vectors(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


def equal_each(batch, alone):
    assert len(batch.systems) == len(alone)
    for k, (system, one) in enumerate(zip(batch.systems, alone, strict=True)):
        for name in OF_EACH:
            assert getattr(system, name) == getattr(one, name), (k, name)
        np.testing.assert_array_equal(system.x, one.x)
        np.testing.assert_array_equal(system.residual_norms, one.residual_norms)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(batch, name).ravel(), [getattr(one, name) for one in alone])


@pytest.mark.parametrize("method", METHODS)
def test_systems_are_what_they_are_alone(method):
    A, b, guess = definite(3), vectors(3, N), vectors(3, N, seed=2)
    solve = functools.partial(rv.solve, method=method, rtol=1e-9)
    equal_each(solve(A, b), [solve(*pair) for pair in zip(A, b, strict=True)])
    equal_each(solve(A, b, x0=guess), [solve(one, right, x0=x) for one, right, x in zip(A, b, guess, strict=True)])
    # Many right-hand sides of one matrix, of which one is zero, and of each of several.
    b[1] = 0
    equal_each(solve(A[0], b.T), [solve(A[0], right) for right in b])
    equal_each(solve(A, b.T), [solve(one, right) for one in A for right in b])
    pattern = sparse.csr_array(A[0])
    stack = rv.as_operator((pattern.indptr, pattern.indices, A.reshape(3, -1)), (N, N))
    equal_each(solve(stack, b), [solve(sparse.csr_array(one), right) for one, right in zip(A, b, strict=True)])


@pytest.mark.parametrize("method", METHODS)
def test_none_is_left_to_the_driver(method, monkeypatch):
    def refuse(*given):
        raise AssertionError("solved alone")

    A, b = definite(4), vectors(4, N)
    monkeypatch.setattr(small.Small, "solve", refuse)
    solution = rv.solve(A, b, method=method, rtol=1e-8)
    true = np.linalg.norm(b - (A @ solution.x[..., None])[..., 0], axis=-1) / np.linalg.norm(b, axis=-1)
    assert np.all(true <= 1e-8)
    np.testing.assert_allclose(solution.relative_residual, true, rtol=1e-4)
    # The products of the search are among those that are counted: of all N dimensions but for rounding.
    given = {"chebyshev": {"interval": solution.systems[0].spectrum}}.get(method, {"omega": 0.01})
    told = rv.solve(A[:1], b[:1], method=method, rtol=1e-8, maxiter=1, **given)
    found = rv.solve(A[:1], b[:1], method=method, rtol=1e-8, maxiter=1)
    assert 5 <= found.matvecs[0] - told.matvecs[0] <= N


BAD = {
    "nan": (lambda A: A * np.nan, "REFUSED"),
    # Relaxation still converges, since the diagonal dominates.
    "indefinite": (lambda A: A - 100 * np.diag(np.arange(N) % 2), "BREAKDOWN"),
    "huge": (lambda A: 1e300 * A, "CONVERGED"),
    "tiny": (lambda A: 1e-300 * A, "CONVERGED"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("method", METHODS)
def test_no_system_depends_on_its_neighbours(method, kind):
    A, b = definite(5), vectors(5, N)
    solve = functools.partial(rv.solve, method=method, rtol=1e-7)
    wanted = solve(A, b)
    change, status = BAD[kind]
    A[2] = change(A[2])
    solution = solve(A, b, errors="collect")
    others = [0, 1, 3, 4]
    assert solution.converged_each[others].all()
    np.testing.assert_array_equal(solution.x[others], wanted.x[others])
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(solution, name)[others], getattr(wanted, name)[others])
    if status == "REFUSED":
        assert solution.status[2].name == "REFUSED"
        with pytest.raises(rv.InputError, match=r"entry \(0, 0\) is nan; .* \(system \(2,\) of the batch\)"):
            solve(A, b)
        return
    alone = solve(A[2], b[2])
    assert solution.status[2] is alone.status
    assert alone.status.name == ("CONVERGED" if method in ("sor", "ssor") else status)
    np.testing.assert_array_equal(solution.x[2], alone.x)
    assert solution.systems[2].reason == alone.reason


def test_a_matrix_that_is_not_hermitian_is_relaxed_with_one():
    """Young's formula is one for positive definite A; elsewhere omega is 1, and nothing is looked for."""
    A, b = definite(3), vectors(3, N)
    A[1] = np.triu(A[1], -1)
    solution = rv.sor(A, b, rtol=1e-8)
    gauss_seidel = rv.gauss_seidel(A[1], b[1], rtol=1e-8)
    np.testing.assert_array_equal(solution.x[1], gauss_seidel.x)
    assert solution.matvecs[1] == gauss_seidel.matvecs
    assert "omega" not in solution.systems[1].reason
    assert "omega = " in solution.systems[0].reason


@pytest.mark.parametrize("method", ["chebyshev", "ssor"])
def test_a_prepared_solver_searches_as_well(method):
    A, b = definite(2), vectors(2, N)
    solver = rv.prepare(A[0], method=method)
    for matrix in (A[0], A[1]):
        solver.update(matrix)
        for right in b:
            found, wanted = solver.solve(right, rtol=1e-9), rv.solve(matrix, right, method=method, rtol=1e-9)
            np.testing.assert_array_equal(found.x, wanted.x)
            assert (found.matvecs, found.reason) == (wanted.matvecs, wanted.reason)


def test_threads_share_matrices_and_change_no_bit(monkeypatch):
    A, b = definite(150), vectors(150, N)
    backend = "resolvent.backends.numba_backend.NumbaBackend.shared"
    monkeypatch.setattr(backend, lambda self, kernel, work: kernel.serial)
    alone = rv.chebyshev(A, b, rtol=1e-8)
    monkeypatch.setattr(backend, lambda self, kernel, work: kernel.parallel)
    shared = rv.chebyshev(A, b, rtol=1e-8)
    np.testing.assert_array_equal(shared.x, alone.x)
    np.testing.assert_array_equal(shared.matvecs, alone.matvecs)


def test_a_time_limit_counts_the_search(monkeypatch):
    """A clock that passes a second whenever it is read; the first share of the systems is solved all the same."""
    now = iter(range(10**6))
    monkeypatch.setattr(small.time, "perf_counter", lambda: float(next(now)))
    monkeypatch.setattr(small, "CHUNK", 1)
    guess = np.full((5, N), 1e-3)
    solution = rv.chebyshev(definite(5), vectors(5, N), x0=guess, rtol=1e-8, time_limit=0.5)
    assert [status.name for status in solution.status] == ["CONVERGED"] + ["TIME_LIMIT"] * 4
    np.testing.assert_array_equal(solution.x[1:], guess[1:])


def test_an_interrupt_of_the_search_leaves_all(monkeypatch):
    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(learning.Learning, "_fitted", interrupted)
    solution = rv.chebyshev(definite(3), vectors(3, N))
    assert {status.name for status in solution.status} == {"INTERRUPTED"}
    assert not solution.x.any()


def test_what_was_found_is_kept():
    solution = pickle.loads(pickle.dumps(rv.chebyshev(definite(3), vectors(3, N), rtol=1e-8)))
    for A, system in zip(definite(3), solution.systems, strict=True):
        values = np.linalg.eigvalsh(A)
        low, high = system.spectrum
        assert 0.5 * values[0] <= low <= 1.01 * values[0]
        assert values[-1] <= high <= 1.3 * values[-1]
        assert "The interval was found by 20 Lanczos steps." in system.reason
        assert system.bound is not None


@pytest.mark.parametrize("k", [1, 2, 5, 40])
def test_ritz_values_are_those_of_the_driver(k):
    """To the last bit: both are LAPACK's."""
    rng = np.random.default_rng(k)
    for exponent in (-500, 0, 500):
        diagonal, off = np.ldexp(rng.uniform(1, 2, k), exponent), np.ldexp(rng.uniform(0, 0.5, k), exponent)
        wanted = ritz_values(Tridiagonal(diagonal, off))
        found = np.empty(5)
        tridiagonal.ends_of(diagonal, off, found)
        assert found[:4].tolist() == [
            wanted.smallest,
            wanted.largest,
            wanted.smallest_error,
            wanted.largest_error,
        ]
