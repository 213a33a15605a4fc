"""What least squares refuse, what needs no iteration, and what their certificates are made of."""

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.sparse.linalg import LinearOperator

import resolvent as rv
from resolvent.operators import as_operator
from resolvent.solvers.driver.status import Cause, Status
from resolvent.solvers.least_squares.problem import LeastSquares

A = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
B = np.array([1.0, 0.0, 1.0])
SOLVERS = [rv.lsmr, rv.cgls, rv.lstsq]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((A, np.ones(2)), r"b: found shape \(2,\); wanted \(3,\), as many entries as A has rows"),
        ((A, np.array([1.0, np.nan, 0.0])), "b: entry 1 is not finite"),
        ((np.array([[1.0, np.inf], [0.0, 1.0]]), np.ones(2)), r"A: entry \(0, 1\) is inf; wanted finite entries"),
        ((sparse.csr_array(A * np.nan), B), r"A: entry \(0, 0\) is nan"),
        ((np.ones(3), B), r"A: found shape \(3,\); wanted a matrix \(m, n\)"),
    ],
)
def test_data_are_refused_in_words(solver, arguments, message):
    with pytest.raises(rv.InputError, match=message):
        solver(*arguments)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damp": -1.0}, "damp: found -1.0; wanted a finite number of at least 0"),
        ({"damp": np.nan}, "damp: found nan"),
        ({"damp": 1j}, "damp: found 1j"),
        ({"atol": 1.0}, r"atol: found 1.0; wanted a number in \[0, 1\)"),
        ({"btol": -1e-9}, "btol: found -1e-09"),
        ({"x0": np.ones(3)}, r"x0: found shape \(3,\); wanted \(2,\), as many entries as A has columns"),
        ({"x0": np.array([1.0, np.inf])}, "x0: entry 1 is not finite"),
        ({"M": "ssor"}, "M: found 'ssor'; wanted one of jacobi"),
        ({"M": np.eye(3)}, r"M: found shape \(3, 3\); wanted \(2, 2\), as many as A has columns"),
        ({"maxiter": -1}, "maxiter: found -1"),
    ],
)
def test_options_are_refused_in_words(solver, options, message):
    with pytest.raises(rv.InputError, match=message):
        solver(A, B, **options)


def test_other_names_are_refused():
    with pytest.raises(TypeError, match="lsmr\\(\\) has no parameter 'rtol'; did you mean 'btol'"):
        rv.lsmr(A, B, rtol=1e-3)


def test_an_operator_without_its_adjoint_is_refused():
    for operator in (
        LinearOperator((3, 2), matvec=lambda x: A @ x, dtype=float),
        type("Callable", (), {"shape": (3, 2), "dtype": float, "__call__": lambda self, x: A @ x})(),
    ):
        with pytest.raises(rv.InputError, match=r"A: products with A\^H are needed, but it only multiplies with A"):
            rv.lsmr(operator, B)
    M = LinearOperator((2, 2), matvec=lambda x: x, dtype=float)
    with pytest.raises(rv.InputError, match=r"M: products with M\^H are needed"):
        rv.lsmr(A, B, M=M)


def test_an_adjoint_that_is_none_is_found_out():
    """Its gradient would vanish at another x, and no residual could tell."""
    skewed = A + np.array([[0.0, 0.0], [0.0, 0.0], [1e-3, 0.0]])
    operator = LinearOperator((3, 2), matvec=lambda x: A @ x, rmatvec=lambda y: skewed.T @ y, dtype=float)
    with pytest.raises(rv.InputError, match="wanted an rmatvec that is the adjoint of matvec"):
        rv.lsmr(operator, B)
    unconjugated = LinearOperator((3, 2), lambda x: 1j * (A @ x), lambda y: 1j * (A.T @ y), dtype=complex)
    with pytest.raises(rv.InputError, match="wanted an rmatvec that is the adjoint"):
        rv.lsmr(unconjugated, B)


