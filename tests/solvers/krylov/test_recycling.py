"""GCRO-DR, recycling MINRES and deflated conjugate gradients: what a space that is kept takes off the next system."""

import numpy as np
import pytest

from resolvent.solvers.driver.iterate import iterate
from resolvent.solvers.driver.status import Status
from resolvent.solvers.driver.stopping import Options
from resolvent.solvers.krylov.cg import CG
from resolvent.solvers.krylov.deflated_cg import DeflatedCG
from resolvent.solvers.krylov.gcrodr import GCRODR
from resolvent.solvers.krylov.gmres import GMRES
from resolvent.solvers.krylov.lanczos_window import LanczosWindow
from resolvent.solvers.krylov.minres import MINRES
from resolvent.solvers.krylov.recycled import Recycled, harmonic, images, unit_vectors
from resolvent.solvers.krylov.rminres import RMINRES
from resolvent.solvers.linear.system import LinearSystem

METHODS = {"gmres": (GMRES, GCRODR), "minres": (MINRES, RMINRES), "cg": (CG, DeflatedCG)}
N, FEW = 60, 5
BULK = {"gmres": (1.0, -1.5, 2.0), "minres": (1.0, -1.5, 2.0), "cg": (1.0, 1.5, 2.0)}
OUTLIERS = {"gmres": (1e-3, -2e-3, 0.01, 0.03, 40.0), "minres": (1e-3, -2e-3, 0.01, 0.03, 40.0)}
OUTLIERS["cg"] = tuple(abs(value) for value in OUTLIERS["gmres"])

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def system_of(name, dtype=np.float64, preconditioned=False, seed=0):
    """A with eigenvectors that are no axes, five outliers and three other eigenvalues; M, and the outliers' vectors."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, N))
    if np.dtype(dtype).kind == "c":
        X = X + 1j * rng.standard_normal((N, N))
    Q = np.linalg.qr(X)[0]
    values = np.concatenate([OUTLIERS[name], np.resize(BULK[name], N - FEW)])
    A, M, vectors = (Q * values) @ Q.conj().T, None, Q[:, :FEW]
    if preconditioned:
        scale = rng.uniform(0.5, 2, N)
        M = np.diag(1 / scale**2).astype(dtype)
        A = scale[:, None] * A * scale
        # M A = S^-1 (.) S, and A M its transpose: what M is applied to, or what it has been applied to.
        vectors = vectors * scale[:, None] if name == "gmres" else vectors / scale[:, None]
    return A.astype(dtype), M, vectors.astype(dtype)


def solve(method, A, b, M=None, backend="numpy", rtol=1e-10, **options):
    system = LinearSystem(A, b, M=M, backend=backend)
    with np.errstate(all="ignore"):
        return iterate(system, method, Options(rtol=rtol, **options))


def right_sides(dtype, count, seed=1):
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal(N) + (1j * rng.standard_normal(N) if np.dtype(dtype).kind == "c" else 0)).astype(dtype)
        for _ in range(count)
    ]


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("name", METHODS)
def test_the_iterations_are_those_of_the_deflated_matrix(name, dtype, preconditioned):
    """Three eigenvalues are left where the space has the eigenvectors of the others, and take three iterations."""
    plain, recycling = METHODS[name]
    A, M, vectors = system_of(name, dtype, preconditioned)
    (b,) = right_sides(dtype, 1)
    kept = Recycled()
    kept.vectors = list(vectors.T.copy())
    without = solve(plain(), A, b, M)
    assert without.iterations >= 8
    found = solve(recycling(recycle=FEW, kept=kept), A, b, M)
    assert found.status is Status.CONVERGED
    assert found.iterations == 3
    # The products of the space, and one more of MINRES for what its iterate lacks.
    assert found.matvecs == 1 + 3 + FEW + (name == "minres")
    assert np.linalg.norm(A @ found.x - b) <= 1e-10 * np.linalg.norm(b)


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128, np.complex64])
@pytest.mark.parametrize("name", METHODS)
def test_one_system_teaches_the_next(name, dtype, preconditioned):
    """A Krylov space that is all there is has the outliers to the last digit: another b takes three iterations."""
    _, recycling = METHODS[name]
    A, M, _ = system_of(name, dtype, preconditioned)
    rtol = 1e-10 if np.finfo(dtype).eps < 1e-10 else 1e-3
    kept, counts = Recycled(), []
    for b in right_sides(dtype, 4):
        solution = solve(recycling(recycle=FEW, kept=kept), A, b, M, rtol=rtol)
        assert solution.status is Status.CONVERGED
        assert solution.x.dtype == dtype
        kept.advance()
        counts.append(solution.iterations)
    assert counts[0] >= 6
    assert len(kept.vectors) == FEW
    # Of values four orders apart, single precision does not have all.
    assert max(counts[2:]) <= (4 if rtol < 1e-6 else counts[0] - 1)


@pytest.mark.parametrize("backend", ["numba", "torch", "array_api"])
@pytest.mark.parametrize("name", METHODS)
def test_backends_agree(name, backend):
    library = pytest.importorskip({"torch": "torch", "array_api": "array_api_strict"}.get(backend, "numba"))
    _, recycling = METHODS[name]
    A, M, _ = system_of(name, np.float64, True)
    kept, other = Recycled(), Recycled()
    for b in right_sides(np.float64, 3):
        reference = solve(recycling(recycle=FEW, kept=kept), A, b, M)
        given = (A, b, M) if backend == "numba" else map(library.asarray, (A, b, M))
        found = solve(recycling(recycle=FEW, kept=other), *given, backend=backend)
        assert abs(found.iterations - reference.iterations) <= 1
        np.testing.assert_allclose(np.asarray(found.x), reference.x, atol=1e-8 * np.linalg.norm(reference.x))
        kept.advance()
        other.advance()
    assert reference.iterations <= 4


@pytest.mark.parametrize("name", METHODS)
def test_a_solution_within_the_space_takes_one_look(name):
    _, recycling = METHODS[name]
    A, _, vectors = system_of(name)
    kept = Recycled()
    kept.vectors = list(vectors.T.copy())
    b = A @ (vectors @ np.arange(1.0, 6.0))
    found = solve(recycling(recycle=FEW, kept=kept), A, b)
    assert found.status is Status.CONVERGED
    assert found.iterations == 1
    np.testing.assert_allclose(found.x, vectors @ np.arange(1.0, 6.0), atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_vectors_that_depend_on_others_or_on_nothing_are_left_out(name):
    _, recycling = METHODS[name]
    A, _, vectors = system_of(name)
    kept = Recycled()
    one, two, *_ = vectors.T.copy()
    kept.vectors = [one, two, one + two, np.zeros(N), np.full(N, np.nan)][:4]
    (b,) = right_sides(float, 1)
    found = solve(recycling(recycle=FEW, kept=kept), A, b)
    assert found.status is Status.CONVERGED
    assert "2 vectors of the systems before" in found.reason
    kept.vectors = [one, np.full(N, np.nan)]
    found = solve(recycling(recycle=FEW, kept=kept), A, b)
    assert found.status is Status.CONVERGED
    assert "vectors of the systems" not in found.reason


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_systems_no_larger_than_the_space(name, n):
    _, recycling = METHODS[name]
    rng = np.random.default_rng(n)
    A = np.diag(np.arange(1.0, n + 1)) + 0.1
    kept = Recycled()
    for _ in range(4):
        b = rng.standard_normal(n)
        found = solve(recycling(recycle=5, kept=kept), A, b)
        assert found.status is Status.CONVERGED
        assert found.iterations <= n
        kept.advance()
        assert len(kept.vectors) <= max(n - 1, 1)


@pytest.mark.parametrize("name", METHODS)
def test_what_ends_badly_leaves_the_space_as_it_was(name):
    _, recycling = METHODS[name]
    A, _, vectors = system_of(name)
    kept = Recycled()
    kept.vectors = before = list(vectors[:, :2].T.copy())
    (b,) = right_sides(float, 1)
    assert solve(recycling(recycle=FEW, kept=kept), A, b, maxiter=2).status is Status.MAX_ITERATIONS
    kept.advance()
    assert kept.vectors is before


@pytest.mark.parametrize("name", METHODS)
def test_the_accuracy_that_can_be_attained_is_that_without(name):
    """Down to rounding, at a condition of 1e4, and with a space that has the smallest eigenvalues."""
    plain, recycling = METHODS[name]
    A, _, vectors = system_of(name)
    kept = Recycled()
    kept.vectors = list(vectors.T.copy())
    (b,) = right_sides(float, 1)
    without = solve(plain(), A, b, rtol=1e-16)
    found = solve(recycling(recycle=FEW, kept=kept), A, b, rtol=1e-16)
    assert found.relative_residual <= 4 * without.relative_residual
    assert found.backward_error <= 1e-15


def test_conjugate_gradients_go_on_without_a_space_on_which_a_breaks_down():
    """With p^H A p <= 0 the space is left, and what MINRES or CG say of A is what they say without."""
    A, _, vectors = system_of("minres")
    kept = Recycled()
    kept.vectors = list(vectors[:, 3:].T.copy())  # on which A is positive definite
    (b,) = right_sides(float, 1)
    found = solve(DeflatedCG(recycle=FEW, kept=kept), A, b)
    without = solve(CG(), A, b)
    assert without.status is found.status is Status.BREAKDOWN
    assert found.cause is without.cause
    assert "left where they were of no use" in found.reason


def test_a_space_on_which_a_is_indefinite_is_not_used_by_conjugate_gradients():
    A, _, vectors = system_of("minres")
    kept = Recycled()
    kept.vectors = list(vectors.T.copy())
    (b,) = right_sides(float, 1)
    assert "systems before" not in solve(DeflatedCG(recycle=FEW, kept=kept), A, b).reason


@pytest.mark.parametrize("consistent", [True, False])
def test_singular_systems_end_as_without_a_space(consistent):
    A, _, vectors = system_of("minres")
    A = A - np.outer(vectors[:, 0], vectors[:, 0]) * 1e-3  # its smallest eigenvalue becomes zero
    rng = np.random.default_rng(3)
    kept = Recycled()
    for _ in range(3):
        b = A @ rng.standard_normal(N) if consistent else rng.standard_normal(N)
        without = solve(MINRES(), A, b, rtol=1e-8)
        found = solve(RMINRES(recycle=FEW, kept=kept), A, b, rtol=1e-8)
        assert found.status is without.status is (Status.CONVERGED if consistent else Status.INFEASIBLE)
        if not consistent:
            kept.found = unit_vectors(LinearSystem(A, b, backend="numpy").backend, list(vectors[:, 1:].T.copy()))
            np.testing.assert_allclose(found.residual_norm, without.residual_norm, rtol=1e-6)
        kept.advance()


def test_gmres_that_stands_still_with_a_space_goes_on_without():
    """A cyclic shift: a basis of n vectors solves it, one that shares its room with a space does not."""
    n = 12
    A, b = np.roll(np.eye(n), 1, axis=0), np.eye(n)[0]
    kept = Recycled()
    kept.vectors = list(np.eye(n)[2:5] + 0.0)
    found = solve(GCRODR(restart=n, recycle=3, kept=kept), A, b)
    assert found.status is Status.CONVERGED
    # What stands still without a space says so with one, too.
    kept.vectors = [np.eye(n)[5]]
    short = solve(GCRODR(restart=3, recycle=1, kept=kept), A, b)
    assert short.status is solve(GMRES(restart=3), A, b).status is Status.BREAKDOWN
    assert "left where they were of no use" in short.reason


# The parts.


def test_harmonic_ritz_vectors_of_a_whole_space_are_eigenvectors():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((8, 8))
    values = np.array([0.1, -0.2, 0.3, 2.0, 3.0, 4.0, 5.0, -6.0])
    A = (X * values) @ np.linalg.inv(X)
    S = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    P = harmonic(A @ S, S, 3, 1e-16)
    space = np.linalg.qr(S @ P)[0]
    assert np.linalg.norm(X[:, :3] - space @ (space.T @ X[:, :3])) < 1e-12
    np.testing.assert_allclose((A @ S @ P).T @ (A @ S @ P), np.eye(3), atol=1e-12)
    # The first columns are those of the values nearest to zero.
    first = np.linalg.qr(S @ P[:, :1])[0]
    assert np.linalg.norm(X[:, :1] - first @ (first.T @ X[:, :1])) < 1e-12


def test_complex_pairs_are_taken_whole_or_left():
    block = np.array([[0.0, 1.0], [-1.0, 0.0]])
    A = np.zeros((6, 6))
    A[:2, :2], A[2:4, 2:4], A[4:, 4:] = 0.1 * block, 0.2 * block, np.diag([1.0, 2.0])
    for most, wanted in ((1, 1), (2, 2), (3, 3), (4, 4)):
        P = harmonic(A, np.eye(6), most, 1e-16)
        assert P.shape == (6, wanted)
        if most in (2, 3):
            assert np.linalg.norm(P[:2]) > 1
            assert np.linalg.norm(P[2:4]) < 1e-12


def test_images_are_orthonormal_in_the_inner_product_of_the_preconditioner():
    A, M, vectors = system_of("cg", preconditioned=True)
    system = LinearSystem(A, np.ones(N), M=M, backend="numpy")
    found = images(system, list(vectors.T.copy()), system.matvec, system.precondition)
    U, C, D = (block.array.T for block in found)
    np.testing.assert_allclose(A @ U, C, atol=1e-12 * np.abs(C).max())
    np.testing.assert_allclose(C.T @ D, np.eye(FEW), atol=1e-14 * N)
    assert system.matvecs == FEW


@pytest.mark.parametrize("length", [8, 30])
def test_a_window_that_moves_finds_the_smallest_eigenvalues(length):
    """The images that go on by recurrence are those that A makes, and the vectors those of the smallest eigenvalues."""
    values = np.concatenate([[0.01, 0.02], np.linspace(1, 2, 38)])
    A = np.diag(values)
    system = LinearSystem(A, np.ones(40), backend="numpy")
    window = LanczosWindow(system, length, 2)
    v, before, beta = np.ones(40) / np.sqrt(40), np.zeros(40), 0.0
    for _ in range(24):
        window.vector(v, v, 1.0)
        w = A @ v - beta * before
        alpha = float(v @ w)
        w -= alpha * v
        before, beta = v, float(np.linalg.norm(w))
        window.column(alpha, beta)
        v = w / beta
    window._put(v, v, 1.0)
    window.reduce(goes_on=True)
    U = np.linalg.qr(window.U.array.T)[0]
    assert np.linalg.norm(U[:2]) ** 2 > 2 - 1e-3
    np.testing.assert_allclose(A @ window.U.array.T, window.C.array.T, atol=1e-9)
