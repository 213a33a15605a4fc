"""Operators whose every product takes long: limits, interrupts and the live line do not wait for many of them.

The clock is the operator's own: each product moves it on by a second.
"""

import time
import warnings

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.solvers.driver import iterate

N = 60
LIMIT = 5
METHODS = ["cg", "flexible", "chebyshev", "richardson", "refine", "auto"]
# Products that the certificate of what is returned may take after the limit.
CERTIFICATE = 3


class Slow:
    """A stiff tridiagonal matrix, a second a product."""

    shape, dtype = (N, N), np.dtype(np.float64)

    def __init__(self):
        self.matrix = sparse.diags_array([-np.ones(N - 1), 2 * np.ones(N), -np.ones(N - 1)], offsets=[-1, 0, 1]).tocsr()
        self.products, self.interrupt_at = 0, None

    def __call__(self, v):
        self.products += 1
        if self.products == self.interrupt_at:
            raise KeyboardInterrupt
        return self.matrix @ v


@pytest.fixture
def A(monkeypatch):
    slow = Slow()
    monkeypatch.setattr(time, "perf_counter", lambda: float(slow.products))
    return slow


def solve(method, A, b, backend, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        if method == "refine":
            return rv.refine(A, b, backend=backend, inner_precision="fp32", **options)
        if method == "flexible":
            return rv.cg(A, b, backend=backend, rtol=1e-12, flexible=True, **options)
        return rv.solve(A, b, method=method, backend=backend, rtol=1e-12, **options)


b = np.sin(np.arange(1.0, N + 1) ** 2)


@pytest.mark.parametrize("limit", [1.5, LIMIT, 30.0])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_time_limit_is_kept_to_a_product(A, backend, method, limit):
    solution = solve(method, A, b, backend, time_limit=limit)
    if method in ("cg", "flexible", "auto"):
        looking = 2 if method == "auto" else 0  # products that tell whether A looks Hermitian
        assert solution.iterations >= min(limit, 20) - 1 - looking
    # Where the spectrum was being looked at as the time passed, the step that follows is taken.
    steps = 2 if method in ("chebyshev", "richardson") else 1
    assert A.products <= int(limit) + steps + CERTIFICATE
    assert solution.status is rv.Status.TIME_LIMIT
    found = np.linalg.norm(b - A.matrix @ solution.x)
    assert solution.residual_norm == pytest.approx(found, rel=1e-10)
    assert found <= np.linalg.norm(b)


@pytest.mark.parametrize("method", METHODS)
def test_a_limit_that_is_not_reached_changes_nothing(A, method):
    options = {"maxiter": 3 if method == "refine" else 80}
    free = solve(method, A, b, "numpy", **options)
    limited = solve(method, A, b, "numpy", time_limit=1e9, **options)
    np.testing.assert_array_equal(limited.x, free.x)
    assert limited.matvecs == free.matvecs


def test_methods_that_are_tried_in_turn_share_the_limit(A):
    A.matrix = A.matrix - 1.9999 * sparse.eye_array(N)  # indefinite, found out late
    solution = solve("auto", A, b, "numpy", time_limit=LIMIT)
    assert A.products <= LIMIT + 1 + CERTIFICATE
    assert solution.status in (rv.Status.TIME_LIMIT, rv.Status.INFEASIBLE)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at", [2, 7, 25])
def test_an_interrupt_in_a_product_ends_there(A, method, at):
    A.interrupt_at = at
    solution = solve(method, A, b, "numpy")
    assert solution.status is rv.Status.INTERRUPTED
    assert A.products <= at + CERTIFICATE
    assert solution.residual_norm == pytest.approx(np.linalg.norm(b - A.matrix @ solution.x), rel=1e-10)


@pytest.mark.parametrize("method", ["cg", "chebyshev", "richardson"])
def test_the_live_line_moves_with_every_step(A, monkeypatch, method):
    seen = []

    class Line:
        def __init__(self, title):
            seen.append((A.products, title))

        def begin(self, initial, tolerance):
            assert initial == 1

        def update(self, iteration, relative_residual, rate, seconds):
            assert 0 < relative_residual < 100
            seen.append((A.products, iteration))

        def close(self):
            seen.append((A.products, "closed"))

    monkeypatch.setattr(iterate, "LiveLine", Line)
    solve(method, A, b, "numpy", progress=True, maxiter=40)
    assert seen[0] == (0, method)
    drawn = [iteration for _, iteration in seen if isinstance(iteration, int)]
    assert set(drawn) == set(range(1, 41))
    assert seen[-1][1] == "closed"
