"""Small systems in one compiled call: the driver's solution field by field, and what is left to the driver."""

import contextlib
import functools
import math
import re
import warnings
from collections import Counter

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.solvers.linear import small

N = 64
FIELDS = (
    *("x", "status", "reason", "iterations", "matvecs", "relative_residual", "residual_norm", "method", "backend"),
    *("precision", "unit_roundoff", "exponent", "spectral_exponent", "norms", "predicted_iterations", "tolerance"),
    *("reference", "smallest_eigenvalue", "preconditioned", "cause", "condition", "condition_sense", "spectrum"),
    *("backward_error", "attainable_residual", "error_bound", "error_estimate", "residual_norms"),
    *("residual_iterations", "carries", "words"),
)
# What GMRES makes of its Hessenberg matrix, which is the driver's to the last bit: rotations, triangular systems and
# combinations of the basis are the host's and LAPACK's in one case, compiled in the other.
ROUNDED = ("x", "relative_residual", "residual_norm", "norms", "residual_norms", "backward_error", "error_bound")
ROUNDED += ("error_estimate", "attainable_residual")


@contextlib.contextmanager
def path(monkeypatch, compiled):
    """Within, small systems are solved in one call, also those of a kind that comes up for the first time, or never.

    Yields a list that says of each system whether the compiled solve kept it.
    """
    kept, solve = [], small.Small.solve

    def spied(self, *given):
        solution = solve(self, *given)
        kept.append(solution is not None)
        return solution

    with monkeypatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        patched.setattr(small, "SYSTEMS_BEFORE", 0 if compiled else math.inf)
        patched.setattr(small.Small, "solve", spied)
        yield kept


def both(monkeypatch, call):
    """The driver's solution, that of the compiled solve, and whether it was one."""
    with path(monkeypatch, False):
        driven = call()
    with path(monkeypatch, True) as kept:
        solution = call()
    return driven, solution, kept[-1:] == [True]


def same(one, other, rounding=0.0):
    if rounding and np.asarray(one).dtype.kind in "fc":
        one, other = np.asarray(one), np.asarray(other)
        return one.shape == other.shape and np.allclose(one, other, rtol=rounding, atol=rounding, equal_nan=True)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    return one == other or (one != one and other != other)


def differing(driven, solution, rounding=0.0):
    """The fields that are not the same, those of ``ROUNDED`` to so many digits of their size."""
    found = []
    for name in FIELDS:
        one, other = getattr(driven, name), getattr(solution, name)
        own = rounding if name in ROUNDED else 0.0
        if rounding and name == "reason":  # it tells the residual
            one, other = (re.sub(r"\d\.\d\de[+-]\d\d", "", text) for text in (one, other))
        if own and isinstance(one, (np.ndarray, tuple)):
            size = max(np.abs(np.asarray(one)).max(initial=0.0), np.finfo(float).tiny)
            one, other = np.asarray(one) / size, np.asarray(other) / size
        elif own and one is not None and abs(one - other) <= 100 * driven.unit_roundoff * max(1.0, driven.reference):
            continue  # small residuals are differences of numbers as large as b
        elif own and one:
            one, other = 1.0, other / one
        if not same(one, other, own):
            found.append(name)
    if (driven.bound is None) != (solution.bound is None):
        return [*found, "bound"]
    if driven.bound is not None:
        bounds = (driven.bound, solution.bound)
        found += [part for part in ("iterations", "values") if not same(*(getattr(each, part) for each in bounds))]
    return found


@functools.cache
def matrix(name):
    rng = np.random.default_rng(0)
    poisson = rv.gallery.poisson((8, 8)).A
    G = rng.standard_normal((N, N))
    definite = G @ G.T + N * np.eye(N)
    return {
        "csr": poisson,
        "varied csr": sparse.csr_array(poisson + sparse.diags_array(rng.uniform(0, 5, N))),
        "single csr": poisson.astype(np.float32),
        "dense": definite,
        "complex": definite + 1j * (G - G.T),
        "nonsymmetric": G + np.diag(np.abs(G).sum(axis=1) + 1),
    }[name]


OPTIONS = {
    "plain": {"rtol": 1e-8},
    "cut": {"rtol": 1e-5, "maxiter": 7},
    "atol": {"rtol": 1e-3, "atol": 1e-2},
    "tight": {"rtol": 1e-12},
    "guess": {"rtol": 1e-6, "x0": True},
    "all digits": {"rtol": 0.0, "maxiter": 300},
}
METHODS = ("cg", "bicgstab", "chebyshev", "richardson", "jacobi", "gauss_seidel", "sor", "ssor", "auto")
# Whose parameter is found by the Lanczos process in each solve.
SEARCHES = ("chebyshev", "richardson", "sor", "ssor")
# Whose theory does not hold for a matrix that is not Hermitian.
DEFINITE = ("cg", "auto")


