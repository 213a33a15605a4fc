"""Whatever A comes as, the answer is the same; whatever it must not be, is refused by name."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import resolvent as rv
from resolvent.backends import backend_named
from resolvent.gallery import poisson
from resolvent.operators import CSR, BlackBox, Dense
from resolvent.solvers.linear.system import LinearSystem

BACKENDS = ("numpy", "numba")
FORMATS = ("csr", "csc", "coo", "bsr", "dia", "lil", "dok")


@pytest.fixture
def system():
    """Symmetric positive definite with integer entries, exact in every type used here."""
    A = poisson((3, 4)).A.toarray() + np.diag(np.arange(12) % 3)
    x = np.arange(1.0, 13) / 4
    return A, A @ x, x


def strided(A):
    wide = np.full((2 * A.shape[0], 3 * A.shape[1]), 7, A.dtype)
    wide[::2, ::3] = A
    return wide[::2, ::3]


def readonly(A):
    A = A.copy()
    A.flags.writeable = False
    return A


def offset(A):
    """Not aligned to the size of an entry."""
    raw = np.zeros(A.nbytes + 1, np.uint8)
    held = raw[1:].view(A.dtype).reshape(A.shape)
    held[:] = A
    return held


class Callable:
    def __init__(self, A):
        self.A, self.shape, self.dtype = A, A.shape, A.dtype

    def __call__(self, x):
        return self.A @ x


class Column:
    """A callable that answers with (n, 1)."""

    def __init__(self, A):
        self.A, self.shape, self.dtype = A, A.shape, A.dtype

    def __call__(self, x):
        return (self.A @ x)[:, None]


class Subclass(np.ndarray):
    pass


DENSE = {
    "array": lambda A: A,
    "fortran": np.asfortranarray,
    "strided": strided,
    "reversed": lambda A: np.ascontiguousarray(A[::-1, ::-1])[::-1, ::-1],
    "transposed": lambda A: np.ascontiguousarray(A.T).T,
    "readonly": readonly,
    "unaligned": offset,
    "big endian": lambda A: A.astype(">f8"),
    "subclass": lambda A: A.view(Subclass),
    "list": lambda A: A.tolist(),
    "tuple": lambda A: tuple(map(tuple, A)),
    "list of arrays": list,
}
INTEGERS = {name: (lambda A, name=name: A.astype(name)) for name in ("int8", "int16", "int32", "int64", "float16")}
SPARSE = {
    f"{name} {kind}": (lambda A, name=name, kind=kind: getattr(sparse, f"{name}_{kind}")(A))
    for name, kind in itertools.product(FORMATS, ("array", "matrix"))
}
OPERATORS = {
    "LinearOperator": aslinearoperator,
    "LinearOperator of a function": lambda A: LinearOperator(A.shape, matvec=lambda x: A @ x, dtype=A.dtype),
    "callable": Callable,
    "callable of columns": Column,
    "black box": lambda A: BlackBox(lambda x: A @ x, A.shape, A.dtype),
}
OURS = {
    "Dense": Dense,
    "CSR": lambda A: CSR(*(getattr(sparse.csr_array(A), name) for name in ("indptr", "indices", "data"))),
    "Diagonals": lambda A: bands(A, False),
    "symmetric Diagonals": lambda A: bands(A, True),
    "as_operator": rv.as_operator,
}


def bands(A, symmetric):
    n = A.shape[0]
    offsets = [k for k in range(0 if symmetric else 1 - n, n) if np.any(np.diagonal(A, k))]
    data = np.zeros((len(offsets), n))
    for row, k in zip(data, offsets, strict=True):
        row[max(0, -k) : n - max(0, k)] = np.diagonal(A, k)
    return rv.Diagonals(data, offsets, symmetric=symmetric)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [*DENSE, *INTEGERS, *SPARSE, *OPERATORS, *OURS])
def test_every_type_gives_the_same_answer(system, name, backend):
    A, b, x = system
    given = (DENSE | INTEGERS | SPARSE | OPERATORS | OURS)[name](A)
    solution = rv.cg(given, b, rtol=1e-12, backend=backend)
    np.testing.assert_allclose(solution.x, x, rtol=1e-9)
    assert solution.x.dtype == np.float64
    if name not in OPERATORS:
        assert rv.sor(given, b, omega=1.1, rtol=1e-12, backend=backend).converged
        np.testing.assert_array_equal(rv.as_operator(given).tocsr().toarray(), A)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["array", "fortran", "strided", "reversed", "readonly", "unaligned", "list"])
def test_right_hand_sides_and_guesses_of_every_layout(system, name, backend):
    A, b, x = system

    def laid_out(v):
        return DENSE[name](np.outer(v, np.ones(12)))[:, 3] if name != "list" else v.tolist()

    for scale in (1.0, 3.0):
        solution = rv.cg(A, laid_out(scale * b), x0=laid_out(scale * x + 0.1), rtol=1e-12, backend=backend)
        np.testing.assert_allclose(solution.x, scale * x, rtol=1e-9)
    column = rv.cg(A, b[:, None], x0=x[:, None] + 0.1, rtol=1e-12, backend=backend)
    assert column.x.shape == (12, 1)
    np.testing.assert_allclose(column.x[:, 0], x, rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("of_A", "of_b", "result"),
    [
        ("float32", "float32", "float32"),
        ("float32", "float64", "float64"),
        ("float64", "float32", "float64"),
        ("float16", "float32", "float32"),
        ("float16", "float16", "float32"),
        ("int8", "float32", "float64"),
        ("int64", "int64", "float64"),
        ("bool", "float64", "float64"),
        ("complex64", "float32", "complex64"),
        ("float32", "complex64", "complex64"),
        ("complex64", "float64", "complex128"),
        ("float64", "complex64", "complex128"),
        ("complex128", "int8", "complex128"),
    ],
)
def test_the_precision_is_the_smallest_that_holds_both(of_A, of_b, result, backend):
    A = np.eye(4).astype(of_A) if of_A == "bool" else (3 * np.eye(4) + np.eye(4, k=1) + np.eye(4, k=-1)).astype(of_A)
    b = np.array([1, 2, 3, 4]).astype(of_b)
    for method in ("cg", "gauss_seidel", "auto"):
        solution = rv.solve(A, b, method=method, rtol=1e-5, backend=backend)
        assert solution.precision == result
        assert solution.x.dtype == result
        np.testing.assert_allclose(A.astype(result) @ solution.x, b, atol=2e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_integers_are_carried_in_double_precision(backend):
    A = np.array([[2**40, 1], [1, 2**41]])
    solution = rv.cg(A, np.array([2**40 + 1, 1 + 2**41]), rtol=1e-14, backend=backend)
    np.testing.assert_allclose(solution.x, 1, rtol=1e-13)


# CSR in all its conditions ------------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(0, 2**31), st.booleans(), st.booleans(), st.sampled_from([np.int32, np.int64]))
def test_csr_unsorted_repeated_and_with_stored_zeros(n, seed, repeated, zeros, index):
    rng = np.random.default_rng(seed)
    A = rng.integers(-4, 5, (n, n)) * (rng.random((n, n)) < 0.5) * 2.0
    indptr, indices, data = [0], [], []
    for i in range(n):
        columns = np.flatnonzero(A[i]) if not zeros else np.arange(n)
        columns = rng.permutation(np.repeat(columns, 2 if repeated else 1))
        indices.extend(columns)
        data.extend(A[i, columns] / (2 if repeated else 1))
        indptr.append(len(indices))
    made = sparse.csr_array((n, n))
    made.indptr, made.indices, made.data = np.array(indptr, index), np.array(indices, index), np.array(data, float)
    before = [part.tobytes() for part in (made.indptr, made.indices, made.data)]
    for name in BACKENDS:
        backend = backend_named(name)
        operator = backend.operator(made)
        np.testing.assert_array_equal(operator.tocsr().toarray(), A)
        x = rng.integers(-3, 4, n).astype(float)
        np.testing.assert_array_equal(backend.matvec(operator, x, np.empty(n)), A @ x)
        facts = backend.facts(operator)
        assert facts.max_abs == np.abs(A).max(initial=0)
        assert facts.asymmetry == np.abs(A - A.T).max()
        assert facts.lower == (not np.triu(A, 1).any())
        assert facts.upper == (not np.tril(A, -1).any())
        assert facts.diagonal_positive == bool((A.diagonal() > 0).all())
        assert facts.dominant == bool((2 * np.abs(A.diagonal()) > np.abs(A).sum(axis=1)).all())
        assert facts.row_norm == pytest.approx(np.linalg.norm(A, axis=1).max(), rel=1e-14)
        assert facts.row_sum == pytest.approx(np.abs(A).sum(axis=1).max(), rel=1e-14)
        empty = np.flatnonzero(~A.any(axis=1))
        assert facts.empty_row == (empty[0] if empty.size else -1)
        zero = np.flatnonzero(A.diagonal() == 0)
        assert facts.zero_diagonal == (zero[0] if zero.size else -1)
    assert before == [part.tobytes() for part in (made.indptr, made.indices, made.data)]


@given(st.integers(1, 8), st.integers(0, 2**31), st.sampled_from("fdFD"), st.integers(-250, 250))
def test_facts_agree_between_backends_and_storages(n, seed, kind, exponent):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n)) * (rng.random((n, n)) < 0.6)
    if kind in "FD":
        A = A + 1j * rng.standard_normal((n, n)) * (A != 0)
    if seed % 3 == 0:
        A = A + A.conj().T
    scale = np.ldexp(1.0, exponent if kind in "dD" else exponent // 4)
    A = (A.astype(kind) * np.dtype(kind).type(scale)).astype(kind)
    chosen = [backend_named(name) for name in BACKENDS]
    found = [backend.facts(backend.operator(form(A))) for backend in chosen for form in (np.asarray, sparse.csr_array)]
    u = float(np.finfo(kind).eps)
    for facts in found[1:]:
        for name in facts.__slots__:
            one, other = getattr(found[0], name), getattr(facts, name)
            if isinstance(one, float):
                assert other == pytest.approx(one, rel=8 * u, abs=8 * u * found[0].max_abs), name
            else:
                assert other == one, name
    hermitian = bool((A == A.conj().T).all())
    assert all(facts.hermitian(u / 2) for facts in found) or not hermitian


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *itertools.product(["dense", "csr", "bands", "stencil"], ["float64", "float32", "complex64", "complex128"]),
        ("symmetric", "float32"),
        ("symmetric", "float64"),
    ],
)
def test_accurate_residuals_are_accurate(name, dtype, backend):
    """With massive cancellation the residual has the digits of twice the working precision."""
    rng = np.random.default_rng(3)
    n = 12
    u = float(np.finfo(dtype).eps) / 2
    real = np.float64 if dtype in ("float64", "complex128") else np.float32
    first, second, third = rng.standard_normal(3).astype(real).tolist()
    A = first * np.eye(n) + second * (np.eye(n, k=1) + np.eye(n, k=-1)) + third * (np.eye(n, k=4) + np.eye(n, k=-4))
    grid = A.copy()
    for i in (3, 7):  # between the lines of a 3 x 4 grid
        grid[i, i + 1] = grid[i + 1, i] = 0
    A = (grid if name == "stencil" else A).astype(dtype)
    operator = {
        "dense": lambda: rv.as_operator(A),
        "csr": lambda: rv.as_operator(sparse.csr_array(A)),
        "bands": lambda: bands_of(A, [-4, -1, 0, 1, 4], False),
        "symmetric": lambda: bands_of(A, [0, 1, 4], True),
        "stencil": lambda: rv.Stencil((3, 4), first, [(third, third), (second, second)], dtype),
    }[name]()
    x = (rng.standard_normal(n) + (1j * rng.standard_normal(n) if dtype.startswith("complex") else 0)).astype(dtype)
    wide = np.clongdouble if dtype.startswith("complex") else np.longdouble
    b = (A.astype(wide) @ x.astype(wide)).astype(dtype)  # so that b - A x is all rounding
    solution = rv.solve(operator, b, method="richardson", omega=1.0, x0=x, maxiter=0, rtol=0.9, backend=backend)
    exact = np.linalg.norm((b.astype(wide) - A.astype(wide) @ x.astype(wide)).astype(complex))
    assert exact > 0
    assert solution.residual_norm == pytest.approx(
        exact, rel=max(1e3 * u, 2e-3) if dtype[-2:] in ("64", "28") else 1e-4
    )
    assert exact < 4 * u * np.linalg.norm(b)


def bands_of(A, offsets, symmetric):
    data = np.zeros((len(offsets), A.shape[0]), A.dtype)
    for row, k in zip(data, offsets, strict=True):
        row[max(0, -k) : A.shape[0] - max(0, k)] = np.diagonal(A, k)
    return rv.Diagonals(data, offsets, symmetric=symmetric)


# Stencils and bands -------------------------------------------------------------------------------------------------


def cross(grid, centre, axes):
    """The matrix of a stencil, entry by entry."""
    n = int(np.prod(grid))
    A = np.zeros((n, n), complex)
    numbers = np.arange(n).reshape(grid)
    for point in np.ndindex(*grid):
        i = numbers[point]
        A[i, i] += centre
        for axis, (lower, upper) in enumerate(axes):
            for step, value in ((-1, lower), (1, upper)):
                other = list(point)
                other[axis] += step
                if 0 <= other[axis] < grid[axis]:
                    A[i, numbers[tuple(other)]] += value
    return A


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64", "complex128"])
@pytest.mark.parametrize("grid", [(1,), (7,), (1, 1), (4, 5), (1, 6), (6, 1), (3, 4, 5), (1, 4, 1), (2, 1, 3)])
def test_stencils_are_their_matrix(grid, dtype, backend):
    phase = 1j if dtype.startswith("complex") else 1
    axes = [(-1.0 - k, (-0.5 + k) * phase) for k in range(len(grid))]
    stencil = rv.Stencil(grid, 9.0 * phase, axes, dtype)
    A = cross(grid, 9.0 * phase, axes)
    np.testing.assert_array_equal(stencil.tocsr().toarray(), A)
    np.testing.assert_array_equal(stencil.diagonal(), A.diagonal())
    x = np.random.default_rng(0).standard_normal(A.shape[0]).astype(dtype)
    named = backend_named(backend)
    np.testing.assert_allclose(named.matvec(stencil, x, np.empty_like(x)), A @ x, rtol=1e-5, atol=1e-5)
    facts = named.facts(stencil)
    assert facts.max_abs == pytest.approx(np.abs(A).max())
    assert facts.row_sum == pytest.approx(np.abs(A).sum(axis=1).max(), rel=1e-6)
    assert facts.empty_row == -1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("grid", [(40,), (7, 8), (4, 5, 6)])
@pytest.mark.parametrize("method", ["cg", "chebyshev", "richardson", "jacobi", "gauss_seidel", "sor", "ssor", "auto"])
def test_stencils_solve_like_their_matrix(grid, method, backend):
    stencil = rv.Stencil(grid, 2.0 * len(grid) + 0.5, [(-1.0, -1.0)] * len(grid))
    b = np.random.default_rng(0).standard_normal(stencil.shape[0])
    ours = rv.solve(stencil, b, method=method, rtol=1e-9, backend=backend)
    theirs = rv.solve(stencil.tocsr(), b, method=method, rtol=1e-9, backend=backend)
    np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-7, atol=1e-9)
    assert abs(ours.iterations - theirs.iterations) <= 1


@given(st.integers(1, 12), st.lists(st.integers(-13, 13), min_size=1, max_size=6, unique=True), st.integers(0, 99))
def test_bands_are_their_matrix(n, offsets, seed):
    data = np.random.default_rng(seed).integers(-5, 6, (len(offsets), n)).astype(float)
    A = np.zeros((n, n))
    for row, k in zip(data, offsets, strict=True):
        for i in range(n):
            if 0 <= i + k < n:
                A[i, i + k] = row[i]
    made = rv.Diagonals(data, offsets)
    x = np.arange(1.0, n + 1)
    np.testing.assert_array_equal(made.tocsr().toarray(), A)
    np.testing.assert_array_equal(made.diagonal(), A.diagonal())
    for name in BACKENDS:
        named = backend_named(name)
        np.testing.assert_array_equal(named.matvec(made, x, np.empty(n)), A @ x)
        np.testing.assert_array_equal(named.certify(made, x, x, np.empty(n))[0], x - A @ x)
    above = sorted({abs(k) for k in offsets} | {0})
    half = np.random.default_rng(seed).integers(-5, 6, (len(above), n)).astype(float)
    symmetric = rv.Diagonals(half, above, symmetric=True)
    S = symmetric.tocsr().toarray()
    np.testing.assert_array_equal(S, S.T)
    for name in BACKENDS:
        named = backend_named(name)
        np.testing.assert_array_equal(named.matvec(symmetric, x, np.empty(n)), S @ x)


def prepared_by_numba(A):
    """What the solver iterates on."""
    system = LinearSystem(A, np.ones(A.shape[0]), backend="numba")
    system.prepare()
    return system.operator


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["symmetric", "general", "complex", "gaps", "many"])
def test_large_matrices_of_few_diagonals_are_recognised_and_solved_alike(kind):
    n = 32768
    rng = np.random.default_rng(0)
    offsets = {"many": [*range(-9, 10)], "gaps": [-181, -1, 0, 1, 181]}.get(kind, [-200, -1, 0, 1, 200])
    values = []
    for k in offsets:
        row = np.full(n - abs(k), -1.0) if k else np.full(n, 4.5 if len(offsets) < 10 else 20.0)
        if kind == "complex" and k:
            row = row * (1j if k > 0 else -1j)
        if kind == "general" and k > 0:
            row = row * 0.5
        if kind == "gaps" and k:
            row[rng.random(row.size) < 0.1] = 0
        values.append(row)
    A = sparse.csr_array(sparse.diags_array(values, offsets=offsets, shape=(n, n)))
    A.eliminate_zeros()
    if kind == "gaps":
        A = sparse.csr_array(A + A.T)
    prepared = prepared_by_numba(A)
    assert isinstance(prepared, CSR if kind == "many" else rv.Diagonals)
    if kind != "many":
        assert prepared.symmetric == (kind in ("symmetric", "gaps"))
        assert abs(prepared.tocsr() - A).max() == 0
    x = rng.standard_normal(n) + (1j * rng.standard_normal(n) if kind == "complex" else 0)
    b = A @ x
    for method in ("jacobi", "gauss_seidel", *(("cg", "chebyshev") if kind != "general" else ())):
        options = {"method": method, "rtol": 1e-8, "maxiter": 2000}
        if method == "gauss_seidel":
            options["order"] = "multicolor"  # in natural order the reference backend goes row by row
        fast = rv.solve(A, b, backend="numba", **options)
        slow = rv.solve(A, b, backend="numpy", **options)
        assert fast.converged
        assert slow.converged
        np.testing.assert_allclose(fast.x, slow.x, atol=1e-6)
        assert abs(fast.iterations - slow.iterations) <= 16


def test_small_or_full_matrices_stay_as_they_are():
    assert isinstance(prepared_by_numba(poisson((20, 20)).A), CSR)
    assert isinstance(prepared_by_numba(np.eye(3)), Dense)


# Refusals -----------------------------------------------------------------------------------------------------------


class Shapeless:
    dtype = np.dtype(float)

    def __call__(self, x):
        return x


class Typeless:
    shape = (3, 3)

    def __call__(self, x):
        return x


class TooLong:
    shape, dtype = (3, 3), np.dtype(float)

    def __call__(self, x):
        return np.ones(4)


@pytest.mark.parametrize(
    ("A", "error", "words"),
    [
        (np.ones((3, 4)), ValueError, r"\(3, 4\).*square"),
        (sparse.csr_array(np.ones((4, 3))), ValueError, r"\(4, 3\).*square"),
        (np.ones(3), ValueError, r"\(3,\)"),
        (np.float64(3.0), (ValueError, TypeError), ""),
        (3.0, (ValueError, TypeError), ""),
        (None, (ValueError, TypeError), "None"),
        ("matrix", (ValueError, TypeError), "text"),
        ([[1, 2], [3]], (ValueError, TypeError), ""),
        ([[1, "a"], [2, 3]], (ValueError, TypeError), ""),
        (np.eye(3).astype(object), TypeError, "object"),
        (np.eye(3, dtype=np.longdouble), TypeError, "float128|longdouble"),
        (np.eye(3).astype("datetime64[s]"), TypeError, "datetime"),
        (Shapeless(), TypeError, "shape"),
        (Typeless(), TypeError, "dtype"),
        (TooLong(), ValueError, r"\(4,\)"),
        (lambda x: x, TypeError, "shape and dtype"),
        ({"a": 1}, TypeError, "dict"),
    ],
    ids=lambda value: type(value).__name__[:20],
)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["cg", "auto"])
def test_what_is_no_matrix_is_refused(A, error, words, method, backend):
    if method == "auto" and "square" in words:
        pytest.skip("rv.solve takes rectangular matrices")
    with pytest.raises(error, match=rf"(?s)^A: .*({words})"):
        rv.solve(A, np.ones(3), method=method, backend=backend)


@pytest.mark.parametrize(
    ("b", "error", "words"),
    [
        (np.ones(4), ValueError, r"\(4,\).*\(3,\)"),
        (np.ones((4, 1)), ValueError, r"\(4, 1\)"),
        (np.ones((1, 3)), ValueError, r"\(1, 3\)"),
        (1.0, ValueError, r"\(\)"),
        ("abc", (ValueError, TypeError), ""),
        ([1, 2, "x"], (ValueError, TypeError), ""),
        ([[1, 2], [3]], (ValueError, TypeError), ""),
        (np.array([1, None, 2]), TypeError, "object"),
        (np.ones(3, np.longdouble), TypeError, "float128|longdouble"),
    ],
    ids=lambda value: type(value).__name__[:20],
)
@pytest.mark.parametrize("which", ["b", "x0"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_no_vector_is_refused(b, error, words, which, backend):
    right, guess = (b, None) if which == "b" else (np.ones(3), b)
    with pytest.raises(error, match=rf"(?s)^{which}: .*({words})"):
        rv.cg(np.eye(3), right, x0=guess, backend=backend)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: rv.Stencil((), 1.0, []), "grid"),
        (lambda: rv.Stencil((2, 2, 2, 2), 1.0, [(0, 0)] * 4), "grid"),
        (lambda: rv.Stencil((-1,), 1.0, [(0, 0)]), "grid"),
        (lambda: rv.Stencil((2.5,), 1.0, [(0, 0)]), "grid"),
        (lambda: rv.Stencil((2, 2), 1.0, [(0, 0)]), "axes"),
        (lambda: rv.Stencil((2,), np.nan, [(0, 0)]), "center"),
        (lambda: rv.Stencil((2,), 1.0, [(0, np.inf)]), "center, axes"),
        (lambda: rv.Stencil((2,), 1j, [(0, 0)]), "dtype"),
        (lambda: rv.Stencil((2,), 1.0, [(0, 0)], np.int64), "dtype"),
        (lambda: rv.Diagonals(np.ones((2, 3)), [0]), "data"),
        (lambda: rv.Diagonals(np.ones(3), [0]), "data"),
        (lambda: rv.Diagonals(np.ones((2, 3)), [1, 1]), "offsets"),
        (lambda: rv.Diagonals(np.ones((2, 3)), [0, -1], symmetric=True), "offsets"),
        (lambda: rv.Diagonals(np.ones((2, 3)), [1, 2], symmetric=True), "offsets"),
        (lambda: rv.Diagonals(np.ones((2, 3), complex), [0, 1], symmetric=True), "offsets"),
        (lambda: rv.Diagonals(np.ones((1, 3)), [0.5]), "offsets"),
        (lambda: rv.Diagonals(np.ones((1, 3), object), [0]), "data"),
    ],
)
def test_operators_that_cannot_be_are_refused(make, name):
    with pytest.raises((ValueError, TypeError), match=f"^{name}"):
        make()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("method", ["auto", "cg", "chebyshev", "richardson", "jacobi", "gauss_seidel", "sor", "ssor"])
def test_empty_and_one_by_one(storage, method, backend):
    empty = rv.solve(storage(np.zeros((0, 0))), np.zeros(0), method=method, backend=backend)
    assert empty.converged
    assert empty.x.shape == (0,)
    one = rv.solve(storage(np.array([[4.0]])), np.array([2.0]), method=method, rtol=1e-12, backend=backend)
    assert one.converged
    assert one.x == pytest.approx([0.5], rel=1e-12)
    assert one.iterations <= (1 if method in ("cg", "jacobi", "gauss_seidel", "auto") else 10)


def test_products_with_at():
    A = rv.as_operator(np.array([[1.0, 2], [3, 4]]))
    np.testing.assert_array_equal(A @ np.array([1.0, 1]), [3, 7])
    assert repr(A) == "<Dense 2x2 float64>"
    assert rv.as_operator(A) is A
