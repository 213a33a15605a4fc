"""Each primitive of each backend against NumPy, the looks at entries, and what a mixed or unknown input says."""

import importlib.util
import inspect
import math
import warnings

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.backends import Backend, backend_named, choose_backend
from resolvent.backends.numpy_backend import NumpyBackend
from resolvent.backends.protocol import powers_of_two
from resolvent.operators import CSR, Dense, Operator
from resolvent.operators.libraries import library_of
from resolvent.operators.ordering import Ordering

DTYPES = ("float64", "float32", "complex64", "complex128")
NEEDS = {"array_api": "array_api_strict", "torch": "torch", "cupy": "cupy"}
PRESENT = [name for name in rv.BACKENDS if importlib.util.find_spec(NEEDS.get(name, "numpy")) is not None]


def to_library(name, x, device=None):
    if name == "torch":
        import torch

        return torch.tensor(x, device=device)
    if name == "array_api":
        import array_api_strict

        return array_api_strict.asarray(x, copy=True)
    if name == "cupy":
        import cupy

        return cupy.asarray(x)
    return np.array(x)


class On:
    """A backend bound to arrays of its library, spoken to in NumPy arrays."""

    def __init__(self, name, device=None):
        self.name, self.device = name, device
        self.backend = choose_backend(name, to_library(name, np.ones(1), device))

    def give(self, *arrays):
        return [to_library(self.name, x, self.device) if isinstance(x, np.ndarray) else x for x in arrays]

    def take(self, result):
        if isinstance(result, tuple):
            return tuple(self.take(part) for part in result)
        return result if isinstance(result, (int, float, complex)) else self.backend.to_numpy(result)

    def __getattr__(self, primitive):
        return lambda *arguments: self.take(getattr(self.backend, primitive)(*self.give(*arguments)))


PLACES = [pytest.param((name,), id=name, marks=[pytest.mark.gpu] * (name == "cupy")) for name in PRESENT]
PLACES += [pytest.param(("torch", "cuda"), id="torch-cuda", marks=pytest.mark.gpu)] * ("torch" in PRESENT)


@pytest.fixture(params=PLACES)
def on(request):
    return On(*request.param)


def vectors(dtype, count, n=33):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((count, n))
    return list((x + 1j * rng.standard_normal(x.shape) if np.dtype(dtype).kind == "c" else x).astype(dtype))


def near(found, wanted, dtype):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=20 * np.finfo(dtype).eps * np.abs(wanted).max())
    if isinstance(found, np.ndarray):
        assert found.dtype == wanted.dtype


def test_every_backend_has_all_that_the_protocol_asks_for():
    for name in PRESENT:
        kind = type(backend_named(name))
        assert issubclass(kind, Backend)
        assert not inspect.isabstract(kind)
        assert kind.name == name


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_are_reduced_and_combined_together(on, dtype):
    """A basis is filled vector by vector; what is done with the first few of them leaves the others alone."""
    *rows, w = vectors(dtype, 5)
    V = on.backend.basis(4, w.size, np.dtype(dtype))
    assert len(V) == 4
    for j, row in enumerate(on.give(*rows)):
        V[j] = on.backend.assign(row, V[j])
    y = np.array([2.0, -0.5 + 1j if np.dtype(dtype).kind == "c" else -0.5, 1.5])
    kept = np.array(rows[:3])
    found = on.backend.dots(V[:3], *on.give(w))
    assert found.dtype == np.result_type(dtype, float)
    np.testing.assert_allclose(found, kept.conj() @ w, rtol=1e-4)
    near(on.backend.to_numpy(on.backend.add_block(V[:3], y, *on.give(w))), (w + y @ kept).astype(dtype), dtype)
    near(on.backend.to_numpy(on.backend.combine(V[:3], y, *on.give(w))), (y @ kept).astype(dtype), dtype)
    np.testing.assert_allclose(on.backend.dots(V[1:4], V[3])[-1], np.vdot(rows[3], rows[3]), rtol=1e-4)
    near(on.backend.to_numpy(V[3]), rows[3], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [33, 70_000])
