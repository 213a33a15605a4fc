"""Batches of every shape by every method: each of their systems is held to what a single one is.

CONVERGED is never said of a residual above the tolerance, which is judged here in extended precision; the caller's
arrays stay as they were, to the byte; a refusal names the argument.
"""

import warnings
import zlib

import hypothesis
import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import strategies as st

import resolvent as rv

from .systems import BAD, GOOD, held, matrix, random

METHODS = ("auto", *rv.METHODS)
NAMED = ("A", "b", "x0", "M")
# Those whose entries have a type of their own would widen all others, and dtypes are drawn.
SIDES = {
    "friendly": [kind for kind in GOOD if kind not in ("integer", "half")],
    "hostile": [*(kind for kind in BAD if kind != "boolean"), "spd"],
}
EXTENDED = float(np.finfo(np.longdouble).eps)


def shapes(draw):
    """Axes of the matrices, axes of b before its last, and how many right-hand sides a matrix has, None for a vector.

    A matrix alone has columns.
    """
    matrices = draw(st.sampled_from([(), (), (3,), (2, 2), (1,), (0,)]))
    k = draw(st.sampled_from([1, 2, 3])) if not matrices else draw(st.sampled_from([None, None, 1, 2]))
    lead = matrices if k is None else draw(st.sampled_from([matrices, (2,) if matrices in ((), (1,)) else matrices]))
    return matrices, lead, k


def stored(A, form):
    """The same matrices as users have them, where that is possible."""
    if form == "csr" and A.ndim == 2:
        return sparse.csr_array(A)
    if form == "pattern" and A.ndim == 3 and A.shape[-1] and len(A):
        n = A.shape[-1]
        pattern = (n * np.arange(n + 1), np.tile(np.arange(n), n))
        return rv.as_operator((*pattern, A.reshape(-1, n * n).copy()), (n, n))
    if form == "strided":
        wide = np.zeros((*A.shape[:-1], 2 * A.shape[-1]), A.dtype)
        wide[..., ::2] = A
        return wide[..., ::2]
    return A.copy()


@st.composite
def calls(draw, kinds, method, backends):
    """A stack of matrices, as a dense array, and the arguments of a call."""
    n = draw(st.integers(1, 6))
    dtype = np.dtype(draw(st.sampled_from(["float64", "float64", "float32", "complex128"])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    matrices, lead, k = shapes(draw)
    count = int(np.prod(matrices, dtype=int))
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=count, max_size=count))
    with np.errstate(all="ignore"):
        made = [matrix(kind, rng, n, dtype) for kind in chosen]
        dense = np.array(made, dtype).reshape(*matrices, n, n)
        exact = random(rng, (*lead, n) if k is None else (*lead, n, k), dtype)
        b = (dense @ exact if k is not None else (dense @ exact[..., None])[..., 0]).astype(dtype)
    right = draw(st.sampled_from(["product", "product", "random", "some are zero", "scaled"]))
    if right == "random":
        b = random(rng, b.shape, dtype)
    elif right == "some are zero":
        b = b * rng.integers(0, 2, (*b.shape[:-2], 1, k) if k is not None else (*b.shape[:-1], 1)).astype(dtype)
    elif right == "scaled":
        b = b * dtype.type(10.0 ** draw(st.integers(-30, 30)))
    options = {
        "method": method,
        "rtol": draw(st.sampled_from([1e-5, 1e-8, 1e-3, 1e-12, 0.0])),
        "maxiter": draw(st.sampled_from([None, 200, 50, 7, 1, 0])),
        "backend": draw(st.sampled_from(backends)),
        "errors": draw(st.sampled_from(["collect", "collect", "raise"])),
    }
    guess = draw(st.sampled_from([None, None, "random", "exact"]))
    if guess is not None:
        options["x0"] = random(rng, b.shape, dtype) if guess == "random" else exact
    if method not in ("jacobi", "gauss_seidel", "sor", "ssor", "ssor_cg") and draw(st.integers(0, 3)) == 0:
        options["M"] = np.diag(rng.uniform(0.5, 2, n)).astype(dtype)
    return dense, stored(dense, draw(st.sampled_from(["dense", "csr", "pattern", "strided"]))), b, options


