"""Sparse matrices of one pattern, and stencils, as stacks on array libraries: what their systems come to alone."""

import functools
import warnings

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.solvers.driver.status import Status
from resolvent.solvers.linear import stacked, stacked_matrices

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

    monkeypatch.setattr("resolvent.solvers.linear.stacked.solve_stack", watched)
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


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
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


FOUND = ("chebyshev", "richardson", "sor", "ssor")  # find their parameter themselves, where it is not given
WAYS = [*METHODS.items(), *((method, {}) for method in FOUND)]


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def as_tensors(torch, values, **kind):
    return tuple(torch.tensor(part) for part in (LINE.indptr, LINE.indices)), torch.tensor(values, **kind)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
@pytest.mark.parametrize(("method", "parameters"), WAYS)
def test_tensors_are_what_they_are_alone_and_as_arrays(alone, torch, method, parameters, dtype):
    arrays, _, b = rods((2, 2), dtype)
    rows, values = as_tensors(torch, arrays.values)
    stack = rv.as_operator((*rows, values), (12, 12))
    single = dtype == np.float32
    rtol, digits = (1e-3, 1e-3) if single else (1e-8, 1e-10)
    solve = functools.partial(rv.solve, method=method, rtol=rtol, maxiter=20_000, **parameters)
    found = solve(stack, torch.tensor(b), backend="torch")
    assert alone == [[]]
    assert found.converged
    assert found.backend == "torch"
    assert isinstance(found.x, torch.Tensor)
    others = [solve(arrays, b, backend="numpy").systems[i, j] for i in range(2) for j in range(2)]
    ones = [solve(stack[i, j], torch.tensor(b[i, j]), backend="torch") for i in range(2) for j in range(2)]
    for system, one, other in zip(found.systems, ones, others, strict=True):
        for wanted in (one, other):
            assert system.status is wanted.status
            assert abs(system.iterations - wanted.iterations) <= 2 * single
            assert abs(system.matvecs - wanted.matvecs) <= 4 * single
            x = np.asarray(wanted.x)
            np.testing.assert_allclose(system.x.numpy(), x, rtol=0, atol=digits * np.abs(x).max())
    true = np.einsum("...ij,...j->...i", full_of(arrays).astype(np.complex128), found.x.numpy()) - b
    np.testing.assert_array_less(np.linalg.norm(true, axis=-1), 1.001 * rtol * np.linalg.norm(b, axis=-1))


def full_of(stack):
    full = np.zeros((*stack.values.shape[:-1], 12, 12), stack.values.dtype)
    full[..., stack.pattern.rows, stack.pattern.indices] = stack.values
    return full


def test_tensors_in_any_order_and_twice_in_one_place(alone, torch):
    rng = np.random.default_rng(0)
    arrays, full, b = rods((3,))
    rows = np.repeat(arrays.pattern.rows, 2)  # each entry in two parts, of columns in any order
    columns, values = np.repeat(arrays.pattern.indices, 2), np.repeat(arrays.values / 2, 2, axis=-1)
    order = np.lexsort((rng.random(len(rows)), rows))
    indptr = np.searchsorted(rows, np.arange(13))
    parts = (torch.tensor(indptr), torch.tensor(columns[order]), torch.tensor(values[:, order]))
    for backend in ("torch", None):
        found = rv.cg(rv.as_operator(parts, (12, 12)), torch.tensor(b), rtol=1e-11, backend=backend)
        np.testing.assert_allclose(found.x.numpy(), np.linalg.solve(full, b[..., None])[..., 0], atol=1e-9)
    assert alone == [[]]


def test_several_columns_of_tensors_and_axes_that_broadcast(alone, torch):
    arrays, full, _ = rods((4,))
    rows, values = as_tensors(torch, arrays.values)
    stack = rv.as_operator((*rows, values[:, None]), (12, 12))
    b = np.random.default_rng(0).standard_normal((4, 2, 12, 3))
    found = rv.chebyshev(stack, torch.tensor(b), rtol=1e-10, backend="torch")
    assert alone == [[]]
    np.testing.assert_allclose(found.x.numpy(), np.linalg.solve(full[:, None], b), atol=1e-7)


