"""SSOR-CG: the loop with Eisenstat's trick against the textbook, its parallel order, omega, and what is refused."""

import math
import warnings

import hypothesis
import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import strategies as st
from scipy.linalg import eigvalsh
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from scipy.sparse.linalg import cg as scipy_cg

import resolvent as rv
from resolvent.backends.compiled import compiling, pipeline
from resolvent.backends.compiled.pipeline import Tiles, neighbours, tiles_of
from resolvent.backends.compiled.products import arrays_of
from resolvent.backends.compiled.ssor_cg import ssor_cg_begin, ssor_cg_leave, ssor_cg_loop
from resolvent.gallery import anisotropic, diffusion, heat_sequence, hilbert, minij, moler, poisson, randsvd, strakos
from resolvent.operators.ordering import Ordering
from resolvent.solvers.krylov.ssor_cg import SSORCG, ssor_omega, triangle_bound
from resolvent.solvers.linear.system import LinearSystem

BACKENDS = ("numpy", "numba")
DTYPES = ("float64", "float32", "complex128")
# Each type is compiled for by itself: others than the first take seconds.
TYPES = [pytest.param(name, marks=[pytest.mark.slow] if name != "float64" else []) for name in DTYPES]


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return function(*args, **options)


def preconditioner(A, omega):
    """M of SSOR in natural order, from its definition."""
    D, L = np.diag(A.diagonal().real), np.tril(A, -1)
    T = D / omega + L
    return (2 - omega) / omega * np.linalg.solve(T.conj().T, D @ np.linalg.inv(T))


def textbook(A, b, omega, steps):
    """Iterates and residual norms of preconditioned conjugate gradients (Saad, algorithm 9.1) in double precision."""
    wide = np.result_type(A, np.float64)
    A, b = A.astype(wide), b.astype(wide)
    M = preconditioner(A, omega)
    x, r = np.zeros_like(b), b.copy()
    z = M @ r
    p, rho = z.copy(), np.vdot(r, z).real
    found, norms = [], []
    for _ in range(steps):
        q = A @ p
        alpha = rho / np.vdot(p, q).real
        x, r = x + alpha * p, r - alpha * q
        z = M @ r
        before, rho = rho, np.vdot(r, z).real
        p = z + rho / before * p
        found.append(x)
        norms.append(np.linalg.norm(r))
    return np.array(found), np.array(norms)


def iterates(A, b, steps, **options):
    """The first iterates, as the callback sees them."""
    seen = []
    quietly(rv.ssor_cg, A, b, rtol=0.0, maxiter=steps, callback=lambda at: seen.append(at.x.copy()) and None, **options)
    return np.array(seen)


def random_hermitian(n, dtype, density, seed=0):
    """Sparse, positive definite, without a pattern."""
    rng = np.random.default_rng(seed)
    G = rng.standard_normal((n, n)) * (rng.random((n, n)) < density)
    if np.dtype(dtype).kind == "c":
        G = G + 1j * rng.standard_normal((n, n)) * (G != 0)
    A = np.tril(G, -1)
    A = A + A.conj().T
    return (A + np.diag(np.abs(A).sum(axis=1) * rng.uniform(1.02, 1.5, n) + 0.1)).astype(dtype)


def bands(A, symmetric=False):
    """A full matrix by its diagonals."""
    n = A.shape[0]
    rows, columns = np.nonzero(A)
    offsets = np.unique(columns - rows)
    offsets = offsets[offsets >= 0] if symmetric else offsets
    data = np.zeros((offsets.size, n), A.dtype)
    for held, offset in zip(data, offsets, strict=True):
        held[max(0, -offset) : n - max(0, offset)] = np.diagonal(A, offset)
    return rv.Diagonals(data, offsets, symmetric)


def stencil(grid, dtype):
    side = -0.8 + 0.5j if np.dtype(dtype).kind == "c" else -1.0
    return rv.Stencil(grid, 2.05 * len(grid), ((side, np.conj(side)),) * len(grid), dtype)


