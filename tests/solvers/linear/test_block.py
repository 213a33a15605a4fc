import warnings

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent import ConvergenceWarning, InputError, NotHermitianError, Status, gallery
from resolvent.solvers.linear import block as blocks
from resolvent.solvers.linear import block_space

SIDE = 12
N = SIDE * SIDE


def scaled_poisson():
    """A 5-point Laplacian between diagonals that vary tenfold."""
    scale = sparse.diags_array(np.random.default_rng(0).uniform(0.3, 3, N))
    return sparse.csr_array(scale @ gallery.poisson((SIDE, SIDE)).A @ scale)


def flow():
    return sparse.csr_array(gallery.convection_diffusion((SIDE, SIDE)).A)


def true_residuals(A, x, B):
    return np.linalg.norm(B - A @ x, axis=0) / np.linalg.norm(B, axis=0)


SOLVERS = [(rv.cg, scaled_poisson), (rv.gmres, flow)]


@pytest.mark.parametrize(("solve", "matrix"), SOLVERS)
@pytest.mark.parametrize("M", [None, "jacobi", "ilu", "polynomial"])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_every_column_is_as_accurate_as_asked_in_fewer_iterations(solve, matrix, M, backend):
    if M == "ilu" and solve is rv.cg:
        M = "ssor"
    A, B = matrix(), np.random.default_rng(1).standard_normal((N, 6)) * np.geomspace(1e-100, 1e100, 6)
    single, block = (solve(A, B, M=M, rtol=1e-10, backend=backend, block=way) for way in (False, True))
    assert block.converged
    assert (true_residuals(A, block.x, B) <= 1e-10).all()
    np.testing.assert_allclose(block.x / B[:1], np.linalg.solve(A.toarray(), B) / B[:1], rtol=1e-5, atol=1e-6)
    assert block.iterations.sum() <= single.iterations.sum()
    if M is None:
        assert block.iterations.sum() < 0.9 * single.iterations.sum()


@pytest.mark.parametrize(("solve", "matrix"), SOLVERS)
def test_dependent_equal_and_zero_columns(solve, matrix):
    A, rng = matrix(), np.random.default_rng(2)
    some = rng.standard_normal((N, 3))
    B = np.concatenate([some, some @ rng.standard_normal((3, 2)), some[:, :1], np.zeros((N, 1))], axis=1)
    found = solve(A, B, rtol=1e-10, block=True, backend="numpy")
    assert found.converged
    np.testing.assert_allclose(found.x, np.linalg.solve(A.toarray(), B), atol=1e-6)
    assert found.iterations[-1] == 0
    assert found.systems[6].reason == "b is zero, so x = 0 is exact."


@pytest.mark.parametrize(("solve", "matrix"), SOLVERS)
def test_columns_that_end_at_different_times_are_each_certified_and_left_as_they_are(solve, matrix):
    A, rng = matrix(), np.random.default_rng(3)
    B = rng.standard_normal((N, 5))
    x0 = np.linalg.solve(A.toarray(), B)
    x0[:, 1] += 1e-6 * rng.standard_normal(N)
    x0[:, 2:] = 0
    found = solve(A, B, x0=x0, rtol=1e-9, block=True, backend="numpy")
    assert found.converged
    assert found.iterations[0] == 0
    assert 0 < found.iterations[1] < found.iterations[2]
    for j, one in enumerate(found.systems):
        assert one.relative_residual <= one.tolerance
        np.testing.assert_allclose(one.relative_residual, true_residuals(A, found.x, B)[j], rtol=1e-4, atol=1e-15)
        assert one.residual_norms.size == one.iterations + 1
        np.testing.assert_array_equal(one.x, found.x[:, j])


@pytest.mark.parametrize(("solve", "matrix"), SOLVERS)
@pytest.mark.parametrize("dtype", [np.float32, np.complex64, np.complex128])
def test_other_precisions(solve, matrix, dtype):
    A, rng = matrix().astype(dtype), np.random.default_rng(4)
    B = rng.standard_normal((N, 4)).astype(dtype)
    if np.dtype(dtype).kind == "c":
        phase = sparse.diags_array(np.exp(1j * rng.uniform(0, 6, N)).astype(dtype))
        A, B = sparse.csr_array(phase @ A @ phase.conj()), B * (1 + 1j)
    rtol = 1e-4 if dtype != np.complex128 else 1e-11
    found = solve(A, B.astype(dtype), rtol=rtol, block=True, backend="numpy")
    assert found.converged
    assert found.x.dtype == dtype
    assert (true_residuals(A, found.x, B) <= 1.01 * rtol).all()


@pytest.mark.parametrize("solve", [rv.cg, rv.gmres])
def test_more_columns_than_unknowns(solve):
    A = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 2.0]])
    B = np.random.default_rng(5).standard_normal((3, 7))
    found = solve(A, B, rtol=1e-12, block=True)
    assert found.converged
    np.testing.assert_allclose(found.x, np.linalg.solve(A, B), rtol=1e-9, atol=1e-12)
    assert found.iterations.max() <= 2