def test_the_search_of_sparse_matrices_is_iterated_together(torch, monkeypatch):
    """Of five systems, the products of the slowest."""
    counted = []
    product = stacked_matrices.SparseMatrices.product
    monkeypatch.setattr(stacked_matrices.SparseMatrices, "product", lambda *given: counted.append(1) or product(*given))
    arrays, _, b = rods((5,))
    rows, values = as_tensors(torch, arrays.values)
    for method in ("chebyshev", "richardson"):
        counted.clear()
        found = rv.solve(rv.as_operator((*rows, values), (12, 12)), torch.tensor(b), method=method, backend="torch")
        assert found.converged
        assert len(counted) <= 12 + found.iterations.max() + 1


@pytest.mark.parametrize("bad", ["negative", "nan", "huge"])
@pytest.mark.parametrize("method", ["cg", *FOUND])
def test_neighbours_among_tensors_are_not_reached(alone, torch, method, bad):
    arrays, _, b = rods((5,))
    rows, values = as_tensors(torch, arrays.values)
    solve = functools.partial(rv.solve, method=method, rtol=1e-8, maxiter=20_000, backend="torch", errors="collect")
    good = solve(rv.as_operator((*rows, values), (12, 12)), torch.tensor(b))
    changed = values.clone()
    changed[2] = {"negative": -changed[2], "nan": np.nan * changed[2], "huge": 1e300 * changed[2]}[bad]
    stack = rv.as_operator((*rows, changed), (12, 12))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        found = solve(stack, torch.tensor(b))
    assert alone[0] == []
    assert alone[1] in ([2], [])
    others = [0, 1, 3, 4]
    np.testing.assert_allclose(found.x.numpy()[others], good.x.numpy()[others], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.iterations[others], good.iterations[others])
    if bad == "nan":
        assert found.status[2] is Status.REFUSED
        with pytest.raises(rv.InputError, match=r"nan.*system \(2,\)"):
            rv.solve(stack, torch.tensor(b), method=method, backend="torch")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        assert found.status[2] is solve(stack[2], torch.tensor(b[2])).status


def test_gradients_do_not_flow(torch):
    arrays, _, b = rods((2,))
    rows, values = as_tensors(torch, arrays.values, requires_grad=True)
    for backend in ("torch", None):
        found = rv.cg(rv.as_operator((*rows, values), (12, 12)), torch.tensor(b), backend=backend)
        assert not found.x.requires_grad


@pytest.mark.parametrize("backend", ["torch", None])
def test_a_batch_of_csr_tensors_of_one_pattern(alone, torch, backend):
    _, full, b = rods((2, 3))
    dense = torch.tensor(full)
    dense[:, :, 0, 1] = dense[:, :, 1, 0] = 0.5
    found = rv.cg(dense.to_sparse_csr(), torch.tensor(b), rtol=1e-10, backend=backend)
    assert alone == ([[]] if backend else [])
    wanted = np.linalg.solve(dense.numpy(), b[..., None])[..., 0]
    np.testing.assert_allclose(found.x.numpy(), wanted, atol=1e-8)


def test_csr_tensors_of_patterns_that_differ_are_solved_one_by_one(alone, torch):
    full = torch.stack([torch.diag(torch.tensor([1.0, 2.0, 3.0])), 4 * torch.eye(3)]).double()
    full[0, 0, 1] = full[0, 1, 0] = 0.5
    full[1, 0, 2] = full[1, 2, 0] = 0.5
    b = torch.ones(2, 3, dtype=torch.float64)
    found = rv.cg(full.to_sparse_csr(), b, rtol=1e-12, backend="torch")
    assert alone == ["all"]
    np.testing.assert_allclose(found.x.numpy(), torch.linalg.solve(full, b).numpy(), atol=1e-10)