# Blocks hold 64 rows, and a distance below 16 is left to the recurrence: sizes and offsets on either side of both.
STORAGES = {
    "dense": lambda dtype: random_hermitian(30, dtype, 0.6),
    "csr": lambda dtype: sparse.csr_array(random_hermitian(150, dtype, 0.04)),
    "csr, grid": lambda dtype: stencil((9, 21), dtype).tocsr(),
    "stencil, line": lambda dtype: stencil((150,), dtype),
    "stencil, plane": lambda dtype: stencil((5, 70), dtype),
    "stencil, narrow": lambda dtype: stencil((40, 4), dtype),
    "stencil, space": lambda dtype: stencil((3, 4, 20), dtype),
    "stencil, one a line": lambda dtype: stencil((70, 1), dtype),
    "bands, far": lambda dtype: bands(stencil((5, 70), dtype).tocsr().toarray()),
    "bands, near": lambda dtype: bands(stencil((40, 3), dtype).tocsr().toarray()),
    "bands, corners": lambda dtype: bands(np.kron(*[random_hermitian(k, dtype, 1.0) for k in (4, 20)]), False),
    "bands, no neighbours": lambda dtype: bands(np.diag(np.linspace(1, 5, 70)).astype(dtype)),
    "upper bands, far": lambda dtype: bands(stencil((5, 70), dtype).tocsr().toarray(), True),
    "upper bands, near": lambda dtype: bands(stencil((40, 3), dtype).tocsr().toarray(), True),
    "upper bands, without the first": lambda dtype: bands(
        (np.diag(np.full(90, 4.0)) + np.diag(-np.ones(88), 2) + np.diag(-np.ones(88), -2)).astype(dtype), True
    ),
}


def full(A):
    return A if isinstance(A, np.ndarray) else (A.tocsr() if isinstance(A, rv.Operator) else A).toarray()


def rhs(n, dtype):
    rng = np.random.default_rng(5)
    return (rng.standard_normal(n) + (1j * rng.standard_normal(n) if np.dtype(dtype).kind == "c" else 0)).astype(dtype)


# Against the textbook -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("omega", [0.6, 1.0, 1.7])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("storage", STORAGES)
def test_compiled_loop_is_the_textbook(storage, dtype, omega):
    if storage.startswith("upper") and dtype == "complex128":
        pytest.skip("upper bands alone are kept of real matrices")
    A = STORAGES[storage](dtype)
    matrix = full(A)
    b = rhs(matrix.shape[0], dtype)
    wanted, norms = textbook(matrix, b, omega, 6)
    # Further down the residual is replaced by the true one, and another direction is taken.
    steps = 1 + int((norms[:-1] > 10 * math.sqrt(np.finfo(dtype).eps) * np.linalg.norm(b)).sum())
    assert steps >= 2 or storage == "bands, no neighbours"
    found = iterates(A, b, steps, omega=omega, backend="numba")
    tolerance = 300 * np.finfo(dtype).eps
    errors = np.linalg.norm(found - wanted[:steps], axis=1)
    assert (errors <= tolerance * np.linalg.norm(wanted[:steps], axis=1)).all()
    # Several steps a call, and the residual norms that the loop computes from T^-1 r.
    solution = quietly(rv.ssor_cg, A, b, omega=omega, rtol=0.0, maxiter=steps, backend="numba")
    np.testing.assert_array_equal(solution.x, found[-1])
    allowed = tolerance * np.linalg.norm(b)
    np.testing.assert_allclose(solution.residual_norms[1:], norms[:steps], rtol=1e-3, atol=allowed)