def parameters(method, A):
    full = A.toarray() if sparse.issparse(A) else A
    low, high = np.sort(np.linalg.eigvals(full).real)[[0, -1]]
    return {
        "chebyshev": {"interval": (0.9 * low, 1.1 * high)},
        "richardson": {"omega": 1 / np.abs(full).sum(axis=1).max()},
        "jacobi": {"omega": 0.5},
        "sor": {"omega": 1.3},
        "ssor": {"omega": 1.1},
    }.get(method, {})


@pytest.mark.parametrize(
    "name",
    ["csr", "varied csr", *(pytest.param(name, marks=pytest.mark.slow) for name in ("single csr", "dense", "complex"))]
    + ["nonsymmetric"],
)
@pytest.mark.parametrize(
    ("method", "searched"), [*((method, False) for method in METHODS), *((method, True) for method in SEARCHES)]
)
def test_every_field_is_the_drivers(method, searched, name, monkeypatch):
    if name == "nonsymmetric" and (method in DEFINITE or (searched and method in ("chebyshev", "richardson"))):
        pytest.skip("refused, or solved by another method")
    A, taken = matrix(name), 0
    real = np.float32 if name == "single csr" else np.float64
    rng = np.random.default_rng(1)
    for options in OPTIONS.values():
        for scale in (2.0**-40, 1.0, 2.0**40):
            b, guess = (real(scale) * rng.standard_normal(N).astype(real) for _ in range(2))
            own = options | ({"x0": guess / 16} if "x0" in options else {})
            own |= {} if searched else parameters(method, A)
            given = functools.partial(rv.solve, A, b, method=method, **own)
            driven, solution, kept = both(monkeypatch, given)
            assert differing(driven, solution) == [], (options, scale)
            taken += kept
    # Of 18. The others stand still ("all digits", and what single precision does not reach) or begin below atol.
    assert taken >= (5 if name == "single csr" else 10)


@pytest.mark.parametrize("restart", [5, 30, 400])
@pytest.mark.parametrize(
    "name", ["csr", *(pytest.param(name, marks=pytest.mark.slow) for name in ("single csr", "complex", "nonsymmetric"))]
)
def test_gmres_is_the_drivers_to_rounding(name, restart, monkeypatch):
    """Iterations, products, status and spectrum are the same; and x and norms to rounding."""
    A, taken = matrix(name), 0
    real = np.float32 if name == "single csr" else np.float64
    rng = np.random.default_rng(1)
    for options in OPTIONS.values():
        b, guess = (rng.standard_normal(N).astype(real) for _ in range(2))
        own = options | ({"x0": guess / 16} if "x0" in options else {})
        driven, solution, kept = both(monkeypatch, lambda own=own, b=b: rv.gmres(A, b, restart=restart, **own))
        taken += kept
        # Near the target carried norms are what is left of the first one: their rounding is relative to that.
        assert differing(driven, solution, 2e-3 if real is np.float32 else 1e-6) == [], options
        if kept:
            np.testing.assert_array_equal(driven.evidence.matrix, solution.evidence.matrix)
    assert taken >= (2 if name == "single csr" else 4)  # of 6


