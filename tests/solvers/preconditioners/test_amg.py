"""Hierarchies by PyAMG, cycled here: definite, independent of the size, and what is refused."""

import sys
from importlib import import_module

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.spatial import Delaunay

import resolvent as rv
from resolvent.gallery import load_finite_elements, poisson
from resolvent.solvers.preconditioners import amg

pyamg = pytest.importorskip("pyamg")


def linear_elements(count):
    """The stiffness matrix of linear elements on a Delaunay triangulation of random points, boundary removed."""
    points = np.random.default_rng(0).random((count, 2))
    corners = Delaunay(points).simplices
    p = points[corners]
    normals = np.stack([p[:, 1] - p[:, 2], p[:, 2] - p[:, 0], p[:, 0] - p[:, 1]], 1)
    area = 0.5 * np.abs(np.linalg.det(p[:, 1:] - p[:, :1]))
    local = normals @ normals.transpose(0, 2, 1) / (4 * area)[:, None, None]
    rows, columns = np.repeat(corners, 3, axis=1).ravel(), np.tile(corners, (1, 3)).ravel()
    A = sparse.coo_array((local.ravel(), (rows, columns)), shape=(count, count)).tocsr()
    inside = np.flatnonzero((points.min(axis=1) > 0.02) & (points.max(axis=1) < 0.98))
    return sparse.csr_array((A + A.T)[inside][:, inside] / 2)


@pytest.mark.parametrize("method", ["ruge_stuben", "smoothed_aggregation", "rootnode"])
def test_a_cycle_is_hermitian_positive_definite_and_close_to_the_inverse(method):
    A = sparse.csr_array(poisson((16, 16)).A)
    M = amg(A, method, max_coarse=10)
    assert len(M.levels) >= 2
    matrix = np.array([M @ e for e in np.eye(256)])
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-13 * np.abs(matrix).max())
    values = np.linalg.eigvals(matrix @ A.toarray()).real
    assert values.min() > 0.4
    assert values.max() < 1 + 1e-8  # smoothing and correction never overshoot


@pytest.mark.parametrize("method", ["ruge_stuben", "smoothed_aggregation"])
def test_iterations_hardly_grow_with_the_size(method):
    counts = []
    for n in (32, 64, 128):
        problem = poisson((n, n))
        counts.append(rv.cg(problem.A, problem.b, M=amg(problem.A, method), rtol=1e-8).iterations)
    assert counts[-1] <= 12
    assert counts[-1] <= counts[0] + 5


def test_unstructured_finite_elements():
    A = linear_elements(4000)
    b = np.ones(A.shape[0])
    solution = rv.cg(A, b, M="amg", rtol=1e-8)
    assert solution.converged
    assert solution.iterations < 0.2 * rv.cg(A, b, M="jacobi", rtol=1e-8).iterations
    assert np.linalg.norm(b - A @ solution.x) <= 1e-8 * np.linalg.norm(b) * (1 + 1e-6)


def test_a_hierarchy_of_the_users():
    problem = poisson((40, 40))
    made = pyamg.ruge_stuben_solver(sparse.csr_matrix(problem.A), max_coarse=20)
    M = amg(problem.A, hierarchy=made)
    assert len(M.levels) == len(made.levels) - 1
    assert rv.cg(problem.A, problem.b, M=M, rtol=1e-8).iterations <= 12
    with pytest.raises(rv.InputError, match=r"^hierarchy: found one of the shape \(1600, 1600\)"):
        amg(poisson((4, 4)).A, hierarchy=made)


def test_scalar_diffusion_and_elasticity_are_coarsened_differently():
    assert [level.P.shape for level in amg(poisson((40, 40)).A).levels] == [
        level.P.shape for level in amg(poisson((40, 40)).A, "ruge_stuben").levels
    ]
    bar = load_finite_elements("bar")
    assert [level.P.shape for level in amg(bar.A).levels] == [
        level.P.shape for level in amg(bar.A, "smoothed_aggregation").levels
    ]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_small_singular_matrix_is_solved_on_its_range(backend):
    ring = np.roll(np.eye(50), 1, axis=0)
    A = 2 * np.eye(50) - ring - ring.T
    b = np.cos(2 * np.pi * np.arange(50) / 50)
    solution = rv.cg(A, b, M=amg(A), rtol=1e-10, backend=backend)
    assert solution.converged
    np.testing.assert_allclose(A @ solution.x, b, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: amg(np.array([[2.0, 1.0], [0.0, 2.0]])), "^A: .*not Hermitian"),
        (lambda: amg(np.diag([1.0, -1.0])), "^A: the diagonal entry of row 1 is not positive"),
        (lambda: amg(np.eye(2), "wavelets"), "^method: "),
        (lambda: amg(np.eye(2), degree=0), "^degree: "),
        (lambda: amg(sparse.linalg.aslinearoperator(np.eye(2))), "^A: .*only multiplies"),
    ],
)
def test_what_has_no_hierarchy_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_rv_solve_takes_it_where_conjugate_gradients_alone_do_not_get_there_soon(monkeypatch):
    cg = import_module("resolvent.solvers.krylov.cg")
    monkeypatch.setattr(cg, "AMG_FROM", 1000)
    monkeypatch.setattr(cg, "BEFORE_AMG", 30)
    A = linear_elements(4200)
    b = np.ones(A.shape[0])
    solution = rv.solve(A, b, rtol=1e-8, callback=lambda _: None)
    assert solution.converged
    assert "algebraic multigrid" in solution.reason
    assert solution.reason.count("cg was chosen") == 2
    assert solution.iterations < 30
    # Where the Ritz values promise that plain iterations are done sooner than a hierarchy is set up, they go on.
    monkeypatch.setattr(cg, "AMG_IN_ITERATIONS", 10**6)
    assert "algebraic" not in rv.solve(A, b, rtol=1e-8, callback=lambda _: None).reason
    # Rows with more on the diagonal do without.
    heavy = A + sparse.diags_array(A.diagonal())
    assert "algebraic" not in rv.solve(heavy, b, rtol=1e-8, callback=lambda _: None).reason


def test_without_pyamg_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyamg", None)
    with pytest.raises(ImportError, match=r"pip install 'resolvent\[amg\]'"):
        amg(np.eye(3))