def test_operators_are_square_unless_told_otherwise():
    with pytest.raises(rv.InputError, match="wanted a square matrix"):
        as_operator(A)
    operator = as_operator(sparse.csr_array(A), square=False)
    np.testing.assert_array_equal(operator.adjoint() @ B, A.T @ B)
    assert operator.adjoint().shape == (2, 3)
    for named in ({"method": "cg"}, {"method": "gmres"}):
        with pytest.raises(rv.InputError, match="wanted a square matrix"):
            rv.solve(A, B, **named)


@pytest.mark.parametrize("solver", SOLVERS)
def test_what_needs_no_iteration(solver):
    zero = solver(A, np.zeros(3))
    assert (zero.status, zero.iterations, zero.relative_residual) == (Status.CONVERGED, 0, 0.0)
    np.testing.assert_array_equal(zero.x, np.zeros(2))
    for shape in ((0, 2), (3, 0), (0, 0)):
        empty = solver(np.zeros(shape), np.ones(shape[0]))
        assert empty.converged
        assert empty.x.shape == shape[1:]
    nothing = solver(np.zeros((3, 2)), B)
    assert nothing.converged
    np.testing.assert_array_equal(nothing.x, np.zeros(2))
    there = solver(A, B, x0=np.linalg.lstsq(A, B, rcond=None)[0])
    assert there.converged
    assert there.iterations <= 1


def test_integers_and_lists():
    solution = rv.lsmr([[1, 0], [1, 1], [0, 1]], [1, 0, 1], atol=1e-12)
    np.testing.assert_allclose(solution.x, [1 / 3, 1 / 3])
    assert solution.x.dtype == np.float64


def test_products_that_are_no_numbers():
    operator = LinearOperator((3, 2), matvec=lambda x: np.nan * (A @ x), rmatvec=lambda y: A.T @ y, dtype=float)
    with pytest.warns(rv.ConvergenceWarning, match="was not finite"):
        solution = rv.lsmr(operator, B)
    assert solution.cause is Cause.NOT_FINITE


@pytest.mark.parametrize("damp", [0.0, 0.3])
def test_the_certificate_is_recomputed_from_x(damp):
    rng = np.random.default_rng(0)
    matrix, b, x0, x = (rng.standard_normal(shape) for shape in ((9, 4), 9, 4, 4))
    for backend in ("numpy", "numba"):
        problem = LeastSquares(matrix, b, damp=damp, x0=x0, backend=backend)
        unit = 2.0**-problem.exponent_of_rhs
        r, measure = problem.certify(unit * x, problem.rows())
        np.testing.assert_allclose(r / unit, b - matrix @ x, rtol=1e-13)
        gradient = matrix.T @ (b - matrix @ x) - damp**2 * (x - x0)
        assert problem.found.normar / unit == pytest.approx(np.linalg.norm(gradient), rel=1e-12)
        below = np.hypot(np.linalg.norm(b - matrix @ x), damp * np.linalg.norm(x - x0))
        assert problem.found.normr / unit == pytest.approx(below, rel=1e-12)
        assert problem.operator_norm <= np.hypot(np.linalg.norm(matrix, 2), damp)
        assert 0 < measure <= 1


def test_each_test_has_its_tolerance():
    """A consistent problem is solved by b - A x, another one by its gradient: what the other asks does not matter."""
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((30, 10))
    b = matrix @ rng.standard_normal(10)
    loose = rv.lsmr(matrix, b, atol=0, btol=1e-3)
    assert loose.converged
    assert loose.consistent
    assert 1e-9 < np.linalg.norm(b - matrix @ loose.x) / np.linalg.norm(b) <= 1e-3
    other = rv.lsmr(matrix, rng.standard_normal(30), atol=1e-4, btol=0)
    assert other.converged
    assert not other.consistent
    assert other.tolerance == 1e-4
    assert 1e-12 < other.normar / (other.norma * other.normr) <= 1e-4


