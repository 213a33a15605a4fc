"""The multigrid cycle against the textbook on sparse matrices, and what it does to conjugate gradients."""

import importlib
import math

import numpy as np
import pytest
import scipy.sparse as sparse
import scipy.sparse.linalg

import resolvent as rv
from resolvent.backends import choose_backend
from resolvent.backends.compiled import multigrid as kernels
from resolvent.gallery import anisotropic, poisson
from resolvent.solvers.krylov.cg import CG
from resolvent.solvers.linear.system import LinearSystem
from resolvent.solvers.preconditioners.multigrid import COARSEST, SPAN, STRONG, hierarchy

cg_module = importlib.import_module("resolvent.solvers.krylov.cg")
multigrid_module = importlib.import_module("resolvent.solvers.preconditioners.multigrid")


def diffusion(coefficients):
    """Finite volumes with these coefficients in their cells, zero on the boundary."""
    grid, n = coefficients.shape, coefficients.size
    index, diagonal = np.arange(n).reshape(grid), np.zeros(grid)
    rows, columns, values = [], [], []
    for axis in range(coefficients.ndim):
        K, at = np.moveaxis(coefficients, axis, 0), np.moveaxis(index, axis, 0)
        D = np.moveaxis(diagonal, axis, 0)
        between = 2 * K[1:] * K[:-1] / (K[1:] + K[:-1])
        D[1:] += between
        D[:-1] += between
        D[0] += K[0]
        D[-1] += K[-1]
        rows.append(at[1:].ravel())
        columns.append(at[:-1].ravel())
        values.append(-between.ravel())
    rows, columns, values = map(np.concatenate, (rows, columns, values))
    half = sparse.csr_array((values, (rows, columns)), shape=(n, n))
    return sparse.csr_array(half + half.T + sparse.diags_array(diagonal.ravel()))


def varied(grid, contrast=1.0, seed=3):
    return diffusion(np.exp(contrast * np.random.default_rng(seed).standard_normal(grid)))


# The textbook -------------------------------------------------------------------------------------------------------


