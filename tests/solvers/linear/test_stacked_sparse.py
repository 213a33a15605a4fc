"""Sparse matrices of one pattern, and stencils, as stacks on NumPy: what their systems come to alone."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.solvers.driver.status import Status
from resolvent.solvers.linear import stacked

BESIDE = np.full(11, -1.0)
LINE = sparse.csr_array(sparse.diags_array([np.full(12, 2.1), BESIDE, BESIDE], offsets=[0, 1, -1]))
METHODS = {
    "cg": {},
    "chebyshev": {"interval": (0.01, 9.5)},
    "jacobi": {},
    "richardson": {"omega": 0.2},
    "gauss_seidel": {},
    "sor": {"omega": 1.2},
    "ssor": {"omega": 1.2},
    "auto": {},
}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """The numbers of systems that were left to the driver."""
    left = []
    solve = stacked.solve_stack

    def watched(*arguments):
        found = solve(*arguments)
        left.append("all" if found is None else found.left.tolist())
        return found

    monkeypatch.setattr("resolvent.solvers.linear.run.solve_stack", watched)
    return left


def rods(lead, dtype=np.float64):
    """Tridiagonal matrices, as a stack and in full, and right-hand sides."""
    rng = np.random.default_rng(3)
    values = (LINE.data * rng.uniform(0.5, 2.0, (*lead, 1))).astype(dtype)
    if np.dtype(dtype).kind == "c":
        rows = np.repeat(np.arange(12), np.diff(LINE.indptr))
        values = values * (1 + 0.1j * np.sign(LINE.indices - rows))
    stack = rv.as_operator((LINE.indptr, LINE.indices, values), (12, 12))
    full = np.zeros((*lead, 12, 12), values.dtype)
    full[..., np.repeat(np.arange(12), np.diff(LINE.indptr)), LINE.indices] = values
    return stack, full, rng.standard_normal((*lead, 12)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("lead", [(5,), (2, 3)])
@pytest.mark.parametrize("method", METHODS)
def test_as_full_matrices(alone, method, lead, dtype):
    stack, full, b = rods(lead, dtype)
    single = dtype == np.float32
    rtol = 1e-3 if single else 1e-4
    options = {"method": method, "rtol": rtol, "maxiter": 20_000, "backend": "numpy", **METHODS[method]}
    found, wanted = rv.solve(stack, b, **options), rv.solve(full, b, **options)
    assert alone == [[], []]
    assert found.converged
    assert np.abs(found.iterations - wanted.iterations).max() <= int(single)
    np.testing.assert_allclose(found.x, wanted.x, rtol=0, atol=(1e-3 if single else 1e-10) * np.abs(wanted.x).max())
    wide = np.einsum("...ij,...j->...i", full.astype(np.complex128), found.x.astype(np.complex128)) - b
    residual = np.linalg.norm(wide, axis=-1) / np.linalg.norm(b, axis=-1)
    assert np.all(residual <= 1.001 * rtol)
    np.testing.assert_allclose(found.relative_residual, residual, rtol=1e-2)


def test_several_right_hand_sides_of_each(alone):
    stack, full, _ = rods((4,))
    b = np.random.default_rng(0).standard_normal((4, 12, 3))
    found = rv.cg(stack, b, rtol=1e-10, backend="numpy")
    assert alone == [[]]
    np.testing.assert_allclose(found.x, np.linalg.solve(full, b), rtol=1e-8)


@pytest.mark.parametrize("grid", [(7,), (4, 5), (3, 2, 4)])
def test_stencils(alone, grid):
    rng = np.random.default_rng(1)
    axes = [tuple(-rng.uniform(0.5, 1.0, (2, 3))) for _ in grid]
    symmetric = [(low, low) for low, _ in axes]
    stack = rv.StencilStack(grid, 6.5 + rng.uniform(0, 1, 3), symmetric)
    n = int(np.prod(grid))
    b = rng.standard_normal((3, n))
    found = rv.cg(stack, b, rtol=1e-11, backend="numpy")
    assert alone == [[]]
    full = np.stack([stack[k].tocsr().toarray() for k in range(3)])
    np.testing.assert_allclose(found.x, np.linalg.solve(full, b[..., None])[..., 0], atol=1e-10)
    uneven = rv.StencilStack(grid, np.full(3, 6.5), axes)
    assert np.array_equal(uneven.tocsr()[2].tocsr().toarray(), uneven[2].tocsr().toarray())


def test_neighbours_are_not_reached(alone):
    stack, _, b = rods((6,))
    values = stack.values.copy()
    values[1] *= -1  # negative definite
    values[3, 4] = np.nan
    broken = rv.as_operator((LINE.indptr, LINE.indices, values), (12, 12))
    with pytest.raises(rv.InputError, match=r"nan.*system \(3,\)"):
        rv.cg(broken, b, backend="numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        found = rv.cg(broken, b, rtol=1e-8, backend="numpy", errors="collect")
    assert alone[-1] == [1, 3]
    assert [found.status[k] for k in (1, 3)] == [Status.BREAKDOWN, Status.REFUSED]
    good = rv.cg(stack, b, rtol=1e-8, backend="numpy")
    for k in (0, 2, 4, 5):
        assert np.array_equal(found.x[k], good.x[k])
