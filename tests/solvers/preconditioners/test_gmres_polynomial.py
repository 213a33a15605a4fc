"""The polynomial of GMRES against its definition, as matrices."""

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.gallery import convection_diffusion, poisson
from resolvent.solvers.preconditioners.gmres_polynomial import leja, stable


def as_matrix(M, dtype=np.float64):
    return np.array([M @ e for e in np.eye(M.shape[0], dtype=dtype)]).T


def general(n, dtype, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if np.dtype(dtype).kind == "c" else 0)
    return A + 2 * np.sqrt(n) * np.eye(n)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("degree", [1, 2, 3, 7, 12])
def test_one_minus_z_p_is_the_product_over_its_roots(degree, dtype, backend):
    A = general(20, dtype)
    M = rv.precondition.polynomial(A, degree, kind="gmres", backend=backend)
    assert len(M.roots) == degree
    product = np.eye(20, dtype=complex)
    for root in M.roots:
        product = product @ (np.eye(20) - A / root)
    np.testing.assert_allclose(np.eye(20) - A @ as_matrix(M, dtype), product, atol=1e-12)


@pytest.mark.parametrize("degree", [2, 5, 9])
def test_its_residual_is_that_of_gmres(degree):
    """From the start vector that made it, p(A) b is the iterate of so many steps."""
    A = general(30, np.float64)
    b = np.random.default_rng(0).standard_normal(30)
    M = rv.precondition.polynomial(A, degree, kind="gmres")
    left = np.linalg.norm(b - A @ (M @ b))
    K = np.array([np.linalg.matrix_power(A, j) @ b for j in range(degree)]).T
    best = np.linalg.norm(b - A @ K @ np.linalg.lstsq(A @ K, b, rcond=None)[0])
    assert left == pytest.approx(best, rel=1e-4)  # the powers in K are not that independent


def test_a_whole_space_gives_the_inverse():
    A = general(6, np.float64)
    np.testing.assert_allclose(
        as_matrix(rv.precondition.polynomial(A, 40, kind="gmres")), np.linalg.inv(A), rtol=1e-8, atol=1e-10
    )
    np.testing.assert_allclose(
        as_matrix(rv.precondition.polynomial(3 * np.eye(4), 8, kind="gmres")), np.eye(4) / 3, rtol=1e-14
    )


@pytest.mark.parametrize("M", ["gmres_polynomial", 16])
def test_fewer_iterations_on_matrices_that_are_not_hermitian(M):
    problem = convection_diffusion((32, 32), 1.0)
    plain = rv.bicgstab(problem.A, problem.b, rtol=1e-8)
    if M == 16:
        M = rv.precondition.polynomial(problem.A, 16, kind="gmres")
    for method in (rv.gmres, rv.bicgstab):
        solution = method(problem.A, problem.b, M=M, rtol=1e-8)
        assert solution.converged
        assert solution.iterations < 0.35 * plain.iterations


def test_scale_and_black_boxes():
    problem = poisson((12, 12))
    counts = set()
    for A, b in (
        (problem.A, problem.b),
        (2.0**500 * problem.A, problem.b),
        (sparse.linalg.aslinearoperator(sparse.csr_array(problem.A)), problem.b),
    ):
        solution = rv.gmres(A, b, M="gmres_polynomial", rtol=1e-9)
        assert solution.converged
        counts.add(solution.iterations)
    assert len(counts) == 1


def test_an_order_that_keeps_pairs_together_and_starts_far_out():
    roots = np.array([1.0, 5.0, 2 + 1j, 2 - 1j, 0.1], complex)
    ordered = leja(roots, pairs=True)
    assert ordered[0] == 5.0
    at = int(np.flatnonzero(ordered.imag != 0)[0])
    assert ordered[at] == ordered[at + 1].conjugate()
    assert sorted(ordered, key=lambda z: (z.real, z.imag)) == sorted(roots, key=lambda z: (z.real, z.imag))


def test_a_root_far_out_stands_twice():
    spread = np.array([*np.linspace(1, 2, 8), 1e4], complex)
    assert len(stable(spread)) > len(spread)
    assert (stable(spread)[len(spread) :] == 1e4).all()
    assert len(stable(np.linspace(1, 2, 8).astype(complex))) == 8


@pytest.mark.parametrize("A", [np.zeros((3, 3)), np.full((3, 3), np.nan)])
def test_no_polynomial_of_a_singular_matrix(A):
    with pytest.raises((ValueError, rv.InputError), match=r"^A: "):
        rv.precondition.polynomial(A, 4, kind="gmres")
