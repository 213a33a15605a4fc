"""Anderson acceleration: the Krylov methods that it is for linear maps, published counts, and that it cannot lose."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import resolvent as rv
from resolvent.backends import backend_named
from resolvent.solvers.driver.status import Status
from resolvent.solvers.fixed_point.anderson import Anderson
from resolvent.solvers.fixed_point.history import CompiledHistory, history_on


def iterates(g, x0, **keywords):
    """x_0, x_1, ... of rv.anderson."""
    seen = [np.asarray(x0)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        rv.anderson(g, x0, callback=lambda p: seen.append(p.x.copy()), **{"rtol": 1e-14, **keywords})
    return seen


def evaluations(g, x0, tolerance, norm=2, **keywords):
    """Evaluations until ||g(x) - x|| is at most the tolerance, and all these norms."""
    sizes = []

    def counted(x):
        value = g(x)
        sizes.append(np.linalg.norm(value - x, norm))
        return value

    def found(progress):
        return sizes[-1] <= tolerance

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        rv.anderson(counted, x0, rtol=0, atol=tolerance * 1e-9, callback=found, maxiter=3000, **keywords)
    assert sizes[-1] <= tolerance
    return len(sizes), sizes


def krylov(A, b, steps, galerkin):
    """Iterates of GMRES (or of FOM) from zero, from an orthonormal Krylov basis and full least squares."""
    basis = [b / np.linalg.norm(b)]
    found = [np.zeros_like(b)]
    for _ in range(steps):
        V = np.stack(basis, axis=1)
        W = A @ V
        coefficients = np.linalg.solve(V.conj().T @ W, V.conj().T @ b) if galerkin else np.linalg.lstsq(W, b)[0]
        found.append(V @ coefficients)
        w = W[:, -1]
        for _ in range(2):
            w = w - V @ (V.conj().T @ w)
        basis.append(w / np.linalg.norm(w))
    return found


@pytest.mark.parametrize("kind", ["II", "I"])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_with_full_memory_it_is_a_krylov_method(kind, dtype):
    """x_{k+1} = G x_k + b, where x_k is GMRES's iterate for type II, FOM's for type I."""
    rng = np.random.default_rng(1)
    n = 60
    G = rng.standard_normal((n, n)) / (2.5 * math.sqrt(n))
    b = rng.standard_normal(n)
    if dtype == "complex128":
        G = G + 0.5j * rng.standard_normal((n, n)) / (2.5 * math.sqrt(n))
        b = b + 1j * rng.standard_normal(n)
    wanted = krylov(np.eye(n) - G, b, 15, galerkin=kind == "I")
    seen = iterates(lambda x: G @ x + b, np.zeros(n, dtype), depth=40, type=kind, maxiter=16)
    for k in range(16):
        x = G @ wanted[k] + b
        assert np.linalg.norm(seen[k + 1] - x) <= 1e-12 * np.linalg.norm(x), k


@pytest.mark.parametrize("beta", [0.3, -0.5])
def test_mixing_moves_along_the_residual_of_gmres(beta):
    """x_{k+1} = x_k + beta r_k of GMRES; less of it is left with every step, for dF is as ill-conditioned."""
    rng = np.random.default_rng(2)
    G = rng.standard_normal((60, 60)) / (2.5 * math.sqrt(60))
    b = rng.standard_normal(60)
    A = np.eye(60) - G
    wanted = krylov(A, b, 10, galerkin=False)
    seen = iterates(lambda x: G @ x + b, np.zeros(60), depth=40, beta=beta, maxiter=11, safeguard=math.inf)
    for k in range(11):
        x = wanted[k] + beta * (b - A @ wanted[k])
        assert np.linalg.norm(seen[k + 1] - x) <= 1e-8 * np.linalg.norm(x), k


def kinsol(x):
    """The analytic example of KINSOL's manual; its fixed point is (1/2, 1, -pi/6)."""
    a, b, c = x
    return np.array(
        [
            np.cos((b - 1) * c) / 3 + 1 / 6,
            np.sqrt(a * a + np.sin(c) + 1.06) / 9 + 0.9,
            -np.exp(-a * (b - 1)) / 20 - (10 * np.pi - 3) / 60,
        ]
    )