@pytest.mark.parametrize(
    "method", ["cg", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bicgstab", "gmres"))]
)
@pytest.mark.parametrize(
    "name", ["varied csr", *(pytest.param(name, marks=pytest.mark.slow) for name in ("dense", "complex"))]
)
def test_a_diagonal_preconditioner(name, method, monkeypatch):
    A, b = matrix(name), np.linspace(1, 2, N)
    M, columns = rv.precondition.jacobi(A), np.stack([b, b[::-1], 0 * b], axis=1)
    solve, rounding = getattr(rv, method), 1e-6 if method == "gmres" else 0.0
    driven, solution, kept = both(monkeypatch, lambda: solve(A, b, M=M, rtol=1e-9))
    assert kept
    assert differing(driven, solution, rounding) == []
    assert solution.preconditioned
    with path(monkeypatch, True) as kept:
        batch = solve(A, columns, M=M, rtol=1e-9)
    assert kept == []
    for system, column in zip(batch.systems, columns.T, strict=True):
        for compiled in (False, True):
            with path(monkeypatch, compiled):
                alone = solve(A, column, M=M, rtol=1e-9)
            assert differing(alone, system, 0.0 if compiled else rounding) == []


def test_other_preconditioners_are_the_drivers(monkeypatch):
    A = matrix("dense")
    for M in (rv.precondition.ssor(A), np.diag(1 / np.diag(A))):
        driven, solution, kept = both(monkeypatch, functools.partial(rv.cg, A, B, M=M, rtol=1e-9))
        assert not kept
        assert differing(driven, solution) == []
    with pytest.raises(rv.InputError, match="M"):
        rv.cg(A, B, M=rv.precondition.jacobi(A[:5, :5]))


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40])
@pytest.mark.parametrize("method", ["cg", "gauss_seidel", "auto"])
def test_powers_of_two_of_the_matrix_change_no_digit(method, scale, monkeypatch):
    A, b = matrix("dense"), np.linspace(1, 2, N)
    with path(monkeypatch, True) as kept:
        plain = rv.solve(A, b, method=method, rtol=1e-10)
        scaled = rv.solve(scale * A, b, method=method, rtol=1e-10)
    assert kept == [True, True]
    np.testing.assert_array_equal(scaled.x, plain.x / scale)
    assert scaled.iterations == plain.iterations


def test_columns_integers_and_precisions_that_differ(monkeypatch):
    A, b = matrix("dense"), np.arange(1, N + 1)
    calls = (
        lambda: rv.cg(A, b[:, None], rtol=1e-9),
        lambda: rv.cg(A.astype(np.float32), b.astype(float), rtol=1e-9),
        lambda: rv.cg(A, b * 1j, rtol=1e-9),
        lambda: rv.cg(np.asfortranarray(A)[::-1, ::-1], b[::-1], rtol=1e-9),
    )
    for call in calls:
        driven, solution, kept = both(monkeypatch, call)
        assert kept
        assert differing(driven, solution) == []
        assert solution.x.shape in ((N,), (N, 1))


def test_a_zero_right_hand_side(monkeypatch):
    for method in ("cg", "chebyshev", "gauss_seidel", "auto"):
        own = parameters(method, matrix("csr"))
        call = functools.partial(rv.solve, matrix("csr"), np.zeros(N), method=method, **own)
        driven, solution, kept = both(monkeypatch, call)
        assert kept
        assert differing(driven, solution) == []
        assert not solution.x.any()


def indefinite():
    A = matrix("dense").copy()
    A[3, 3] = -1e3
    return A


def singular():
    """The Laplacian of a circle, and a right-hand side that it cannot reach."""
    return np.eye(N) * 2 - np.roll(np.eye(N), 1, 0) - np.roll(np.eye(N), -1, 0)


def skew():
    return np.eye(N, k=1) - np.eye(N, k=-1)