def test_blocks_are_multiplied_with_blocks(on, dtype, n):
    """Also those that are so long that a product is taken in parts."""
    if n > 100 and on.backend.name not in ("numpy", "numba"):
        pytest.skip("one product is as good as another")
    rows = vectors(dtype, 5, n)
    V, W, out = (on.backend.basis(k, n, np.dtype(dtype)) for k in (3, 2, 2))
    for j, row in enumerate(on.give(*rows[:3])):
        V[j] = on.backend.assign(row, V[j])
    for block in (W, out):
        for j, row in enumerate(on.give(*rows[3:])):
            block[j] = on.backend.assign(row, block[j])
    kept, others = np.array(rows[:3]), np.array(rows[3:])
    found = on.backend.block_dots(V, W)
    assert found.dtype == np.result_type(dtype, float)
    np.testing.assert_allclose(found, kept.conj() @ others.T, rtol=1e-3, atol=1e-3 * math.sqrt(n))
    Y = np.array([[1.0, -2.0], [0.5, 3.0], [-1.5, 0.25]])
    if np.dtype(dtype).kind == "c":
        Y = Y * (1 + 0.5j)
    out = on.backend.block_add(V, Y, out)
    for j in range(2):
        near(on.backend.to_numpy(out[j]), (others[j] + Y[:, j] @ kept).astype(dtype), dtype)
    out = on.backend.block_combine(V, Y, out)
    for j in range(2):
        near(on.backend.to_numpy(out[j]), (Y[:, j] @ kept).astype(dtype), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_vector_operations(on, dtype):
    x, y, z, w = vectors(dtype, 4)
    a, b = (0.5 + 2j, -1.5j) if np.dtype(dtype).kind == "c" else (0.5, -1.5)
    number = np.dtype(dtype).type
    near(on.axpy(a, x, y), number(a) * x + y, dtype)
    near(on.axpby(a, x, b, y), number(a) * x + number(b) * y, dtype)
    near(on.axpby(1.0, x, b, y), x + number(b) * y, dtype)
    near(on.axpby(0.0, x, 1.0, y), y, dtype)
    near(on.multiply(x, y, z), x * y, dtype)
    near(on.difference(x, y, z), x - y, dtype)
    c, s = (0.6 + 0.36j, 0.48 - 0.528j) if np.dtype(dtype).kind == "c" else (0.6, -0.8)
    for found, wanted in zip(on.rotate(c, s, x, y), (c * x + s * y, np.conj(c) * y - np.conj(s) * x), strict=True):
        near(found, wanted.astype(dtype), dtype)
    near(
        on.backend.to_numpy(on.backend.combine(on.give(x, y, z), np.array([a, b, 2.0]), *on.give(w))),
        a * x + b * y + 2 * z,
        dtype,
    )
    np.testing.assert_allclose(on.backend.dots(on.give(x, y), *on.give(z)), [np.vdot(x, z), np.vdot(y, z)], rtol=1e-4)
    near(on.axpbypcz(a, x, b, y, 2.0, z), a * x + b * y + number(2) * z, dtype)
    assert on.dot_and_square(x, y) == pytest.approx((np.vdot(x, y).item(), np.vdot(y, y).real), rel=1e-4)
    for s, t in ((z, x), (w, x)):  # the two vectors of the second half may be one
        step = x + number(a) * y + number(b) * s
        *found, rho, size = on.bicgstab_update(a, y, b, s, t, z, x, w)
        near(found[0], step, dtype)
        near(found[1], w - number(b) * t, dtype)
        assert rho == pytest.approx(np.vdot(z, w - b * t).item(), rel=1e-4)
        assert size == pytest.approx(np.linalg.norm(w - b * t), rel=1e-5)
    near(on.momentum(0.25, 2.0, x, y, z), x + (x - y) / 4 + 2 * z, dtype)
    near(on.momentum(0.0, 2.0, x, y, z), x + 2 * z, dtype)
    for found, wanted in zip(on.cg_update(0.5, x, y, z, w)[:2], (z + x / 2, w - y / 2), strict=True):
        near(found, wanted, dtype)
    norms = [np.linalg.norm(z + x / 2), np.linalg.norm(w - y / 2)]
    assert on.cg_update(0.5, x, y, z, w)[2:] == pytest.approx(norms, rel=1e-5)
    assert on.dot(x, y) == pytest.approx(np.vdot(x, y).item(), rel=1e-4)
    assert isinstance(on.dot(x, y), complex if np.dtype(dtype).kind == "c" else float)
    assert on.norm(x) == pytest.approx(np.linalg.norm(x), rel=1e-5)
    assert isinstance(on.norm(x), float)
    near(on.assign(x, y), x, dtype)
    changed = x.copy()
    changed[[4, 0, 9]] = y[:3]
    near(on.put(x, np.array([4, 0, 9]), y[:3]), changed, dtype)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_vector_is_made_orthogonal_to_a_block(on, dtype, k):
    """One that lies in the block but for a thousandth has lost digits on the way, and is orthogonal all the same."""
    n, rounding = 4100, np.finfo(dtype).eps
    rng = np.random.default_rng(k)
    full = rng.standard_normal((n, k + 1)) + (1j * rng.standard_normal((n, k + 1)) if "complex" in dtype else 0)
    Q = np.linalg.qr(full)[0].T.astype(dtype)
    for within in (0.0, 1.0):
        w = (within * Q[:k].sum(axis=0) + 1e-3 * (Q[k] + Q[0])).astype(dtype)
        V = on.backend.basis(k + 1, n, np.dtype(dtype))
        for j, v in enumerate([*Q[:k], w]):
            V[j] = on.backend.assign(*on.give(v), V[j])
        h, rest = on.backend.orthogonalise(V, k, rounding / 2)
        left = on.take(V[k])
        np.testing.assert_allclose(h, Q[:k].conj() @ w, atol=20 * rounding)
        assert rest == pytest.approx(1e-3, rel=1e-2)
        assert np.linalg.norm(left) == pytest.approx(rest, rel=1e-5)
        assert np.abs(Q[:k].conj() @ left).max() <= 10 * rounding * rest
        np.testing.assert_array_equal(on.take(V[0]), Q[0])
    V[k] = on.backend.assign(V[0], V[k])
    assert on.backend.orthogonalise(V, k, rounding / 2)[1] == 0.0  # nothing of it is left


@pytest.mark.parametrize("dtype", DTYPES)
def test_new_vectors(on, dtype):
    backend, (x,) = on.backend, vectors(dtype, 1)
    zeros = backend.zeros(4, np.dtype(dtype))
    assert backend.numpy_dtype(zeros) == np.dtype(dtype)
    np.testing.assert_array_equal(backend.to_numpy(zeros), np.zeros(4))
    made = backend.from_numpy(x.real.astype(np.float64), np.dtype(dtype))
    near(backend.to_numpy(made), x.real.astype(dtype), dtype)
    kept = backend.copy(made)
    backend.axpy(1.0, kept, made)
    near(backend.to_numpy(kept), x.real.astype(dtype), dtype)
    assert backend.numpy_dtype(backend.copy(zeros, np.dtype("complex128"))) == np.complex128
    assert tuple(backend.reshape(zeros, (2, -1)).shape) == (2, 2)


def test_copy_is_contiguous_and_of_the_values(on):
    x = np.arange(10.0)
    strided = on.give(x)[0][::2]
    copied = on.backend.copy(strided)
    np.testing.assert_array_equal(on.take(copied), x[::2])
    if on.name != "array_api":
        strides = copied.stride() if on.name == "torch" else (copied.strides[0] // 8,)
        assert tuple(strides) == (1,)


@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_stack(on, shape):
    parts = vectors("float64", int(np.prod(shape)), 4)
    given = on.give(*parts)
    wanted = np.stack(parts).reshape(*shape, 4)
    np.testing.assert_array_equal(on.take(on.backend.stack(given, shape, False)), wanted)
    np.testing.assert_array_equal(on.take(on.backend.stack(given, shape, True)), np.swapaxes(wanted, -1, -2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [0, 1, -1, 100, -100, 149, -149])
def test_ldexp_is_exact(on, dtype, exponent):
    x = vectors(dtype, 1)[0]
    if abs(exponent) < 120 or np.finfo(dtype).maxexp > 128:
        np.testing.assert_array_equal(on.ldexp(on.ldexp(x, exponent), -exponent), x)
    with np.errstate(over="ignore", invalid="ignore"):
        found, wanted = on.ldexp(x, exponent).real, np.ldexp(x.real, exponent)
    np.testing.assert_array_equal(found[np.isfinite(wanted)], wanted[np.isfinite(wanted)])
    assert not np.isfinite(found[~np.isfinite(wanted)]).any()


def test_ldexp_beyond_the_range_of_its_factor(on):
    smallest = np.array([5e-324, 0.0, -5e-324])
    np.testing.assert_array_equal(on.ldexp(smallest, 1074), [1, 0, -1])
    np.testing.assert_array_equal(on.ldexp(smallest, 2097), [2.0**1023, 0, -(2.0**1023)])
    np.testing.assert_array_equal(on.ldexp(np.array([2.0**1023]), -2097), [5e-324])


@pytest.mark.parametrize("exponent", [-3000, -1022, -7, 0, 1, 126, 127, 128, 2046])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_powers_of_two_multiply_to_the_power(exponent, dtype):
    powers = powers_of_two(exponent, dtype)
    assert sum(int(np.log2(power)) for power in powers) == exponent
    assert all(2.0 ** np.finfo(dtype).minexp <= power <= float(np.finfo(dtype).max) for power in powers)
    assert len(powers) <= abs(exponent) // 126 + 1


def test_max_abs(on):
    assert on.max_abs(np.array([1.0, -3.0])) == 3
    assert on.max_abs(np.array([3 + 4j, 1.0])) == 5
    assert on.max_abs(np.zeros(0)) == 0
    assert np.isnan(on.max_abs(np.array([np.nan, 1.0])))
    assert np.isnan(on.max_abs(np.array([1.0, np.nan, 2.0])))
    assert on.max_abs(np.array([1.0, -np.inf])) == np.inf
    # The smallest integer has no modulus of its own type.
    assert on.max_abs(np.array([-128, 0], np.int8)) == 128
    assert on.max_abs(np.array([False, True])) == 1


def matrix(dtype, n=30, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n)) * (rng.random((n, n)) < 0.2)
    if np.dtype(dtype).kind == "c":
        A = A + 1j * rng.standard_normal((n, n)) * (A != 0)
    return (A + n * np.eye(n)).astype(dtype)


def operators(on, A):
    """A as every operator with entries that the library has."""
    yield on.backend.operator(on.give(A)[0])
    if on.name in ("numpy", "numba"):
        yield on.backend.operator(sparse.csr_array(A))
    if on.name == "torch":
        import torch

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)
            tensor = torch.tensor(A, device=on.device).to_sparse_csr()
        yield on.backend.operator(tensor)
    if on.name == "cupy":
        import cupyx.scipy.sparse

        yield on.backend.operator(cupyx.scipy.sparse.csr_matrix(sparse.csr_matrix(A)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_products(on, dtype):
    A, (x, b, out) = matrix(dtype), vectors(dtype, 3, 30)
    for operator in operators(on, A):
        near(on.matvec(operator, x, out), A @ x, dtype)
        near(on.residual(operator, x, b, out), b - A @ x, dtype)
        near(on.take(operator.diagonal()), np.diag(A), dtype)
        near(operator.tocsr().toarray(), A, dtype)
        q, curvature = on.matvec_dot(operator, x, out)
        near(q, A @ x, dtype)
        assert curvature == pytest.approx(np.vdot(x, A @ x).real, rel=1e-3)
        near(on.take(operator.rescaled(-40).diagonal()), np.diag(A) * np.float32(2.0**-40), dtype)
        assert operator.astype(operator.dtype) is operator
        wider = operator.astype(np.dtype("complex128"))
        assert wider.dtype == np.complex128
        near(wider.tocsr().toarray(), A.astype("complex128"), dtype)
        np.testing.assert_array_equal(operator.negated().tocsr().toarray(), -A)
        np.testing.assert_array_equal(operator.tocsr().toarray(), A)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_accurate_residual_of_single_precision(on, dtype):
    A = matrix(dtype)
    x = np.linalg.solve(A, vectors(dtype, 1, 30)[0]).astype(dtype)
    wide = np.result_type(dtype, np.float64)
    # The right-hand side is the rounded product, so that nearly all digits cancel.
    b = (A.astype(wide) @ x.astype(wide)).astype(dtype)
    exact = b.astype(wide) - A.astype(wide) @ x.astype(wide)
    for operator in operators(on, A):
        found = on.accurate_residual(operator, x, b, np.zeros_like(b))
        assert found.dtype == dtype
        np.testing.assert_allclose(found, exact.astype(dtype), rtol=2e-6, atol=1e-14)
        _, norm = on.certify(operator, x, b, np.zeros_like(b))
        assert norm == pytest.approx(np.linalg.norm(exact), rel=1e-5)


def examples():
    """Matrices that differ in each of the facts."""
    A = matrix("float64", 8)
    yield "general", A
    yield "complex", matrix("complex128", 8)
    yield "hermitian", matrix("complex128", 8) + matrix("complex128", 8).conj().T
    yield "lower", np.tril(A)
    yield "upper", np.triu(A)
    yield "diagonal", np.diag([1.0, -2.0, 3.0])
    yield "one entry missing its mirror", np.eye(4) + np.eye(4, k=3)
    yield "empty row", A * (np.arange(8) != 3)[:, None]
    yield "zero diagonal", A * (1 - np.diag(np.arange(8) == 5))
    yield "not dominant", A + 9
    yield "zero", np.zeros((3, 3))
    yield "large", A * 1e307
    yield "small", A * 1e-310
    yield "single", A.astype("float32") * np.float32(1e37)
    yield "nan", A * np.where(np.eye(8) == 1, np.nan, 1.0)
    yield "infinite", A * np.where(np.eye(8) == 1, np.inf, 1.0)
    yield "one", np.array([[2.0]])


@pytest.mark.parametrize(("name", "A"), [pytest.param(*example, id=example[0]) for example in examples()])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_facts(on, name, A):
    wanted = Dense(A).facts()
    for operator in operators(on, A):
        found = on.backend.facts(operator)
        for field in wanted.__slots__:
            value, right = getattr(found, field), getattr(wanted, field)
            # Of entries that are not finite nothing else can be told; norms of others are asked for once they have been
            # brought into the range where their squares lie in it too.
            if not np.isfinite(wanted.max_abs) and field != "max_abs":
                continue
            if not 1e-300 < wanted.max_abs < 1e300 and field in ("row_norm", "row_sum", "margin"):
                continue
            assert value == pytest.approx(right, rel=1e-6, nan_ok=True), field
            assert isinstance(value, type(right)), field


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("order", ["natural", "multicolor"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sweep(on, order, reverse, dtype):
    A, (x, b) = matrix(dtype), vectors(dtype, 2, 30)
    ordering = Ordering(CSR(*_csr(A)), order)
    stages = ordering.numbers
    wanted = x.copy()
    for i in sorted(range(30), key=lambda i: stages[i] if order == "multicolor" else i, reverse=reverse):
        wanted[i] += 1.3 * (b[i] - A[i] @ wanted) / A[i, i]
    for operator in operators(on, A):
        found = on.sweep(Ordering(operator, order), x, b, 1.3, reverse)
        near(found, wanted, dtype)


def _csr(A):
    held = sparse.csr_array(A)
    return held.indptr, held.indices, held.data


def test_sweeps_with_another_factor_are_not_mixed_up(on):
    A, (x, b) = matrix("float64"), vectors("float64", 2, 30)
    (operator, *_) = operators(on, A)
    ordering = Ordering(operator)
    first, second, again = (on.sweep(ordering, x, b, omega, False) for omega in (1.3, 0.7, 1.3))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 1e-3


def test_zero_diagonal_is_named(on):
    A = matrix("float64")
    A[4, 4] = 0
    for operator in operators(on, A):
        with pytest.raises(rv.SingularError, match="row 4"):
            Ordering(operator)


def test_callable_of_another_shape_is_refused(on):
    class Wrong:
        shape, dtype = (4, 4), "float64"

        def __call__(self, x):
            return x[:3]

    operator = on.backend.operator(Wrong())
    with pytest.raises(rv.InputError, match=r"\(4,\) has shape \(3,\)"):
        operator.matvec(on.give(np.ones(4))[0])


class Nothing:
    pass


def test_what_cannot_be_multiplied_is_refused(on):
    for wrong in (Nothing(), None, "A"):
        with pytest.raises(TypeError):
            on.backend.operator(wrong)
    with pytest.raises(rv.InputError, match=r"\(2, 3\)"):
        on.backend.operator(on.give(np.ones((2, 3)))[0])
    with pytest.raises(TypeError, match="shape and dtype"):
        on.backend.operator(lambda x: x)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
@pytest.mark.skipif(importlib.util.find_spec("array_api_strict") is None, reason="needs array_api_strict")
def test_mixed_libraries_are_refused_by_name():
    A, b = np.eye(3), np.ones(3)
    for first, second in (("torch", "numpy"), ("numpy", "array_api"), ("array_api", "torch")):
        with pytest.raises(rv.BackendError, match=f"{min(first, second)} and {max(first, second)}"):
            rv.cg(to_library(first, A), to_library(second, b))
        with pytest.raises(rv.BackendError, match="convert"):
            rv.cg(to_library(first, A), to_library(first, b), backend=second)
        for M in (to_library(second, A), rv.precondition.jacobi(to_library(second, A))):
            with pytest.raises(rv.BackendError, match="M: "):
                rv.cg(to_library(first, A), to_library(first, b), M=M, backend=first)


def test_unknown_backend_is_refused():
    with pytest.raises(rv.BackendError, match="'fortran'"):
        rv.cg(np.eye(2), np.ones(2), backend="fortran")


def test_a_subclass_of_an_array_is_an_array():
    class Mine(np.ndarray):
        pass

    assert library_of(np.eye(2).view(Mine)) == "numpy"
    assert rv.cg(np.eye(2).view(Mine), np.ones(2).view(Mine)).converged


def test_a_backend_may_be_given_as_an_object():
    assert rv.cg(np.eye(2), np.ones(2), backend=NumpyBackend()).backend == "numpy"


def test_a_callable_alone_takes_the_backend_asked_for(on):
    class Twice:
        shape, dtype = (3, 3), np.float64

        def __call__(self, x):
            return x + x

    M = rv.precondition.polynomial(Twice(), 2, interval=(1, 3), backend=on.name)
    A, b = on.give(2 * np.eye(3), np.ones(3))
    solution = rv.cg(A, b, M=M, rtol=1e-10, backend=on.name)
    np.testing.assert_allclose(on.take(solution.x), 0.5)


def test_stages_are_kept_in_the_backend_s_own_arrays(on):
    operator = next(operators(on, matrix("float64")))
    assert isinstance(operator, Operator)
    ordering = Ordering(operator, "multicolor")
    assert len(list(ordering.stages(on.backend, False))) == ordering.count
    forward, backward = list(ordering.stages(on.backend, False)), list(ordering.stages(on.backend, True))
    assert forward == backward[::-1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_operations_on_stacks(on, dtype):
    """Vectors (..., n) and numbers (..., 1), each system by itself."""
    x, y, z = (np.stack(part).reshape(2, 3, 11) for part in zip(*[vectors(dtype, 3, 11)] * 6, strict=True))
    x, y, z = (part * (1 + np.arange(6).reshape(2, 3, 1)).astype(dtype) for part in (x, y, z))
    real = x.real.dtype
    a, b = np.linspace(-1, 2, 6).reshape(2, 3, 1).astype(real), np.linspace(1, 3, 6).reshape(2, 3, 1).astype(real)
    near(on.axpy(a, x, y), a * x + y, dtype)
    near(on.axpy(0.5, x, y), (x / 2 + y).astype(dtype), dtype)
    near(on.axpby(a, x, b, y), a * x + b * y, dtype)
    near(on.axpby(1.0, x, b, y), x + b * y, dtype)
    near(on.axpby(-2.0, x, b, y), (b * y - 2 * x).astype(dtype), dtype)
    near(on.axpby(1.0, x, -1.0, y), x - y, dtype)
    near(on.momentum(a, b, x, y, z), x + a * (x - y) + b * z, dtype)
    near(on.momentum(0.0, b, x, y, z), x + b * z, dtype)
    near(on.momentum(0.25, b, x, y, z), (x + (x - y) / 4 + b * z).astype(dtype), dtype)
    near(on.momentum(0.25, 0.5, x, y, z), (x + (x - y) / 4 + z / 2).astype(dtype), dtype)
    near(on.multiply(x[0, 0], y, z), x[0, 0] * y, dtype)
    near(on.dots_each(x, y), np.sum(np.conj(x) * y, -1, keepdims=True).real, dtype)
    near(on.norms_each(x), np.linalg.norm(x, axis=-1, keepdims=True).astype(real), dtype)
    which = np.array([[[True], [False], [True]], [[False], [True], [False]]])
    x[0, 1], x[1, 0, 3] = np.nan, np.inf
    near(on.keep(which, x), np.where(which, x, np.zeros(1, dtype)), dtype)
