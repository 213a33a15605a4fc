"""The grid behind the diagonals of a matrix: recognised where there is one, and only there."""

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.gallery import poisson
from resolvent.operators.grid import ENDS, alike, grid_matrix, matrix_of_stencil

GRIDS = [(9,), (3, 3), (5, 6), (40, 7), (3, 4, 5), (30, 3, 4)]


def by_diagonals(A):
    A = sparse.csr_array(A)
    coo = A.tocoo()
    offsets = np.unique(coo.col - coo.row)
    offsets = offsets[offsets >= 0]
    data = np.zeros((offsets.size, A.shape[0]))
    for row, offset in zip(data, offsets, strict=True):
        row[: A.shape[0] - offset] = A.diagonal(offset)
    return rv.Diagonals(data, offsets, symmetric=True)


def full(grid):
    """The matrix that it stands for."""
    n, size = grid.n, grid.data.shape[2]
    result = np.zeros((n, n))
    for d, (unit, line, point) in enumerate(grid.offsets):
        for u in range(grid.sides[0] - unit):
            for i in range(size):
                value = grid.data[d, grid.at[u], i]
                there = (u + unit) * size + i + line * grid.sides[2] + point
                if value:
                    result[u * size + i, there] = result[there, u * size + i] = value
    return result


def nine_points(grid, rng):
    """Coupled at random to all neighbours, diagonal ones too."""
    index = np.arange(np.prod(grid)).reshape(grid)
    rows, columns = [], []
    for step in np.ndindex(*(3,) * len(grid)):
        step = np.array(step) - 1
        if tuple(step) <= (0,) * len(grid):
            continue
        here = index[tuple(slice(max(0, -k), min(size, size - k)) for k, size in zip(step, grid, strict=True))]
        there = index[tuple(slice(max(0, k), min(size, size + k)) for k, size in zip(step, grid, strict=True))]
        rows.append(here.ravel())
        columns.append(there.ravel())
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    half = sparse.csr_array((-rng.uniform(1, 2, rows.size), (rows, columns)), shape=(index.size,) * 2)
    return sparse.csr_array(half + half.T + sparse.diags_array(np.linspace(60, 70, index.size)))


@pytest.mark.parametrize("grid", GRIDS)
def test_of_diagonals_and_of_a_stencil(grid):
    A = poisson(grid).A
    for found in (grid_matrix(by_diagonals(A)), matrix_of_stencil(poisson(grid, matrix_free=True).A)):
        assert found.sides == ((1, 1, *grid) if len(grid) == 1 else (grid[0], *(1,) * (3 - len(grid)), *grid[1:]))
        np.testing.assert_array_equal(full(found), A.toarray())


@pytest.mark.parametrize("grid", [(5, 6), (40, 7), (4, 5, 6)])
def test_of_all_neighbours(grid):
    A = nine_points(grid, np.random.default_rng(1))
    found = grid_matrix(by_diagonals(A))
    assert len(found.offsets) == (3 ** len(grid) + 1) // 2
    np.testing.assert_array_equal(full(found), A.toarray())


def test_units_that_are_alike_are_kept_once():
    n = 50
    A = poisson((n, 6)).A.tolil()
    assert grid_matrix(by_diagonals(A)).data.shape[1] == 2 * ENDS + 1
    A[0, 0] = 7.0  # at an end, as boundary conditions make it
    assert grid_matrix(by_diagonals(A)).data.shape[1] == 2 * ENDS + 1
    A[25 * 6 + 3, 25 * 6 + 3] = 5.0
    assert grid_matrix(by_diagonals(A)).data.shape[1] == n
    at = alike(n)
    assert at[0] == 0
    assert at[-1] == 2 * ENDS
    assert np.unique(at[ENDS:-ENDS]).size == 1


@pytest.mark.parametrize(
    "A",
    [
        sparse.diags_array([4.0, -1.0, -1.0, -1.0], offsets=[0, 1, 2, 3], shape=(30, 30)),
        # Lines hang together: the last point of one is coupled to the first of the next.
        sparse.diags_array([4.0, -1.0, -1.0], offsets=[0, 1, 6], shape=(30, 30)),
        sparse.diags_array([4.0, -1.0, -1.0], offsets=[0, 1, 7], shape=(30, 30)),
        sparse.diags_array([4.0, -1.0, -1.0, -1.0], offsets=[0, 1, 5, 17], shape=(60, 60)),
    ],
)
def test_what_is_no_grid_is_refused(A):
    with pytest.raises(rv.InputError, match=r"^A: found diagonals at 0, 1, .* not those of a grid"):
        grid_matrix(by_diagonals(A))


def test_stencils_have_to_be_symmetric_and_real():
    with pytest.raises(rv.InputError, match=r"coefficients -1.0 and -2.0 along axis 0; wanted a symmetric"):
        matrix_of_stencil(rv.Stencil((4, 4), 6.0, ((-1, -2), (-1, -1))))
    with pytest.raises(rv.InputError, match=r"^A: found complex128"):
        matrix_of_stencil(rv.Stencil((4, 4), 6.0, ((-1, -1), (-1, -1)), np.complex128))


def test_entries_beyond_the_ends_are_ignored():
    A = by_diagonals(poisson((6, 7)).A)
    A.data[1, -1:] = A.data[2, -7:] = np.nan
    M = rv.precondition.multigrid(A)
    np.testing.assert_allclose(poisson((6, 7)).A @ (M @ np.ones(42)), np.ones(42), rtol=1e-10)
    tall = by_diagonals(poisson((40, 7)).A)
    clean = rv.precondition.multigrid(tall) @ np.ones(280)
    tall.data[2, -7:] = np.nan
    np.testing.assert_array_equal(rv.precondition.multigrid(tall) @ np.ones(280), clean)