B = np.linspace(1, 2, N)
LEFT = {
    "NaN in b": (lambda: rv.cg(matrix("dense"), np.where(B == 1, np.nan, B)), rv.InputError),
    "infinite A": (lambda: rv.cg(np.where(np.eye(N) > 0, np.inf, 0), B), rv.InputError),
    "not Hermitian": (lambda: rv.cg(matrix("nonsymmetric"), B), rv.NotHermitianError),
    "NaN in x0": (lambda: rv.cg(matrix("dense"), B, x0=np.full(N, np.nan)), rv.InputError),
    "zero diagonal": (lambda: rv.gauss_seidel(np.eye(N)[::-1].copy(), B), rv.SingularError),
    "indefinite": (lambda: rv.cg(indefinite(), B), "BREAKDOWN"),
    "singular": (lambda: rv.cg(singular(), B), "BREAKDOWN"),
    "empty row": (lambda: rv.cg(np.diag([0.0, *B[1:]]), B), "INFEASIBLE"),
    "huge A": (lambda: rv.cg(1e200 * matrix("dense"), B), "CONVERGED"),
    "tiny b": (lambda: rv.cg(matrix("dense"), 1e-310 * B), "CONVERGED"),
    "x out of range": (lambda: rv.cg(1e-200 * np.eye(N), 1e200 * B), "OVERFLOW"),
    "guess out of range": (lambda: rv.cg(matrix("dense"), B, x0=1e300 * B), "CONVERGED"),
    "skew": (lambda: rv.bicgstab(skew(), B), "BREAKDOWN"),
    "bicgstab without digits": (lambda: rv.bicgstab(matrix("nonsymmetric"), B, rtol=0.0), "STAGNATED"),
    "a basis of no use": (lambda: rv.gmres(np.roll(np.eye(N), 1, 0), np.eye(N)[0], restart=5), "BREAKDOWN"),
    "gmres without digits": (lambda: rv.gmres(matrix("nonsymmetric"), B, rtol=0.0), "STAGNATED"),
    "gmres of a singular A": (lambda: rv.gmres(singular(), B), "BREAKDOWN"),
    "standing still": (lambda: rv.cg(matrix("dense"), B, rtol=0.0), "STAGNATED"),
    "diverging": (lambda: rv.richardson(matrix("dense"), B, omega=1.0), "DIVERGED"),
    "wrong interval": (lambda: rv.chebyshev(matrix("dense"), B, interval=(1.0, 50.0)), "CONVERGED"),
    "triangular": (lambda: rv.solve(np.tril(matrix("dense")), B), "CONVERGED"),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_leaves_the_ordinary_course_is_the_drivers(name, monkeypatch):
    call, wanted = LEFT[name]
    if isinstance(wanted, str):
        driven, solution, kept = both(monkeypatch, call)
        assert not kept
        assert solution.status.name == wanted
        assert differing(driven, solution) == []
        return
    with path(monkeypatch, True) as kept, pytest.raises(wanted):
        call()
    assert kept == [False]


def test_a_replaced_residual_is_the_drivers(monkeypatch):
    """On a matrix as ill-conditioned as this one the carried residual drifts, and is replaced on the way."""
    A = np.diag(np.geomspace(1e-9, 1, N))
    call = functools.partial(rv.cg, A, A @ np.ones(N), rtol=1e-15, maxiter=4000)
    driven, solution, kept = both(monkeypatch, call)
    assert not kept
    assert differing(driven, solution) == []


@pytest.mark.slow
def test_a_certificate_that_fails_is_the_drivers(monkeypatch):
    """The compiled loop ends at the residual that it carries; where the true one is larger, nothing is claimed."""
    A = np.diag(np.geomspace(1e-7, 1, N)).astype(np.float32)
    b = np.random.default_rng(3).standard_normal(N).astype(np.float32)
    with path(monkeypatch, True):
        solution = rv.cg(A, b, rtol=1e-6, maxiter=2000)
    true = np.linalg.norm(b.astype(float) - A.astype(float) @ solution.x.astype(float)) / np.linalg.norm(b)
    assert solution.relative_residual == pytest.approx(true, rel=1e-3)
    assert solution.converged == (true <= 1e-6)


def test_a_few_systems_of_a_kind_are_not_worth_compiling_a_solve_for(monkeypatch):
    monkeypatch.setattr(small, "SYSTEMS_BEFORE", 5)
    monkeypatch.setattr(small, "_seen", Counter())
    kept, solve = [], small.Small.solve

    def spied(self, *given):
        solution = solve(self, *given)
        kept.append(solution is not None)
        return solution

    monkeypatch.setattr(small.Small, "solve", spied)
    found = [rv.cg(matrix("dense"), B, rtol=1e-9) for _ in range(small.SYSTEMS_BEFORE + 1)]
    assert kept == [False] * small.SYSTEMS_BEFORE + [True]
    assert differing(found[0], found[-1]) == []


def test_the_systems_of_batches_count_too(monkeypatch):
    monkeypatch.setattr(small, "SYSTEMS_BEFORE", 5)
    monkeypatch.setattr(small, "_seen", Counter())
    kept, together = [], small.Small.together

    def spied(self, *given):
        found = together(self, *given)
        kept.append(found is not None)
        return found

    monkeypatch.setattr(small.Small, "together", spied)
    few, more, many = (rv.cg(matrix("dense"), np.stack([B] * count, -1), rtol=1e-9) for count in (3, 3, 6))
    assert kept == [False, True, True]
    for column in range(3):
        np.testing.assert_array_equal(few.x[:, column], more.x[:, column])
        np.testing.assert_array_equal(few.x[:, column], many.x[:, column])


def test_no_more_rows_than_are_small(monkeypatch):
    for n, wanted in ((small.MOST_ROWS - 1, True), (small.MOST_ROWS, False)):
        with path(monkeypatch, True) as kept:
            rv.cg(sparse.eye_array(n, format="csr"), np.ones(n), maxiter=20)
        assert kept == [wanted]


@pytest.mark.parametrize("maxiter", [0, 1, 10**9, 2**53, 10**19, 10**400])
def test_limits_of_any_size(maxiter, monkeypatch):
    driven, solution, _ = both(monkeypatch, lambda: rv.cg(matrix("csr"), B, rtol=1e-9, maxiter=maxiter))
    assert differing(driven, solution) == []
    assert solution.converged == (maxiter > 1)
