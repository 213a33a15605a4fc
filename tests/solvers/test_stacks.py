"""Stacks of systems: each as the textbook has it alone, on every array library, whatever its neighbours are."""

import functools
import importlib.util
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import resolvent as rv
from resolvent.backends import backend_named, choose_backend
from resolvent.backends.rounded import Rounded
from resolvent.precision.policy import Precision
from resolvent.solvers.chebyshev.coefficients import chebyshev_coefficients
from resolvent.solvers.chebyshev.stacked_momentum import momentum_steps, stacked_momentum
from resolvent.solvers.krylov.stacked_cg import stacked_cg

NEEDS = {"array_api": "array_api_strict", "torch": "torch"}
LIBRARIES = [
    name
    for name in ("numpy", "numba", "torch", "array_api")
    if importlib.util.find_spec(NEEDS.get(name, "numpy")) is not None
]
DTYPES = ("float64", "float32", "complex64", "complex128")


@pytest.fixture(params=LIBRARIES)
def on(request):
    return Library(request.param)


class Library:
    """A backend spoken to in NumPy arrays."""

    def __init__(self, name):
        self.name = name
        self.backend = choose_backend(name, self.give(np.ones(1)))

    def give(self, x):
        if self.name == "torch":
            import torch

            return torch.tensor(x)
        if self.name == "array_api":
            import array_api_strict

            return array_api_strict.asarray(x, copy=True)
        return np.array(x)

    def take(self, x):
        return np.array(self.backend.to_numpy(x))

    def product(self, A):
        """A as the loops take it; in place where the library can."""
        matrices = self.give(A)

        def product(p, out):
            y = (matrices @ p[..., None])[..., 0]
            return y if self.name == "array_api" else self.backend.assign(y, out)

        return product


def positive_definite(count, n, dtype="float64", seed=0, condition=30.0):
    """Hermitian matrices (count, n, n) with spectra in [1, condition], and right-hand sides."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else real

    Q, _ = np.linalg.qr(normal(count, n, n))
    eigenvalues = 1 + (condition - 1) * rng.random((count, 1, n))
    A = (Q * eigenvalues) @ np.conj(np.swapaxes(Q, -1, -2))
    return ((A + np.conj(np.swapaxes(A, -1, -2))) / 2).astype(dtype), normal(count, n).astype(dtype)


def textbook_cg(A, b, x, steps, inverse_diagonal=None):
    """Iterates and residual norms of Saad's algorithm 9.1, in double precision."""
    A, b, x = (part.astype(np.result_type(part, np.float64)) for part in (A, b, x))
    d = np.ones(len(b)) if inverse_diagonal is None else inverse_diagonal
    r = b - A @ x
    p = z = d * r
    iterates, norms = [x], [np.linalg.norm(r)]
    for _ in range(steps):
        q = A @ p
        alpha = np.vdot(r, z).real / np.vdot(p, q).real
        x, r_new = x + alpha * p, r - alpha * q
        z_new = d * r_new
        p = z_new + np.vdot(r_new, z_new).real / np.vdot(r, z).real * p
        r, z = r_new, z_new
        iterates.append(x)
        norms.append(np.linalg.norm(r))
    return iterates, norms


def textbook_momentum(A, b, x, coefficients, steps, inverse_diagonal=None):
    """Iterates in double precision."""
    A, b, x = (part.astype(np.result_type(part, np.float64)) for part in (A, b, x))
    d = np.ones(len(b)) if inverse_diagonal is None else inverse_diagonal
    iterates, previous = [x], x
    for beta, gamma in itertools.islice(coefficients, steps):
        x, previous = x + beta * (x - previous) + gamma * d * (b - A @ x), x
        iterates.append(x)
    return iterates


def near(found, wanted, dtype, factor=200):
    assert found.dtype == dtype
    np.testing.assert_allclose(found, wanted, rtol=0, atol=factor * np.finfo(dtype).eps * np.abs(wanted).max())


