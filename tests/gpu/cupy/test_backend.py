"""The CuPy backend: what needs no device with NumPy in CuPy's place, and the kernels where there is one."""

import numpy as np
import pytest
import scipy.sparse

import resolvent as rv
from resolvent.gpu.cupy.backend import _PASSES, CupyBackend, DeviceCSR, DeviceDense
from resolvent.operators import CSR, Dense


class OnNumPy(CupyBackend):
    """All that CupyBackend inherits and composes, its fused passes taken as their text says, without a device."""

    name = "on_numpy"
    library = "numpy"
    xp = np
    sparse = scipy.sparse

    def update(self, name, given, changed):
        operands, results, operation = _PASSES[name]
        names = [part.split()[1] for part in f"{operands}, {results}".split(", ")]
        values = dict(zip(names, (*given, *changed), strict=True))
        exec(operation.replace(";", "\n").replace("\n ", "\n"), {}, values)
        for target, part in zip(changed, results.split(", "), strict=True):
            target[...] = values[part.split()[1]]
        return changed[0]

    def real_dot(self, x, y):
        return float(np.vdot(x, y).real)

    def current_device(self):
        return "cpu"

    def to_numpy(self, x):
        return x


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
def test_shared_path_of_stacks(method, dtype, kind):
    A, b = system(dtype)
    matrices, rhs = np.stack([A, A + 3 * np.eye(14, dtype=dtype)]), np.stack([b, b[::-1]])
    if kind == "sparse":
        indptr, indices = 14 * np.arange(15), np.tile(np.arange(14), 14)
        stack = rv.as_operator((indptr, indices, matrices.reshape(2, -1)), (14, 14))
    else:
        stack = matrices
    rtol = 1e-4 if dtype == "float32" else 1e-9
    parameters = {"omega": 0.5} if method == "jacobi" else {}
    solution = rv.solve(stack, rhs, method=method, rtol=rtol, backend=OnNumPy(), **parameters)
    plain = rv.solve(matrices, rhs, method=method, rtol=rtol, backend="numpy", **parameters)
    assert solution.converged
    assert solution.backend == "on_numpy"
    assert np.abs(solution.iterations - plain.iterations).max() <= 1
    np.testing.assert_allclose(solution.x, np.linalg.solve(matrices, rhs[..., None])[..., 0], atol=30 * rtol)


class Callable:
    def __init__(self, matrix):
        self.matrix, self.shape, self.dtype = matrix, matrix.shape, matrix.dtype

    def __call__(self, x):
        return self.matrix @ x


KINDS = {"dense": np.asarray, "csr": scipy.sparse.csr_matrix, "coo": scipy.sparse.coo_matrix, "callable": Callable}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("method", rv.METHODS)
def test_shared_path(method, dtype, kind):
    if kind == "callable" and rv.METHODS[method].needs_entries:
        return
    A, b = system(dtype)
    rtol = 1e-5 if dtype == "float32" else 1e-9
    solution = rv.solve(KINDS[kind](A), b, method=method, rtol=rtol, backend=OnNumPy())
    plain = rv.solve(A, b, method=method, rtol=rtol, backend="numpy")
    assert solution.converged
    assert solution.backend == "on_numpy"
    assert solution.x.dtype == b.dtype
    assert abs(solution.iterations - plain.iterations) <= 1
    np.testing.assert_allclose(solution.x, np.linalg.solve(A, b), rtol=0, atol=30 * rtol)


@pytest.mark.parametrize("M", ["jacobi", "ssor", "polynomial"])
def test_shared_path_preconditioned(M):
    A, b = system()
    backend = OnNumPy()
    preconditioner = getattr(rv.precondition, M)(scipy.sparse.csr_matrix(A), backend=backend)
    assert rv.cg(scipy.sparse.csr_matrix(A), b, M=preconditioner, rtol=1e-10, backend=backend).converged


