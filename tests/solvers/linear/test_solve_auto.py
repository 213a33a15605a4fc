"""What rv.solve chooses for which matrix, and what it says when nothing fits."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.sparse.linalg import aslinearoperator

import resolvent as rv
from resolvent.gallery import GALLERY, convection_diffusion, poisson

BACKENDS = ("numpy", "numba")


def quietly(A, b, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return rv.solve(A, b, **options)


def triangle(side):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((12, 12))
    return (np.tril(A) if side == "lower" else np.triu(A)) + 3 * np.eye(12)


def varied(n=12):
    return np.diag(np.geomspace(1, 1e4, n)) + 0.1


def dominant(n=12):
    A = np.random.default_rng(0).standard_normal((n, n))
    return A + 2 * np.diag(np.abs(A).sum(axis=1))


CHOICES = {
    "diagonal": (np.diag(np.arange(1.0, 13)), "jacobi", "diagonal"),
    "negative diagonal": (-np.diag(np.arange(1.0, 13)), "jacobi", "diagonal"),
    "indefinite diagonal": (np.diag(np.arange(12) - 5.5), "jacobi", "diagonal"),
    "lower": (triangle("lower"), "gauss_seidel", "lower triangular"),
    "upper": (triangle("upper"), "gauss_seidel", "upper triangular"),
    "definite": (poisson((3, 4)).A.toarray(), "cg", "Hermitian"),
    "varied": (varied(), "cg", "Jacobi-preconditioned"),
    "dominant": (dominant(), "gauss_seidel", "diagonally dominant"),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array, sparse.coo_array])
@pytest.mark.parametrize("name", CHOICES)
def test_the_choice_and_its_reason(name, storage, backend):
    A, method, words = CHOICES[name]
    x = np.linspace(1, 2, 12)
    solution = rv.solve(storage(A), A @ x, rtol=1e-12, backend=backend)
    assert solution.converged
    assert solution.method == method
    assert words in solution.reason
    assert f"{method} was chosen" in solution.reason
    np.testing.assert_allclose(solution.x, x, rtol=1e-7)
    if method == "jacobi" or "triangular" in words:
        assert solution.iterations == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128"])
@pytest.mark.parametrize("name", CHOICES)
def test_in_every_precision(name, dtype, backend):
    A, method, _ = CHOICES[name]
    x = np.linspace(1, 2, 12).astype(dtype)
    A = A.astype(dtype)
    solution = rv.solve(A, A @ x, rtol=1e-5, backend=backend)
    assert solution.converged
    assert solution.method == method
    assert solution.precision == dtype
    assert solution.x.dtype == dtype


@pytest.mark.parametrize("backend", BACKENDS)
def test_jacobi_preconditioning_pays_on_a_varied_diagonal(backend):
    A = sparse.csr_array(sparse.diags_array(np.geomspace(1, 1e6, 400)) + poisson((20, 20)).A)
    b = A @ np.ones(400)
    automatic = rv.solve(A, b, rtol=1e-10, backend=backend)
    plain = rv.cg(A, b, rtol=1e-10, maxiter=20000, backend=backend)
    assert automatic.iterations < plain.iterations / 5


@pytest.mark.parametrize("backend", BACKENDS)
def test_negative_definite_matrices_are_solved_after_a_change_of_sign(backend):
    for A in (-poisson((4, 5)).A, -sparse.csr_array(varied(20))):
        x = np.linspace(1, 2, 20)
        solution = rv.solve(A, A @ x, rtol=1e-10, backend=backend)
        assert solution.converged
        np.testing.assert_allclose(solution.x, x, rtol=1e-5)
        assert "sign" in solution.reason or "negative" in solution.reason


@pytest.mark.parametrize("backend", BACKENDS)
def test_indefinite_symmetric_matrices_go_on_to_minres(backend):
    A = poisson((10, 11, 12)).A - 1.5 * sparse.eye_array(1320)
    x = np.linspace(1, 2, 1320)
    solution = rv.solve(A, A @ x, rtol=1e-10, backend=backend)
    assert solution.converged
    assert solution.method == "minres"
    assert "cg was chosen" in solution.reason
    assert "not positive definite" in solution.reason
    np.testing.assert_allclose(solution.x, x, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_small_indefinite_symmetric_matrices_are_factored(backend):
    """Which costs no more than the iterations of minres that may be foreseen."""
    A = poisson((4, 5)).A - 1.5 * sparse.eye_array(20)
    x = np.linspace(1, 2, 20)
    solution = rv.solve(A, A @ x, rtol=1e-10, backend=backend)
    assert (solution.method, solution.converged) == ("lu", True)
    assert "lu was chosen: A is indefinite" in solution.reason
    np.testing.assert_allclose(solution.x, x, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_hermitian_matrix_whose_diagonal_has_both_signs_is_not_tried_as_a_definite_one(backend):
    A = np.diag([1.0, -1.0, 2.0, 1.0]) + 3 * np.eye(4)[::-1]
    solution = rv.solve(A, A @ np.ones(4), rtol=1e-10, backend=backend)
    assert solution.converged
    assert solution.method == "lu"
    assert "cg" not in solution.reason
    dominant = np.diag([5.0, -5.0, 6.0, -6.0, 7.0]) + np.eye(5, k=1) + np.eye(5, k=-1)
    solution = rv.solve(dominant, np.array([1.0, 1, -2, 1, 3]), rtol=1e-10, backend=backend)
    assert solution.converged
    assert solution.method == "gauss_seidel"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("storage", "method"), [(np.asarray, "lu"), (sparse.csr_array, "bicgstab")])
def test_general_matrices_are_factored_where_that_is_cheap(storage, method, backend):
    """LAPACK takes the time of an iteration or two, SuperLU that of a hundred."""
    A = np.random.default_rng(0).standard_normal((12, 12)) + 8 * np.eye(12)
    x = np.linspace(1, 2, 12)
    solution = rv.solve(storage(A), A @ x, rtol=1e-12, backend=backend)
    assert solution.converged
    assert solution.method == method
    np.testing.assert_allclose(solution.x, x, rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_general_operators_that_only_multiply_go_to_krylov_methods(backend):
    A = np.diag(np.linspace(1, 2, 30)) + 0.3 * np.eye(30, k=1)
    x = np.linspace(1, 2, 30)
    solution = rv.solve(aslinearoperator(A), A @ x, rtol=1e-10, backend=backend)
    assert solution.converged
    assert solution.method == "bicgstab"
    np.testing.assert_allclose(solution.x, x, rtol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_operator_that_only_multiplies_goes_to_conjugate_gradients_where_it_looks_hermitian(backend):
    problem = poisson((6, 6))
    solution = rv.solve(aslinearoperator(problem.A), problem.b, rtol=1e-10, backend=backend)
    assert solution.converged
    assert solution.method == "cg"
    assert "only multiplies" in solution.reason
    indefinite = rv.solve(aslinearoperator(np.diag([1.0, -1.0, 2.0])), np.ones(3), backend=backend)
    assert indefinite.converged
    assert indefinite.method == "minres"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["jacobi", "ssor", "matrix"])
def test_a_given_preconditioner_is_used(name, backend):
    A = varied(30)
    M = {
        "jacobi": lambda: rv.precondition.jacobi(A),
        "ssor": lambda: rv.precondition.ssor(A),
        "matrix": lambda: np.diag(1 / A.diagonal()),
    }[name]()
    solution = rv.solve(A, np.ones(30), M=M, rtol=1e-10, backend=backend)
    assert solution.converged
    assert solution.method == "cg"
    assert solution.iterations < 15
    assert "A is Hermitian" in solution.reason


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_preconditioner_does_not_stand_in_the_way_of_a_matrix_that_takes_none(backend):
    """Triangular and dominant matrices are solved whether or not an M comes along; it is said that it was not used."""
    for A in (triangle("lower"), dominant()):
        solution = rv.solve(A, np.ones(12), M=np.eye(12), rtol=1e-8, backend=backend)
        assert solution.converged
        assert "M" in solution.reason.replace(".", " ").split()


@pytest.mark.parametrize("name", sorted(GALLERY))
def test_the_whole_gallery_is_solved_or_declined_in_words(name):
    size = (8, 8) if name in ("poisson", "anisotropic", "diffusion", "convection_diffusion", "graph_grid") else 12
    if name == "hilbert":
        size = 6
    problem = GALLERY[name](size)
    solution = quietly(problem.A, problem.b, rtol=1e-8)
    assert solution.reason
    if solution.converged:
        residual = np.linalg.norm(problem.b - problem.A @ solution.x)
        assert residual <= 1e-8 * np.linalg.norm(problem.b) * (1 + 1e-6)
    if problem.positive_definite:
        assert solution.converged


def test_statistics_of_earlier_attempts_are_not_lost():
    """The products with A of a method that broke down are counted."""
    A = poisson((10, 11, 12)).A - 1.5 * sparse.eye_array(1320)
    b = np.ones(1320)
    alone = rv.minres(A, b, rtol=1e-10)
    automatic = rv.solve(A, b, rtol=1e-10)
    assert automatic.matvecs > alone.matvecs
    np.testing.assert_array_equal(automatic.x, alone.x)


def test_convection_dominated_flow_goes_to_gauss_seidel_where_it_is_dominant():
    problem = convection_diffusion((8, 8))
    shifted = problem.A + sparse.eye_array(64)
    solution = rv.solve(shifted, problem.b, rtol=1e-9)
    assert solution.converged
    assert solution.method == "gauss_seidel"


# Names and parameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", list(rv.METHODS))
def test_every_method_by_name_is_the_function_of_that_name(method):
    problem = poisson((5, 5))
    named = rv.solve(problem.A, problem.b, method=method, rtol=1e-8)
    direct = getattr(rv, method)(problem.A, problem.b, rtol=1e-8)
    np.testing.assert_array_equal(named.x, direct.x)
    assert named.method == direct.method == method
    assert named.iterations == direct.iterations


def test_parameters_reach_the_method():
    problem = poisson((5, 5))
    for method, parameters in [
        ("sor", {"omega": 1.4, "sweep": "backward", "order": "multicolor"}),
        ("chebyshev", {"interval": problem.spectrum}),
        ("richardson", {"omega": 0.25}),
        ("jacobi", {"omega": 0.9}),
        ("gauss_seidel", {"order": "multicolor"}),
        ("ssor", {"omega": 1.1}),
        ("cg", {"flexible": True}),
    ]:
        named = rv.solve(problem.A, problem.b, method=method, rtol=1e-8, **parameters)
        direct = getattr(rv, method)(problem.A, problem.b, rtol=1e-8, **parameters)
        np.testing.assert_array_equal(named.x, direct.x)
        assert named.reason == direct.reason


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(rv.InputError, match=r"^method: .*cg, .*chebyshev"):
        rv.solve(np.eye(2), np.ones(2), method="conjugate")
    with pytest.raises(rv.InputError, match=r"^speed: cg has no such parameter"):
        rv.solve(np.eye(2), np.ones(2), method="cg", speed=3)
    with pytest.raises(rv.InputError, match=r"^omega: "):
        rv.solve(np.eye(2), np.ones(2), omega=1.0)


# Batches ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["auto", "cg", "gauss_seidel"])
def test_several_right_hand_sides(method, backend):
    problem = poisson((4, 5))
    x = np.random.default_rng(0).standard_normal((20, 3))
    b = problem.A @ x
    b[:, 1] = 0
    solution = rv.solve(problem.A, b, method=method, rtol=1e-10, backend=backend, maxiter=5000)
    assert solution.converged
    assert solution.x.shape == (20, 3)
    assert solution.iterations.shape == (3,)
    assert solution.iterations[1] == 0
    np.testing.assert_allclose(solution.x[:, [0, 2]], x[:, [0, 2]], rtol=1e-6)
    for k in range(3):
        alone = rv.solve(problem.A, b[:, k], method=method, rtol=1e-10, backend=backend, maxiter=5000)
        if backend == "numba":
            np.testing.assert_array_equal(solution.x[:, k], alone.x)
            assert solution.iterations[k] == alone.iterations
        else:
            np.testing.assert_allclose(solution.x[:, k], alone.x, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_stacks_of_matrices(backend):
    rng = np.random.default_rng(0)
    G = rng.standard_normal((2, 3, 5, 5))
    A = G @ np.swapaxes(G, -1, -2) + np.eye(5)
    x = rng.standard_normal((2, 3, 5))
    b = np.einsum("...ij,...j->...i", A, x)
    solution = rv.cg(A, b, rtol=1e-11, backend=backend)
    assert solution.x.shape == (2, 3, 5)
    np.testing.assert_allclose(solution.x, np.linalg.solve(A, b[..., None])[..., 0], rtol=1e-6, atol=1e-8)
    several = rng.standard_normal((2, 3, 5, 4))
    solution = rv.cg(A, A @ several, rtol=1e-11, backend=backend)
    assert solution.x.shape == several.shape
    np.testing.assert_allclose(solution.x, several, rtol=1e-5, atol=1e-7)
    assert solution.relative_residual.shape == (2, 3, 4)
    assert len(solution.systems) == 24


def test_a_batch_that_partly_fails_says_which():
    A = np.array([np.eye(3), np.diag([1.0, -1.0, 2.0]), 2 * np.eye(3)])
    with pytest.warns(rv.ConvergenceWarning, match=r"1 of 3 systems did not converge; the first, \(1,\)") as heard:
        solution = rv.cg(A, np.ones((3, 3)))
    assert len(heard) == 1
    assert not solution.converged
    assert [system.converged for system in solution.systems] == [True, False, True]
    np.testing.assert_allclose(solution.x[0], 1, rtol=1e-15)
    np.testing.assert_allclose(solution.x[2], 0.5, rtol=1e-15)


def test_batches_of_wrong_shapes_are_refused():
    A = np.stack([np.eye(3)] * 2)
    for b in (np.ones(3), np.ones((2, 4)), np.ones((2, 2, 3)), np.ones((3, 3, 1))):
        with pytest.raises(rv.InputError, match=r"^b: found shape"):
            rv.cg(A, b)
    with pytest.raises(rv.InputError, match=r"^x0: "):
        rv.cg(A, np.ones((2, 3)), x0=np.ones(3))
    assert rv.cg(np.zeros((0, 3, 3)), np.zeros((0, 3))).x.shape == (0, 3)