@pytest.mark.parametrize("order", ["natural", "multicolor"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", TYPES)
def test_step_is_the_textbook(dtype, backend, order):
    A = random_hermitian(40, dtype, 0.1)
    b = rhs(40, dtype)
    rows = np.arange(40)
    if order == "multicolor":
        rows = np.argsort(Ordering(rv.as_operator(A), order).numbers, kind="stable")
    found = iterates(A, b, 5, omega=1.3, backend=backend, order=order)[:, rows]
    wanted, _ = textbook(A[np.ix_(rows, rows)], b[rows], 1.3, 5)
    assert np.abs(found - wanted).max() <= 300 * np.finfo(dtype).eps * np.abs(wanted).max()


def test_against_scipy_with_the_preconditioner_written_out():
    for A in (poisson((17, 13)).A, diffusion((15, 12)).A, anisotropic((12, 14), 0.1).A):
        A = sparse.csr_array(A)
        b = rhs(A.shape[0], "float64")
        for omega in (0.8, 1.0, 1.6):
            M = preconditioner(A.toarray(), omega)
            counts = []
            x, info = scipy_cg(A, b, M=M, rtol=1e-9, atol=0.0, callback=counts.append)
            solution = rv.ssor_cg(A, b, omega=omega, rtol=1e-9)
            assert info == 0
            assert abs(solution.iterations - len(counts)) <= 1
            np.testing.assert_allclose(solution.x, x, rtol=0, atol=1e-7 * np.abs(x).max())
            same = rv.cg(A, b, M=LinearOperator(A.shape, matvec=lambda r, M=M: M @ r, dtype=float), rtol=1e-9)
            assert abs(solution.iterations - same.iterations) <= 1


def test_the_loop_and_the_textbook_step_follow_each_other():
    """A residual replaced on the way, a first guess, and a restart: the state is handed over in both directions."""
    problem = poisson((30, 30))
    guess = problem.x + 1e-3 * rhs(900, "float64")
    exact = rv.ssor_cg(problem.A, problem.b, x0=guess, omega=1.8, rtol=1e-12)
    assert exact.converged
    np.testing.assert_allclose(exact.x, problem.x, rtol=0, atol=1e-10 * np.abs(problem.x).max())
    # Beyond what rounding allows, loops are left, residuals replaced, and iterations begun anew.
    hard = randsvd(80, 1e6, 3, "spd", seed=2)
    found = quietly(rv.ssor_cg, hard.A, hard.b, omega=1.2, rtol=0.0)
    plain = quietly(rv.ssor_cg, hard.A, hard.b, omega=1.2, rtol=0.0, backend="numpy")
    assert "replaced by the true one" in found.reason
    assert not found.converged
    assert found.backward_error < 10 * found.unit_roundoff
    assert plain.backward_error < 10 * plain.unit_roundoff


@pytest.mark.parametrize("dtype", TYPES[:2])
@pytest.mark.parametrize("omega", [1.0, 1.9])
def test_attainable_accuracy(dtype, omega):
    A, b = poisson((20, 20)).A.astype(dtype), rhs(400, dtype)
    solution = quietly(rv.ssor_cg, A, b, omega=omega, rtol=0.0)
    assert solution.status is rv.Status.STAGNATED
    assert solution.backward_error < 10 * solution.unit_roundoff


# What the spectrum says ---------------------------------------------------------------------------------------------


def condition(A, omega, rows=None):
    A = A if rows is None else A[np.ix_(rows, rows)]
    D, L = np.diag(A.diagonal()), np.tril(A, -1)
    T = D / omega + L
    values = eigvalsh(A, omega / (2 - omega) * T @ np.linalg.solve(D, T.T))
    return values[-1] / values[0]


def test_condition_numbers_of_the_docstring():
    problem = poisson((20, 20))
    A = problem.A.toarray()
    assert problem.condition == pytest.approx(178.06, abs=0.01)
    assert condition(A, 1.0) == pytest.approx(23.11, abs=0.01)
    assert condition(A, 1.75) == pytest.approx(5.55, abs=0.01)
    i, j = np.divmod(np.arange(400), 20)
    red_black = np.argsort((i + j) % 2, kind="stable")
    assert condition(A, 1.0, red_black) == pytest.approx(45.02, abs=0.01)
    assert min(condition(A, omega, red_black) for omega in (0.8, 0.95, 1.05, 1.2)) > 45.02
    for omega, order, rows in ((1.0, "natural", None), (1.75, "natural", None), (1.0, "multicolor", red_black)):
        solution = rv.ssor_cg(problem.A, rhs(400, "float64"), omega=omega, order=order, rtol=1e-12)
        assert solution.condition == pytest.approx(condition(A, omega, rows), rel=1e-3)


def test_spectrum_lies_in_the_unit_interval():
    """M A has its spectrum in (0, 1], for every omega in (0, 2)."""
    A = random_hermitian(60, "float64", 0.1, seed=3)
    for omega in (0.2, 1.0, 1.5, 1.95):
        low, high = quietly(rv.ssor_cg, A, rhs(60, "float64"), omega=omega, rtol=1e-12).spectrum
        values = np.linalg.eigvals(preconditioner(A, omega) @ A).real
        assert 0 < values.min() <= low * (1 + 1e-9) + 1e-12
        assert high <= values.max() * (1 + 1e-9)
        assert values.max() <= 1 + 1e-10


def test_multicolour_order_is_told_of_and_costs_iterations():
    problem = poisson((24, 24))
    natural = rv.ssor_cg(problem.A, problem.b, omega=1.8, rtol=1e-9)
    coloured = rv.ssor_cg(problem.A, problem.b, omega=1.8, rtol=1e-9, order="multicolor")
    assert coloured.iterations > 2 * natural.iterations
    assert "in colours" in coloured.reason
    assert "in colours" not in natural.reason


# Several threads ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles as for large matrices, on small ones."""
    monkeypatch.setattr(pipeline, "PARALLEL_FROM", 1)
    monkeypatch.setattr(pipeline, "SLICE", 32)
    monkeypatch.setattr(pipeline, "LEAST_RUN", 1)


TILED = {
    "stencil, plane": lambda dtype: stencil((30, 80), dtype),
    "stencil, space": lambda dtype: stencil((8, 9, 40), dtype),
    "csr": lambda dtype: sparse.csr_array(stencil((40, 41), dtype).tocsr()),
    "csr, irregular": lambda dtype: sparse.csr_array(
        stencil((40, 40), dtype).tocsr() + sparse.csr_array(random_hermitian(1600, dtype, 4e-6))
    ),
    "bands": lambda dtype: bands(stencil((20, 50), dtype).tocsr().toarray()),
    "upper bands": lambda dtype: bands(stencil((20, 50), dtype).tocsr().toarray(), True),
}


def shuffled(tiles, seed):
    """The tiles of each stage in another order, as threads may come to them."""
    rng = np.random.default_rng(seed)
    tile_of = np.repeat(np.arange(tiles.starts.size - 1), np.diff(tiles.starts))
    stages = (tiles.starts.size - 1) // tiles.parts
    place = np.concatenate([rng.permutation(tiles.parts) + stage * tiles.parts for stage in range(stages)])
    moved = place[tile_of]
    order = np.argsort(moved, kind="stable")
    starts = np.searchsorted(moved[order], np.arange(tiles.starts.size))
    return Tiles(tiles.parts, starts, tiles.runs[order], tiles.owners[order])


def run_loop(A, tiles, b, steps=5, omega=1.5, parallel=False):
    """Some iterations of the kernels themselves: x, the residual, and the norms."""
    kernels = [getattr(kernel, "parallel" if parallel else "serial") for kernel in (ssor_cg_begin, ssor_cg_loop)]
    system = LinearSystem(A, b)
    system.prepare()
    state = SSORCG(omega=omega).start(system)
    arrays = arrays_of(system.operator)
    gap = (0.0, 0.0, 0.0, 1e-16, state.residual_norm)
    h, p = np.full_like(b, np.nan), np.zeros_like(b)
    scalars = kernels[0](arrays, tiles, omega, state.r, h, p, tiles.sums())
    norms, alphas, betas = np.empty((3, steps))
    kernels[1](arrays, tiles, omega, state.x, state.r, h, p, scalars, 0.0, gap, norms, alphas, betas, tiles.sums())
    leave = ssor_cg_leave.parallel if parallel else ssor_cg_leave.serial
    leave(arrays, tiles, omega, state.r)
    return system.unscaled(state.x), state.r, norms


@pytest.mark.slow
@pytest.mark.parametrize("storage", TILED)
def test_any_order_of_tiles_gives_the_same_bits(storage, small_tiles):
    A = TILED[storage]("float64")
    operator = rv.as_operator(A)
    n = operator.shape[0]
    b = rhs(n, "float64")
    tiles = tiles_of(arrays_of(operator), n)
    assert tiles.parts > 1
    wanted = run_loop(A, tiles.sequential(), b)
    for other in (tiles, shuffled(tiles, 0), shuffled(tiles, 1)):
        for found, known in zip(run_loop(A, other, b), wanted, strict=True):
            np.testing.assert_array_equal(found, known)
    np.testing.assert_allclose(wanted[0], textbook(full(A), b, 1.5, 5)[0][-1], rtol=0, atol=1e-12 * np.abs(b).max())


def check_tiles(tiles, pattern, n):
    """Every row once, and after all it waits for: in an earlier stage, or earlier in its own tile."""
    when, tile = np.full(n, -1), np.full(n, -1)
    assert (tiles.starts.size - 1) % tiles.parts == 0
    assert tiles.starts[0] == 0
    assert tiles.starts[-1] == len(tiles.runs)
    clock = 0
    for t in range(tiles.starts.size - 1):
        for begin, end in tiles.runs[tiles.starts[t] : tiles.starts[t + 1]]:
            assert (when[begin:end] < 0).all()
            when[begin:end], tile[begin:end] = np.arange(clock, clock + end - begin), t
            clock += end - begin
    assert (when >= 0).all()
    indptr, indices = pattern
    rows = np.repeat(np.arange(n), np.diff(indptr))
    before = np.minimum(rows, indices.astype(int))[rows != indices]
    after = np.maximum(rows, indices.astype(int))[rows != indices]
    same = tile[before] == tile[after]
    assert (when[before] < when[after])[same].all()
    assert (tile[before] // tiles.parts < tile[after] // tiles.parts)[~same].all()


@pytest.mark.parametrize("storage", TILED)
def test_rows_come_after_those_they_wait_for(storage, small_tiles):
    operator = rv.as_operator(TILED[storage]("float64"))
    arrays, n = arrays_of(operator), operator.shape[0]
    tiles = tiles_of(arrays, n)
    assert tiles.parts > 1
    check_tiles(tiles, neighbours(arrays, n), n)
    pattern = operator.tocsr()
    check_tiles(tiles, (pattern.indptr, pattern.indices), n)


@hypothesis.given(st.integers(2, 60), st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.05, 0.3]))
def test_patterns_of_any_kind_are_cut_rightly(n, seed, density):
    rng = np.random.default_rng(seed)
    lower = np.tril(rng.random((n, n)) < density, -1)
    pattern = sparse.csr_array((lower | lower.T | np.eye(n, dtype=bool)).astype(float))
    pattern.sort_indices()
    indptr, indices = pattern.indptr, pattern.indices
    position = pipeline.positions(indptr, indices, pipeline.line_length((indptr, indices)))
    rows = np.repeat(np.arange(n), np.diff(indptr))
    assert (position[rows[indices < rows]] >= position[indices[indices < rows]]).all()
    for parts in (2, 4):
        tiles, gain = pipeline._cut((indptr, indices), position, parts)
        check_tiles(tiles, (indptr, indices), n)
        assert 0 < gain <= 2


def test_what_lies_beyond_the_ends_of_diagonals_is_not_looked_at():
    n = 60
    for far in (1, 2, 20):
        data = np.full((3, n), np.nan)
        data[0, far:], data[1], data[2, :-far] = -1.0, 4.0, -1.0
        A = rv.Diagonals(data, [-far, 0, far])
        found = rv.ssor_cg(A, np.ones(n), omega=1.2, rtol=1e-10)
        assert found.converged
        np.testing.assert_allclose(full(A) @ found.x, 1.0, rtol=1e-8)


def test_a_chain_and_a_full_matrix_are_left_to_one_thread(small_tiles):
    for A in (stencil((400,), "float64"), rv.as_operator(random_hermitian(50, "float64", 1.0))):
        tiles = tiles_of(arrays_of(A), A.shape[0])
        assert (tiles.parts, tiles.runs.tolist()) == (1, [[0, A.shape[0]]])


@pytest.mark.slow
def test_threads_give_the_bits_of_one(small_tiles, monkeypatch):
    """Shared among threads, whatever their number; through the door, too."""
    A = stencil((64, 64), "float64")
    b = rhs(4096, "float64")
    tiles = tiles_of(arrays_of(A), 4096)
    assert tiles.parts > 1
    for found, wanted in zip(run_loop(A, tiles, b, parallel=True), run_loop(A, tiles.sequential(), b), strict=True):
        np.testing.assert_array_equal(found, wanted)
    # The loop is told the size by the tiles of A alone, so that only its own kernels run in parallel here.
    one = rv.ssor_cg(stencil((64, 64), "float64"), b, omega=1.8, rtol=1e-10)
    monkeypatch.setattr(compiling, "PARALLEL_FROM", 4000)
    several = rv.ssor_cg(stencil((64, 64), "float64"), b, omega=1.8, rtol=1e-10)
    assert several.iterations == one.iterations
    assert several.converged
    np.testing.assert_allclose(several.x, one.x, rtol=0, atol=1e-9 * np.abs(one.x).max())


# omega --------------------------------------------------------------------------------------------------------------


def counts(A, b, omegas, rtol=1e-8):
    return np.array([rv.ssor_cg(A, b, omega=omega, rtol=rtol).iterations for omega in omegas])


@pytest.mark.parametrize("points", [12, 24, 48])
def test_closed_form_is_near_the_best_omega_on_poisson(points):
    problem = poisson((points, points))
    b = rhs(points**2, "float64")
    omega = ssor_omega(math.cos(math.pi / (points + 1)), 0.25)
    assert omega == pytest.approx(2 / (1 + math.sqrt(2 * (1 - math.cos(math.pi / (points + 1))))), rel=1e-14)
    brute = counts(problem.A, b, np.round(np.linspace(1, 1.95, 20), 2)).min()
    assert counts(problem.A, b, [omega])[0] <= 1.04 * brute + 1
    # And without being told: by Lanczos steps.
    found = rv.ssor_cg(problem.A, b, rtol=1e-8)
    assert found.iterations <= 1.1 * brute + 1
    assert "omega = 1." in found.reason


def test_closed_form_is_near_the_best_omega_along_a_heat_equation():
    """The other branch: M is above 4 beta, since the time step weighs on the diagonal."""
    n_x = 40
    sequence = heat_sequence(n_x, 1000)
    u = sequence.initial()
    for step in (50, 250, 740, 960):
        problem = sequence.problem(step, u)
        c, A = problem.context, problem.A
        radius = 1 - (1 + 8 * c * math.sin(math.pi / (2 * n_x)) ** 2) / (1 + 4 * c)
        assert radius == pytest.approx(1 - problem.spectrum[0] / A.diagonal()[0], rel=1e-10)
        bound = triangle_bound(rv.as_operator(A))
        assert bound == pytest.approx((2 * c / (1 + 4 * c)) ** 2, rel=1e-12)
        assert radius >= 4 * bound
        brute = counts(A, problem.b, np.linspace(1, 1.95, 20)).min()
        assert counts(A, problem.b, [ssor_omega(radius, bound)])[0] <= 1.05 * brute + 1


def test_omega_bounds_the_rate_as_the_theory_has_it():
    """rho(I - M A) <= (1 - q) / (1 + q), q = (1 - M) / sqrt(1 - 2 M + 4 beta), or omega - 1 in the other branch."""
    for A in (poisson((10, 10)).A.toarray(), poisson((10, 10)).A.toarray() + 2 * np.eye(100), np.diag(np.ones(9))):
        d = A[0, 0]
        radius = 1 - np.linalg.eigvalsh(A)[0] / d
        L = np.tril(A, -1) / d
        beta = np.abs(np.linalg.eigvals(L @ L.T)).max()
        omega = ssor_omega(radius, beta)
        q = (1 - radius) / math.sqrt(1 - 2 * radius + 4 * beta)
        rate = np.abs(np.linalg.eigvals(np.eye(len(A)) - preconditioner(A, omega) @ A)).max()
        assert rate <= ((1 - q) / (1 + q) if radius < 4 * beta else omega - 1) + 1e-12


@pytest.mark.parametrize("storage", STORAGES)
def test_triangle_bound_is_the_product_of_row_sums(storage):
    dtype = "float64" if storage.startswith("upper") else "complex128"
    A = STORAGES[storage](dtype)
    matrix = full(A)
    D = np.diag(1 / matrix.diagonal())
    L, U = D @ np.tril(matrix, -1), D @ np.triu(matrix, 1)
    bound = triangle_bound(rv.as_operator(A))
    assert bound == pytest.approx(np.linalg.norm(L, np.inf) * np.linalg.norm(U, np.inf), rel=1e-12, abs=1e-300)
    assert bound >= np.abs(np.linalg.eigvals(L @ U)).max() - 1e-12


def test_omega_found_is_kept_for_what_follows():
    problem = poisson((16, 16))
    system = LinearSystem(problem.A, problem.b)
    system.prepare()
    state = SSORCG().start(system)
    assert 1 < state.omega < 2
    assert SSORCG().tuned(system, state) == SSORCG(omega=state.omega)
    assert f"omega = {state.omega:.4f} was chosen" in state.notes[0]


def test_units_do_not_change_the_iteration():
    problem = poisson((16, 16))
    plain = rv.ssor_cg(problem.A, problem.b, rtol=1e-9)
    for scale in (1e-200, 1e150):
        scaled = rv.ssor_cg(problem.A * scale, problem.b, rtol=1e-9)
        assert scaled.iterations == plain.iterations
        np.testing.assert_allclose(scaled.x * scale, plain.x, rtol=0, atol=1e-12)


def test_products_are_counted():
    """One pass over the entries an iteration when compiled; a product and two sweeps in the textbook."""
    problem = poisson((16, 16))
    compiled = quietly(rv.ssor_cg, problem.A, problem.b, omega=1.5, rtol=0.0, maxiter=10)
    plain = quietly(rv.ssor_cg, problem.A, problem.b, omega=1.5, rtol=0.0, maxiter=10, backend="numpy")
    assert plain.matvecs - compiled.matvecs == 20


# What is refused, and what never passes for an answer ---------------------------------------------------------------


@pytest.mark.parametrize("omega", [0.0, 2.0, -0.5, 2.5, math.nan, math.inf])
def test_omega_outside_kahans_range_is_refused(omega):
    with pytest.raises(rv.InputError, match=r"^omega: .*\(0, 2\).*Kahan"):
        rv.ssor_cg(np.eye(3), np.ones(3), omega=omega)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: rv.ssor_cg(np.eye(3), np.ones(3), order="random"), rv.InputError, "^order: "),
        (lambda: rv.ssor_cg(np.eye(3), np.ones(4)), rv.InputError, "^b: "),
        (lambda: rv.ssor_cg(np.ones((2, 3)), np.ones(2)), rv.InputError, "^A: "),
        (lambda: rv.ssor_cg(np.eye(3), np.array([1.0, np.nan, 0])), rv.InputError, "^b: entry 1 is not finite"),
        (lambda: rv.ssor_cg(np.diag([1.0, np.inf, 1]), np.ones(3)), rv.InputError, "^A: "),
        (lambda: rv.ssor_cg(np.triu(np.ones((3, 3))), np.ones(3)), rv.NotHermitianError, "^A: ssor_cg needs"),
        (lambda: rv.ssor_cg(aslinearoperator(np.eye(3)), np.ones(3)), rv.InputError, "^A: .*only multiplies"),
        (lambda: rv.solve(np.eye(3), np.ones(3), method="ssor_cg", M=np.eye(3)), rv.InputError, "^M: "),
        (lambda: rv.solve(np.eye(3), np.ones(3), method="ssor_cg", sweep="forward"), rv.InputError, "^sweep: "),
    ],
)
def test_bad_input_is_named(call, error, said):
    with pytest.raises(error, match=said):
        call()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [0.0, -2.0])