@pytest.mark.parametrize(("parameters", "wanted"), [({}, 5), ({"beta": 0.5}, 8), ({"beta": "adaptive"}, 6)])
def test_published_counts_of_kinsol(parameters, wanted):
    count, _ = evaluations(kinsol, np.array([0.1, 0.1, -0.1]), 100 * 2.0**-26, np.inf, depth=2, **parameters)
    assert count == wanted


def toth_kelley(u):
    a = np.cos((u[0] + u[1]) / 2)
    return np.array([a, a + 1e-8 * np.sin(u[0] ** 2)])


def test_published_residuals_of_toth_and_kelley():
    """SIAMFANLequations, aasol: eight values, of which the last ones are made of rounding."""
    count, sizes = evaluations(toth_kelley, np.ones(2), 1e-10, depth=2)
    assert count == 8
    published = [6.50111e-1, 4.48661e-1, 2.61480e-2, 7.25389e-2, 1.53107e-4, 1.18513e-5]
    np.testing.assert_allclose(sizes[:6], published, rtol=2e-5)


def test_published_counts_of_a_damped_map():
    count, sizes = evaluations(lambda u: (u + toth_kelley(u)) / 2, np.ones(2), 1e-10, depth=2)
    assert count == 7
    assert sizes[0] == pytest.approx(3.25055e-1, rel=1e-5)


def chandrasekhar(n, c):
    """The H-equation by the midpoint rule: H = 1 / (1 - L H)."""
    mu = (np.arange(n) + 0.5) / n
    L = c / (2 * n) * mu[:, None] / (mu[:, None] + mu[None, :])
    return lambda H: 1 / (1 - L @ H)


@pytest.mark.parametrize(("depth", "wanted"), list(enumerate((11, 10, 10, 11, 12, 12), 1)))
def test_published_counts_of_the_h_equation(depth, wanted):
    g = chandrasekhar(512, 0.99)
    count, _ = evaluations(g, np.ones(512), 1e-8 * np.linalg.norm(g(np.ones(512)) - 1), depth=depth)
    assert count == wanted


def test_published_count_of_a_small_h_equation():
    count, sizes = evaluations(chandrasekhar(16, 0.99), np.ones(16), 1e-10, depth=2)
    assert count == 12
    assert sizes[-1] == pytest.approx(5.19e-12, rel=1e-2)


@pytest.mark.parametrize(("depth", "wanted"), list(enumerate((21, 16, 16, 21, 27, 34), 1)))
def test_counts_of_a_singular_h_equation(depth, wanted):
    g = chandrasekhar(512, 1.0)
    count, _ = evaluations(g, np.ones(512), 1e-8 * np.linalg.norm(g(np.ones(512)) - 1), depth=depth)
    assert count == pytest.approx(wanted, rel=0.25)  # the last steps of the larger depths are made of rounding


def test_finite_termination_on_a_cyclic_permutation():
    b = np.array([1.0, -2, 3, 0, -1, 2, -3])
    solution = rv.anderson(lambda x: np.roll(x, 1) + b, np.zeros(7), depth=7, rtol=1e-14)
    assert solution.converged
    assert solution.evaluations == 8
    np.testing.assert_allclose(np.roll(solution.x, 1) + b, solution.x, atol=1e-14)


def test_a_cycle_of_two_is_solved_in_three_evaluations():
    solution = rv.anderson(lambda x: 1 - x, np.zeros(1), depth=1, rtol=1e-14)
    assert (solution.evaluations, float(solution.x[0])) == (3, 0.5)


def test_a_repelling_fixed_point_of_the_logistic_map():
    solution = rv.anderson(lambda x: 3.5 * x * (1 - x), 0.3, depth=1, rtol=1e-10)
    assert solution.x == pytest.approx(5 / 7, abs=1e-9)
    assert solution.evaluations <= 9


