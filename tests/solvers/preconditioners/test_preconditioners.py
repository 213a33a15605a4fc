"""Preconditioners as matrices, against closed forms; then what they do to a solve."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sparse
import scipy.sparse.linalg
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import resolvent as rv
from resolvent.gallery import poisson

BACKENDS = ("numpy", "numba")
MAKERS = {
    "jacobi": rv.precondition.jacobi,
    "ssor": lambda A, **options: rv.precondition.ssor(A, 1.3, **options),
    "multicolour ssor": lambda A, **options: rv.precondition.ssor(A, 1.3, order="multicolor", **options),
    "chebyshev": lambda A, **options: rv.precondition.polynomial(A, 4, **options),
    "neumann": lambda A, **options: rv.precondition.polynomial(A, 3, kind="neumann", **options),
    "block jacobi": lambda A, **options: rv.precondition.block_jacobi(A, 5, **options),
    "incomplete cholesky": rv.precondition.incomplete_cholesky,
    "amg": rv.precondition.amg,
}


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return function(*args, **options)


def as_matrix(M, dtype=np.float64):
    return np.array([M @ e for e in np.eye(M.shape[0], dtype=dtype)]).T


def definite(n=12, dtype=np.float64):
    rng = np.random.default_rng(1)
    G = rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if np.dtype(dtype).kind == "c" else 0)
    A = G @ G.conj().T + n * np.eye(n)
    A = np.tril(A) + np.tril(A, -1).conj().T
    A[np.diag_indices(n)] = A.diagonal().real
    return A.astype(dtype)


# As matrices --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
def test_hermitian_positive_definite(name, storage, dtype, backend):
    A = definite(dtype=dtype)
    M = as_matrix(MAKERS[name](storage(A), backend=backend), dtype)
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    assert np.abs(M - M.conj().T).max() <= tolerance * np.abs(M).max()
    assert np.linalg.eigvalsh((M + M.conj().T) / 2)[0] > 0
    # And closer to the inverse than nothing, in the only sense that matters to conjugate gradients.
    root = np.linalg.cholesky(A.astype(complex))
    plain, better = np.linalg.cond(A), np.linalg.cond(root.conj().T @ M @ root)
    assert better < plain * (1.2 if name == "jacobi" else 1)


def test_jacobi_is_the_inverse_diagonal():
    A = definite()
    np.testing.assert_allclose(as_matrix(rv.precondition.jacobi(A)), np.diag(1 / A.diagonal()), rtol=1e-15)


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("omega", [0.05, None])
def test_neumann_is_a_geometric_sum(degree, omega):
    A = poisson((3, 4)).A.toarray()
    made = rv.precondition.polynomial(A, degree, kind="neumann", omega=omega)
    if omega is None:
        # By default the inverse of the largest eigenvalue, at most a little smaller.
        omega = (rv.precondition.polynomial(A, 1, kind="neumann") @ np.eye(12)[0])[0]
        assert 0.9 <= omega * np.linalg.eigvalsh(A)[-1] <= 1 + 1e-12
    G = np.eye(12) - omega * A
    expected = omega * sum(np.linalg.matrix_power(G, j) for j in range(degree))
    np.testing.assert_allclose(as_matrix(made), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("degree", [1, 2, 3, 6, 11])
def test_the_chebyshev_polynomial_is_the_chebyshev_polynomial(degree, backend):
    """1 - t p(t) = T_k((b + a - 2 t) / (b - a)) / T_k((b + a) / (b - a)) at every eigenvalue, within and outside."""
    values = np.linspace(0.1, 4, 14)
    a, b = 0.5, 4.0
    made = rv.precondition.polynomial(np.diag(values), degree, interval=(a, b), backend=backend)
    T = np.polynomial.chebyshev.Chebyshev.basis(degree)
    expected = (1 - T((b + a - 2 * values) / (b - a)) / T((b + a) / (b - a))) / values
    np.testing.assert_allclose(as_matrix(made).diagonal(), expected, rtol=1e-11)


@pytest.mark.parametrize("degree", [16, 20, 25, 30, 60])
def test_high_degrees_are_stable(degree):
    """In monomial coefficients degree 25 is off by a factor of 1400 and degree 30 diverges."""
    problem = poisson((8, 8))
    low, high = problem.spectrum
    M = rv.precondition.polynomial(problem.A, degree, interval=(low, high))
    rate = 1 / np.cosh(degree * np.arccosh((high + low) / (high - low)))
    left = np.linalg.norm(problem.b - problem.A @ (M @ problem.b)) / np.linalg.norm(problem.b)
    assert left <= rate * (1 + 1e-8) + 1e-13


@pytest.mark.parametrize("omega", [0.3, 1.0, 1.7])
def test_ssor_is_its_closed_form(omega):
    A = definite()
    D, L, U = np.diag(A.diagonal()), np.tril(A, -1), np.triu(A, 1)
    expected = omega * (2 - omega) * np.linalg.inv(D + omega * U) @ D @ np.linalg.inv(D + omega * L)
    np.testing.assert_allclose(as_matrix(rv.precondition.ssor(A, omega)), expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("name", MAKERS)
def test_backends_agree(name):
    A = definite()
    r = np.linspace(-1, 1, 12)
    found = [MAKERS[name](A, backend=backend).matvec(r) for backend in BACKENDS]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10)


@pytest.mark.parametrize("name", MAKERS)
def test_applying_changes_neither_argument_and_repeats(name):
    A = definite()
    before = A.tobytes()
    M = MAKERS[name](A)
    r = np.linspace(-1, 1, 12)
    first = M @ r
    np.testing.assert_array_equal(r, np.linspace(-1, 1, 12))
    kept = first.copy()
    other = M.matvec(2 * r)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(other, 2 * kept)
    assert A.tobytes() == before
    assert M.shape == (12, 12)
    assert M.dtype == np.float64
    assert "12x12" in repr(M)


# In a solve ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("method", ["cg", "chebyshev", "richardson"])
def test_the_same_answer_in_fewer_iterations(name, method, backend):
    D = sparse.diags_array(np.linspace(1, 3, 256))
    A = sparse.csr_array(D @ poisson((16, 16)).A @ D)
    b = A @ np.linspace(1, 2, 256)
    plain = quietly(rv.solve, A, b, method=method, rtol=1e-7, maxiter=3000, backend=backend)
    M = MAKERS[name](A)
    solution = rv.solve(A, b, method=method, M=M, rtol=1e-7, maxiter=30000, backend=backend)
    assert solution.converged
    assert np.linalg.norm(b - A @ solution.x) <= 1e-7 * np.linalg.norm(b) * (1 + 1e-8)
    assert solution.iterations < plain.iterations


@pytest.mark.parametrize("backend", BACKENDS)
def test_ssor_and_polynomials_pay_on_poisson(backend):
    problem = poisson((48, 48))
    plain = rv.cg(problem.A, problem.b, rtol=1e-8, backend=backend).iterations
    ssor = rv.cg(problem.A, problem.b, M=rv.precondition.ssor(problem.A, 1.8), rtol=1e-8, backend=backend).iterations
    assert ssor < 0.4 * plain
    for degree in (2, 4, 8):
        M = rv.precondition.polynomial(problem.A, degree)
        assert rv.cg(problem.A, problem.b, M=M, rtol=1e-8, backend=backend).iterations < 1.5 * plain / degree + 5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "form",
    [
        "array",
        "fortran",
        "list",
        "csr",
        "coo",
        "LinearOperator",
        "aslinearoperator",
        "callable",
        "bands",
        "integers",
    ],
)
def test_given_as_anything_that_multiplies(form, backend):
    A = np.diag(np.geomspace(1, 1024, 20)) + 0.01
    D = np.diag(1 / np.geomspace(1, 1024, 20))

    def multiply(r):
        return D @ r

    multiply.shape, multiply.dtype = D.shape, D.dtype
    M = {
        "array": lambda: D,
        "fortran": lambda: np.asfortranarray(D),
        "list": lambda: D.tolist(),
        "csr": lambda: sparse.csr_array(D),
        "coo": lambda: sparse.coo_matrix(D),
        "LinearOperator": lambda: LinearOperator(D.shape, matvec=multiply, dtype=D.dtype),
        "aslinearoperator": lambda: aslinearoperator(D),
        "callable": lambda: multiply,
        "bands": lambda: rv.Diagonals(D.diagonal()[None, :], [0]),
        "integers": lambda: np.round(1024 * D).astype(int),
    }[form]()
    for method in ("cg", "chebyshev", "richardson"):
        solution = rv.solve(A, np.ones(20), method=method, M=M, rtol=1e-9, backend=backend)
        assert solution.converged
        assert solution.iterations < 40


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("of_M", ["float32", "float16", "complex128", "int64"])
def test_the_precision_of_M_does_not_change_that_of_the_solve(of_M, backend):
    A = np.diag(np.geomspace(1, 16, 10)) + 0.1
    M = np.diag(16 / np.geomspace(1, 16, 10)).astype(of_M)
    if of_M == "complex128":
        with pytest.raises((ValueError, TypeError), match=r"^M"):
            rv.cg(A, np.ones(10), M=M, backend=backend)
        return
    solution = rv.cg(A, np.ones(10), M=M, rtol=1e-12, backend=backend)
    assert solution.converged
    assert solution.precision == "float64"


@pytest.mark.parametrize("name", MAKERS)
def test_scipys_solvers_take_them(name):
    problem = poisson((10, 10))
    M = MAKERS[name](problem.A)
    counts = []
    x, info = scipy.sparse.linalg.cg(problem.A, problem.b, M=M, rtol=1e-9, callback=lambda x: counts.append(None))
    assert info == 0
    np.testing.assert_allclose(x, problem.x, atol=1e-6)
    ours = rv.cg(problem.A, problem.b, M=M, rtol=1e-9).iterations
    assert abs(len(counts) - ours) <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_iterative_solve_as_preconditioner(backend):
    """An inner solve by this package inside a callable."""
    problem = poisson((20, 20))

    def multiply(r):
        return quietly(rv.cg, problem.A, r, rtol=1e-2).x

    multiply.shape, multiply.dtype = problem.A.shape, problem.A.dtype
    solution = rv.cg(problem.A, problem.b, M=multiply, flexible=True, rtol=1e-9, backend=backend)
    assert solution.converged
    assert solution.iterations <= 8


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_stopping_rule_is_of_the_unpreconditioned_residual(backend):
    problem = poisson((12, 12))
    for scale in (1e-8, 1.0, 1e8):
        M = sparse.diags_array(scale * np.geomspace(1, 1e4, 144))
        solution = rv.cg(problem.A, problem.b, M=M, rtol=1e-6, maxiter=5000, backend=backend)
        assert solution.converged
        assert np.linalg.norm(problem.b - problem.A @ solution.x) <= 1e-6 * np.linalg.norm(problem.b) * (1 + 1e-9)
        assert solution.residual_norms[0] == pytest.approx(np.linalg.norm(problem.b), rel=1e-14)


# Refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rv.precondition.jacobi(aslinearoperator(np.eye(3))), "^A: .*only multiplies"),
        (lambda: rv.precondition.ssor(aslinearoperator(np.eye(3))), "^A: .*only multiplies"),
        (lambda: rv.precondition.jacobi(np.ones((2, 3))), "^A: "),
        (lambda: rv.precondition.ssor(np.eye(3), 2.0), "^omega: "),
        (lambda: rv.precondition.ssor(np.eye(3), order="random"), "^order: "),
        (lambda: rv.precondition.polynomial(np.eye(3), 0), "^degree: "),
        (lambda: rv.precondition.polynomial(np.eye(3), 2.5), "^degree: "),
        (lambda: rv.precondition.polynomial(np.eye(3), True), "^degree: "),
        (lambda: rv.precondition.polynomial(np.eye(3), kind="taylor"), "^kind: "),
        (lambda: rv.precondition.polynomial(np.eye(3), interval=(2, 1)), "^interval: "),
        (lambda: rv.precondition.polynomial(np.eye(3), interval=(0, 1)), "^interval: "),
        (lambda: rv.precondition.polynomial(np.eye(3), interval=(1, np.inf)), "^interval: "),
        (lambda: rv.precondition.polynomial(np.eye(3), interval=3.0), "^interval: "),
        (lambda: rv.precondition.polynomial(np.eye(3), kind="neumann", omega=-1), "^omega: "),
        (lambda: rv.precondition.polynomial(np.diag([1.0, -1.0, 2.0])), "^A: not positive definite"),
        (lambda: rv.precondition.jacobi(np.eye(3)).matvec(np.ones(4)), r"^r: found shape \(4,\)"),
        (lambda: rv.precondition.ssor(np.eye(3)) @ np.ones((3, 2)), "^r: "),
    ],
)
def test_what_cannot_be_made_is_refused(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["cg", "chebyshev", "richardson", "auto"])
def test_preconditioners_of_another_size_are_refused(method, backend):
    for M in (np.eye(4), rv.precondition.jacobi(np.eye(4)), aslinearoperator(np.eye(2)), np.ones((3, 4))):
        with pytest.raises((ValueError, TypeError), match=r"^M: found shape"):
            rv.solve(np.eye(3), np.ones(3), M=M, method=method, backend=backend)


@pytest.mark.parametrize("method", ["jacobi", "gauss_seidel", "sor", "ssor"])
def test_relaxations_take_none(method):
    with pytest.raises(rv.InputError, match=r"^M: .*takes no preconditioner"):
        rv.solve(np.eye(3), np.ones(3), M=np.eye(3), method=method)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["cg", "chebyshev", "richardson"])
def test_a_product_of_the_wrong_shape_is_named(method, backend):
    def multiply(r):
        return np.ones(4)

    multiply.shape, multiply.dtype = (3, 3), np.dtype(float)
    with pytest.raises(rv.InputError, match=r"^M: .*\(4,\)"):
        rv.solve(np.diag([1.0, 2, 3]), np.ones(3), M=multiply, method=method, backend=backend)
