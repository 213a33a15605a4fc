"""Thousands of small systems, friendly and hostile, against what must hold of every one.

Whatever A, b, x0, M, method and backend: CONVERGED is never said of a residual above the tolerance, which is judged
here in exact rational arithmetic; the caller's arrays stay as they were, to the byte; a refusal names the argument.
"""

import dataclasses
import warnings
import zlib
from fractions import Fraction
from typing import Any

import hypothesis
import mpmath
import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator

import resolvent as rv

from .systems import BAD, GOOD, held, matrix, random

ARGUMENTS = ("A", "b", "x0", "M", "rtol", "atol", "maxiter", "method", "backend", "omega", "sweep", "order", "interval")
METHODS = ("auto", *rv.METHODS)
RELAXATIONS = ("jacobi", "gauss_seidel", "sor", "ssor")


# Systems ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Case:
    """One call, with the dense matrix that A stands for."""

    kind: str
    form: str
    dense: np.ndarray
    A: Any
    b: Any
    options: dict
    finite: bool

    def __repr__(self):
        return (
            f"Case({self.kind}, {self.form}, A={self.dense.dtype}{self.dense.tolist()!r}, "
            f"b={np.asarray(self.b)!r}, {self.options!r})"
        )


def in_form(form, A, rng):
    """The same matrix as users have it."""
    n = A.shape[0]
    match form:
        case "dense":
            return A.copy()
        case "fortran":
            return np.asfortranarray(A)
        case "strided":
            wide = np.zeros((2 * n, 3 * n), A.dtype)
            wide[::2, ::3] = A
            return wide[::2, ::3]
        case "reversed":
            return np.ascontiguousarray(A[::-1, ::-1])[::-1, ::-1]
        case "readonly":
            A = A.copy()
            A.flags.writeable = False
            return A
        case "list":
            return A.tolist()
        case "csr" | "csc" | "coo" | "bsr" | "dia" | "lil" | "dok":
            return sparse.csr_array(A).asformat(form)
        case "matrix":
            return sparse.csr_matrix(A)
        case "stored_zeros":
            return sparse.csr_array((A.ravel().copy(), np.tile(np.arange(n), n), n * np.arange(n + 1)), shape=(n, n))
        case "unsorted":
            return shuffled(A, rng, 1)
        case "duplicates":
            return shuffled(A, rng, 2)
        case "operator":
            return LinearOperator(A.shape, matvec=lambda x: A @ x, dtype=A.dtype)
    raise AssertionError(form)


def shuffled(A, rng, repeats):
    """CSR with the columns of each row in random order, each entry split into ``repeats`` exact parts."""
    n = A.shape[0]
    indices, data, indptr = [], [], [0]
    for i in range(n):
        columns = rng.permutation(np.repeat(np.flatnonzero(A[i]), repeats))
        indices.extend(columns)
        data.extend(A[i, columns] / repeats if repeats > 1 else A[i, columns])
        indptr.append(len(indices))
    made = sparse.csr_array((n, n), dtype=A.dtype)
    made.data = np.array(data, A.dtype)
    made.indices = np.array(indices, np.int32)
    made.indptr = np.array(indptr, np.int32)
    return made


FORMS = (
    "dense", "csr", "fortran", "strided", "reversed", "readonly", "list", "csc", "coo", "bsr", "dia", "lil", "dok",
    "matrix", "stored_zeros", "unsorted", "duplicates", "operator",
)  # fmt: skip


def preconditioner(kind, A, rng):
    n = A.shape[0]
    dtype = A.dtype if A.dtype.kind in "fc" and A.dtype.itemsize > 2 else np.float64
    match kind:
        case "jacobi":
            return rv.precondition.jacobi(A)
        case "ssor":
            return rv.precondition.ssor(A)
        case "identity":
            return np.eye(n, dtype=dtype)
        case "asymmetric":
            return np.eye(n, dtype=dtype) + 0.5 * random(rng, (n, n), dtype)
        case "indefinite":
            return np.diag(rng.choice([-1.0, 1.0], n)).astype(dtype)
        case "nan":
            return LinearOperator((n, n), matvec=lambda r: np.nan * r, dtype=dtype)
        case "zero":
            return np.zeros((n, n), dtype)
    return None