@pytest.mark.parametrize(("solve", "matrix"), SOLVERS)
def test_one_column_is_solved_as_a_vector_is(solve, matrix):
    A, b = matrix(), np.random.default_rng(6).standard_normal(N)
    single, column = solve(A, b, rtol=1e-9), solve(A, b[:, None], rtol=1e-9, block=True)
    assert not column.is_batch
    np.testing.assert_array_equal(column.x[:, 0], single.x)


def test_nan_in_one_column_does_not_reach_the_others():
    A, B = scaled_poisson(), np.random.default_rng(7).standard_normal((N, 4))
    B[3, 2] = np.nan
    with pytest.warns(ConvergenceWarning):
        found = rv.cg(A, B, rtol=1e-9, block=True, errors="collect", backend="numpy")
    assert found.converged_each.tolist() == [True, True, False, True]
    assert found.status[2] is Status.REFUSED
    alone = rv.cg(A, B[:, [0, 1, 3]], rtol=1e-9, block=True, backend="numpy")
    np.testing.assert_array_equal(found.x[:, [0, 1, 3]], alone.x)
    with pytest.raises(InputError, match=r"entry 3 is not finite \(system \(2,\)"):
        rv.cg(A, B, block=True)


@pytest.mark.filterwarnings("ignore::resolvent.ConvergenceWarning")
def test_what_has_no_solution_ends_as_it_does_alone():
    rng = np.random.default_rng(8)
    indefinite = rng.standard_normal((30, 30))
    indefinite = indefinite + indefinite.T
    singular = np.diag(np.r_[np.arange(1.0, 30.0), 0.0])
    B = rng.standard_normal((30, 3))
    B[-1, 1] = 0
    for A in (indefinite, singular):
        for solve in (rv.cg, rv.gmres):
            single, block = (solve(A, B, rtol=1e-10, backend="numpy", block=way) for way in (False, True))
            assert block.converged_each.tolist() == single.converged_each.tolist()
            assert [one.status for one in block.systems if not one.converged] == [
                one.status for one in single.systems if not one.converged
            ]
    with pytest.raises(NotHermitianError, match="system"):
        rv.cg(np.triu(indefinite), B, block=True)


@pytest.mark.filterwarnings("ignore::resolvent.ConvergenceWarning")
def test_nothing_wrong_is_called_converged():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        n, k = rng.integers(2, 25), rng.integers(2, 9)
        Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
        values = np.geomspace(1, 10.0 ** rng.uniform(-14, 0), n) * rng.choice([1, 1, 1, -1])
        if rng.random() < 0.3:
            values[rng.integers(n)] = rng.choice([0.0, -1.0])
        A = Q * values @ Q.T
        A = (A + A.T) / 2 * 10.0 ** rng.integers(-200, 200)
        rank = rng.integers(1, k + 1)
        B = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, k)) * 10.0 ** rng.integers(-60, 60, k)
        rtol = 10.0 ** rng.uniform(-15, -2)
        for solve in (rv.cg, rv.gmres):
            found = solve(A, B, rtol=rtol, maxiter=60, block=True, backend="numpy")
            for j in np.flatnonzero(found.converged_each):
                exact = (A.astype(np.longdouble) @ found.x[:, j].astype(np.longdouble)) - B[:, j]
                size = np.abs(B[:, j]).max()
                if size > 0:
                    off = np.linalg.norm((exact / size).astype(float)) / np.linalg.norm(B[:, j] / size)
                    assert off <= 1.1 * rtol + 1e-18, (seed, solve.__name__, j)