def test_a_diagonal_that_is_not_positive_is_told(value, backend):
    A = np.array([[2.0, 1.0, 0], [1.0, value, 1], [0, 1, 3]])
    for form in (A, sparse.csr_array(A), bands(A)):
        solution = quietly(rv.ssor_cg, form, np.ones(3), backend=backend)
        assert solution.status is rv.Status.BREAKDOWN
        assert "the diagonal entry of row 1 is not positive" in solution.reason


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_indefinite_matrix_with_a_positive_diagonal_is_told(backend):
    A = np.array([[1.0, 3.0], [3.0, 1.0]])
    solution = quietly(rv.ssor_cg, A, np.array([1.0, -1.0]), omega=1.0, backend=backend)
    assert solution.status is rv.Status.BREAKDOWN
    assert "indefinite" in solution.reason


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_and_zero_and_integers(backend):
    assert rv.ssor_cg(np.zeros((0, 0)), np.zeros(0), backend=backend).converged
    zero = rv.ssor_cg(poisson((4, 4)).A, np.zeros(16), backend=backend)
    assert zero.converged
    np.testing.assert_array_equal(zero.x, 0)
    whole = rv.ssor_cg(np.array([[4, 1], [1, 3]]), np.array([1, 2]), rtol=1e-12, backend=backend)
    np.testing.assert_allclose(whole.x, [1 / 11, 7 / 11], rtol=1e-11)
    single = rv.ssor_cg(np.array([[4.0]]), np.array([2.0]), omega=1.9, backend=backend)
    assert single.x[0] == pytest.approx(0.5, rel=1e-15)
    assert single.iterations == 1


