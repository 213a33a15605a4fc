"""Sparse matrices of one pattern: what they are made of, their products, and faults in words."""

import hypothesis
import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import strategies as st

import resolvent as rv
from resolvent.operators import CSR
from resolvent.operators.stack import CSRStack, Pattern

INDPTR, INDICES, VALUES = [0, 2, 3], [0, 1, 1], np.arange(1.0, 13).reshape(4, 3)


@st.composite
def patterns(draw):
    """Rows and columns of entries in any order, some of them in one place."""
    n = draw(st.integers(1, 6))
    count = draw(st.integers(0, 20))
    places = st.lists(st.integers(0, n - 1), min_size=count, max_size=count)
    rows, columns = np.array(draw(places), int), np.array(draw(places), int)
    return n, rows, columns, draw(st.integers(0, 2**32 - 1))


@hypothesis.given(patterns())
def test_values_are_placed_as_scipy_places_them(given):
    n, rows, columns, seed = given
    values = np.random.default_rng(seed).integers(-9, 9, (2, 3, len(rows))).astype(float)
    pattern = Pattern.of_coordinates(rows, columns, n)
    placed = pattern.placed(values)
    assert placed.flags.c_contiguous
    assert not np.shares_memory(placed, values)
    for at in np.ndindex(2, 3):
        found = sparse.csr_array((placed[at], pattern.indices, pattern.indptr), shape=(n, n))
        assert found.has_canonical_format
        wanted = sparse.coo_array((values[at], (rows, columns)), shape=(n, n))
        np.testing.assert_array_equal(found.toarray(), wanted.toarray())


@hypothesis.given(patterns())
def test_compressed_rows_in_any_order(given):
    n, rows, columns, seed = given
    rows = np.sort(rows)
    indptr = np.searchsorted(rows, np.arange(n + 1))
    values = np.random.default_rng(seed).standard_normal((2, len(rows)))
    stack = rv.as_operator((indptr, columns, values), (n, n))
    assert stack.shape == (2, n, n)
    x = np.arange(1.0, n + 1)
    for k in range(2):
        wanted = sparse.coo_array((values[k], (rows, columns)), shape=(n, n))
        np.testing.assert_allclose(stack[k].matvec(x), wanted @ x, atol=1e-12)
        np.testing.assert_allclose(stack[k].tocsr().toarray(), wanted.toarray(), atol=1e-14)


def test_one_matrix_and_stacks():
    one = rv.as_operator((INDPTR, INDICES, VALUES[0]), (2, 2))
    assert isinstance(one, CSR)
    np.testing.assert_array_equal(one.tocsr().toarray(), [[1, 2], [0, 3]])
    stack = rv.as_operator((INDPTR, INDICES, VALUES.reshape(2, 2, 3)), (2, 2))
    assert isinstance(stack, CSRStack)
    assert (stack.shape, stack.dtype, stack.library) == ((2, 2, 2, 2), np.float64, "numpy")
    assert repr(stack) == "<CSRStack of (2, 2) matrices 2x2 float64>"
    np.testing.assert_array_equal(stack[1, 0].tocsr().toarray(), [[7, 8], [0, 9]])
    for index in (0, slice(None), (0, 0, 0), (5, 5)):
        with pytest.raises(IndexError):
            stack[index]


def test_the_callers_arrays_are_copied():
    indptr, indices, values = np.array(INDPTR), np.array(INDICES), VALUES.copy()
    stack = rv.as_operator((indptr, indices, values), (2, 2))
    indptr[:], indices[:], values[:] = 0, 0, np.nan
    np.testing.assert_array_equal(stack[3].tocsr().toarray(), [[10, 11], [0, 12]])
    assert np.isfinite(stack.values).all()


@pytest.mark.parametrize("index", [np.int16, np.int32, np.uint64])
@pytest.mark.parametrize(
    ("dtype", "working"), [(np.float16, "float32"), (int, "float64"), (bool, "float64"), ("c8", "complex64")]
)
def test_types(index, dtype, working):
    given = (np.array(INDPTR, index), np.array(INDICES, index), np.ones((4, 3), dtype))
    stack = rv.as_operator(given, (2, 2))
    assert stack.dtype == working
    assert rv.jacobi(stack, np.ones((4, 2)), rtol=1e-3).converged


