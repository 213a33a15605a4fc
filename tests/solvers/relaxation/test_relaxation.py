"""Jacobi, Gauss-Seidel, SOR and SSOR against a loop in plain Python, and against Young's theory."""

import math
import warnings

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.gallery import anisotropic, convection_diffusion, graph_laplacian, poisson
from resolvent.operators.ordering import Ordering
from resolvent.solvers.linear.system import LinearSystem
from resolvent.solvers.relaxation.sor import SOR, SSOR

BACKENDS = ("numpy", "numba")
STORAGES = {
    "dense": lambda A: A,
    "csr": sparse.csr_array,
    "fortran": np.asfortranarray,
}


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return function(*args, **options)


def sweep_by_hand(A, b, x, omega, rows):
    """The definition: row after row, with the newest values."""
    x = x.copy()
    for i in rows:
        x[i] += omega * (b[i] - A[i] @ x) / A[i, i]
    return x


def orders(n, sweep):
    forward, backward = range(n), range(n - 1, -1, -1)
    return {"forward": [forward], "backward": [backward], "symmetric": [forward, backward]}[sweep]


def iterates(function, A, b, count, **options):
    """The first iterates, however the method goes about them."""
    seen = []
    quietly(function, A, b, rtol=0.0, maxiter=count, callback=lambda at: seen.append(at.x) and None, **options)
    return seen


