"""Products on the device, whatever the storage: held to SciPy's, to exact sums, and to their fused forms."""

import importlib
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse

import resolvent as rv

from .. import cuda_on_host


@pytest.fixture
def backend(cupy):
    """The backend, whose arrays are those of ``cupy``."""
    return rv.backends.backend_named("cupy")


def random(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n)


def rows_of_all_lengths(n=300, seed=1):
    """Rows without an entry, and rows that are full."""
    rng = np.random.default_rng(seed)
    A = scipy.sparse.random(n, n, 0.02, "lil", random_state=rng)
    A[5], A[n - 1] = rng.standard_normal(n), rng.standard_normal(n)
    A[7] = 0
    return scipy.sparse.csr_matrix(A)


def full_rows(n=270):
    return scipy.sparse.csr_matrix(scipy.sparse.random(n, n, 0.3, random_state=np.random.default_rng(2)))


def bands(n=280):
    offsets = [0, 1, -3, 17, -279]
    return scipy.sparse.dia_matrix(scipy.sparse.diags([random(n - abs(k), 500 + k) for k in offsets], offsets))


STENCILS = {
    "a line": rv.Stencil((301,), 2.5, ((-1.0, -0.5),)),
    "a plane": rv.Stencil((17, 19), 2.5, ((-1.0, -0.5), (0.25, -2.0))),
    "a box": rv.Stencil((5, 9, 70), 2.5, ((-1.0, -0.5), (0.25, -2.0), (3.0, 1.5))),
    "a flat box": rv.Stencil((1, 3, 65), 2.5, ((-1.0, -0.5), (0.25, -2.0), (3.0, 1.5))),
    "a column": rv.Stencil((40, 6, 1), 2.5, ((-1.0, -0.5), (0.25, -2.0), (3.0, 1.5))),
    "one point": rv.Stencil((1,), 2.5, ((-1.0, -0.5),)),
}
MATRICES = {
    "short rows": rows_of_all_lengths,
    "long rows": full_rows,
    "diagonals": bands,
    **{name: lambda stencil=stencil: stencil for name, stencil in STENCILS.items()},
}


def both(backend, name, dtype="float64"):
    """The matrix on the host, and the operator on the device."""
    given = MATRICES[name]()
    if isinstance(given, rv.Stencil):
        return given.astype(np.dtype(dtype)).tocsr(), backend.operator(given.astype(np.dtype(dtype)))
    given = given.astype(dtype)
    sparse = importlib.import_module("cupyx.scipy.sparse")
    return given.tocsr(), backend.operator(getattr(sparse, f"{given.format}_matrix")(given))


def expected_storage(name):
    return {"short rows": "csr_short", "long rows": "csr_long", "diagonals": "diagonals"}.get(name, "stencil")


@pytest.mark.parametrize("name", MATRICES)
def test_products_and_what_is_fused_with_them(name, backend, cupy):
    A, operator = both(backend, name)
    n = A.shape[0]
    x, b = random(n), random(n, 1)
    there, rhs, out = cupy.asarray(x), cupy.asarray(b), cupy.asarray(np.full(n, np.nan))
    assert backend.arrays(operator).storage == expected_storage(name)
    product, size = A @ x, np.abs(A) @ np.abs(x) + np.abs(b)
    close = {"rtol": 0, "atol": 1e-15 * max(1, size.max())}
    np.testing.assert_allclose(operator.matvec(there).get(), product, **close)  # the reference
    np.testing.assert_allclose(backend.matvec(operator, there, out).get(), product, **close)
    q, curvature = backend.matvec_dot(operator, there, out)
    assert curvature == pytest.approx(x @ product, abs=1e-13 * np.abs(x) @ size)
    np.testing.assert_allclose(q.get(), product, **close)
    r, norm = backend.residual_norm(operator, there, rhs, out)
    np.testing.assert_allclose(r.get(), b - product, **close)
    assert norm == pytest.approx(np.linalg.norm(b - product))
    np.testing.assert_array_equal(operator.diagonal().get(), A.diagonal())
    assert abs(operator.tocsr() - A).max() == 0