def residual_by_hand(A, x, b):
    """In extended precision."""
    wide = np.clongdouble if np.iscomplexobj(A) else np.longdouble
    r = b.astype(wide) - A.astype(wide) @ x.astype(wide)
    return float(np.sqrt((np.abs(r) ** 2).sum()))


@pytest.mark.parametrize("omega", [None, 0.3, 1.0, 1.99])
@pytest.mark.parametrize(
    "problem",
    [
        pytest.param(hilbert(12), id="hilbert"),
        pytest.param(moler(40), id="moler"),
        pytest.param(minij(60), id="minij"),
        pytest.param(strakos(48, 1e-6, 1e6), id="strakos"),
        pytest.param(randsvd(60, 1e14, 3, "spd", seed=1), id="randsvd"),
        pytest.param(diffusion((12, 12)), id="diffusion"),
    ],
)
def test_ill_conditioned_systems_never_pass_wrongly(problem, omega):
    A, b = full(problem.A), problem.b
    for rtol in (1e-6, 1e-12, 1e-15):
        solution = quietly(rv.ssor_cg, problem.A, b, omega=omega, rtol=rtol, maxiter=3000)
        norm = residual_by_hand(A, solution.x, b)
        if solution.converged:
            assert norm <= rtol * np.linalg.norm(b) * (1 + 1e-10)
        assert solution.residual_norm == pytest.approx(norm, rel=1e-6, abs=1e-18 * np.linalg.norm(b))