def matrix(kind, dtype=np.float64, n=18):
    rng = np.random.default_rng(8)
    if kind == "grid":
        A = poisson((3, n // 3)).A.toarray()
    elif kind == "band":
        A = convection_diffusion((3, n // 3)).A.toarray()
        A += np.diag(0.5 * np.abs(A).sum(axis=1))
    else:
        A = rng.standard_normal((n, n)) * (rng.random((n, n)) < 0.3)
        if np.dtype(dtype).kind == "c":
            A = A + 1j * rng.standard_normal((n, n)) * (A != 0)
        A = A + 2 * np.diag(np.abs(A).sum(axis=1) + 1)
    return A.astype(dtype), (rng.standard_normal(n) + (1j if np.dtype(dtype).kind == "c" else 0)).astype(dtype)


# Against the loop in the textbook -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sweep", ["forward", "backward", "symmetric"])
@pytest.mark.parametrize("kind", ["grid", "band", "random"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("storage", STORAGES)
def test_natural_order_is_the_loop(kind, sweep, dtype, storage, backend):
    A, b = matrix(kind, dtype)
    x = np.zeros_like(b)
    found = iterates(rv.sor, STORAGES[storage](A), b, 4, omega=1.3, sweep=sweep, backend=backend)
    for y in found:
        for rows in orders(b.size, sweep):
            x = sweep_by_hand(A, b, x, 1.3, rows)
        np.testing.assert_allclose(y, x, rtol=0, atol=50 * np.finfo(dtype).eps * np.abs(x).max())
    assert len(found) == 4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sweep", ["forward", "backward", "symmetric"])
@pytest.mark.parametrize("kind", ["grid", "band", "random"])
def test_colours_are_the_loop_on_the_permuted_matrix(kind, sweep, backend):
    A, b = matrix(kind)
    colours = Ordering(rv.as_operator(A), "multicolor").numbers
    rows = np.argsort(colours, kind="stable")
    # A colouring: no two neighbours alike.
    i, j = np.nonzero(A + A.T)
    assert (colours[i[i != j]] != colours[j[i != j]]).all()
    permuted, rhs = A[np.ix_(rows, rows)], b[rows]
    x = np.zeros_like(b)
    found = iterates(rv.sor, A, b, 4, omega=1.3, sweep=sweep, order="multicolor", backend=backend)
    for y in found:
        for order in orders(b.size, sweep):
            x = sweep_by_hand(permuted, rhs, x, 1.3, order)
        np.testing.assert_allclose(y[rows], x, rtol=0, atol=1e-14 * np.abs(x).max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("x0", [False, True])
def test_a_first_guess_enters_the_loop(x0, backend):
    A, b = matrix("random")
    start = np.linspace(-1, 1, b.size) if x0 else np.zeros_like(b)
    y = iterates(rv.gauss_seidel, A, b, 1, x0=start, backend=backend)[0]
    np.testing.assert_allclose(y, sweep_by_hand(A, b, start, 1, range(b.size)), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("omega", [1.0, 0.7])
def test_jacobi_is_its_formula(dtype, omega, backend):
    A, b = matrix("random", dtype)
    x = np.zeros_like(b)
    for y in iterates(rv.jacobi, sparse.csr_array(A), b, 5, omega=omega, backend=backend):
        x = x + omega * (b - A @ x) / A.diagonal()
        np.testing.assert_allclose(y, x, rtol=0, atol=50 * np.finfo(dtype).eps * np.abs(x).max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_richardson_is_its_formula(backend):
    A, b = matrix("grid")
    x = np.zeros_like(b)
    for y in iterates(rv.richardson, A, b, 5, omega=0.2, backend=backend):
        x = x + 0.2 * (b - A @ x)
        np.testing.assert_allclose(y, x, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operator", ["stencil", "bands", "lower bands"])
def test_sweeps_over_matrices_that_store_no_indices(operator, backend):
    A, b = matrix("grid")
    made = {
        "stencil": rv.Stencil((3, 6), 4.0, [(-1, -1), (-1, -1)]),
        "bands": rv.Diagonals(
            np.array([[4.0] * 18, [-1.0 * (i % 6 != 5) for i in range(18)], [-1.0] * 18]), [0, 1, 6], symmetric=True
        ),
        "lower bands": rv.Diagonals(
            np.array(
                [
                    [-1.0] * 18,
                    [-1.0 * (i % 6 != 0) for i in range(18)],
                    [4.0] * 18,
                    [-1.0 * (i % 6 != 5) for i in range(18)],
                    [-1.0] * 18,
                ]
            ),
            [-6, -1, 0, 1, 6],
        ),
    }[operator]
    np.testing.assert_array_equal(made.tocsr().toarray(), A)
    for order in ("natural", "multicolor"):
        plain = iterates(rv.ssor, A, b, 3, omega=1.5, order=order, backend=backend)
        for y, x in zip(iterates(rv.ssor, made, b, 3, omega=1.5, order=order, backend=backend), plain, strict=True):
            np.testing.assert_allclose(y, x, rtol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_names_for_the_same_thing(backend):
    A, b = matrix("random")
    options = {"rtol": 1e-10, "backend": backend}
    seidel = rv.gauss_seidel(A, b, **options)
    np.testing.assert_array_equal(rv.sor(A, b, omega=1.0, **options).x, seidel.x)
    np.testing.assert_array_equal(rv.solve(A, b, method="gauss_seidel", **options).x, seidel.x)
    both = rv.sor(A, b, omega=1.2, sweep="symmetric", **options)
    np.testing.assert_array_equal(rv.ssor(A, b, omega=1.2, **options).x, both.x)
    for order in ("natural", "multicolor"):
        back = rv.sor(A, b, omega=1.2, sweep="backward", order=order, **options)
        turned = rv.sor(A[::-1, ::-1], b[::-1], omega=1.2, sweep="forward", order=order, **options)
        if order == "natural":
            np.testing.assert_allclose(turned.x[::-1], back.x, rtol=1e-12)
            assert turned.iterations == back.iterations


# Colours ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("A", "count"),
    [
        (poisson(9).A, 2),
        (poisson((5, 7)).A, 2),
        (poisson((3, 4, 5)).A, 2),
        (anisotropic((6, 6), 0.1, 30.0).A, 4),
        (sparse.eye_array(6, format="csr"), 1),
        (graph_laplacian("complete", 7).A, 7),
    ],
    ids=["line", "5-point", "7-point", "9-point", "diagonal", "complete"],
)
def test_number_of_colours(A, count):
    assert Ordering(rv.as_operator(A), "multicolor").count == count
    b = A @ np.arange(float(A.shape[0]))
    reason = quietly(rv.sor, A, b, omega=1.0, order="multicolor", maxiter=2).reason
    assert f"{count} colours" in reason


def test_red_and_black_alternate():
    colours = Ordering(rv.as_operator(poisson((4, 5)).A), "multicolor").numbers.reshape(4, 5)
    np.testing.assert_array_equal(colours, np.indices((4, 5)).sum(axis=0) % 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_colours_converge_like_natural_order_on_grids(backend):
    problem = poisson((20, 20))
    natural = rv.gauss_seidel(problem.A, problem.b, rtol=1e-8, maxiter=5000, backend=backend)
    colours = rv.gauss_seidel(problem.A, problem.b, rtol=1e-8, maxiter=5000, order="multicolor", backend=backend)
    assert colours.iterations == pytest.approx(natural.iterations, rel=0.1)
    np.testing.assert_allclose(colours.x, natural.x, atol=1e-4)


# Rates --------------------------------------------------------------------------------------------------------------


def rate(function, A, b, skip, count, **options):
    """Geometric mean of the error's reduction factors over ``count`` iterations after ``skip`` (b = 0 by a shift)."""
    x = np.random.default_rng(1).standard_normal(A.shape[0])
    seen = iterates(function, A, A @ x, skip + count, **options)
    errors = np.array([np.linalg.norm(x - y) for y in seen])
    return (errors[-1] / errors[skip - 1]) ** (1 / count)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("points", [8, 12])
def test_rates_on_the_square(points, backend):
    """cos(pi h) for Jacobi, its square for Gauss-Seidel, and what Young's relation says for SOR."""
    A = poisson((points, points)).A
    h = 1 / (points + 1)
    jacobi = math.cos(math.pi * h)
    b = None
    assert rate(rv.jacobi, A, b, 150, 50, backend=backend) == pytest.approx(jacobi, rel=0.002)
    assert rate(rv.gauss_seidel, A, b, 100, 40, backend=backend) == pytest.approx(jacobi**2, rel=0.002)
    for omega in (0.6, 1.0, 1.2):
        # (lambda + omega - 1)^2 = lambda omega^2 mu^2, the larger root.
        root = (omega * jacobi + math.sqrt((omega * jacobi) ** 2 - 4 * (omega - 1))) / 2
        assert rate(rv.sor, A, b, 100, 40, omega=omega, backend=backend) == pytest.approx(root**2, rel=0.005)


def iteration_matrix(A, **options):
    """Column by column: one iteration from each unit vector, less one from zero."""
    n = A.shape[0]
    b = np.linspace(1, 2, n)
    base = iterates(rv.sor, A, b, 1, x0=np.zeros(n), **options)[0]
    return np.array([iterates(rv.sor, A, b, 1, x0=e, **options)[0] - base for e in np.eye(n)]).T


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", ["natural", "multicolor"])
@pytest.mark.parametrize("points", [6, 9])
def test_spectral_radius_at_and_around_youngs_omega(points, order, backend):
    """Every eigenvalue has modulus omega - 1 at the best omega and above; below, the radius is larger than at it."""
    A = poisson((points, points)).A
    best = 2 / (1 + math.sin(math.pi / (points + 1)))

    def radius(omega):
        return np.abs(np.linalg.eigvals(iteration_matrix(A, omega=omega, order=order, backend=backend))).max()

    # The largest eigenvalue is defective at the best omega: its own perturbation is the square root of roundoff.
    assert radius(best) == pytest.approx(best - 1, rel=1e-4)
    assert radius(best + 0.1) == pytest.approx(best - 0.9, rel=1e-5)
    jacobi = math.cos(math.pi / (points + 1))
    below = best - 0.1
    root = (below * jacobi + math.sqrt((below * jacobi) ** 2 - 4 * (below - 1))) / 2
    assert radius(below) == pytest.approx(root**2, rel=1e-6)
    assert root**2 > best - 1


def test_damped_jacobi_rate():
    A = poisson(15).A
    h = math.pi / 16
    assert rate(rv.jacobi, A, None, 300, 100, omega=2 / 3) == pytest.approx(1 - 4 / 3 * math.sin(h / 2) ** 2, rel=1e-3)


@pytest.mark.parametrize("points", [8, 16, 32])
@pytest.mark.parametrize("backend", BACKENDS)
def test_omega_is_found_close_to_youngs(points, backend):
    problem = poisson((points, points))
    best = 2 / (1 + math.sin(math.pi / (points + 1)))
    solution = rv.sor(problem.A, problem.b, rtol=1e-8, backend=backend)
    found = float(solution.reason.split("omega = ")[1].split(" ")[0])
    # 40 Lanczos steps see a radius from inside; too large an omega costs far less than too small a one.
    assert 0.97 * best <= found <= best + 0.35 * (2 - best)
    given = rv.sor(problem.A, problem.b, omega=best, rtol=1e-8, backend=backend)
    assert solution.iterations <= 1.6 * given.iterations
    plain = rv.gauss_seidel(problem.A, problem.b, rtol=1e-8, maxiter=10000, backend=backend)
    assert solution.iterations < plain.iterations / (points / 5)


@pytest.mark.parametrize("points", [2, 3, 5, 10, 100])
def test_best_omega_is_that_of_the_closed_form(points):
    # The Jacobi radius of Poisson is cos(h), h = pi / (points + 1): 2 / (1 + sin h), and 2 / (1 + 2 sin(h / 2)).
    h = math.pi / (points + 1)
    radius = math.cos(h)
    assert SOR.best_omega(1 - radius, 1 + radius) == pytest.approx(2 / (1 + math.sin(h)), rel=1e-12)
    assert SSOR.best_omega(1 - radius, 1 + radius) == pytest.approx(2 / (1 + 2 * math.sin(h / 2)), rel=1e-12)


@pytest.mark.parametrize("points", [2, 3, 5, 6])
def test_the_omega_of_a_solve_is_that_of_the_closed_form(points):
    # As many Lanczos steps as there are unknowns find the radius to all digits.
    problem, h = poisson((points, points)), math.pi / (points + 1)
    b = np.random.default_rng(0).standard_normal(points**2)
    for method, best in ((SOR(), 2 / (1 + math.sin(h))), (SSOR(), 2 / (1 + 2 * math.sin(h / 2)))):
        assert method.start(LinearSystem(problem.A, b)).omega == pytest.approx(best, rel=1e-8)


def test_ssor_omega_is_found_and_near_the_best():
    problem = poisson((16, 16))
    found = rv.ssor(problem.A, problem.b, rtol=1e-8)
    counts = [
        rv.ssor(problem.A, problem.b, omega=omega, rtol=1e-8, maxiter=5000).iterations
        for omega in np.linspace(1, 1.95, 20)
    ]
    assert found.iterations <= 1.3 * min(counts)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", [rv.sor, rv.ssor])
def test_omega_is_one_where_a_is_singular(method, backend):
    """The formulas would come out next to 2, where nothing converges."""
    n = 12
    A = sparse.diags_array([-np.ones(n - 1), np.r_[1.0, np.full(n - 2, 2.0), 1.0], -np.ones(n - 1)], offsets=[-1, 0, 1])
    solution = method(A.tocsr(), A @ np.arange(n) ** 2.0, rtol=1e-6, backend=backend)
    assert "omega = 1.0000 was chosen" in solution.reason
    assert solution.converged


@pytest.mark.parametrize("backend", BACKENDS)
def test_ssor_takes_one_where_its_formula_does_not_hold(backend):
    A = 0.1 * np.eye(20) + 0.9  # eigenvalues of D^-1 A: 0.1, and 18.1, far above 2
    assert "omega = 1.0000 was chosen" in quietly(rv.ssor, A, np.arange(20.0), backend=backend).reason
    assert "omega = 1.0000 was chosen" not in quietly(rv.sor, A, np.arange(20.0), backend=backend).reason


def test_iterations_at_the_best_omega_are_those_of_another_implementation():
    """16 x 16 Poisson at rtol 1e-8: 64 with Young's omega, 533 for Gauss-Seidel, 1064 for Jacobi elsewhere."""
    problem = poisson((16, 16))
    b = np.ones(256)
    best = 2 / (1 + math.sin(math.pi / 17))
    watch = {"rtol": 1e-8, "maxiter": 5000, "callback": lambda at: None}
    assert rv.sor(problem.A, b, omega=best, **watch).iterations == pytest.approx(64, rel=0.08)
    assert rv.gauss_seidel(problem.A, b, **watch).iterations == pytest.approx(533, rel=0.02)
    assert rv.jacobi(problem.A, b, **watch).iterations == pytest.approx(1064, rel=0.02)
    assert rv.ssor(problem.A, b, omega=1.7, **watch).iterations == pytest.approx(75, rel=0.1)


@pytest.mark.parametrize("omega", [0.1, 0.5, 1.0, 1.5, 1.9])
@pytest.mark.parametrize("method", ["sor", "ssor"])
def test_every_omega_in_range_converges_on_definite_matrices(method, omega):
    """Ostrowski (1954)."""
    rng = np.random.default_rng(0)
    G = rng.standard_normal((10, 10))
    A = G @ G.T + np.eye(10)
    assert rv.solve(A, np.ones(10), method=method, omega=omega, rtol=1e-6, maxiter=50000).converged


@pytest.mark.parametrize("omega", [0.0, 2.0, -0.5, 2.5, math.nan, math.inf])
def test_omega_outside_kahans_range_is_refused(omega):
    for function in (rv.sor, rv.ssor):
        with pytest.raises(rv.InputError, match=r"^omega: .*\(0, 2\)"):
            function(np.eye(3), np.ones(3), omega=omega)
    with pytest.raises(rv.InputError, match=r"^omega: .*\(0, 2\)"):
        rv.precondition.ssor(np.eye(3), omega)


# Exact cases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("order", ["natural", "multicolor"])
@pytest.mark.parametrize("side", ["lower", "upper"])
def test_triangular_systems_take_one_sweep(side, order, dtype, backend):
    A, b = matrix("random", dtype)
    A = np.tril(A) if side == "lower" else np.triu(A)
    A += np.diag([np.abs(A).max()] * b.size).astype(dtype) * (np.finfo(dtype).eps > 1e-10)
    sweep = "forward" if side == "lower" else "backward"
    rtol = 1e-5 if np.finfo(dtype).eps > 1e-10 else 1e-12
    solution = rv.gauss_seidel(A, b, sweep=sweep, rtol=rtol, backend=backend)
    assert solution.iterations == 1
    wrong = rv.gauss_seidel(A, b, sweep={"forward": "backward"}.get(sweep, "forward"), rtol=rtol, backend=backend)
    assert 1 < wrong.iterations <= b.size


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_the_symmetric_sweep_is_a_hermitian_operator(dtype, backend):
    """M of SSOR is Hermitian positive definite where A is."""
    n = 14
    rng = np.random.default_rng(0)
    G = rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if dtype == "complex128" else 0)
    A = G @ G.conj().T + n * np.eye(n)
    A = np.tril(A) + np.tril(A, -1).conj().T
    A[np.diag_indices(n)] = A.diagonal().real
    for order in ("natural", "multicolor"):
        for omega in (0.5, 1.0, 1.8):
            rows = [
                quietly(rv.ssor, A, e, omega=omega, order=order, maxiter=1, rtol=0.0, backend=backend).x
                for e in np.eye(n, dtype=dtype)
            ]
            M = np.array(rows).T
            assert np.abs(M - M.conj().T).max() < 1e-13 * np.abs(M).max()
            assert np.linalg.eigvalsh(M)[0] > 0
            made = rv.precondition.ssor(A, omega, order=order, backend=backend)
            np.testing.assert_allclose(np.array([made @ e for e in np.eye(n, dtype=dtype)]).T, M, rtol=1e-11)
            # omega (2 - omega) (D + omega U)^-1 D (D + omega L)^-1 is the closed form in natural order.
            if order == "natural":
                D, L, U = np.diag(A.diagonal()), np.tril(A, -1), np.triu(A, 1)
                closed = omega * (2 - omega) * np.linalg.inv(D + omega * U) @ D @ np.linalg.inv(D + omega * L)
                np.testing.assert_allclose(M, closed, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_divergence_is_called_so(backend):
    A = np.array([[1.0, 3.0], [3.0, 1.0]])
    for method in ("jacobi", "gauss_seidel", "sor", "ssor"):
        solution = quietly(rv.solve, A, np.array([1.0, -2.0]), method=method, backend=backend)
        assert solution.status is rv.Status.DIVERGED
        assert "diagonally dominant" in solution.reason
        np.testing.assert_array_equal(solution.x, 0)
        assert solution.relative_residual == 1
        assert solution.iterations <= 64, "growth by 1/u is seen long before anything overflows"


@pytest.mark.parametrize("method", ["jacobi", "gauss_seidel", "sor", "ssor"])
def test_entries_are_needed(method):
    from scipy.sparse.linalg import aslinearoperator

    with pytest.raises(rv.InputError, match=r"^A: .*only multiplies"):
        rv.solve(aslinearoperator(np.eye(3)), np.ones(3), method=method)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("method", ["sor", "gauss_seidel", "ssor"])
def test_attainable_accuracy(method, dtype, backend):
    problem = poisson((16, 16))
    A, b = problem.A.astype(dtype), problem.b.astype(dtype)
    solution = quietly(rv.solve, A, b, method=method, rtol=1e-30, maxiter=20000, backend=backend)
    assert solution.status is rv.Status.STAGNATED
    residual = b.astype(np.longdouble) - problem.A.toarray().astype(np.longdouble) @ solution.x.astype(np.longdouble)
    eta = float(np.linalg.norm(residual.astype(float))) / (8 * np.linalg.norm(solution.x.astype(float)))
    assert eta <= 10 * np.finfo(dtype).eps / 2