def run_cg(on, A, b, x=None, target=0.0, maxiter=100, diagonal=None):
    x = np.zeros_like(b) if x is None else x
    r = b - (A @ x[..., None])[..., 0]
    real = np.zeros(0, b.dtype).real.dtype
    target = np.broadcast_to(np.asarray(target, real), b.shape[:-1])
    given = [on.give(part) for part in (x, r, target)]
    M = None if diagonal is None else functools.partial(on.backend.multiply, on.give(diagonal.astype(b.dtype)))
    found = stacked_cg(on.backend, on.product(A), *given, maxiter, M)
    return [on.take(part) for part in found]


# --- conjugate gradients ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("preconditioned", [False, True])
def test_cg_iterates_are_those_of_the_textbook(on, dtype, preconditioned):
    A, b = positive_definite(4, 9, dtype)
    start = 0.1 * positive_definite(4, 9, dtype, seed=1)[1]
    diagonal = 1 / np.einsum("...ii->...i", A).real if preconditioned else None
    for steps in range(5):
        x, iterations, norm, broke = run_cg(on, A, b, start, maxiter=steps, diagonal=diagonal)
        for i in range(4):
            iterates, norms = textbook_cg(A[i], b[i], start[i], steps, diagonal[i] if preconditioned else None)
            near(x[i], iterates[steps], dtype)
            assert norm[i] == pytest.approx(norms[steps], rel=float(2e4 * np.finfo(dtype).eps))
        assert iterations.dtype == np.int32
        assert (iterations == steps).all()
        assert not broke.any()


def test_cg_stops_at_each_target(on):
    A, b = positive_definite(5, 12)
    targets = np.linalg.norm(b, axis=-1) * [1e-1, 1e-3, 1e-9, 2.0, 1e-6]
    x, iterations, norm, broke = run_cg(on, A, b, target=targets)
    for i in range(5):
        _, norms = textbook_cg(A[i], b[i], np.zeros(12), 20)
        assert iterations[i] == next(k for k, value in enumerate(norms) if value <= targets[i])
        true = np.linalg.norm(b[i] - A[i] @ x[i])
        assert true == pytest.approx(norm[i], rel=1e-4)
        assert true <= targets[i] * (1 + 1e-4)
    assert iterations[3] == 0
    assert not x[3].any()
    assert not broke.any()


def test_cg_on_stacks_of_stacks(on):
    A, b = positive_definite(6, 7)
    flat = run_cg(on, A, b, target=1e-8)
    nested = run_cg(on, A.reshape(2, 3, 7, 7), b.reshape(2, 3, 7), target=1e-8)
    for found, wanted in zip(nested, flat, strict=True):
        assert found.shape[:2] == (2, 3)
        np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)


def hostile(A, b):
    """Systems that cannot be solved, put among good ones; which are good."""
    n = b.shape[-1]
    bad = {
        1: (np.full((n, n), np.nan), b[1]),
        3: (-A[3], b[3]),
        4: (A[4], np.full(n, np.nan)),
        6: (A[6], np.zeros(n)),
        7: (np.zeros((n, n)), b[7]),
        8: (1e300 * A[8], 1e200 * b[8]),
        9: (np.full((n, n), np.inf), np.zeros(n)),
        10: (np.diag([1.0] * (n - 1) + [-1e-3]), b[10]),
    }
    A, b = A.copy(), b.copy()
    for i, (matrix, rhs) in bad.items():
        A[i], b[i] = matrix, rhs
    return A, b, [i for i in range(len(b)) if i not in bad]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("preconditioned", [False, True])
