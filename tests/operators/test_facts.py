"""Facts in closed form, or read off diagonals, are those of the same matrix as CSR."""

import math
import re
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import resolvent as rv
from resolvent.backends import choose_backend, numba_backend
from resolvent.backends.compiled import facts as kernels
from resolvent.operators.facts import facts_of_csr
from resolvent.precision.sparse_arrays import FAULTY, SORTED, UNSORTED, rows_fault, rows_kind
from resolvent.solvers.linear.system import LinearSystem

numbers = st.sampled_from([0.0, -1.0, 1.0, 0.5, -2.25, 3.0])


def same(found, wanted):
    for name in wanted.__slots__:
        one, other = getattr(wanted, name), getattr(found, name)
        assert other == (pytest.approx(one, rel=1e-13, abs=1e-13) if isinstance(one, float) else one), name


@given(
    grid=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    center=numbers,
    values=st.lists(numbers, min_size=6, max_size=6),
    turn=st.sampled_from([1.0, 1j, 1 + 1j]),
)
def test_stencils(grid, center, values, turn):
    pairs = tuple((values[2 * k] * turn, values[2 * k + 1]) for k in range(len(grid)))
    operator = rv.Stencil(tuple(grid), center, pairs, np.float64 if turn == 1 else np.complex128)
    same(operator.facts(), facts_of_csr(operator.tocsr()))


@given(
    n=st.integers(1, 6),
    offsets=st.lists(st.integers(-6, 6), min_size=1, max_size=5, unique=True),
    seed=st.integers(0, 99),
    exponent=st.sampled_from([0, 900, -900]),
)
def test_diagonals(n, offsets, seed, exponent):
    rng = np.random.default_rng(seed)
    data = np.ldexp(rng.integers(-2, 3, (len(offsets), n)).astype(float), exponent)
    operator = rv.Diagonals(data, offsets)
    unit = 2.0**-exponent
    found, wanted = operator.facts(), facts_of_csr(operator.tocsr())
    for name in wanted.__slots__:
        one, other = getattr(wanted, name), getattr(found, name)
        if isinstance(one, float):
            assert other * unit == pytest.approx(one * unit, rel=1e-13, abs=1e-13), name
        else:
            assert other == one, name


@given(n=st.integers(1, 6), bands=st.integers(1, 4), seed=st.integers(0, 99))
def test_symmetric_diagonals(n, bands, seed):
    data = np.random.default_rng(seed).integers(-2, 3, (bands, n)).astype(float)
    operator = rv.Diagonals(data, range(bands), symmetric=True)
    same(operator.facts(), facts_of_csr(operator.tocsr()))


@pytest.fixture
def bands_at_once(monkeypatch):
    """Diagonals are looked for in matrices of any size, whatever they take to store; three rows tell the offsets."""
    monkeypatch.setattr(numba_backend, "BANDS_FROM", 1)
    monkeypatch.setattr(numba_backend, "PADDING", math.inf)
    monkeypatch.setattr(numba_backend, "SAMPLED", 3)


def banded(n, offsets, seed, symmetric, dtype):
    """Random diagonals of few values, zeros among them, as CSR; some zeros are entries, some are not."""
    rng = np.random.default_rng(seed)
    matrix = np.zeros((n, n), dtype)
    for offset in offsets:
        size = max(0, n - abs(offset))
        values = rng.integers(-2, 3, size) * (1.0 if np.dtype(dtype).kind == "f" else rng.choice([1, 1j, 2 - 1j], size))
        matrix += np.diag(values.astype(dtype), offset)[:n, :n] if size else 0
    if symmetric:
        matrix = matrix + matrix.conj().T
    if rng.random() < 0.5:
        return sparse.csr_array(matrix)
    rows, columns = np.indices((n, n))
    held = (matrix != 0) | np.isin(columns - rows, offsets)
    return sparse.csr_array((matrix[held], columns[held], np.append(0, np.cumsum(held.sum(axis=1)))), shape=(n, n))


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("symmetric", [True, False])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    n=st.integers(1, 12), offsets=st.lists(st.integers(-6, 6), min_size=1, max_size=5, unique=True), seed=st.integers(0)
)
def test_of_a_sparse_matrix_by_its_diagonals(n, offsets, seed, symmetric, dtype, bands_at_once):
    matrix = banded(n, offsets, seed, symmetric, dtype)
    backend = choose_backend("numba", matrix)
    operator = backend.operator(matrix)
    found, wanted = backend.facts(operator), facts_of_csr(operator.tocsr())
    for name in wanted.__slots__:
        one, other = getattr(wanted, name), getattr(found, name)
        assert other == (pytest.approx(one, rel=1e-6, abs=1e-6) if isinstance(one, float) else one), name
    stored = backend.prepare(operator, found)
    assert stored.kind == "diagonals"
    assert stored.symmetric == (found.asymmetry == 0 and stored.dtype.kind == "f")
    np.testing.assert_array_equal(stored.tocsr().toarray(), matrix.toarray())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [(0, 0), (5, 4), (0, 1)])