def test_limits_end_a_block_with_the_iterates_that_there_are():
    A, B = scaled_poisson(), np.random.default_rng(9).standard_normal((N, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        few = rv.cg(A, B, rtol=1e-9, maxiter=40, block=True, backend="numpy")
        none = rv.cg(A, B, rtol=1e-9, time_limit=1e-9, block=True, backend="numpy")
    assert all(status is Status.MAX_ITERATIONS for status in few.status)
    assert (few.iterations == 40).all()
    assert (few.relative_residual < 1).all()
    np.testing.assert_allclose(few.relative_residual, true_residuals(A, few.x, B), rtol=1e-6)
    assert all(status is Status.TIME_LIMIT for status in none.status)


def test_a_callback_sees_each_column_alone():
    A, B, seen = scaled_poisson(), np.random.default_rng(10).standard_normal((N, 2)), []
    found = rv.cg(A, B, rtol=1e-6, block=True, callback=lambda told: seen.append(told.iteration))
    assert len(seen) == found.iterations.sum()


def test_an_answer_beyond_the_digits_stands_still_as_it_does_alone():
    A, B = scaled_poisson(), np.random.default_rng(11).standard_normal((N, 3))
    with pytest.warns(ConvergenceWarning):
        found = rv.cg(A, B, rtol=0, block=True, backend="numpy")
    assert all(status is Status.STAGNATED for status in found.status)
    assert (found.backward_error < 1e-15).all()


def test_many_columns_are_taken_by_blocks_and_in_any_axes(monkeypatch):
    monkeypatch.setattr(blocks, "WIDTH", 4)
    A, B = scaled_poisson(), np.random.default_rng(12).standard_normal((2, N, 5))
    found = rv.cg(A, B, rtol=1e-10, block=True, backend="numpy")
    assert found.x.shape == B.shape
    assert found.status.shape == (2, 5)
    np.testing.assert_allclose(A @ found.x[1], B[1], atol=1e-7)


def test_a_matrix_whose_numbering_scatters_neighbours_is_renumbered(monkeypatch):
    monkeypatch.setattr(block_space, "RENUMBERED_FROM", 1)
    A, B = scaled_poisson(), np.random.default_rng(13).standard_normal((N, 4))
    mixed = np.random.default_rng(14).permutation(N)
    A, seen = A[mixed][:, mixed], []
    entered = block_space.Space.entered
    monkeypatch.setattr(block_space.Space, "entered", lambda self, v: seen.append(self.order) or entered(self, v))
    for M in (None, "jacobi"):
        found = rv.cg(A, B, M=M, rtol=1e-10, block=True)
        assert found.converged
        np.testing.assert_allclose(A @ found.x, B, atol=1e-7)
    assert all(sorted(order) == list(range(N)) for order in seen)
    near = A[seen[0]][:, seen[0]].tocoo()
    assert np.abs(near.row - near.col).max() < 2 * SIDE


def test_solve_takes_the_block_form_of_what_it_chooses():
    A, B = scaled_poisson(), np.random.default_rng(15).standard_normal((N, 5))
    single, block = (rv.solve(A, B, rtol=1e-9, block=way) for way in (False, True))
    assert block.converged
    assert block.method == "cg"
    assert block.systems[0].reason.startswith("cg was chosen: Jacobi-preconditioned")
    assert block.iterations.sum() < single.iterations.sum()
    for A, named in ((flow(), {}), (flow(), {"method": "gmres"}), (-scaled_poisson(), {})):
        assert rv.solve(A, B, rtol=1e-9, block=True, **named).converged


def test_products_alone_are_enough():
    A, B = scaled_poisson(), np.random.default_rng(16).standard_normal((N, 3))
    operator, M = (rv.as_operator(f, (N, N), np.float64) for f in (lambda x: A @ x, lambda r: r / A.diagonal()))
    found = rv.cg(operator, B, M=M, rtol=1e-9, block=True)
    assert found.converged
    np.testing.assert_allclose(A @ found.x, B, atol=1e-6)


def test_when_blocks_are_taken_unasked(monkeypatch):
    mixed = np.random.default_rng(18).permutation(N)
    near, B = scaled_poisson(), np.random.default_rng(17).standard_normal((N, 8))
    far = near[mixed][:, mixed]

    def shares(A, B, **options):
        """Whether columns took other iterations than alone."""
        found, alone = (rv.cg(A, B, rtol=1e-9, block=way, **options) for way in ("auto", False))
        return found.iterations.sum() < alone.iterations.sum()

    assert not shares(far, B)  # a small one
    monkeypatch.setattr(blocks, "ROWS_FROM", N)
    monkeypatch.setattr(block_space, "RENUMBERED_FROM", N)
    monkeypatch.setattr(block_space, "FAR", 0.1)  # on a grid this small, the next line is far away as well
    assert shares(far, B)
    assert shares(far, B, M="jacobi")
    assert not shares(near, B)
    assert not shares(far, B[:, : blocks.COLUMNS_FROM - 1])
    assert not shares(far, B, backend="numpy")
    assert not shares(far, B, M="ssor")
    assert not shares(far, B, flexible=True)


def test_what_block_may_be():
    A, B = scaled_poisson(), np.ones((N, 2))
    with pytest.raises(InputError, match="block: found 'yes'"):
        rv.cg(A, B, block="yes")
    with pytest.raises(InputError, match=r"block: found True, but CG\(flexible=True"):
        rv.cg(A, B, block=True, flexible=True)


def test_a_block_is_not_said_to_be_preconditioned_by_what_it_is_not(monkeypatch):
    """Multigrid takes one vector at a time, so that where it is chosen first columns go one by one."""
    monkeypatch.setattr("resolvent.solvers.krylov.cg.MULTIGRID_FROM", 1000)
    problem = rv.gallery.poisson((80, 80))
    B = np.random.default_rng(0).standard_normal((6400, 3))
    solution = rv.solve(sparse.csr_array(problem.A), B, rtol=1e-8, block=True)
    assert solution.converged
    assert "multigrid" in solution.systems[0].reason
    assert solution.iterations.max() < 12