def test_cg_neighbours_change_no_bit(preconditioned):
    """On NumPy, whose sums over a row know nothing of other rows: every system, good or bad, is what it is alone."""
    on = Library("numpy")
    A, b, good = hostile(*positive_definite(12, 8))
    diagonal = np.ones_like(b)
    diagonal[2], diagonal[5] = -1.0, np.inf
    good = [i for i in good if i not in (2, 5)] if preconditioned else good
    given = diagonal if preconditioned else None
    together = run_cg(on, A, b, target=1e-9, diagonal=given)
    for i in range(12):
        alone = run_cg(
            on, A[i : i + 1], b[i : i + 1], target=1e-9, diagonal=diagonal[i : i + 1] if preconditioned else None
        )
        for found, wanted in zip(together, alone, strict=True):
            np.testing.assert_array_equal(found[i : i + 1], wanted)
    x, iterations, norm, broke = together
    for i in good:
        near(x[i], np.linalg.solve(A[i], b[i]), np.float64, 1e7)
        assert norm[i] <= 1e-9
        assert not broke[i]
    assert set(np.flatnonzero(broke)) >= {1, 3, 4, 7, 10}
    assert (iterations[[1, 3, 4, 6, 7, 9]] == 0).all()
    assert not x[[1, 3, 6, 7, 9]].any()
    assert not broke[6]
    assert math.isnan(norm[4])
    if preconditioned:
        assert broke[[2, 5]].all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_cg_neighbours_do_no_harm(on):
    A, b, good = hostile(*positive_definite(12, 8))
    x, _, _, broke = run_cg(on, A, b, target=1e-9)
    for i in good:
        near(x[i], np.linalg.solve(A[i], b[i]), np.float64, 1e7)
        assert not broke[i]
    assert broke[[1, 3, 4, 7, 10]].all()


@given(st.integers(1, 6), st.integers(1, 10), st.integers(0, 1000), st.floats(1e-10, 1e-1))
def test_cg_property_each_is_alone(count, n, seed, rtol):
    on = Library("numpy")
    A, b = positive_definite(count, n, seed=seed)
    targets = rtol * np.linalg.norm(b, axis=-1)
    x, iterations, norm, broke = run_cg(on, A, b, target=targets)
    assert (norm <= targets).all()
    assert not broke.any()
    for i in range(count):
        alone = run_cg(on, A[i], b[i], target=targets[i])
        np.testing.assert_array_equal(x[i], alone[0])
        assert iterations[i] == alone[1]


def test_cg_hands_a_preconditioner_numbers_to_write_over(on):
    """Which it may multiply by zero, so that none of them is left over from before."""
    A, b = positive_definite(3, 6)
    begun = []

    def M(r, out):
        begun.append(on.take(out))
        return on.backend.axpby(0.5, r, 0.0, out)

    given = [on.give(part) for part in (np.zeros_like(b), b, np.full(3, 1e-10))]
    found = stacked_cg(on.backend, on.product(A), *given, 20, M)
    assert not begun[0].any()
    np.testing.assert_allclose(on.take(found.x), np.linalg.solve(A, b[..., None])[..., 0], rtol=1e-7)


def test_cg_of_nothing(on):
    for shape in ((0, 3), (2, 0)):
        x, iterations, _, broke = run_cg(on, np.zeros((*shape, shape[-1])), np.zeros(shape))
        assert x.shape == shape
        assert not iterations.any()
        assert not broke.any()


@pytest.mark.parametrize("policy", ["storage", "op"])
def test_cg_in_an_emulated_precision(policy):
    """The system of a stack is the system alone: each number is rounded the same."""
    on = Library("numpy")
    on.backend = Rounded(backend_named("numpy"), Precision("bf16", policy))
    A, b = positive_definite(3, 6, "float32", condition=3.0)
    x, *_ = run_cg(on, A, b, maxiter=4)
    assert np.array_equal(x, (x.view(np.uint32) & 0xFFFF0000).view(np.float32))
    for i in range(3):
        np.testing.assert_array_equal(run_cg(on, A[i], b[i], maxiter=4)[0], x[i])
    np.testing.assert_allclose(x, np.linalg.solve(A, b[..., None])[..., 0], atol=0.05)