def test_bad_entries_are_found_among_diagonals(bad, at, bands_at_once):
    matrix = sparse.csr_array(np.diag(np.full(6, 4.0)) - np.diag(np.ones(5), 1) - np.diag(np.ones(5), -1))
    matrix[at] = bad
    with pytest.raises(rv.InputError, match=re.escape(f"A: entry ({at[0]}, {at[1]}) is {bad}")):
        rv.cg(matrix, np.ones(6))


def test_one_entry_off_the_sampled_diagonals_is_not_lost(bands_at_once):
    matrix = sparse.lil_array(np.diag(np.full(200, 4.0)) - np.diag(np.ones(199), 1) - np.diag(np.ones(199), -1))
    matrix[101, 20], matrix[20, 101] = 0.5, 0.25
    matrix = matrix.tocsr()
    backend = choose_backend("numba", matrix)
    operator = backend.operator(matrix)
    facts = backend.facts(operator)
    assert facts.asymmetry == 0.25
    np.testing.assert_array_equal(backend.prepare(operator, facts).tocsr().toarray(), matrix.toarray())


@given(rows=st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=6))
@pytest.mark.parametrize("look", [rows_kind, kernels.rows_kind])
def test_sorted_means_increasing_within_rows(look, rows):
    indptr = np.append(0, np.cumsum([len(row) for row in rows])).astype(np.int32)
    indices = np.array([column for row in rows for column in row], np.int32)
    increasing = all(a < b for row in rows for a, b in pairwise(row))
    assert look(indptr, indices, 6) == (SORTED if increasing else UNSORTED)


@given(
    indptr=st.lists(st.integers(-1, 5), min_size=1, max_size=5),
    indices=st.lists(st.integers(-1, 4), max_size=5),
    width=st.integers(0, 4),
    dtype=st.sampled_from([np.int32, np.int64]),
)
@pytest.mark.parametrize("look", [rows_kind, kernels.rows_kind])
def test_faulty_rows_are_those_with_a_fault_in_words(look, indptr, indices, width, dtype):
    indptr, indices = np.array(indptr, dtype), np.array(indices, dtype)
    said = rows_fault(indptr, indices, len(indices), (len(indptr) - 1, width))
    assert (look(indptr, indices, width) == FAULTY) == (said is not None)
    if said is None:
        assert sparse.csr_array((np.ones(indptr[-1]), indices[: indptr[-1]], indptr), (len(indptr) - 1, width)).nnz >= 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array, sparse.dia_array])
def test_what_assembly_may_leave_of_symmetry(storage, dtype):
    """A thousand roundoffs of the largest entry, not more: of this one, and not of the entry itself."""
    u = np.finfo(dtype).eps / 2
    for roundoffs, passes in ((990, True), (1010, False)):
        A = np.diag(np.ones(4)) + np.diag(np.full(3, 0.125), 1) + np.diag(np.full(3, 0.125), -1)
        A[0, 1] += roundoffs * u
        A = storage(A.astype(dtype))
        system = LinearSystem(A, np.ones(4, dtype))
        assert system.facts.asymmetry == roundoffs * u
        assert system.hermitian is passes
        if passes:
            assert rv.cg(A, np.ones(4, dtype)).converged
        else:
            with pytest.raises(rv.NotHermitianError):
                rv.cg(A, np.ones(4, dtype))