def test_a_rotation_is_solved_by_two_columns():
    solution = rv.anderson(lambda x: np.array([-x[1], x[0]]) + 1, np.zeros(2), depth=2, rtol=1e-12)
    assert solution.evaluations == 4
    np.testing.assert_allclose(solution.x, [0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize(("depth", "wanted"), [(5, 112), (10, 71), (20, 22)])
def test_expansive_maps(depth, wanted):
    """Eigenvalues from -3 to 0.9: the plain map diverges."""
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((20, 20)))[0]
    G = Q @ np.diag(np.linspace(-3, 0.9, 20)) @ Q.T
    solution = rv.anderson(lambda x: G @ x + 1, np.zeros(20), depth=depth, rtol=1e-7)
    assert solution.converged
    assert solution.evaluations <= 1.5 * wanted


def test_a_negative_beta_for_eigenvalues_above_one():
    """Kelley's test: singular values 2 and 10, which beta = 1 does not solve with one column."""
    Q = np.array([[0.6, 0.8], [-0.8, 0.6]])
    G = Q @ np.diag([2.0, 10.0]) @ Q.T
    solution = rv.anderson(lambda x: G @ x + 1, np.zeros(2), depth=1, beta=-1 / 9, rtol=1e-12)
    assert solution.converged
    np.testing.assert_allclose(solution.x, np.linalg.solve(np.eye(2) - G, np.ones(2)), rtol=1e-9)


def test_constant_increments_leave_the_plain_map():
    solution = rv.anderson(lambda x: np.maximum(x - 1, 0), np.full(1, 50.0))
    assert solution.x[0] == 0
    assert solution.evaluations <= 53


def test_more_memory_than_unknowns():
    solution = rv.anderson(kinsol, np.array([0.1, 0.1, -0.1]), depth=30, rtol=1e-14)
    assert solution.converged
    assert solution.evaluations <= 10


def test_iterates_after_convergence_stay_finite_and_near():
    G = np.random.default_rng(4).standard_normal((30, 30)) / 12
    x = np.linalg.solve(np.eye(30) - G, np.ones(30))
    with pytest.warns(rv.ConvergenceWarning, match="can do no better"):
        solution = rv.anderson(lambda x: G @ x + 1, np.zeros(30), rtol=1e-18)
    assert solution.status is Status.STAGNATED
    np.testing.assert_allclose(solution.x, x, rtol=1e-12)


def test_leaving_the_domain_is_stepped_back_from():
    """Square roots of sums that an accelerated step makes negative."""

    def g(x):
        return np.array([0.5 * np.sqrt(x[0] + x[1]), 1.5 * x[0] + 0.5 * x[1]])

    solution = rv.anderson(g, np.array([0.3, 900.0]), rtol=1e-12)
    assert solution.converged
    np.testing.assert_allclose(solution.x, [1.0, 3.0], rtol=1e-9)


def test_steps_that_grow_too_much_are_taken_back_and_said_so():
    count, d = 0, np.linspace(0.1, 0.9, 6)

    def g(x):
        nonlocal count
        count += 1
        return d * x + 1 + (100.0 if count == 6 else 0.0)

    solution = rv.anderson(g, np.zeros(6), depth=2, rtol=1e-8)
    assert solution.converged
    assert "1 accelerated step was taken back" in solution.reason
    assert solution.evaluations == solution.iterations + 2


@st.composite
def contractions(draw):
    """x -> g(x) with a Lipschitz constant below one, and single or double precision."""
    n = draw(st.integers(1, 12))
    rate = draw(st.floats(0.05, 0.98))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    G = rng.standard_normal((n, n))
    G *= rate / np.linalg.norm(G, 2)
    b = rng.standard_normal(n) * 10.0 ** draw(st.integers(-3, 3))
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    G, b = G.astype(dtype), b.astype(dtype)
    if draw(st.booleans()):
        return lambda x: np.tanh(G @ x) + b, np.zeros(n, dtype)
    return lambda x: G @ x + b, np.zeros(n, dtype)


@settings(max_examples=60, deadline=None)
@given(contractions(), st.integers(1, 12), st.sampled_from(["II", "I"]))
def test_it_never_needs_more_evaluations_than_picard(problem, depth, kind):
    g, x0 = problem
    rtol = 1e-8 if x0.dtype == np.float64 else 1e-4
    plain = rv.picard(g, x0, rtol=rtol)
    solution = rv.anderson(g, x0, depth=depth, type=kind, rtol=rtol)
    assert solution.converged
    assert solution.evaluations <= 1.1 * plain.evaluations + 2


def test_noise_is_not_amplified_and_ends_it():
    rng = np.random.default_rng(5)
    A = np.diag(np.linspace(0, 0.95, 50))
    with pytest.warns(rv.ConvergenceWarning, match="varies from one call"):
        solution = rv.anderson(lambda x: A @ x + 1 + 1e-6 * rng.standard_normal(50), np.zeros(50), rtol=1e-12)
    assert solution.status is Status.STAGNATED
    assert solution.residual_norm < 3e-5
    assert solution.evaluations < 600


@pytest.mark.parametrize(
    "parameters",
    [
        {"period": 3},
        {"period": 2, "omega": 0.6, "beta": 0.6},
        {"beta": "adaptive"},
        {"regularisation": 1e-10},
        {"condition_limit": 1e6},
        {"restart_every": 5},
        {"type": "I", "beta": 0.7},
        {"depth": 1},
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "complex128", "float32"])
def test_every_parameter_still_converges(parameters, dtype):
    d = 2 * np.arange(1, 41) / 41
    b = np.ones(40, dtype) * (1 + (1j if dtype == "complex128" else 0))
    rtol = 1e-4 if dtype == "float32" else 1e-8
    factor = (1 - d).astype(dtype)
    solution = rv.anderson(lambda x: factor * x + b, np.zeros(40, dtype), rtol=rtol, **parameters)
    assert solution.converged
    assert solution.x.dtype == dtype
    np.testing.assert_allclose(d * solution.x, b, rtol=100 * rtol)


@pytest.mark.parametrize("library", ["torch", "array_api"])
def test_other_libraries_take_the_same_steps(library):
    xp = pytest.importorskip({"torch": "torch", "array_api": "array_api_strict"}[library])
    d = 2 * np.arange(1, 21) / 21
    there = xp.asarray(1 - d)
    wanted = rv.anderson(lambda x: (1 - d) * x + 1, np.zeros(20), depth=8, rtol=1e-9, backend="numpy")
    solution = rv.anderson(lambda x: there * x + 1, xp.asarray(np.zeros(20)), depth=8, rtol=1e-9, backend=library)
    assert abs(solution.iterations - wanted.iterations) <= 1
    np.testing.assert_allclose(np.asarray(solution.x), wanted.x, rtol=1e-7)


def test_low_precision():
    d = np.linspace(0.3, 1.2, 16)
    solution = rv.anderson(lambda x: (1 - d) * x + 1, np.zeros(16), rtol=3e-2, precision="bf16")
    assert solution.converged
    np.testing.assert_array_equal(solution.x, rv.precision.round(solution.x, "bf16"))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"depth": 0}, "depth: found 0; wanted at least 1"),
        ({"type": "III"}, "type: found 'III'; wanted one of I, II"),
        ({"beta": 0}, "beta: found 0"),
        ({"beta": "gain"}, "beta: found 'gain'"),
        ({"period": 0}, "period: found 0"),
        ({"omega": math.nan}, "omega: found nan"),
        ({"regularisation": -1e-3}, "regularisation: found -0.001"),
        ({"condition_limit": 1}, "condition_limit: found 1"),
        ({"safeguard": 0.5}, "safeguard: found 0.5"),
    ],
)
def test_parameters_outside_their_ranges_are_refused(parameters, said):
    with pytest.raises(rv.InputError, match=said):
        rv.anderson(np.cos, 1.0, **parameters)