@pytest.mark.parametrize("name", ["short rows", "long rows", "diagonals", "a box"])
def test_certificates_are_sums_in_twice_the_digits(name, backend, cupy):
    """Of a residual that is all rounding: exact to the last bit but one, where double has no digit."""
    A, operator = both(backend, name)
    n = A.shape[0]
    x = random(n)
    b = A @ x
    exact = [
        Fraction(b[i])
        - sum(Fraction(A.data[k]) * Fraction(x[A.indices[k]]) for k in range(A.indptr[i], A.indptr[i + 1]))
        for i in range(n)
    ]
    wanted = np.array([float(value) for value in exact])
    r, norm = backend.certify(operator, cupy.asarray(x), cupy.asarray(b), cupy.asarray(np.zeros(n)))
    np.testing.assert_allclose(r.get(), wanted, rtol=1e-12, atol=1e-30)
    assert norm == pytest.approx(np.linalg.norm(wanted), rel=1e-12)


@pytest.mark.parametrize("name", ["short rows", "long rows", "diagonals", "a plane"])
def test_single_precision_is_summed_in_double(name, backend, cupy):
    A, operator = both(backend, name, "float32")
    x = random(A.shape[0]).astype("float32")
    found = backend.matvec(operator, cupy.asarray(x), cupy.asarray(np.zeros_like(x)))
    np.testing.assert_array_equal(found.get(), (A.astype(float) @ x.astype(float)).astype("float32"))


@pytest.mark.parametrize("name", ["short rows", "long rows", "diagonals", "a box"])
def test_order_of_threads_and_number_of_blocks(name, backend, cupy, monkeypatch):
    """The order in which threads run changes no bit; how many blocks share the rows, none of a product."""
    A, operator = both(backend, name)
    x, out = cupy.asarray(random(A.shape[0])), cupy.asarray(np.zeros(A.shape[0]))
    q, curvature = backend.matvec_dot(operator, x, out)
    q = q.get()
    monkeypatch.setattr(cuda_on_host.Module, "backwards", True)
    again, same = backend.matvec_dot(operator, x, out)
    np.testing.assert_array_equal(again.get(), q)
    assert same == curvature
    monkeypatch.setattr(importlib.import_module("resolvent.gpu.cupy.sources"), "MOST_BLOCKS", 1)
    again, near = backend.matvec_dot(operator, x, cupy.asarray(np.zeros(A.shape[0])))
    np.testing.assert_array_equal(again.get(), q)
    assert near == pytest.approx(curvature, rel=1e-10)


def test_indices_of_64_bits(backend, cupy):
    A, operator = both(backend, "short rows")
    matrices = importlib.import_module("resolvent.gpu.cupy.matrices")
    products = importlib.import_module("resolvent.gpu.cupy.products")
    wide = matrices.csr_arrays(
        *(cupy.asarray(part.astype(np.int64)) for part in (A.indptr, A.indices)), operator.values
    )
    assert wide.index == np.int64
    x = random(A.shape[0])
    found = products.product(wide, cupy.asarray(x), cupy.asarray(np.zeros_like(x))).get()
    np.testing.assert_allclose(found, A @ x, rtol=1e-13, atol=1e-13)


FOUND = {
    "a stencil": ("stencil", None),
    "a stencil that is not symmetric": ("stencil", None),
    "symmetric": ("diagonals", [0, 1, 82]),
    "not symmetric": ("diagonals", [-82, -1, 0, 1, 82]),
    "an entry that was left out": ("diagonals", [0, 1, 82]),
    "an entry aside": ("csr", None),
}


def large(kind):
    """A matrix of 4100 rows, of five diagonals."""
    A = scipy.sparse.lil_matrix(rv.gallery.poisson((50, 82)).A)
    if kind == "a stencil that is not symmetric":
        return scipy.sparse.csr_matrix(A + 0.5 * scipy.sparse.tril(A, -1))
    if kind == "symmetric":
        A[2000, 2000] = 5.0
    if kind == "not symmetric":
        A[2000, 2001] = 7.0
    if kind == "an entry that was left out":
        A[2000, 2001] = A[2001, 2000] = 0.0
    if kind == "an entry aside":
        A[3, 3000] = 1.0
    return scipy.sparse.csr_matrix(A)


@pytest.mark.parametrize("kind", FOUND)
def test_large_matrices_of_few_diagonals_are_found(kind, backend, cupy):
    A, (storage, offsets) = large(kind), FOUND[kind]
    sparse = importlib.import_module("cupyx.scipy.sparse")
    operator = backend.operator(sparse.csr_matrix(A))
    prepared = backend.prepare(operator, operator.facts())
    assert prepared.kind == storage
    if storage == "diagonals":
        assert prepared.offsets.tolist() == offsets
        assert prepared.symmetric == (min(offsets) == 0)
    if storage == "stencil":
        assert prepared.grid == (50, 82)
    x = random(A.shape[0])
    found = backend.matvec(prepared, cupy.asarray(x), cupy.asarray(np.zeros(A.shape[0])))
    np.testing.assert_allclose(found.get(), A @ x, rtol=0, atol=1e-13)
    assert abs(prepared.tocsr() - A).max() == 0