@st.composite
def cases(draw, kinds, methods=METHODS):
    kind = draw(st.sampled_from(kinds))
    n = draw(st.integers(0 if kind not in ("nan", "infinite") else 1, 7))
    dtype = np.dtype(draw(st.sampled_from(["float64", "float64", "float32", "complex128"])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    with np.errstate(all="ignore"):
        dense = matrix(kind, rng, n, dtype)
    form = draw(st.sampled_from(FORMS))
    if (kind == "boolean" and form == "duplicates") or (n == 0 and form in ("list", "bsr", "dia")):
        form = "csr"
    if kind == "integer" and form == "duplicates":
        dense = 2 * dense
    if kind == "half" and form in ("csr", "csc", "coo", "bsr", "dia", "lil", "dok", "matrix", "unsorted", "duplicates"):
        form = "dense"  # SciPy has no sparse half precision
    with np.errstate(all="ignore"):
        A = in_form(form, dense, rng)

    exact = random(rng, n, dtype)
    wide = dense.astype(dtype) if dense.dtype.kind in "biu" or dense.dtype.itemsize == 2 else dense
    with np.errstate(all="ignore"):
        consistent = wide @ exact
    right = draw(
        st.sampled_from(["product", "product", "random", "scaled", "zero", "unit", "integer", "half", "column", "nan"])
    )
    limit = 280 if dtype.char in "dD" else 30
    b = {
        "product": consistent,
        "random": random(rng, n, dtype),
        "scaled": random(rng, n, dtype) * dtype.type(10.0 ** draw(st.integers(-limit, limit))),
        "zero": np.zeros(n, dtype),
        "unit": np.eye(1, n, n // 2, dtype=dtype)[0] if n else np.zeros(0, dtype),
        "integer": rng.integers(-9, 10, n),
        "half": rng.integers(-9, 10, n).astype(np.float16),
        "column": consistent[:, None],
        "nan": np.where(np.arange(n) == n // 2, np.inf, consistent),
    }[right]
    layout = draw(st.sampled_from(["plain", "strided", "readonly", "reversed"]))
    b = laid_out(b, layout)
    guess = draw(st.sampled_from([None, None, None, "random", "exact", "zero", "huge", "nan"]))
    x0 = {
        None: None,
        "random": random(rng, n, dtype),
        "exact": exact,
        "zero": np.zeros(n, dtype),
        "huge": random(rng, n, dtype) * dtype.type(10.0 ** (limit // 2)),
        "nan": np.full(n, np.nan, dtype),
    }[guess]
    options = {
        "method": draw(st.sampled_from(methods)),
        "rtol": draw(st.sampled_from([1e-5, 1e-8, 1e-3, 1e-12, 0.5, 0.0])),
        "maxiter": draw(st.sampled_from([None, 200, 50, 7, 1, 0])),
        "backend": draw(st.sampled_from([None, None, "numpy"])),
    }
    if b.ndim == 2 and x0 is not None:
        x0 = x0[:, None]
    if x0 is not None:
        options["x0"] = laid_out(x0, layout)
    if draw(st.booleans()) and options["rtol"] < 1e-3:
        size = float(np.abs(b).max(initial=0.0))
        options["atol"] = 1e-2 * size if np.isfinite(size) else 1.0
    wanted = draw(
        st.sampled_from([None] * 6 + ["jacobi", "ssor", "identity", "asymmetric", "indefinite", "nan", "zero"])
    )
    if wanted is not None and options["method"] not in RELAXATIONS:
        options["M"] = preconditioner(wanted, wide, rng)
    finite = (
        bool(np.isfinite(wide).all() and np.isfinite(b).all())
        and (x0 is None or bool(np.isfinite(x0).all()))
        and not (wanted == "nan" and "M" in options)
    )
    return Case(kind, form, dense, A, b, options, finite)


def laid_out(b, layout):
    match layout:
        case "strided":
            wide = np.zeros((2 * b.shape[0], *b.shape[1:]), b.dtype)
            wide[::2] = b
            return wide[::2]
        case "reversed":
            return np.ascontiguousarray(b[::-1])[::-1]
        case "readonly":
            b = b.copy()
            b.flags.writeable = False
    return b


# What must hold -----------------------------------------------------------------------------------------------------


def fractions(values):
    """Exact values as flat lists of real and imaginary parts."""
    values = np.asarray(values)
    if values.dtype.kind in "biu":
        return [Fraction(int(v)) for v in values.ravel()], [Fraction(0)] * values.size
    wide = values.astype(np.complex128).ravel()
    return [Fraction(float(v)) for v in wide.real], [Fraction(float(v)) for v in wide.imag]


def root(fraction):
    return mpmath.sqrt(mpmath.mpf(fraction.numerator) / mpmath.mpf(fraction.denominator))


def exact_residual(A, x, b):
    """||b - A x||, ||b|| and || |A| |x| + |b| || (an upper bound of it), free of rounding and of range."""
    n = b.size
    (a, ai), (v, vi), (r, ri) = fractions(A), fractions(x), fractions(b)
    rhs = sum((p * p + q * q for p, q in zip(r, ri, strict=True)), Fraction(0))
    total = size = Fraction(0)
    for i in range(n):
        real, imaginary = r[i], ri[i]
        absolute = abs(real) + abs(imaginary)
        for j in range(n):
            p, q, s, t = a[i * n + j], ai[i * n + j], v[j], vi[j]
            if (p or q) and (s or t):
                real -= p * s - q * t
                imaginary -= p * t + q * s
                absolute += (abs(p) + abs(q)) * (abs(s) + abs(t))
        total += real * real + imaginary * imaginary
        size += absolute * absolute
    return root(total), root(rhs), root(size)


def check(case):
    before = [held(thing) for thing in (case.A, case.b, case.options.get("x0"), case.options.get("M"))]
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            solution = rv.solve(case.A, case.b, **case.options)
        except (ValueError, TypeError) as refusal:
            solution, message = None, str(refusal)
    after = [held(thing) for thing in (case.A, case.b, case.options.get("x0"), case.options.get("M"))]
    assert before == after, "the caller's arrays were changed"

    if solution is None:
        hypothesis.event(f"refused: {message.split(':')[0]}")
        assert message.split(":")[0].split(" ")[0].rstrip(",") in ARGUMENTS, f"names no argument: {message}"
        if case.finite and "M" not in case.options:
            hermitian = np.array_equal(case.dense, case.dense.conj().T)
            zero_diagonal = bool(np.any(case.dense.diagonal() == 0))
            method = case.options["method"]
            assert (method in ("cg", "ssor_cg", "minres") and not hermitian) or (
                method in (*RELAXATIONS, "ssor_cg") and (zero_diagonal or case.form == "operator")
            ), f"refused without a reason: {message}"
        return
    assert case.finite or "M" in case.options or case.form == "operator" or not np.any(case.b), (
        "NaN or infinity was let through"
    )

    hypothesis.event(f"{case.options['method']}: {solution.status.name}")
    kinds = [warning.category for warning in heard]
    expected = [] if solution.converged else [rv.ConvergenceWarning]
    assert kinds == expected, [str(warning.message) for warning in heard]
    assert solution.reason
    x, b = solution.x, np.asarray(case.b)
    assert x.shape == b.shape
    assert not np.shares_memory(x, b)
    assert "x0" not in case.options or not np.shares_memory(x, case.options["x0"])
    assert x.flags.writeable
    if case.options["maxiter"] is not None and case.options["method"] != "auto":
        assert solution.iterations <= case.options["maxiter"]
    if solution.status is rv.Status.OVERFLOW:
        return
    assert np.isfinite(x).all(), solution.reason
    if not case.finite and not np.isfinite(case.dense.astype(complex)).all():
        assert not solution.converged or not np.any(b)
        return

    dtype = np.dtype(solution.precision)
    u = np.finfo(dtype).eps / 2
    n = b.size
    residual, rhs, size = exact_residual(case.dense, x, b)
    # The residual is accumulated in about twice the precision where the entries are at hand, and rounded once.
    wide = (2.0**-53 if dtype.char in "fF" else 2.0**-63) if case.form != "operator" else u
    perturbation = 2 * (n + 4) * wide * size + (n + 4) * u * residual
    options = case.options
    tolerance = max(mpmath.mpf(options["rtol"]) * rhs, mpmath.mpf(options.get("atol", 0.0)))
    if solution.converged:
        assert residual <= tolerance * (1 + (n + 4) * u) + perturbation, (
            f"CONVERGED with a residual of {mpmath.nstr(residual / tolerance if tolerance else residual, 5)} tolerances"
        )
    if rhs:
        assert (
            abs(solution.relative_residual - residual / rhs)
            <= perturbation / rhs + (n + 4) * u * residual / rhs + 1e-300
        )
    if not solution.converged and n:
        first = rhs if options.get("x0") is None else exact_residual(case.dense, np.asarray(options["x0"]), b)[0]
        assert residual <= first * (1 + (n + 4) * u) + perturbation, "worse than the first guess"


# With --all 140 systems for each, a fifth of them otherwise, the same ones every time.
SIDES = {"friendly": GOOD, "hostile": BAD}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("method", METHODS)
def test_systems(method, side):
    @hypothesis.seed(zlib.crc32(f"{method} {side}".encode()))
    @hypothesis.settings(
        max_examples=7 * hypothesis.settings().max_examples // 5,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(cases(SIDES[side], (method,)))
    def run(case):
        check(case)

    run()