def test_a_depth_that_is_no_integer_is_refused():
    with pytest.raises(TypeError, match=r"depth: found 2\.5; wanted an integer"):
        Anderson(depth=2.5)


def steps_of(history, count, n, dtype, seed=6, limit=math.inf):
    """Give a history so many random steps; returns the last five steps, changes of residuals, and what stands last."""
    rng = np.random.default_rng(seed)

    def vector():
        x = rng.standard_normal(n)
        return (x + 1j * rng.standard_normal(n) if np.dtype(dtype).kind == "c" else x).astype(dtype)

    x, f, steps, changes = vector(), vector(), [], []
    for _ in range(count):
        new_x, new_f = vector(), vector()
        history.append(new_x, x, new_f, f, limit)
        steps, changes = [*steps, new_x - x][-5:], [*changes, new_f - f][-5:]
        x, f = new_x, new_f
    return np.stack(steps, axis=1), np.stack(changes, axis=1), x, f


def columns(history):
    """Q and dG, (n, k)."""
    if isinstance(history, CompiledHistory):
        size, first = history.at
        rows = [(first + j) % history.depth for j in range(size)]
        return (history.scale[:size, None] * history.basis[:size]).T, history.values[rows].T
    return np.stack(history.Q, axis=1), np.stack(history.dG, axis=1)