@pytest.mark.parametrize(
    ("arrays", "shape", "error", "words"),
    [
        ((INDPTR, INDICES), (2, 2), rv.InputError, "wanted three arrays"),
        ((INDPTR, INDICES, VALUES, VALUES), (2, 2), rv.InputError, "wanted three arrays"),
        (5, (2, 2), rv.InputError, "wanted three arrays"),
        (sparse.eye_array(2, format="csr"), (2, 2), rv.InputError, "wanted three arrays"),
        ((INDPTR, INDICES, VALUES), 2, rv.InputError, "a shape"),
        ((INDPTR, INDICES, VALUES), "22", rv.InputError, "a shape"),
        ((INDPTR, INDICES, VALUES), (2.0, 2.0), rv.InputError, "a shape"),
        ((INDPTR, INDICES, VALUES), (2, 3), rv.InputError, r"found shape \(2, 3\); wanted a square"),
        ((INDPTR, INDICES, VALUES), (4, 2, 2), rv.InputError, "wanted a square"),
        ((INDPTR, INDICES, VALUES), (3, 3), rv.InputError, "indptr has 3 entries; wanted 4"),
        ((INDPTR, INDICES, VALUES), (-1, -1), rv.InputError, "indptr has 3 entries"),
        (([0, 3, 2], INDICES, VALUES), (2, 2), rv.InputError, "wanted indptr not to decrease"),
        (([0.0, 2, 3], INDICES, VALUES), (2, 2), rv.InputError, "indptr is an array of float64"),
        ((INDPTR, [0, 1, 2], VALUES), (2, 2), rv.InputError, "row 1 holds column 2; wanted columns 0 to 1"),
        ((INDPTR, [0, 1, -1], VALUES), (2, 2), rv.InputError, "row 1 holds column -1"),
        ((INDPTR, [[0, 1, 1]], VALUES), (2, 2), rv.InputError, "indices is an array"),
        ((INDPTR, [True, False, True], VALUES), (2, 2), rv.InputError, "indices is an array of bool"),
        ((INDPTR, INDICES, np.ones((4, 4))), (2, 2), rv.InputError, "3 entries, for 3 indices and 4 values"),
        ((INDPTR, INDICES, np.ones((4, 2))), (2, 2), rv.InputError, ""),
        ((INDPTR, INDICES, 1.0), (2, 2), rv.InputError, "values is a number"),
        ((INDPTR, INDICES, [[1.0], [1.0, 2.0]]), (2, 2), rv.InputError, "wanted arrays"),
        ((INDPTR, INDICES, VALUES.astype(object)), (2, 2), TypeError, "dtype object"),
        ((INDPTR, INDICES, VALUES.astype(str)), (2, 2), TypeError, "not a working precision"),
        ((INDPTR, INDICES, VALUES.astype(np.longdouble)), (2, 2), TypeError, "not a working precision"),
        ((INDPTR, INDICES, np.ma.masked_equal(VALUES, 5)), (2, 2), rv.InputError, r"values: entry \(1, 1\) is masked"),
    ],
)
def test_faults_in_words(arrays, shape, error, words):
    with pytest.raises(error, match=f"^A: .*{words}"):
        rv.as_operator(arrays, shape)


def test_patterns_that_differ_are_no_stack():
    """Matrices in a list have to be of one pattern, which the three arrays say of them."""
    with pytest.raises(TypeError, match="A: found list"):
        rv.cg([sparse.eye_array(2, format="csr"), sparse.eye_array(2, k=1, format="csr")], np.ones((2, 2)))