# --- Chebyshev, Richardson and Jacobi ---


@pytest.mark.parametrize(("low", "high"), [(1.0, 30.0), (2.0, 2.0), (1e-8, 1.0), (3e200, 4e200)])
def test_coefficients_are_those_of_the_polynomials(low, high):
    """beta_k = rho_k rho_{k+1}, gamma_k = 2 rho_{k+1} / d, rho_k = T_{k-1}(sigma) / T_k(sigma), d the half width."""
    found = list(itertools.islice(chebyshev_coefficients(low, high), 12))
    center, half = low + (high - low) / 2, (high - low) / 2
    assert found[0] == (0.0, 1 / center)
    if half == 0:
        assert found == [(0.0, 1 / center)] * 12
        return
    t = math.acosh((high + low) / (high - low))
    ratios = [math.cosh((k - 1) * t) / math.cosh(k * t) for k in range(1, 14)]
    for k in range(1, 12):
        assert found[k][0] == pytest.approx(ratios[k - 1] * ratios[k], rel=1e-12)
        assert found[k][1] == pytest.approx(2 * ratios[k] / half, rel=1e-12)


def test_coefficients_are_the_weights_of_golub_and_varga():
    """omega_k = 4 / (4 - rho^2 omega_{k-1}), omega_0 = 2: beta_k = omega_k - 1 and gamma_k = omega_k / c."""
    low, high = np.array([[1.0], [0.02]]), np.array([[9.0], [1.02]])
    rho, size, omega = (high - low) / (high + low), 2 / (high + low), 2.0
    ahead = chebyshev_coefficients(low, high)
    next(ahead)
    for beta, gamma in itertools.islice(ahead, 60):
        omega = 4 / (4 - rho**2 * omega)
        np.testing.assert_allclose(beta, omega - 1, rtol=1e-13)
        np.testing.assert_allclose(gamma, omega * size, rtol=1e-13)


def test_the_method_takes_the_same_coefficients():
    method = rv.METHODS["chebyshev"](interval=(0.5, 7.0))
    state = type("State", (), {"ahead": None, "low": 0.5, "high": 7.0})()
    found = [method.coefficients(state) for _ in range(9)]
    assert found == list(itertools.islice(chebyshev_coefficients(0.5, 7.0), 9))


def run_momentum(on, A, b, x, coefficients, steps, diagonal=None):
    r = b - (A @ x[..., None])[..., 0]
    given = [on.give(part) for part in (b, x, r)]
    diagonal = None if diagonal is None else on.give(diagonal.astype(b.dtype))
    return on.take(
        stacked_momentum(on.backend, on.product(A), *given, coefficients, on.give(np.array(steps)), diagonal)
    )


def ways(on, A):
    """From a stack of matrices to the three methods: coefficients for the loop, and of each system; the diagonal."""
    real = np.zeros(0, A.dtype).real.dtype
    low = np.linspace(0.8, 1.2, len(A), dtype=real)[:, None]
    high = np.linspace(31.0, 40.0, len(A), dtype=real)[:, None]
    yield (
        chebyshev_coefficients(on.give(low), on.give(high)),
        [chebyshev_coefficients(float(a), float(b)) for a, b in zip(low[:, 0], high[:, 0], strict=True)],
        None,
    )
    yield itertools.repeat((0.0, 0.05)), [itertools.repeat((0.0, 0.05))] * len(A), None
    diagonal = 1 / np.einsum("...ii->...i", A).real
    yield itertools.repeat((0.0, 0.7)), [itertools.repeat((0.0, 0.7))] * len(A), diagonal