def norms(A, x, b):
    """||b - A x||, ||b|| and || |A| |x| + |b| ||, in extended precision and range."""
    wide = np.clongdouble if b.dtype.kind == "c" or A.dtype.kind == "c" else np.longdouble
    A, x, b = A.astype(wide), x.astype(wide), b.astype(wide)
    with np.errstate(all="ignore"):
        parts = b - A @ x, b, np.abs(A) @ np.abs(x) + np.abs(b)
        return [np.sqrt(np.sum(np.abs(part) ** 2)) for part in parts]


def system_of(array, columns, k):
    """Vector k of an array of them, of all axes but that of length n."""
    return (
        np.moveaxis(array, -2, -1).reshape(-1, array.shape[-2])[k] if columns else array.reshape(-1, array.shape[-1])[k]
    )


def check(dense, A, b, options):
    owned = [A if not hasattr(A, "matrix") else None, b, options.get("x0"), options.get("M")]
    before = [held(thing) for thing in owned]
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            solution = rv.solve(A, b, **options)
        except (ValueError, TypeError) as refusal:
            solution, message = None, str(refusal)
    assert [held(thing) for thing in owned] == before, "the caller's arrays were changed"
    if solution is None:
        hypothesis.event("refused")
        assert message.split(":")[0] in NAMED, f"names no argument: {message}"
        return
    assert {warning.category for warning in heard} <= {rv.ConvergenceWarning}
    assert bool(heard) != bool(solution.converged)
    x = np.asarray(solution.x)
    assert x.shape == b.shape
    assert not np.shares_memory(x, b)
    if dense.ndim == 2 and b.shape[1:] in ((), (1,)):
        systems, which = [solution], [0]
    else:
        vectors = dense.ndim > 2 and b.shape == dense.shape[:-1]
        lead = np.broadcast_shapes(dense.shape[:-2], b.shape[:-1] if vectors else b.shape[:-2])
        count = int(np.prod(dense.shape[:-2], dtype=int))
        each = np.broadcast_to(np.arange(count).reshape(dense.shape[:-2]), lead)
        which = np.repeat(each.reshape(-1), 1 if vectors else b.shape[-1])
        systems = solution.systems
        assert len(systems) == which.size
        assert solution.converged == all(one.converged for one in systems)
    columns = b.ndim > 1 and not (dense.ndim > 2 and b.shape == dense.shape[:-1])
    stack = dense.reshape(-1, *dense.shape[-2:])
    for k, one in enumerate(systems):
        hypothesis.event(one.status.name)
        own = stack[which[k]], system_of(x, columns, k), system_of(b, columns, k)
        check_system(*own, one, options)


def check_system(A, x, b, one, options):
    """One system of a batch is what its Solution says of it."""
    assert one.reason
    finite = bool(np.isfinite(A).all() and np.isfinite(b).all())
    if one.status is rv.Status.REFUSED:
        assert np.isnan(x).all()
        return
    assert finite or not np.any(b), "NaN or infinity was let through"
    if one.status is rv.Status.OVERFLOW or not finite:
        return
    assert np.isfinite(x).all(), one.reason
    residual, rhs, size = norms(A, x, b)
    dtype = np.dtype(one.precision)
    u, n = float(np.finfo(dtype).eps) / 2, b.size
    # Systems that are iterated together in double precision are certified in that; in single precision, in double.
    accumulated = 2.0**-53 + EXTENDED
    doubt = 2 * (n + 4) * accumulated * size + (n + 4) * u * residual
    if one.converged:
        assert residual <= options["rtol"] * rhs * (1 + (n + 4) * u) + doubt, "CONVERGED, but it did not"
    if rhs:
        assert abs(one.relative_residual - residual / rhs) <= doubt / rhs + 1e-300
    if options["maxiter"] is not None and options["method"] != "auto":
        assert one.iterations <= options["maxiter"]