@hypothesis.given(patterns())
def test_tensors_are_placed_as_arrays_are(given):
    torch = pytest.importorskip("torch")
    n, rows, columns, seed = given
    values = np.random.default_rng(seed).standard_normal((2, 3, len(rows)))
    pattern = Pattern.of_coordinates(rows, columns, n)
    tensor = torch.tensor(values)
    placed = pattern.placed(tensor)
    assert placed.is_contiguous()
    np.testing.assert_array_equal(placed.numpy(), pattern.placed(values))
    np.testing.assert_array_equal(tensor.numpy(), values)


@hypothesis.given(patterns())
def test_places_of_the_diagonal_and_of_the_transpose(given):
    n, rows, columns, _ = given
    pattern = Pattern.of_coordinates(rows, columns, n)
    entries = list(zip(pattern.rows.tolist(), pattern.indices.tolist(), strict=True))
    assert [entries[k] if k >= 0 else None for k in pattern.diagonal] == [
        (i, i) if (i, i) in entries else None for i in range(n)
    ]
    assert [entries[k] if k >= 0 else None for k in pattern.transposed] == [
        (j, i) if (j, i) in entries else None for i, j in entries
    ]


@pytest.mark.parametrize(
    ("given", "working"),
    [("float32", "float32"), ("bfloat16", "float32"), ("float16", "float32"), ("int32", "float64"), ("complex64",) * 2],
)
def test_stacks_of_tensors(given, working):
    torch = pytest.importorskip("torch")
    indptr, indices = torch.tensor(INDPTR), torch.tensor(INDICES, dtype=torch.int32)
    values = torch.tensor(VALUES).to(getattr(torch, given))
    stack = rv.as_operator((indptr, indices, values), (2, 2))
    assert isinstance(stack, CSRStack)
    assert (stack.shape, stack.dtype, stack.library) == ((4, 2, 2), working, "torch")
    assert repr(stack) == f"<CSRStack of (4,) matrices 2x2 {working}>"
    one = rv.as_operator((indptr, indices, values[3]), (2, 2))
    assert repr(one) == repr(stack[3]) == f"<CSRStack of one matrix 2x2 {working}>"
    for backend in (None, "torch"):
        found = rv.solve(one, torch.ones(2), backend=backend)
        np.testing.assert_allclose(found.x.numpy(), np.linalg.solve([[10, 11], [0, 12]], [1, 1]), rtol=1e-5)
    with pytest.raises(IndexError):
        stack[0, 0]


def test_tensors_are_not_moved():
    torch = pytest.importorskip("torch")
    indptr, indices, values = torch.tensor(INDPTR), torch.tensor(INDICES), torch.ones(4, 3, requires_grad=True)
    elsewhere = torch.tensor(INDICES, device="meta")
    for given, words in (
        ((INDPTR, indices, values), "indptr is a list, but values a Tensor"),
        ((indptr, np.array(INDICES), values), "indices is a ndarray, but values a Tensor"),
        ((indptr, indices, VALUES), "indptr is a Tensor, but values a ndarray"),
        ((indptr, elsewhere, values), "indices lies on meta, but values on cpu"),
        ((indptr, indices, "values"), "values is a str"),
    ):
        with pytest.raises(rv.BackendError, match=f"^A: {words}"):
            rv.as_operator(given, (2, 2))


def test_faults_of_tensors_in_words():
    torch = pytest.importorskip("torch")
    indptr, indices, values = torch.tensor(INDPTR), torch.tensor(INDICES), torch.ones(4, 3)
    for given, error, words in (
        ((indptr.double(), indices, values), rv.InputError, "indptr is an array of float64"),
        ((indptr, indices.float(), values), rv.InputError, "indices is an array of float32"),
        ((indptr, indices + 1, values), rv.InputError, "row 0 holds column 2"),
        ((indptr, indices, values[:, :2]), rv.InputError, ""),
        ((indptr, indices, values[0, 0]), rv.InputError, "values is a number"),
        ((indptr, indices, values.to(torch.float8_e5m2)), TypeError, "torch.float8_e5m2 is not a working precision"),
    ):
        with pytest.raises(error, match=f"^A: .*{words}"):
            rv.as_operator(given, (2, 2))