@pytest.mark.slow
@hypothesis.given(
    st.integers(1, 25),
    st.integers(0, 2**32 - 1),
    st.floats(0.05, 1.95),
    st.sampled_from(["dense", "csr", "bands"]),
    st.sampled_from(DTYPES),
    st.floats(-2, 2),
)
def test_definite_systems_are_solved_and_the_error_falls(n, seed, omega, storage, dtype, exponent):
    """The error in the A-norm falls with every step, and what is called converged is."""
    rng = np.random.default_rng(seed)
    A = random_hermitian(n, dtype, 0.3, seed=seed)
    A = (A * np.asarray(10.0**exponent, A.real.dtype)).astype(dtype)
    b = rhs(n, dtype) * rng.standard_normal(n).astype(A.real.dtype)
    form = {"dense": np.asarray, "csr": sparse.csr_array, "bands": bands}[storage](A)
    exact = np.linalg.solve(A.astype(np.complex128), b)
    errors = [0 * b, *iterates(form, b, 8, omega=omega)] - exact
    norms = np.sqrt(np.einsum("ki,ij,kj->k", errors.conj(), A, errors).real.clip(0))
    perturbation = 100 * np.finfo(dtype).eps * norms[0]
    assert (norms[1:] <= norms[:-1] + perturbation).all()
    rtol = 1e-4 if dtype == "float32" else 1e-10
    solution = rv.ssor_cg(form, b, omega=omega, rtol=rtol)
    assert solution.converged
    assert residual_by_hand(A, solution.x, b) <= rtol * np.linalg.norm(b) * (1 + 4 * np.finfo(dtype).eps)


def test_an_underflow_is_called_one():
    problem = rv.gallery.poisson((20, 20))  # its solution has exact zeros, so that the residual falls without end
    with pytest.warns(rv.ConvergenceWarning):
        solution = rv.ssor_cg(problem.A, problem.b, omega=1.0, rtol=0.0)
    assert "positive definite" not in solution.reason
    assert solution.relative_residual < 1e-15