def interpolation(A, grid, axis):
    """P along one axis: points with odd coordinates stay, the others have what their rows say."""
    A, n = A.tocoo(), A.shape[0]
    places = np.array(np.unravel_index(np.arange(n), grid))
    place = places[axis]
    hop = place[A.col] - place[A.row]
    before, after = (np.maximum(np.bincount(A.row, np.where(hop == to, -A.data, 0), n), 0) for to in (-1, 1))
    missing = np.maximum(np.bincount(A.row, A.data, n), 0)
    whole = before + after + np.where((place == 0) | (place == grid[axis] - 1), missing, 0)
    coarse = tuple(size // 2 if k == axis else size for k, size in enumerate(grid))
    P = sparse.lil_array((n, math.prod(coarse)))
    for i in range(n):
        for parent, weight in ((place[i] // 2 - 1, before[i]), (place[i] // 2, after[i])):
            at = places[:, i].copy()
            at[axis] = parent
            if place[i] % 2 and parent == place[i] // 2:
                P[i, np.ravel_multi_index(at, coarse)] = 1
            elif place[i] % 2 == 0 and 0 <= parent < coarse[axis] and whole[i] > 0:
                P[i, np.ravel_multi_index(at, coarse)] = weight / whole[i]
    return P.tocsr(), coarse


def smoothed(A, D, factors, r, x):
    for factor in factors:
        x = x + factor * (r - A @ x) / D
    return x


def cycle(A, grid, r, bounds, degree):
    """A V-cycle from zero; ``bounds`` of the spectra of D^-1 A on the grids."""
    if math.prod(grid) <= COARSEST:
        return np.linalg.solve(A.toarray(), r)
    coarse, fine, P = A, grid, sparse.eye_array(A.shape[0])
    for axis in reversed([axis for axis in range(len(grid)) if grid[axis] >= 3]):
        Q, fine = interpolation(coarse, fine, axis)
        coarse, P = sparse.csr_array(Q.T @ coarse @ Q), P @ Q
    D = A.diagonal()
    high, *others = bounds
    middle, radius = (high + high / SPAN) / 2, (high - high / SPAN) / 2
    factors = 1 / (middle + radius * np.cos(math.pi * (np.arange(degree) + 0.5) / degree))
    x = smoothed(A, D, factors, r, np.zeros_like(r))
    x = x + P @ cycle(coarse, fine, P.T @ (r - A @ x), others, degree)
    return smoothed(A, D, factors, r, x)


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("grid", [(300,), (21, 16), (20, 20), (60, 5), (6, 7, 8)])
def test_it_is_the_textbook_cycle(grid, degree):
    for A in (sparse.csr_array(poisson(grid).A), varied(grid)):
        r = np.random.default_rng(5).standard_normal(A.shape[0])
        M = rv.precondition.multigrid(A, degree)
        bounds = [level.bound for level in M.levels(M.dtype)[0]]
        found = M @ r
        # Weights are kept in single precision.
        np.testing.assert_allclose(found, cycle(A, grid, r, bounds, degree), rtol=0, atol=1e-6 * np.abs(found).max())


@pytest.mark.parametrize("grid", [(45, 33), (40, 9, 8)])
def test_a_stencil_and_its_matrix_have_the_same(grid):
    r = np.random.default_rng(5).standard_normal(math.prod(grid))
    free, stored = poisson(grid, matrix_free=True).A, poisson(grid).A
    found = [rv.precondition.multigrid(A) @ r for A in (free, stored)]
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-13 * np.abs(found[1]).max())


@pytest.mark.parametrize("grid", [(64, 40), (17, 15, 14), (33, 20)])
def test_threads_change_no_digit(grid):
    A = varied(grid)
    levels, _ = rv.precondition.multigrid(A).levels(np.dtype(float))
    rng = np.random.default_rng(2)
    bound = rv.precondition.multigrid(A).bind(choose_backend("numba", np.ones(1)), np.dtype(float))
    _, _, matrix, transfer, factors, x, rest, correction = bound.grids[0]
    r, out = rng.standard_normal((2, x.size))
    correction[:] = rng.standard_normal(correction.size)
    found = []
    for ways in ("serial", "parallel"):
        getattr(kernels.descend, ways)(matrix, transfer, factors, r, x, rest)
        getattr(kernels.ascend, ways)(matrix, transfer, factors, r, x, correction, out)
        found.append([array.copy() for array in (x, rest, out)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert levels[0].coarse_sides[0] == grid[0] // 2


# As a matrix --------------------------------------------------------------------------------------------------------


def as_matrix(M, dtype=np.float64):
    return np.array([M @ e for e in np.eye(M.shape[0], dtype=dtype)]).T


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "make", [lambda: poisson((17, 16)).A, lambda: varied((12, 25), 2.0), lambda: varied((7, 6, 8))]
)
def test_symmetric_and_positive_definite(make, dtype):
    A = sparse.csr_array(make()).astype(dtype)
    M = as_matrix(rv.precondition.multigrid(A), dtype).astype(float)
    assert np.abs(M - M.T).max() <= (1e-5 if dtype == "float32" else 1e-13) * np.abs(M).max()
    assert np.linalg.eigvalsh((M + M.T) / 2)[0] > 0


@pytest.mark.parametrize("side", [14, 17, 22])
def test_the_error_of_a_cycle_contracts(side):
    """Eigenvalues of M A between 1 - rate and 1: none above, since A is P^T A P on coarser grids."""
    A = poisson((side, side)).A.toarray()
    values = np.linalg.eigvals(as_matrix(rv.precondition.multigrid(A)) @ A).real
    assert values.max() <= 1 + 1e-6
    assert values.min() > 0.8


# In a solve ---------------------------------------------------------------------------------------------------------


def count(A, n, M="multigrid", rtol=1e-8):
    solution = rv.cg(A, np.random.default_rng(7).standard_normal(n), M=M, rtol=rtol)
    assert solution.converged
    return solution.iterations


@pytest.mark.parametrize("grid", [(32, 32), (127, 127), (512, 512), (100, 37), (10, 12, 11), (40, 40, 40)])
def test_iterations_do_not_depend_on_the_size(grid):
    n = math.prod(grid)
    assert count(poisson(grid, matrix_free=True).A, n) <= 8
    if n < 50_000:
        assert count(poisson(grid).A, n) <= 8


def test_coefficients_that_jump():
    side = 96
    board = np.add.outer(np.arange(side) // 16, np.arange(side) // 16) % 2
    A = diffusion(np.where(board, 1e4, 1.0))
    assert count(A, side**2) <= 16
    assert count(varied((side, side)), side**2) <= 12


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("ratio", [0.1, 0.01, 1e-4])
def test_axes_of_weak_coupling_are_not_coarsened_at_first(ratio, flip):
    A = anisotropic((64, 64), ratio).A
    if flip:
        order = np.arange(64 * 64).reshape(64, 64).T.ravel()
        A = sparse.csr_array(A.tocsr()[order][:, order])
    levels, _ = rv.precondition.multigrid(A).levels(np.dtype(float))
    sides = sorted(levels[0].coarse_sides)
    assert sides == ([1, 32, 64] if ratio < STRONG else [1, 32, 32])
    assert count(A, 64 * 64) <= 12


def test_no_boundary_values():
    """Derivatives are zero on the boundary: A is singular, and b has no part that it cannot reach."""
    A = varied((40, 30))
    A = sparse.csr_array(A - sparse.diags_array(np.asarray(A.sum(1)).ravel()))
    b = A @ np.random.default_rng(3).standard_normal(1200)
    solution = rv.cg(A, b, M="multigrid", rtol=1e-8)
    assert solution.converged
    assert solution.iterations <= 12


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_any_units_and_precisions(backend):
    A, b = poisson((30, 20)).A, np.random.default_rng(3).standard_normal(600)
    plain = rv.cg(A, b, M="multigrid", rtol=1e-8, backend=backend)
    for power in (-700, 700):
        scaled = rv.cg(A * 2.0**power, b, M="multigrid", rtol=1e-8, backend=backend)
        assert scaled.iterations == plain.iterations
    single = rv.cg(A.astype(np.float32), b.astype(np.float32), M="multigrid", rtol=1e-4, backend=backend)
    assert single.converged
    assert single.x.dtype == np.float32
    M = rv.precondition.multigrid(A)
    assert rv.cg(A, b, M=M, precision="fp32", rtol=1e-4, backend=backend).converged


def test_of_tensors():
    torch = pytest.importorskip("torch")
    A, b = poisson((30, 20)).A, np.random.default_rng(3).standard_normal(600)
    tensor = torch.sparse_csr_tensor(
        *(torch.from_numpy(part.copy()) for part in (A.indptr, A.indices, A.data)), A.shape
    )
    found = rv.cg(tensor, torch.from_numpy(b), M="multigrid", rtol=1e-8)
    assert found.iterations == rv.cg(A, b, M="multigrid", rtol=1e-8).iterations


# Refusals -----------------------------------------------------------------------------------------------------------


def indefinite():
    A = poisson((20, 20)).A
    return sparse.csr_array(A - 0.5 * sparse.eye_array(400))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: np.ones((40, 40)) + 40 * np.eye(40), rv.InputError, r"^A: found .*ssor and polynomial need no grid"),
        (lambda: poisson((6, 6)).A * 1j, rv.InputError, r"^A: found complex128; wanted a real matrix"),
        (
            lambda: rv.gallery.convection_diffusion((8, 8), 1.0).A,
            rv.NotHermitianError,
            r"^A: .*symmetric matrix.*gmres",
        ),
        (lambda: rv.gallery.load_finite_elements("bar").A, rv.InputError, r"^A: .* need no grid"),
        (lambda: scipy.sparse.linalg.aslinearoperator(poisson((6, 6)).A), rv.InputError, r"^A: .*entries"),
        (indefinite, rv.InputError, r"^A: found an eigenvalue below zero on the coarsest grid.*minres"),
        (lambda: -poisson((20, 20)).A, rv.InputError, r"^A: found a diagonal entry that is not positive"),
    ],
)
def test_what_cannot_be_made_says_what_to_try(make, error, words):
    with pytest.raises(error, match=words):
        rv.precondition.multigrid(make())


@pytest.mark.parametrize("degree", [0, 1.5, True, "2"])
def test_degrees_are_positive_integers(degree):
    with pytest.raises(rv.InputError, match=r"^degree: found .*; wanted an integer of at least 1"):
        rv.precondition.multigrid(poisson((6, 6)).A, degree)


def test_grids_of_few_points_are_solved_at_once():
    A = poisson((11, 11)).A
    levels, inverse = hierarchy(rv.precondition.multigrid(A).grid)
    assert not levels
    np.testing.assert_allclose(inverse @ A.toarray(), np.eye(121), atol=1e-12)


# The choice ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("matrix_free", [False, True])
def test_it_is_chosen_for_large_grids(matrix_free):
    A = poisson((320, 320), matrix_free=matrix_free).A
    solver = rv.prepare(A)
    for seed in (1, 2):
        b = np.random.default_rng(seed).standard_normal(320 * 320)
        solution = solver.solve(b, rtol=1e-8)
        assert solution.converged
        assert solution.iterations <= 8
        assert "cg was chosen: preconditioned by multigrid" in solution.reason
        assert "on a grid of 320 x 320 points" in solution.reason


def candidates(A):
    system = LinearSystem(A, np.ones(A.shape[0]))
    return [candidate.preconditioner for candidate in CG.candidates(system)]


def test_it_is_chosen_where_it_pays(monkeypatch):
    monkeypatch.setattr(cg_module, "MULTIGRID_FROM", 4096)
    n = 65 * 64
    laplacian = sparse.csr_array(poisson((65, 64)).A)
    assert candidates(laplacian) == ["multigrid", None]
    assert candidates(poisson((n,)).A) == ["multigrid", None]
    assert candidates(varied((65, 64))) == ["multigrid", "jacobi", None]
    assert candidates(rv.Stencil((65, 64), 4.0, ((-1, -1), (-1, -1)))) == ["multigrid", None]
    # Definite enough for conjugate gradients alone; couplings of either sign; no grid; rows that are not dominant.
    assert candidates(sparse.csr_array(laplacian + sparse.eye_array(n))) == [None]
    signs = sparse.diags_array((-1.0) ** np.arange(n))
    assert candidates(sparse.csr_array(signs @ laplacian @ signs)) == [None]
    assert candidates(sparse.diags_array([2.0, -0.5, -0.5], offsets=[0, 1, -1], shape=(n, n))) == [None]
    far = sparse.diags_array([4.0, -1.0, -1.0, -1.0, -1.0], offsets=[0, 1, -1, 7, -7], shape=(n, n))
    assert candidates(far) == [None]
    assert candidates(sparse.csr_array(laplacian - sparse.eye_array(n))) == [None]
    # Somebody else's choice.
    assert [one.preconditioner for one in CG.candidates(LinearSystem(laplacian, np.ones(n), M="ssor"))] == [None]


def test_where_it_cannot_be_made_or_fails_the_next_candidate_goes_on(monkeypatch):
    monkeypatch.setattr(cg_module, "MULTIGRID_FROM", 4096)
    A, b = varied((65, 64)), np.random.default_rng(1).standard_normal(65 * 64)
    monkeypatch.setattr(cg_module, "MOST_CYCLES", 2)
    solution = rv.solve(A, b, rtol=1e-8)
    assert solution.converged
    assert "multigrid" in solution.reason
    assert "Jacobi-preconditioned" in solution.reason

    def refused(*args, **own):
        raise rv.InputError("A: found nothing to coarsen")

    monkeypatch.setattr(multigrid_module, "hierarchy", refused)
    solution = rv.solve(A, b, rtol=1e-8)
    assert solution.converged
    assert "A: found nothing to coarsen. cg was chosen: Jacobi-preconditioned" in solution.reason


@pytest.mark.parametrize("grid", [(30, 26), (12, 12, 8)])
def test_bounds_of_the_spectrum_hold_and_are_sharp(grid):
    """Where coefficients jump, coarser matrices have couplings of either sign, and sums of moduli tell little."""
    A = diffusion(np.where(np.random.default_rng(4).random(grid) < 0.25, 1e3, 1.0))
    levels, _ = rv.precondition.multigrid(A).levels(np.dtype(float))
    assert len(levels) > 1
    for level in levels:
        M = full(level.matrix)
        scale = np.diag(1 / np.sqrt(M.diagonal()))
        largest = np.linalg.eigvalsh(scale @ M @ scale)[-1]
        row_sums = (np.abs(M).sum(1) / M.diagonal()).max()
        assert largest <= level.bound * (1 + 1e-12)
        assert level.bound <= row_sums * (1 + 1e-12)
        assert level.bound < 2.5 * largest


def full(grid):
    """The matrix on a grid, of which all units are kept."""
    n, size = grid.n, grid.data.shape[2]
    half = np.zeros((n, n))
    for d, (unit, line, point) in enumerate(grid.offsets):
        here = np.arange(n - unit * size)
        there = here + unit * size + line * grid.sides[2] + point
        inside = (there >= 0) & (there < n)
        half[here[inside], there[inside]] += grid.data[d].ravel()[here[inside]]
    return half + np.triu(half, 1).T