@pytest.mark.parametrize("dtype", DTYPES)
def test_momentum_iterates_are_those_of_the_textbook(on, dtype):
    A, b = positive_definite(4, 9, dtype)
    x = 0.1 * positive_definite(4, 9, dtype, seed=1)[1]
    steps = [3, 0, 6, 1]
    for most in range(7):
        counts = [min(most, count) for count in steps]
        for stack, each, diagonal in ways(on, A):
            found = run_momentum(on, A, b, x, stack, counts, diagonal)
            for i, count in enumerate(counts):
                d = None if diagonal is None else diagonal[i]
                near(found[i], textbook_momentum(A[i], b[i], x[i], each[i], count, d)[count], dtype)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_momentum_neighbours_change_no_bit():
    on = Library("numpy")
    A, b, good = hostile(*positive_definite(12, 8))
    steps = np.array([40, 1, 12, 0, 3, 9, 2, 5, 1, 1, 30, 44])
    x = np.zeros_like(b)
    for n, (stack, _, diagonal) in enumerate(ways(on, A)):
        together = run_momentum(on, A, b, x, stack, steps, diagonal)
        for i in range(12):
            one = slice(i, i + 1)
            alone = [part for part, _, _ in ways(on, A)][n]
            if n == 0:
                low, high = np.linspace(0.8, 1.2, 12)[one, None], np.linspace(31.0, 40.0, 12)[one, None]
                alone = chebyshev_coefficients(low, high)
            d = None if diagonal is None else diagonal[one]
            np.testing.assert_array_equal(together[one], run_momentum(on, A[one], b[one], x[one], alone, steps[one], d))
        assert np.isfinite(together[good]).all()
        assert not together[3].any()


def test_momentum_taken_further_is_momentum_in_one_go(on):
    """Also where a system has stopped before."""
    A, b = positive_definite(3, 8)
    give, steps = on.give, np.array([5, 13, 13])
    for low, high in ((1.0, 30.0), (np.full((3, 1), 1.0), np.linspace(30.0, 35.0, 3)[:, None])):
        ends = [on.give(end) if isinstance(end, np.ndarray) else end for end in (low, high)]
        wanted = run_momentum(on, A, b, np.zeros_like(b), chebyshev_coefficients(*ends), steps)
        ahead, x = chebyshev_coefficients(*ends), give(np.zeros_like(b))
        previous = give(np.zeros_like(b))
        for before, after in ((0, 5), (5, 6), (6, 13)):
            r = give(b - (A @ on.take(x)[..., None])[..., 0])
            now = give(np.minimum(steps, after) - np.minimum(steps, before))
            x, previous = momentum_steps(on.backend, on.product(A), give(b), x, previous, r, ahead, now)
        np.testing.assert_allclose(on.take(x), wanted, rtol=1e-13)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_momentum_neighbours_do_no_harm(on):
    A, b, good = hostile(*positive_definite(12, 8))
    ahead = chebyshev_coefficients(on.give(np.ones((12, 1))), on.give(np.full((12, 1), 30.0)))
    steps = np.where(np.arange(12) % 2, 80, 90)
    found = run_momentum(on, A, b, np.zeros_like(b), ahead, steps)
    for i in good:
        near(found[i], np.linalg.solve(A[i], b[i]), np.float64, 1e7)


def test_momentum_of_nothing(on):
    for shape in ((0, 3), (2, 0)):
        found = run_momentum(
            on, np.zeros((*shape, shape[-1])), np.zeros(shape), np.zeros(shape), itertools.repeat((0.0, 1.0)),
            np.full(shape[0], 3),
        )  # fmt: skip
        assert found.shape == shape


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_of_each_system_is_written(on, dtype):
    rng = np.random.default_rng(4)
    x, values = rng.standard_normal((5, 3, 4)).astype(dtype), rng.standard_normal((5, 4)).astype(dtype)
    rows = np.array([2, -1, 0, 1, -1])
    found = on.take(on.backend.put_each(on.give(x), rows, on.give(values)))
    wanted = x.copy()
    for i in (0, 2, 3):
        wanted[i, rows[i]] = values[i]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, wanted)
