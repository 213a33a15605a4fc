"""Sparse matrices whose arrays point out of them are refused in words, wherever one is taken."""

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.gallery import poisson
from resolvent.precision import equilibrate

N = 6
BACKENDS = ("numpy", "numba")
FORMATS = ("csr", "csc", "coo", "bsr", "dia", "lil", "dok")


def matrix(form="csr"):
    return sparse.csr_array(poisson(N).A).asformat(form)


def put(array, at, value):
    array[at] = value


def replace(**parts):
    def change(A):
        for name, value in parts.items():
            setattr(A, name, value)
        return A

    return change


# What is done to a matrix, and what is said of it.
FAULTS = {
    "a column too large": ("csr", lambda A: put(A.indices, 3, N), "row 1 holds column 6; wanted columns 0 to 5"),
    "a column far too large": ("csr", lambda A: put(A.indices, 3, 2**31 - 1), "row 1 holds column 2147483647"),
    "a negative column": ("csr", lambda A: put(A.indices, 0, -1), "row 0 holds column -1; wanted columns 0 to 5"),
    "the last column": ("csr", lambda A: put(A.indices, -1, N), "row 5 holds column 6"),
    "rows that run backwards": ("csr", lambda A: put(A.indptr, 2, 1), "row 1 begins at entry 2 and ends at 1"),
    "a negative start": ("csr", lambda A: put(A.indptr, 2, -(10**6)), "row 1 begins at entry 2 and ends at -1000000"),
    "rows that end behind the data": ("csr", lambda A: put(A.indptr, -1, 10**6), "row 5 ends at entry 1000000"),
    "no first entry": ("csr", lambda A: put(A.indptr, 0, 1), "indptr begins with 1; wanted 0"),
    "too few rows": ("csr", lambda A: replace(indptr=A.indptr[:-1])(A), "indptr has 6 entries; wanted 7 for 6 rows"),
    "too many rows": ("csr", lambda A: replace(indptr=np.append(A.indptr, 16))(A), "indptr has 8 entries"),
    "too few columns": ("csr", lambda A: replace(indices=A.indices[:-1])(A), "of 15 indices and 16 values"),
    "too few values": ("csr", lambda A: replace(data=A.data[:-1])(A), "of 16 indices and 15 values"),
    "no rows at all": ("csr", lambda A: replace(indptr=A.indptr[:0])(A), "indptr has 0 entries"),
    "rows of floats": ("csr", lambda A: replace(indptr=A.indptr.astype(float))(A), "indptr is an array of float64"),
    "columns of floats": ("csr", lambda A: replace(indices=A.indices * 1.0)(A), "indices is an array of float64"),
    "columns beyond int64": (
        "csr",
        lambda A: replace(indices=np.full(16, 2**64 - 1, np.uint64))(A),
        "row 0 holds column",
    ),
    "values in two dimensions": ("csr", lambda A: replace(data=A.data[:, None])(A), "data is of shape (16, 1)"),
    "csc: a row too large": ("csc", lambda A: put(A.indices, 3, 77), "column 1 holds row 77; wanted rows 0 to 5"),
    "csc: columns that run backwards": ("csc", lambda A: put(A.indptr, 2, 1), "column 1 begins at entry 2"),
    "csc: columns behind the data": ("csc", lambda A: put(A.indptr, -1, 99), "column 5 ends at entry 99"),
    "bsr: a block too far": ("bsr", lambda A: put(A.indices, 0, 10**6), "block row 0 holds block column"),
    "bsr: rows behind the data": ("bsr", lambda A: put(A.indptr, -1, 99), "ends at entry 99"),
    "bsr: blocks that do not divide": ("bsr", lambda A: replace(data=np.ones((16, 4, 4)))(A), "do not divide"),
    "bsr: no blocks": ("bsr", lambda A: replace(data=np.ones(16))(A), "wanted blocks"),
    "coo: a row too large": ("coo", lambda A: put(A.coords[0], 3, 10**6), "entry 3 lies in row 1000000"),
    "coo: a negative column": ("coo", lambda A: put(A.coords[1], 3, -1), "entry 3 lies in column -1"),
    "coo: too few values": ("coo", lambda A: replace(data=A.data[:-1])(A), "16 and 16 indices for 15 values"),
    "dia: a diagonal too few": ("dia", lambda A: replace(offsets=A.offsets[:-1])(A), "for 2 offsets"),
    "dia: half an offset": ("dia", lambda A: replace(offsets=A.offsets + 0.5)(A), "offsets are float64"),
    "lil: a column too large": ("lil", lambda A: put(A.rows, 2, [1, 2, 2**40]), "lies in column 1099511627776"),
    "lil: too few values": ("lil", lambda A: put(A.data, 2, [1.0]), "row 2 holds 3 columns and 1 values"),
    "lil: too few rows": ("lil", lambda A: replace(rows=A.rows[:-1])(A), "found 5 lists of columns"),
    "dok: a column too large": ("dok", lambda A: A._dict.update({(0, 99): 1.0}), "lies in column 99"),
}


