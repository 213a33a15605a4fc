"""Thousands of least-squares problems of every shape and rank, against what must hold of every one.

CONVERGED is never said of an x that passes neither of the two tests, judged here in extended precision with the norm of
A itself; the caller's arrays stay as they were, to the byte; a refusal names the argument.
"""

import warnings
import zlib

import hypothesis
import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator

import resolvent as rv

from ..systems import held, random

METHODS = ("auto", "lsmr", "cgls", "lapack", "superlu")
NAMED = ("A", "b", "x0", "M", "damp", "atol", "btol", "method")
KINDS = {
    "friendly": ("full", "integer", "orthogonal", "huge", "tiny", "columns"),
    "hostile": ("rank one", "rank", "zero", "zero column", "zero row", "graded", "wild", "nan", "infinite", "near"),
}
EXTENDED = float(np.finfo(np.longdouble).eps)


def matrix(kind, rng, m, n, dtype):
    """One of m rows and n columns."""
    span = 100 if np.finfo(dtype).maxexp > 200 else 10
    A = random(rng, (m, n), dtype)
    match kind:
        case "full" | "columns":
            scale = 10.0 ** rng.uniform(-3, 3, n) if kind == "columns" else np.ones(n)
            return (A * scale).astype(dtype)
        case "integer":
            return rng.integers(-3, 4, (m, n)).astype(dtype)
        case "orthogonal":
            Q = np.linalg.qr(random(rng, (max(m, n), min(m, n)), dtype))[0]
            return (Q if m >= n else Q.conj().T).astype(dtype)
        case "huge" | "tiny":
            return (A * 10.0 ** (span if kind == "huge" else -span)).astype(dtype)
        case "rank one":
            return np.outer(random(rng, m, dtype), random(rng, n, dtype)).astype(dtype)
        case "rank":
            r = min(m, n) // 2
            return (random(rng, (m, r), dtype) @ random(rng, (r, n), dtype)).astype(dtype)
        case "near":
            A[:, n // 2 :] = A[:, :1] + 1e-7 * A[:, n // 2 :]
            return A
        case "zero":
            return np.zeros((m, n), dtype)
        case "zero column":
            A[:, n // 2 :][:, :1] = 0
            return A
        case "zero row":
            A[m // 2 :][:1] = 0
            return A
        case "graded":
            rows, columns = (10.0 ** rng.uniform(-span / 4, span / 4, size) for size in (m, n))
            return (rows[:, None] * A * columns).astype(dtype)
        case "wild":
            return (A * 10.0 ** rng.uniform(-span, span, (m, n))).astype(dtype)
        case "nan" | "infinite":
            A[m // 2, n // 2] = np.nan if kind == "nan" else np.inf
            return A
    raise AssertionError(kind)


def in_form(form, A):
    """The same matrix as users have it."""
    match form:
        case "fortran":
            return np.asfortranarray(A)
        case "reversed":
            return np.ascontiguousarray(A[::-1, ::-1])[::-1, ::-1]
        case "readonly":
            A = A.copy()
            A.flags.writeable = False
            return A
        case "csr" | "csc" | "coo" | "lil":
            return sparse.csr_array(A).asformat(form)
        case "operator":
            adjoint = A.conj().T
            return LinearOperator(A.shape, matvec=lambda x: A @ x, rmatvec=lambda y: adjoint @ y, dtype=A.dtype)
    return A.copy()


@st.composite
def calls(draw, kinds, method):
    """A as a full matrix, and the arguments of a call."""
    kind = draw(st.sampled_from(kinds))
    least = 1 if kind in ("nan", "infinite", "near") else 0
    m, n = draw(st.integers(least, 8)), draw(st.integers(least, 6))
    dtype = np.dtype(draw(st.sampled_from(["float64", "float64", "float32", "complex128"])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    with np.errstate(all="ignore"):
        dense = matrix(kind, rng, m, n, dtype)
        consistent = dense @ random(rng, n, dtype)
    right = draw(st.sampled_from(["random", "random", "product", "zero", "scaled", "several", "column", "nan"]))
    b = {
        "random": random(rng, m, dtype),
        "product": consistent,
        "zero": np.zeros(m, dtype),
        "scaled": random(rng, m, dtype) * dtype.type(10.0 ** draw(st.integers(-30, 30))),
        "several": random(rng, (m, 2), dtype),
        "column": consistent[:, None],
        "nan": np.where(np.arange(m) == m // 2, np.nan, consistent),
    }[right]
    options = {"method": method, "backend": "numpy"}
    options |= {name: draw(st.sampled_from([1e-6, 1e-6, 1e-10, 1e-3, 0.0])) for name in ("atol", "btol")}
    options["maxiter"] = draw(st.sampled_from([None, None, 200, 7, 1, 0]))
    size = float(np.abs(dense[np.isfinite(dense)]).max(initial=0.0)) or 1.0
    options["damp"] = draw(st.sampled_from([0.0, 0.0, 0.5, 1e-3, 30.0])) * size
    guess = draw(st.sampled_from([None, None, "random", "scaled"]))
    if guess is not None:
        x0 = random(rng, (n, *b.shape[1:]), dtype)
        options["x0"] = x0 * dtype.type(1e10) if guess == "scaled" else x0
    wanted = draw(st.sampled_from([None, None, "jacobi", "diagonal"]))
    if wanted is not None:
        options["M"] = "jacobi" if wanted == "jacobi" else np.diag(rng.uniform(0.5, 2, n)).astype(dtype)
    form = draw(st.sampled_from(["dense", "csr", "fortran", "reversed", "readonly", "csc", "coo", "lil", "operator"]))
    return dense, in_form(form, dense), b, options


def judged(A, x, b, x0, damp, multiplies):
    """||b - A x||, the norm of the gradient, ||A||, ||x||, ||b||, and what rounding may leave of the first two."""
    wide = np.clongdouble if b.dtype.kind == "c" or A.dtype.kind == "c" else np.longdouble
    u = float(np.finfo(np.result_type(A, b)).eps) / 2
    A, x, b = A.astype(wide), x.astype(wide), b.astype(wide)
    away = np.longdouble(damp) * (x if x0 is None else x - x0.astype(wide))
    r = b - A @ x
    gradient = A.conj().T @ r - np.longdouble(damp) * away
    # The residual is accumulated in about twice the precision, but where A only multiplies, and rounded once, before it
    # is multiplied with.
    accumulated = 2 * (sum(A.shape) + 4) * (EXTENDED + (u if multiplies else 2.0**-53 if u > 1e-10 else 2.0**-63))
    absolute = np.abs(A)
    of_r = accumulated * (absolute @ np.abs(x) + np.abs(b)) + 4 * u * np.abs(r)
    of_tail = 4 * u * (np.abs(away) + np.longdouble(damp) * np.abs(x))
    of_gradient = absolute.T @ (of_r + accumulated * np.abs(r)) + np.longdouble(damp) * (
        of_tail + accumulated * np.abs(away)
    )
    two = [np.sqrt(np.sum(np.abs(v) ** 2)) for v in (r, away, gradient, x, b, of_r, of_tail, of_gradient)]
    normr, tail, normar, normx, normb, doubt, of_tail, doubt_of_gradient = two
    largest = absolute.max(initial=0)
    norm = largest * np.linalg.norm((A / largest).astype(complex), 2) if largest else np.longdouble(0)
    return np.hypot(normr, tail), normar, np.hypot(norm, damp), normx, normb, doubt + of_tail, doubt_of_gradient


def check(dense, A, b, options):
    owned = [A, b, options.get("x0"), options.get("M")]
    before = [held(thing) for thing in owned]
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            solution = rv.lstsq(A, b, **options)
        except (ValueError, TypeError) as refusal:
            solution, message = None, str(refusal)
    assert [held(thing) for thing in owned] == before, "the caller's arrays were changed"
    finite = bool(np.isfinite(dense).all() and np.isfinite(b).all())
    direct = options["method"] in ("lapack", "superlu")
    if solution is None:
        hypothesis.event(f"refused: {message.split(':')[0]}")
        assert message.split(":")[0] in NAMED, f"names no argument: {message}"
        unsuited = isinstance(A, LinearOperator) or (options["method"] == "superlu" and not sparse.issparse(A))
        jacobi = isinstance(A, LinearOperator) and isinstance(options.get("M"), str)
        assert not finite or (direct and unsuited) or jacobi, f"refused without a reason: {message}"
        return
    assert finite or isinstance(A, LinearOperator) or not np.any(b), "NaN or infinity was let through"
    assert {warning.category for warning in heard} <= {rv.ConvergenceWarning}
    assert bool(heard) != bool(solution.converged)
    x = np.asarray(solution.x)
    assert x.shape == (dense.shape[1], *b.shape[1:])
    assert not any(np.shares_memory(x, thing) for thing in (b, options.get("x0")) if thing is not None)
    several = b.ndim == 2 and b.shape[1] != 1
    for k, one in enumerate(solution.systems if several else [solution]):
        vectors = [
            None if thing is None else thing.reshape(len(thing), -1 if len(thing) else 1 + several)[:, k]
            for thing in (x, b, options.get("x0"))
        ]
        check_problem(dense, *vectors, one, options, finite, isinstance(A, LinearOperator))


def check_problem(A, x, b, x0, one, options, finite, multiplies):
    """One problem of a call is what its Solution says of it."""
    hypothesis.event(one.status.name)
    assert one.reason
    if one.status is rv.Status.OVERFLOW or not finite:
        assert not one.converged or not np.any(b)
        return
    assert np.isfinite(x).all(), one.reason
    damp, atol, btol = options["damp"], options["atol"], options["btol"]
    normr, normar, norm, normx, normb, doubt, of_gradient = judged(A, x, b, x0, damp, multiplies)
    much = 1 + 1e-6  # of the norm of A, which is computed in double precision, and the rounding of norms
    if one.converged:
        by_gradient = normar <= much * atol * norm * (normr + doubt) + of_gradient
        by_residual = normr <= much * (btol * normb + atol * norm * normx) + doubt
        assert by_gradient or by_residual, (
            f"CONVERGED, but {normar / norm / normr:.1e} is left of the gradient, {normr / normb:.1e} of the residual"
        )
    assert abs(one.normr - normr) <= much * doubt + 1e-6 * normr
    assert one.norma <= much * norm
    if options["maxiter"] is not None and options["method"] != "auto":
        assert one.iterations <= options["maxiter"]


# With --all 140 problems for each, a fifth of them otherwise, the same ones every time.
@pytest.mark.parametrize("side", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_problems(method, side):
    @hypothesis.seed(zlib.crc32(f"{method} {side}".encode()))
    @hypothesis.settings(
        max_examples=7 * hypothesis.settings().max_examples // 5,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(calls(KINDS[side], method))
    def run(call):
        check(*call)

    run()
