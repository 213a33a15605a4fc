"""What one system leaves to the next: memory that nobody holds, and a pattern. No number may depend on it."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.backends import choose_backend
from resolvent.backends.compiled.patterns import BandPattern
from resolvent.backends.kept import Memory

N = 10_000


def address(x):
    return x.__array_interface__["data"][0]


def grid(*shape, holes=0.0, seed=0):
    """A five- or seven-point matrix with random symmetric entries, some of them left out."""
    random = np.random.default_rng(seed)
    n = int(np.prod(shape))
    number = np.arange(n).reshape(shape)
    rows, columns = [], []
    for axis in range(len(shape)):
        low = np.take(number, range(shape[axis] - 1), axis).ravel()
        high = np.take(number, range(1, shape[axis]), axis).ravel()
        stay = random.random(low.size) >= holes
        rows.append(low[stay])
        columns.append(high[stay])
    i, j = np.concatenate(rows), np.concatenate(columns)
    values = -0.5 - random.random(i.size)
    L = sparse.coo_array((values, (i, j)), shape=(n, n))
    A = (L + L.T).tocsr()
    A = (A + sparse.diags_array(np.abs(A).sum(axis=1) + 0.01)).tocsr()
    A.sort_indices()
    return A


def other_entries(A, seed):
    """The same pattern, symmetric with other numbers."""
    d = 0.5 + np.random.default_rng(seed).random(A.shape[0])
    B = A.copy()
    rows = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    B.data = (d[rows] * d[B.indices]) * B.data
    return B


def test_memory_is_taken_again_when_nothing_refers_to_it():
    memory = Memory()
    x = memory.empty((N,), np.float64)
    place = address(x)
    view = x[3:9].reshape(2, 3)
    assert address(memory.empty((N,), np.float64)) != place
    del x
    assert address(memory.empty((N,), np.float64)) != place  # the view is still there
    del view
    assert address(memory.empty((2, N // 2), np.float64)) == place


def test_what_is_kept_free_is_limited():
    memory = Memory()
    held = [memory.empty((N,), np.float64) for _ in range(100)]
    del held
    assert sum(map(len, memory._free.values())) <= 8
    for k in range(100):
        memory.empty((N + k,), np.float64)
    assert len(memory._free) <= 8


@pytest.mark.parametrize("holes", [0.0, 0.002])
@pytest.mark.parametrize("shape", [(5000,), (70, 61), (17, 19, 16)])
def test_a_pattern_is_filled_as_it_is_searched(shape, holes):
    backend, A = choose_backend("numba"), grid(*shape, holes=holes)
    bands, offsets, symmetric = backend._searched_bands(backend.operator(A))
    assert symmetric
    pattern = BandPattern(A.indptr, A.indices, offsets)
    for seed in range(3):
        B = other_entries(A, seed)
        expected, *_ = backend._searched_bands(backend.operator(B))
        found = np.full_like(bands, np.nan)
        assert pattern.is_that_of(B.indptr, B.indices)
        assert pattern.fill(B.data, found)
        np.testing.assert_array_equal(found, expected)


def test_a_pattern_tells_when_entries_are_not_symmetric():
    A = grid(70, 61)
    offsets = choose_backend("numba")._searched_bands(choose_backend("numba").operator(A))[1]
    pattern, bands = BandPattern(A.indptr, A.indices, offsets), np.empty((3, A.shape[0]))
    random = np.random.default_rng(0)
    rows = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    for k in random.choice(np.flatnonzero(rows != A.indices), 50):
        data = A.data.copy()
        data[k] = np.nextafter(data[k], 0)
        assert not pattern.fill(data, bands)
    assert pattern.fill(A.data, bands)


def test_a_pattern_is_not_believed_when_indices_change_in_place():
    A = grid(70, 61)
    pattern = BandPattern(A.indptr, A.indices, np.array([0, 1, 61]))
    assert pattern.is_that_of(A.indptr, A.indices)
    A.indices[-1] -= 1
    assert not pattern.is_that_of(A.indptr, A.indices)
    A.indices[-1] += 1
    A.indptr[500] += 1
    assert not pattern.is_that_of(A.indptr, A.indices)


@pytest.mark.parametrize("method", ["cg", "sor", pytest.param("ssor_cg", marks=pytest.mark.slow)])
def test_a_sequence_has_the_bits_of_single_solves(method):
    """With patterns that come and go, entries that are symmetric or not, and indices that change in place."""
    parameters = {} if method == "cg" else {"omega": 1.2}
    sequence = rv.Sequence(method, rtol=1e-6, warm_start=None, **parameters)
    A, other = grid(70, 61), grid(61, 70, holes=0.01)
    matrices = [A, other_entries(A, 1), other, A, other_entries(A, 2)]
    if method == "sor":
        tilted = other_entries(A, 3)
        tilted.data[1::7] *= 0.9
        matrices[3:3] = [tilted, other_entries(A, 4)]
    random = np.random.default_rng(1)
    kept = []
    for M in [*matrices, *matrices]:
        b = random.standard_normal(M.shape[0])
        alone = getattr(rv, method)(M, b, rtol=1e-6, **parameters)
        solution = sequence.solve(M, b)
        assert solution.iterations == alone.iterations
        np.testing.assert_array_equal(solution.x, alone.x)
        kept.append((solution.x, alone.x))
    for x, expected in kept:  # what the caller holds is never written to again
        np.testing.assert_array_equal(x, expected)
    faulty = other_entries(A, 1)
    faulty.indices[-1] = A.shape[0]
    with pytest.raises(rv.InputError, match="column 4270"):
        sequence.solve(faulty, b)


@pytest.mark.slow
def test_a_solution_may_be_written_to():
    A, b = grid(70, 61), np.ones(70 * 61)
    ours, plain = (rv.Sequence("ssor_cg", omega=1.2, rtol=1e-6) for _ in range(2))
    for k in range(4):
        B = other_entries(A, k)
        x = ours.solve(B, b).x
        np.testing.assert_array_equal(x, plain.solve(B, b).x)
        x[:] = np.nan


def test_updates_of_a_prepared_solver_have_the_bits_of_new_ones():
    A, b = grid(70, 61), np.ones(70 * 61)
    solver = rv.prepare(A, method="ssor_cg", omega=1.2)
    kept = []
    for k in range(4):
        B = other_entries(A, k)
        x = solver.update(B.data if k % 2 else B).solve(b, rtol=1e-8).x
        expected = rv.ssor_cg(B, b, omega=1.2, rtol=1e-8).x
        np.testing.assert_array_equal(x, expected)
        kept.append((x, expected))
    for x, expected in kept:
        np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_keep_for_themselves(again):
    A, b = grid(70, 61), np.ones(70 * 61)
    for solver in (rv.Sequence("ssor_cg", omega=1.2), rv.prepare(A, method="ssor_cg", omega=1.2)):
        arguments = (A, b) if isinstance(solver, rv.Sequence) else (b,)
        solver.solve(*arguments)
        np.testing.assert_array_equal(again(solver).solve(*arguments).x, solver.solve(*arguments).x)