def test_stencils_of_one_and_three_axes_are_found(backend, cupy):
    sparse = importlib.import_module("cupyx.scipy.sparse")
    for grid in ((4200,), (20, 15, 14)):
        stencil = rv.Stencil(grid, 7.0, [(-1.0 - k, -2.0 - k) for k in range(len(grid))])
        operator = backend.operator(sparse.csr_matrix(scipy.sparse.csr_matrix(stencil.tocsr())))
        prepared = backend.prepare(operator, None)
        assert prepared.kind == "stencil"
        assert prepared.grid == grid
        np.testing.assert_array_equal(prepared.coefficients, stencil.coefficients)


def test_small_matrices_and_those_of_many_diagonals_stay_by_rows(backend, cupy):
    sparse = importlib.import_module("cupyx.scipy.sparse")
    wide = scipy.sparse.diags([np.ones(5000 - k) for k in range(0, 40, 2)], list(range(0, 40, 2)))
    for A in (rv.gallery.poisson((9, 9)).A, wide):
        operator = backend.operator(sparse.csr_matrix(scipy.sparse.csr_matrix(A)))
        assert backend.prepare(operator, None) is operator


def test_operators_in_other_units_and_precisions(backend, cupy):
    for name in ("diagonals", "a box"):
        A, operator = both(backend, name)
        assert operator.storage == f"cupy {operator.kind}"
        assert abs(operator.rescaled(-30).tocsr() - A * 2.0**-30).max() == 0
        assert abs(operator.negated().tocsr() + A).max() == 0
        assert abs(operator.adjoint().tocsr() - A.T).max() == 0
        assert operator.astype(np.dtype("float32")).dtype == np.float32
        assert backend.arrays(operator.astype(np.dtype("complex128"))) is None
        x = cupy.asarray(random(A.shape[0]))
        for other in (operator.rescaled(3), operator.negated(), operator.adjoint()):
            found = backend.matvec(other, x, cupy.asarray(np.zeros(A.shape[0])))
            np.testing.assert_allclose(found.get(), other.tocsr() @ x.get(), rtol=0, atol=1e-12)


def test_the_facts_of_a_matrix_are_the_same_in_every_storage(backend, cupy):
    A, operator = both(backend, "diagonals")
    wanted = rv.as_operator(scipy.sparse.csr_matrix(A)).facts()
    found = operator.facts()
    for field in wanted.__slots__:
        assert getattr(found, field) == pytest.approx(getattr(wanted, field), rel=1e-12), field


def test_nan_and_infinity_come_through(backend, cupy):
    for name in ("short rows", "long rows", "diagonals", "a box"):
        A, operator = both(backend, name)
        x = random(A.shape[0])
        x[3] = np.nan
        _, norm = backend.residual_norm(operator, cupy.asarray(x), cupy.asarray(x), cupy.asarray(np.zeros_like(x)))
        assert math.isnan(norm)


def test_vectors_of_another_kind_are_multiplied_by_the_library(backend, cupy):
    """Of another type than A, and with gaps between their numbers."""
    A, operator = both(backend, "short rows")
    x = random(2 * A.shape[0])
    gaps = cupy.asarray(x)[::2]
    found = backend.matvec(operator, gaps, cupy.asarray(np.zeros(A.shape[0])))
    np.testing.assert_allclose(found.get(), A @ x[::2], rtol=1e-12, atol=1e-12)
    single = cupy.asarray(x[: A.shape[0]].astype("float32"))
    found = backend.matvec(operator, single, cupy.asarray(np.zeros(A.shape[0], "float32")))
    np.testing.assert_allclose(found.get(), A @ x[: A.shape[0]], rtol=1e-4, atol=1e-4)


def test_rows_and_columns_of_different_numbers(backend, cupy):
    sparse = importlib.import_module("cupyx.scipy.sparse")
    A = rows_of_all_lengths()[:, :40].tocsr()
    operator = backend.operator(sparse.csr_matrix(A), square=False)
    x = random(40)
    found = backend.matvec(operator, cupy.asarray(x), cupy.asarray(np.zeros(300)))
    np.testing.assert_allclose(found.get(), A @ x, rtol=1e-12, atol=1e-12)
    b = A @ x
    solution = rv.lstsq(sparse.csr_matrix(A), cupy.asarray(b), method="lsmr", btol=1e-10)
    assert solution.converged