def test_what_the_solution_says():
    solution = rv.lsmr(A, B, damp=0.5, atol=1e-10)
    text = str(solution)
    assert solution.words.residual == "||A^H (b - A x) - damp^2 x||"
    assert solution.words.reference in solution.reason
    assert "singular values of A" in text
    assert "products with A and A^H" in text
    assert solution.damp == 0.5
    assert solution.normb == solution.rhs_norm == pytest.approx(np.sqrt(2))
    error = np.linalg.norm(solution.x - np.linalg.solve(A.T @ A + 0.25 * np.eye(2), A.T @ B))
    assert error / np.linalg.norm(solution.x) <= 10 * solution.error_estimate + 1e-14


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_fused_products_are_what_they_are_composed_of(backend, dtype):
    from resolvent.backends import backend_named

    rng = np.random.default_rng(0)
    library, numbers = backend_named(backend), np.dtype(dtype)
    matrix = sparse.random_array((70, 40), density=0.1, rng=rng, dtype=numbers, format="csr")
    x, y, z = (rng.standard_normal(size).astype(numbers) for size in (40, 70, 70))
    operator = library.operator(matrix, square=False)
    for c, other in ((0.0, None), (2.5, z)):
        wanted = 0.5 * (matrix @ x) - 3 * y + (0 if other is None else c * other)
        out, norm = library.product_update(operator, 0.5, x, -3.0, y.copy(), c, other)
        np.testing.assert_allclose(out, wanted, rtol=2e-5)
        assert norm == pytest.approx(np.linalg.norm(wanted), rel=1e-5)
    h, hbar, at, v = (rng.standard_normal(40).astype(numbers) for _ in range(4))
    given = h.copy(), hbar.copy(), at.copy()
    bars, moved, first, norm = library.lsmr_update(2.0, v, -0.5, h, 0.25, hbar, 3.0, at)
    np.testing.assert_allclose(bars, given[0] + 0.25 * given[1], rtol=2e-5)
    np.testing.assert_allclose(moved, given[2] + 3 * bars, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(first, 2 * v - 0.5 * given[0], rtol=2e-5, atol=1e-5)
    assert norm == pytest.approx(np.linalg.norm(moved), rel=1e-5)


@pytest.mark.parametrize("small", [1e-20, 1e-175, 1e-300])
def test_vectors_whose_squares_underflow_have_their_norms(small):
    problem = LeastSquares(A, np.ones(3), backend="numpy")
    problem.true_rhs = np.zeros(3)
    x = small * np.array([1.0, 2.0])
    problem.certify(x, np.zeros(3))
    found, r = problem.found, A @ x / small
    assert found.normr == pytest.approx(small * np.linalg.norm(r), rel=1e-10, abs=0)
    assert found.normar == pytest.approx(small * np.linalg.norm(A.T @ r), rel=1e-10, abs=0)
    assert found.normx == pytest.approx(small * 5**0.5, rel=1e-10, abs=0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
@pytest.mark.parametrize("method", ["auto", "lsmr", "cgls", "lapack"])
@pytest.mark.parametrize("M", [None, "jacobi"])
def test_of_x0_nothing_is_left_where_b_is_zero_and_a_has_full_rank(method, M, dtype):
    """x falls towards zero and its residual as fast, so that no relative one is ever small; zero itself is exact."""
    square = np.array([[0.12573022, -0.13210486], [0.64042265, 0.10490012]], dtype)
    x0 = np.array([-1.24591095, -0.73226735], dtype)
    for given in (square, A.astype(dtype)):
        solution = rv.lstsq(given, np.zeros(len(given), dtype), x0=x0, M=M, method=method, backend="numpy")
        assert solution.converged
        assert not solution.x.any()
        assert (solution.normr, solution.normx) == (0.0, 0.0)
        assert solution.iterations < 10


def test_of_x0_the_part_in_the_null_space_is_left_where_b_is_zero():
    x0 = np.array([3.0, 1.0])
    for method in ("lsmr", "cgls", "lapack"):
        solution = rv.lstsq(np.ones((3, 2)), np.zeros(3), x0=x0, method=method, backend="numpy")
        assert solution.converged
        np.testing.assert_allclose(solution.x, [1.0, -1.0], rtol=1e-12)