@pytest.mark.parametrize(("backend", "kind"), [("numpy", "II"), ("numpy", "I"), ("numba", "II"), ("numba", "I")])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_the_history_stays_orthogonal_over_many_drops(backend, kind, dtype):
    """Q^H Q = I, and Q R the differences themselves, after a thousand columns of which five are kept."""
    history = history_on(backend_named(backend), 30, np.dtype(dtype), 5, kind)
    assert isinstance(history, CompiledHistory) == (backend == "numba" and kind == "II")
    dX, dF, _, f = steps_of(history, 1000, 30, dtype)
    Q, dG = columns(history)
    np.testing.assert_allclose(Q.conj().T @ Q, np.eye(5), atol=1e-13)
    np.testing.assert_allclose(Q @ history.R, dF if kind == "II" else dX, atol=1e-12)
    np.testing.assert_allclose(dG, dX + dF, atol=1e-13)
    np.testing.assert_allclose(history.products, Q.conj().T @ dF, atol=1e-12)
    gamma = np.linalg.lstsq(dF, f)[0] if kind == "II" else np.linalg.solve(dX.conj().T @ dF, dX.conj().T @ f)
    for beta in (1.0, 0.3):
        wanted = 1j * np.zeros(30) + beta * f - (dX + beta * dF) @ gamma
        found, rest = history.extrapolated(0 * f, f, np.linalg.norm(f), beta, np.zeros(30, dtype))
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
    if kind == "II":
        assert rest == pytest.approx(np.linalg.norm(f - dF @ gamma) ** 2 / np.linalg.norm(f) ** 2, rel=1e-9)


@pytest.mark.parametrize(
    "dtype", ["float64", "complex128", *(pytest.param(one, marks=pytest.mark.slow) for one in ("float32", "complex64"))]
)
@pytest.mark.parametrize(
    ("n", "count", "limit"), [(9, 4, math.inf), (9, 12, math.inf), (9, 12, 12.0), (5000, 7, math.inf)]
)
def test_compiled_histories_do_what_the_primitives_do(dtype, n, count, limit):
    eps = float(np.finfo(dtype).eps)
    results = []
    for backend in ("numpy", "numba"):
        history = history_on(backend_named(backend), n, np.dtype(dtype), 5, unit_roundoff=eps / 2)
        _, _, x, f = steps_of(history, count, n, dtype, limit=limit)
        size = float(np.linalg.norm(f))
        steps = [history.extrapolated(x, f, size, beta, np.zeros(n, dtype)) for beta in (1.0, 0.4, "adaptive")]
        results.append((history.size, history.R[: history.size, : history.size], steps))
    (size, R, steps), (other_size, other_R, other_steps) = results
    assert size == other_size
    assert size == min(count, 5) or limit < math.inf
    np.testing.assert_allclose(other_R, R, atol=1e3 * eps * np.abs(R).max())
    for (x, rest), (other_x, other_rest) in zip(steps, other_steps, strict=True):
        assert other_x.dtype == x.dtype
        np.testing.assert_allclose(other_x, x, atol=1e3 * eps * np.abs(x).max())
        assert other_rest == pytest.approx(rest, abs=1e3 * eps)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_dependent_columns_drop_the_oldest(backend):
    """In two dimensions a third difference depends on the first two; a difference of zero leaves nothing."""
    history = history_on(backend_named(backend), 2, np.dtype("float64"), 4)
    steps_of(history, 5, 2, "float64")
    assert history.size == 2
    f = np.ones(2)
    history.append(np.zeros(2), f, f, f)
    assert history.size == 0