# With --all sixty batches for each, of four systems on average; a fifth of them otherwise, the same ones every time.
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("method", METHODS)
def test_batches(method, side, request):
    backends = ["numpy", None] if request.config.getoption("all") else ["numpy"]

    @hypothesis.seed(zlib.crc32(f"{method} {side}".encode()))
    @hypothesis.settings(
        max_examples=3 * hypothesis.settings().max_examples // 5,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(calls(SIDES[side], method, backends))
    def run(call):
        check(*call)

    run()


# What no solver takes, each with the argument that is to be named.

N = 3
WRONG = {
    "text": ({"A": "matrix"}, "A"),
    "nothing": ({"A": None}, "A"),
    "vector": ({"A": np.ones(N)}, "A"),
    "objects": ({"A": np.full((N, N), object())}, "A"),
    "uncallable": ({"A": object()}, "A"),
    "NaN": ({"A": np.diag([1.0, np.nan, 1.0])}, "A"),
    "b is nothing": ({"b": None}, "b"),
    "b is text": ({"b": "b"}, "b"),
    "b is short": ({"b": np.ones(N - 1)}, "b"),
    "b is deep": ({"b": np.ones((2, N + 1, 2))}, "b"),
    "b is infinite": ({"b": np.array([1.0, np.inf, 0.0])}, "b"),
    "x0 is long": ({"x0": np.ones(N + 1)}, "x0"),
    "x0 is NaN": ({"x0": np.full(N, np.nan)}, "x0"),
    "x0 is text": ({"x0": "zero"}, "x0"),
    "maxiter is negative": ({"maxiter": -1}, "maxiter"),
    "maxiter is a fraction": ({"maxiter": 1.5}, "maxiter"),
    "maxiter is true": ({"maxiter": True}, "maxiter"),
    "time is over": ({"time_limit": 0.0}, "time_limit"),
    "time is NaN": ({"time_limit": np.nan}, "time_limit"),
    "callback is a number": ({"callback": 1}, "callback"),
    "errors is a word": ({"errors": "ignore"}, "errors"),
    "no such backend": ({"backend": "abacus"}, "backend"),
    "no such format": ({"precision": "fp17"}, "precision"),
    "M is small": ({"M": np.eye(N - 1)}, "M"),
    "M is complex": ({"M": 1j * np.eye(N)}, "M"),
    "atol is negative": ({"atol": -1.0}, "atol"),
    "atol is NaN": ({"atol": np.nan}, "atol"),
    "atol is text": ({"atol": "legacy"}, "atol"),
}
TOLERANCES = {
    "rtol is negative": ({"rtol": -1.0}, "rtol"),
    "rtol is NaN": ({"rtol": np.nan}, "rtol"),
    "rtol is one": ({"rtol": 1.0}, "rtol"),
    "rtol is nothing": ({"rtol": None}, "rtol"),
}
DAMPED = {
    "btol is negative": ({"btol": -1.0}, "btol"),
    "damp is negative": ({"damp": -1.0}, "damp"),
    "damp is complex": ({"damp": 1j}, "damp"),
    "damp is infinite": ({"damp": np.inf}, "damp"),
}
LEAST_SQUARES = ("lsmr", "cgls", "lstsq")
REFUSALS = [
    *((name, *case) for name in ("solve", *rv.METHODS) for case in {**WRONG, **TOLERANCES}.items()),
    *((name, *case) for name in LEAST_SQUARES for case in {**WRONG, **DAMPED}.items()),
]


@pytest.mark.whole_grid
@pytest.mark.parametrize(("name", "what", "case"), REFUSALS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_refusal_names_the_argument(name, what, case):
    wrong, named = case
    method = rv.METHODS.get(name)
    if named == "M" and method is not None and not method.takes_preconditioner:
        wrong, named = {"backend": "abacus"}, "backend"  # which has no M to be wrong
    given = {"A": np.diag([1.0, 2.0, 3.0]), "b": np.ones(N), **wrong}
    with pytest.raises((ValueError, TypeError)) as refused:
        getattr(rv, name)(given.pop("A"), given.pop("b"), **given)
    assert str(refused.value).startswith(f"{named}:"), refused.value