def faulty(fault):
    form, change, said = FAULTS[fault]
    A = matrix(form)
    if form == "bsr":
        A = sparse.bsr_array(sparse.csr_array(A), blocksize=(1, 1))
    change(A)
    return A, said


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_matrix_is_refused_in_words(fault, backend):
    A, said = faulty(fault)
    with pytest.raises(rv.InputError, match=r"^A: ") as caught:
        rv.solve(A, np.ones(N), backend=backend)
    assert said in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_wherever_a_matrix_is_taken(backend):
    A, said = faulty("a column too large")
    good, b = matrix(), np.ones(N)
    takers = {
        "A": [
            lambda: rv.cg(A, b, backend=backend),
            lambda: rv.gauss_seidel(A, b, backend=backend),
            lambda: rv.chebyshev(A, b, backend=backend),
            lambda: rv.refine(A, b, backend=backend),
            lambda: rv.condition_number(A, backend=backend),
            lambda: rv.precision_for(A, 1e-6),
            lambda: rv.precondition.jacobi(A, backend=backend),
            lambda: rv.precondition.ssor(A, backend=backend),
            lambda: rv.precondition.polynomial(A, backend=backend),
            lambda: rv.as_operator(A),
            lambda: rv.solve(A, np.ones((N, 3)), backend=backend),
            lambda: equilibrate(A),
        ],
        "M": [lambda: rv.cg(good, b, M=A, backend=backend)],
    }
    for name, calls in takers.items():
        for call in calls:
            with pytest.raises(ValueError, match=f"^{name}: {said}"):
                call()


def test_equilibration_refuses_rectangles_with_a_fault():
    A = sparse.random_array((4, 9), density=0.6, rng=1, format="csc")
    A.indices[0] = 4
    with pytest.raises(ValueError, match=r"A: column . holds row 4; wanted rows 0 to 3"):
        equilibrate(A, method="ruiz")


def longer(A):
    """With more in its arrays than its rows name."""
    A.data, A.indices = np.append(A.data, [7.0, np.nan]), np.append(A.indices, [10**6, -5, 3]).astype(A.indices.dtype)
    return A


def shuffled(A):
    """With the columns of each row the other way round."""
    order = np.concatenate([np.arange(*ends)[::-1] for ends in zip(A.indptr[:-1], A.indptr[1:], strict=True)])
    A.data, A.indices = A.data[order], A.indices[order]
    A.has_sorted_indices = A.has_canonical_format = True  # which is not so
    return A


def halved(A):
    """With each entry in two halves."""
    doubled = sparse.csr_array((np.repeat(A.data / 2, 2), np.repeat(A.indices, 2), 2 * A.indptr), shape=A.shape)
    doubled.has_canonical_format = True  # which is not so
    return doubled


VIEWS = {
    "longer": longer,
    "longer and shuffled": lambda A: longer(shuffled(A)),
    "longer and halved": lambda A: longer(halved(A)),
    "more values": lambda A: replace(data=np.append(A.data, np.inf))(A),
    "more indices": lambda A: replace(indices=np.append(A.indices, np.int32(-7)))(A),
    "indices of another type": lambda A: replace(indices=A.indices.astype(np.int64))(A),
    "small unsigned": lambda A: replace(indices=A.indices.astype("uint8"), indptr=A.indptr.astype("uint16"))(A),
    "strided": lambda A: replace(indices=np.repeat(A.indices, 2)[::2], data=np.repeat(A.data, 2)[::2])(A),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("view", VIEWS)
def test_what_rows_do_not_name_is_left_out(view, backend):
    wanted = matrix().toarray()
    A = VIEWS[view](matrix())
    kept = {name: getattr(A, name).copy() for name in ("data", "indices", "indptr")}
    b = wanted @ np.arange(1.0, N + 1)
    for M in (None, rv.precondition.jacobi(A, backend=backend), rv.precondition.ssor(A, backend=backend)):
        solution = rv.cg(A, b, M=M, rtol=1e-12, backend=backend)
        assert solution.converged
        np.testing.assert_allclose(solution.x, np.arange(1.0, N + 1), rtol=1e-10)
    np.testing.assert_array_equal(rv.as_operator(A).tocsr().toarray(), wanted)
    assert rv.condition_number(A, backend=backend).method == "exact"
    scaled = equilibrate(A)
    np.testing.assert_allclose(
        scaled.solution(np.linalg.solve(scaled.matrix.toarray(), scaled.rhs(b))), range(1, N + 1)
    )
    for name, before in kept.items():
        np.testing.assert_array_equal(getattr(A, name), before)


@pytest.mark.parametrize("form", FORMATS)
def test_every_sound_format_is_taken(form):
    np.testing.assert_array_equal(rv.as_operator(matrix(form)).tocsr().toarray(), matrix().toarray())
    empty = sparse.csr_array((N, N)).asformat(form)
    assert rv.as_operator(empty).entries == 0