@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64", "complex128"])
def test_operators_on_a_device(dtype):
    A, b = system(dtype)
    A[2, 3] += 1
    backend = OnNumPy()
    operators = [backend.operator(A), backend.operator(scipy.sparse.csr_matrix(A))]
    assert [type(operator) for operator in operators] == [DeviceDense, DeviceCSR]
    held = scipy.sparse.csr_array(A)
    for operator, reference in zip(operators, (Dense(A), CSR(held.indptr, held.indices, held.data)), strict=True):
        wanted, found = reference.facts(), operator.facts()
        for field in wanted.__slots__:
            assert getattr(found, field) == pytest.approx(getattr(wanted, field), rel=1e-5), field
        np.testing.assert_allclose(operator.matvec(b), A @ b, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(operator.tocsr().toarray(), A)
        np.testing.assert_array_equal(operator.diagonal(), np.diag(A))
        np.testing.assert_array_equal(operator.rescaled(-30).tocsr().toarray(), A * np.float32(2.0**-30))
        np.testing.assert_array_equal(operator.negated().tocsr().toarray(), -A)
        np.testing.assert_array_equal(operator.tocsr().toarray(), A)
        assert operator.astype(np.dtype("complex128")).dtype == np.complex128
        assert operator.entries == reference.entries


def test_accurate_residual_of_single_precision(monkeypatch):
    monkeypatch.setattr("resolvent.gpu.cupy.backend.BLOCK", 40)
    A, b = system("float32")
    x = np.linalg.solve(A, b)
    exact = b.astype(float) - A.astype(float) @ x.astype(float)
    backend = OnNumPy()
    for given in (A, scipy.sparse.csr_matrix(A)):
        found = backend.accurate_residual(backend.operator(given), x, b, np.zeros_like(b))
        np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_columns_out_of_order_are_sorted_in_a_copy():
    given = scipy.sparse.csr_matrix((np.array([-1.0, 4, 3, 3]), np.array([1, 0, 1, 1]), np.array([0, 2, 4])))
    given.has_sorted_indices = given.has_canonical_format = True
    operator = OnNumPy().operator(given)
    np.testing.assert_array_equal(operator.tocsr().toarray(), [[4, -1], [0, 6]])
    assert given.indices.tolist() == [1, 0, 1, 1]


FAULTS = {
    "a column too large": ("csr", lambda A: A.indices.put(3, 9), "row 1 holds column 9; wanted columns 0 to 3"),
    "rows that run backwards": ("csr", lambda A: A.indptr.put(2, 1), "row 1 begins at entry 2 and ends at 1"),
    "rows behind the data": ("csr", lambda A: A.indptr.put(4, 99), "row 3 ends at entry 99"),
    "a row too large": ("csc", lambda A: A.indices.put(3, 9), "column 1 holds row 9; wanted rows 0 to 3"),
    "an entry outside": ("coo", lambda A: A.row.put(3, -1), "entry 3 lies in row -1; wanted rows 0 to 3"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_matrix_is_refused_in_words(fault):
    form, change, said = FAULTS[fault]
    A = scipy.sparse.csr_matrix(np.diag(np.full(4, 3.0)) - np.diag(np.ones(3), 1) - np.diag(np.ones(3), -1)).asformat(
        form
    )
    change(A)
    for name in ("A", "M"):
        with pytest.raises(rv.InputError, match=f"^{name}: {said}"):
            OnNumPy().operator(A, name)


def test_what_rows_do_not_name_is_left_out():
    A = scipy.sparse.csr_matrix(np.array([[4.0, -1], [-1, 3]]))
    A.data, A.indices = np.append(A.data, np.nan), np.append(A.indices, [7, 8])
    operator = OnNumPy().operator(A)
    np.testing.assert_array_equal(operator.tocsr().toarray(), [[4, -1], [-1, 3]])
    assert operator.entries == 4


def test_half_precision_and_integers():
    backend = OnNumPy()
    assert backend.operator(np.eye(2, dtype=np.float16)).dtype == np.float32
    assert backend.operator(scipy.sparse.csr_matrix(np.eye(2, dtype=int))).dtype == np.float64
    with pytest.raises(TypeError, match="A: dtype"):
        backend.operator(np.eye(2, dtype=np.longdouble))


def test_what_is_not_on_the_device_is_refused():
    backend = OnNumPy()
    for wrong in ([[1.0]], "A", None):
        with pytest.raises(TypeError):
            backend.operator(wrong)
    with pytest.raises(TypeError, match="shape and dtype"):
        backend.operator(lambda x: x)
    with pytest.raises(rv.BackendError, match="b: found list"):
        backend.vector([1.0], "b")

    class Elsewhere(OnNumPy):
        def current_device(self):
            return "another"

    with pytest.raises(rv.BackendError, match="current device is another"):
        rv.cg(np.eye(2), np.ones(2), backend=Elsewhere())


def test_without_cupy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(CupyBackend, "xp", None)
    with pytest.raises(ImportError, match="CuPy"):
        CupyBackend()


def test_operations_on_stacks():
    backend, rng = OnNumPy(), np.random.default_rng(0)
    x, y, z = rng.standard_normal((3, 2, 5))
    a, b = np.array([[0.5], [-2.0]]), np.array([[3.0], [0.25]])
    np.testing.assert_allclose(backend.axpy(a, x, y.copy()), a * x + y)
    np.testing.assert_allclose(backend.axpby(a, x, b, y.copy()), a * x + b * y)
    np.testing.assert_allclose(backend.momentum(a, b, x, y.copy(), z), x + a * (x - y) + b * z)
    np.testing.assert_allclose(backend.dots_each(x + 1j * y, x), np.sum(x * x, -1, keepdims=True))
    np.testing.assert_allclose(backend.norms_each(x), np.linalg.norm(x, axis=-1, keepdims=True))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64", "complex128"])
def test_kernels_are_their_compositions(dtype):
    cupy = pytest.importorskip("cupy")
    rng = np.random.default_rng(1)
    host = [(rng.standard_normal(1000) + (1j if dtype[0] == "c" else 0)).astype(dtype) for _ in range(4)]
    backend, twin = CupyBackend(), OnNumPy()

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
    for primitive in ("dot", "real_dot"):
        there, here = both(primitive, x, y)
        assert there == pytest.approx(here, rel=1e-4)
    assert backend.max_abs(cupy.asarray(np.array([-128, 0], np.int8))) == 128


@pytest.mark.gpu
@pytest.mark.parametrize("method", rv.METHODS)
def test_solutions_stay_on_the_device(method):
    cupy = pytest.importorskip("cupy")
    import cupyx.scipy.sparse

    A, b = system()
    for given in (cupy.asarray(A), cupyx.scipy.sparse.csr_matrix(scipy.sparse.csr_matrix(A))):
        solution = rv.solve(given, cupy.asarray(b), method=method, rtol=1e-9)
        assert solution.converged
        assert isinstance(solution.x, cupy.ndarray)
        np.testing.assert_allclose(solution.x.get(), np.linalg.solve(A, b), rtol=1e-7)
