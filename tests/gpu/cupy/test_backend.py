"""The CuPy backend, on what stands for CuPy and, where there is one, on a device."""

import importlib

import numpy as np
import pytest
import scipy.sparse

import resolvent as rv
from resolvent.operators import CSR, Dense


@pytest.fixture
def backend(cupy):
    """The backend, whose arrays are those of ``cupy``."""
    return rv.backends.backend_named("cupy")


def device_sparse():
    return importlib.import_module("cupyx.scipy.sparse")


def system(dtype="float64", n=14):
    rng = np.random.default_rng(2)
    B = rng.standard_normal((n, n))
    b = rng.standard_normal(n)
    if np.dtype(dtype).kind == "c":
        B, b = B + 1j * rng.standard_normal((n, n)), b + 1j * b[::-1]
    return (B @ B.conj().T / n + 5 * np.eye(n)).astype(dtype), b.astype(dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("method", ["cg", "chebyshev", "richardson", "sor", "ssor", "jacobi"])
@pytest.mark.parametrize("kind", ["full", "sparse"])
def test_stacks(method, dtype, kind, cupy):
    A, b = system(dtype)
    matrices, rhs = np.stack([A, A + 3 * np.eye(14, dtype=dtype)]), np.stack([b, b[::-1]])
    if kind == "sparse":
        indptr, indices = 14 * cupy.arange(15), cupy.tile(cupy.arange(14), 14)
        stack = rv.as_operator((indptr, indices, cupy.asarray(matrices.reshape(2, -1))), (14, 14))
    else:
        stack = cupy.asarray(matrices)
    rtol = 1e-4 if dtype == "float32" else 1e-9
    parameters = {"omega": 0.5} if method == "jacobi" else {}
    solution = rv.solve(stack, cupy.asarray(rhs), method=method, rtol=rtol, **parameters)
    plain = rv.solve(matrices, rhs, method=method, rtol=rtol, backend="numpy", **parameters)
    assert solution.converged
    assert solution.backend == "cupy"
    assert np.abs(solution.iterations - plain.iterations).max() <= 1
    np.testing.assert_allclose(solution.x.get(), np.linalg.solve(matrices, rhs[..., None])[..., 0], atol=30 * rtol)


class Callable:
    def __init__(self, matrix):
        self.matrix, self.shape, self.dtype = matrix, matrix.shape, matrix.dtype

    def __call__(self, x):
        return self.matrix @ x


def given_as(kind, A, cupy):
    """A on the device."""
    if kind == "dense":
        return cupy.asarray(A)
    if kind == "callable":
        return Callable(cupy.asarray(A))
    sparse = device_sparse()
    return {"csr": sparse.csr_matrix, "coo": sparse.coo_matrix}[kind](scipy.sparse.csr_matrix(A))


@pytest.mark.parametrize("kind", ["dense", "csr", "coo", "callable"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("method", rv.METHODS)
def test_methods(method, dtype, kind, cupy):
    if kind == "callable" and rv.METHODS[method].needs_entries:
        return
    A, b = system(dtype)
    rtol = 1e-5 if dtype == "float32" else 1e-9
    solution = rv.solve(given_as(kind, A, cupy), cupy.asarray(b), method=method, rtol=rtol)
    plain = rv.solve(A, b, method=method, rtol=rtol, backend="numpy")
    assert solution.converged
    assert (solution.status, solution.cause) == (plain.status, plain.cause)
    assert solution.backend == "cupy"
    assert isinstance(solution.x, cupy.ndarray)
    assert solution.x.dtype == b.dtype
    assert abs(solution.iterations - plain.iterations) <= 1
    np.testing.assert_allclose(solution.x.get(), np.linalg.solve(A, b), rtol=0, atol=30 * rtol)


@pytest.mark.parametrize("M", ["jacobi", "ssor", "polynomial"])
def test_preconditioned(M, cupy, backend):
    A, b = system()
    matrix = given_as("csr", A, cupy)
    preconditioner = getattr(rv.precondition, M)(matrix, backend=backend)
    assert rv.cg(matrix, cupy.asarray(b), M=preconditioner, rtol=1e-10).converged


@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64", "complex128"])
def test_operators_on_a_device(dtype, cupy, backend):
    A, b = system(dtype)
    A[2, 3] += 1
    operators = [backend.operator(given_as(kind, A, cupy)) for kind in ("dense", "csr")]
    assert [operator.kind for operator in operators] == ["dense", "csr"]
    held = scipy.sparse.csr_array(A)
    for operator, reference in zip(operators, (Dense(A), CSR(held.indptr, held.indices, held.data)), strict=True):
        wanted, found = reference.facts(), operator.facts()
        for field in wanted.__slots__:
            assert getattr(found, field) == pytest.approx(getattr(wanted, field), rel=1e-5), field
        np.testing.assert_allclose(operator.matvec(cupy.asarray(b)).get(), A @ b, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(operator.tocsr().toarray(), A)
        np.testing.assert_array_equal(operator.diagonal().get(), np.diag(A))
        np.testing.assert_array_equal(operator.rescaled(-30).tocsr().toarray(), A * np.float32(2.0**-30))
        np.testing.assert_array_equal(operator.negated().tocsr().toarray(), -A)
        np.testing.assert_array_equal(operator.adjoint().tocsr().toarray(), A.conj().T)
        np.testing.assert_array_equal(operator.tocsr().toarray(), A)
        assert operator.astype(np.dtype("complex128")).dtype == np.complex128
        assert operator.entries == reference.entries


def test_accurate_residual_of_single_precision(monkeypatch, cupy, backend):
    monkeypatch.setattr(importlib.import_module(type(backend).__module__), "BLOCK", 40)
    A, b = system("float32")
    x = np.linalg.solve(A, b)
    exact = b.astype(float) - A.astype(float) @ x.astype(float)
    for kind in ("dense", "csr"):
        operator = backend.operator(given_as(kind, A, cupy))
        found = backend.accurate_residual(operator, cupy.asarray(x), cupy.asarray(b), cupy.zeros(14, "float32"))
        np.testing.assert_allclose(found.get(), exact, rtol=1e-6)


def compressed(data, indices, indptr, cupy, **options):
    return device_sparse().csr_matrix(tuple(map(cupy.asarray, (data, indices, indptr))), **options)


def test_columns_out_of_order_are_sorted_in_a_copy(cupy, backend):
    given = compressed([-1.0, 4, 3, 3], [1, 0, 1, 1], [0, 2, 4], cupy)
    given.has_sorted_indices = given.has_canonical_format = True
    operator = backend.operator(given)
    np.testing.assert_array_equal(operator.tocsr().toarray(), [[4, -1], [0, 6]])
    assert given.indices.tolist() == [1, 0, 1, 1]


FAULTS = {
    "a column too large": ("csr", "indices", 3, 9, "row 1 holds column 9; wanted columns 0 to 3"),
    "rows that run backwards": ("csr", "indptr", 2, 1, "row 1 begins at entry 2 and ends at 1"),
    "rows behind the data": ("csr", "indptr", 4, 99, "row 3 ends at entry 99"),
    "a row too large": ("csc", "indices", 3, 9, "column 1 holds row 9; wanted rows 0 to 3"),
    "an entry outside": ("coo", "row", 3, -1, "entry 3 lies in row -1; wanted rows 0 to 3"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_matrix_is_refused_in_words(fault, cupy, backend):
    form, part, place, value, said = FAULTS[fault]
    A = scipy.sparse.csr_matrix(np.diag(np.full(4, 3.0)) - np.diag(np.ones(3), 1) - np.diag(np.ones(3), -1))
    given = getattr(device_sparse(), f"{form}_matrix")(A.asformat(form))
    getattr(given, part)[place] = value
    for name in ("A", "M"):
        with pytest.raises(rv.InputError, match=f"^{name}: {said}"):
            backend.operator(given, name)


def test_what_rows_do_not_name_is_left_out(cupy, backend):
    given = compressed([4.0, -1, -1, 3], [0, 1, 0, 1], [0, 2, 4], cupy)
    given.data, given.indices = cupy.asarray([4.0, -1, -1, 3, np.nan]), cupy.asarray([0, 1, 0, 1, 7, 8])
    operator = backend.operator(given)
    np.testing.assert_array_equal(operator.tocsr().toarray(), [[4, -1], [-1, 3]])
    assert operator.entries == 4


def test_half_precision_and_integers(cupy, backend):
    assert backend.operator(cupy.eye(2, dtype="float16")).dtype == np.float32
    assert backend.operator(cupy.eye(2, dtype=int)).dtype == np.float64
    with pytest.raises(TypeError, match="A: dtype"):
        backend.operator(cupy.eye(2, dtype=np.longdouble))


def test_what_is_not_on_the_device_is_refused(cupy, backend):
    for wrong in ([[1.0]], "A", None):
        with pytest.raises(TypeError):
            backend.operator(wrong)
    with pytest.raises(TypeError, match="shape and dtype"):
        backend.operator(lambda x: x)
    with pytest.raises(rv.BackendError, match="b: found list"):
        backend.vector([1.0], "b")


def test_operations_on_stacks(cupy, backend):
    rng = np.random.default_rng(0)
    x, y, z = rng.standard_normal((3, 2, 5))
    a, b = np.array([[0.5], [-2.0]]), np.array([[3.0], [0.25]])
    X, Y, Z, a_there, b_there = map(cupy.asarray, (x, y, z, a, b))
    np.testing.assert_allclose(backend.axpy(a_there, X, Y.copy()).get(), a * x + y)
    np.testing.assert_allclose(backend.axpby(a_there, X, b_there, Y.copy()).get(), a * x + b * y)
    np.testing.assert_allclose(backend.momentum(a_there, b_there, X, Y.copy(), Z).get(), x + a * (x - y) + b * z)
    np.testing.assert_allclose(backend.dots_each(X + 1j * Y, X).get(), np.sum(x * x, -1, keepdims=True))
    np.testing.assert_allclose(backend.norms_each(X).get(), np.linalg.norm(x, axis=-1, keepdims=True))


def kernels_are_their_compositions(cupy, backend, dtype):
    """Each fused pass against what it is made of, in NumPy."""
    rng = np.random.default_rng(1)
    host = [(rng.standard_normal(1000) + (1j if dtype[0] == "c" else 0)).astype(dtype) for _ in range(4)]
    twin = rv.backends.backend_named("numpy")

    def both(primitive, *arguments):
        there = [cupy.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
        here = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        return getattr(backend, primitive)(*there), getattr(twin, primitive)(*here)

    x, y, z, w = host
    cases = [("axpy", 0.5, x, y), ("axpby", 0.5, x, -2.0, y), ("momentum", 0.25, 2.0, x, y, z), ("ldexp", x, -40)]
    for case in cases:
        there, here = both(*case)
        np.testing.assert_allclose(there.get(), here, rtol=1e-5, atol=1e-5)
    there, here = both("cg_update", 0.5, x, y, z, w)
    for found, wanted in zip(there[:2], here[:2], strict=True):
        np.testing.assert_allclose(found.get(), wanted, rtol=1e-5, atol=1e-5)
    assert there[2:] == pytest.approx(here[2:], rel=1e-5)
    there, here = both("dot", x, y)
    assert there == pytest.approx(here, rel=1e-4)
    assert backend.real_dot(cupy.asarray(x), cupy.asarray(y)) == pytest.approx(here.real, rel=1e-4)
    assert backend.max_abs(cupy.asarray(np.array([-128, 0], np.int8))) == 128


DTYPES = ["float64", "float32", "complex64", "complex128"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_are_their_compositions(dtype, cupy, backend):
    kernels_are_their_compositions(cupy, backend, dtype)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_are_their_compositions_on_a_device(dtype):
    cupy = pytest.importorskip("cupy")
    kernels_are_their_compositions(cupy, rv.backends.backend_named("cupy"), dtype)


@pytest.mark.gpu
@pytest.mark.parametrize("method", rv.METHODS)
def test_solutions_stay_on_the_device(method):
    cupy = pytest.importorskip("cupy")
    A, b = system()
    for given in (cupy.asarray(A), given_as("csr", A, cupy)):
        solution = rv.solve(given, cupy.asarray(b), method=method, rtol=1e-9)
        assert solution.converged
        assert isinstance(solution.x, cupy.ndarray)
        np.testing.assert_allclose(solution.x.get(), np.linalg.solve(A, b), rtol=1e-7)
