"""LSMR and CGLS against LAPACK, SciPy's LSMR iterate by iterate, and what theory says of them."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator
from scipy.sparse.linalg import lsmr as scipy_lsmr

import resolvent as rv
from resolvent.solvers.driver.status import Cause, Status
from resolvent.solvers.least_squares.problem import LeastSquares

from ..counting import Counting

METHODS = [rv.lsmr, rv.cgls]
SHAPES = [(30, 12), (12, 30), (15, 15)]


def problem(shape, dtype=float, seed=0):
    rng = np.random.default_rng(seed)
    A, b = rng.standard_normal(shape), rng.standard_normal(shape[0])
    if dtype is complex:
        A, b = A + 1j * rng.standard_normal(shape), b + 1j * rng.standard_normal(shape[0])
    return A, b


def exact(A, b, damp=0.0, x0=None):
    """The minimiser of ||b - A x||^2 + damp^2 ||x - x0||^2, nearest to x0."""
    n = A.shape[1]
    x0 = np.zeros(n) if x0 is None else x0
    stacked = np.vstack([A, damp * np.eye(n)])
    return x0 + np.linalg.lstsq(stacked, np.concatenate([b - A @ x0, np.zeros(n)]), rcond=None)[0]


@pytest.mark.parametrize("solver", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("damp", [0.0, 0.7])
def test_the_minimiser_nearest_to_x0(solver, shape, dtype, damp):
    A, b = problem(shape, dtype)
    for x0 in (None, np.arange(shape[1]) / 10):
        solution = solver(A, b, damp=damp, x0=x0, atol=1e-12, btol=1e-12, backend="numpy")
        assert solution.converged
        np.testing.assert_allclose(solution.x, exact(A, b, damp, x0), rtol=0, atol=1e-9)


@pytest.mark.parametrize("solver", METHODS)
def test_compiled_products_solve_alike(solver):
    A, b = problem((30, 12))
    for matrix in (A, sparse.csr_array(A), sparse.coo_array(A), np.asfortranarray(A)):
        solution = solver(matrix, b, damp=0.3, atol=1e-12, backend="numba")
        assert solution.converged
        np.testing.assert_allclose(solution.x, exact(A, b, 0.3), atol=1e-9)


@pytest.mark.parametrize("damp", [0.0, 0.5])
@pytest.mark.parametrize("with_x0", [False, True])
@pytest.mark.parametrize("shape", [(40, 17), (17, 40)])
def test_iterates_are_those_of_scipy(damp, with_x0, shape):
    A, b = problem(shape, seed=3)
    x0 = np.linspace(-1, 1, shape[1]) if with_x0 else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        for k in (1, 2, 5, 9):
            found = rv.lsmr(A, b, damp=damp, x0=x0, atol=0, btol=0, maxiter=k)
            wanted, *rest = scipy_lsmr(A, b, damp=damp, x0=x0, atol=0, btol=0, conlim=0, maxiter=k)
            np.testing.assert_allclose(found.x, wanted, rtol=1e-9, atol=1e-11)
            x = found.x - (0 if x0 is None else x0)
            assert found.normr == pytest.approx(rest[2], rel=1e-9)
            assert found.normar == pytest.approx(np.linalg.norm(A.T @ (b - A @ found.x) - damp**2 * x), rel=1e-9)


def test_lsmr_lets_the_gradient_fall_and_cgls_the_residual():
    A, b = problem((60, 40), seed=1)
    A = A * np.geomspace(1, 1e-3, 40)
    for solver, measure in ((rv.lsmr, lambda x: A.T @ (b - A @ x)), (rv.cgls, lambda x: b - A @ x)):
        sizes = []
        solver(A, b, atol=1e-8, callback=lambda p, m=measure, s=sizes: s.append(np.linalg.norm(m(p.x))))
        sizes = np.array(sizes)
        assert len(sizes) > 30
        assert (sizes[1:] <= sizes[:-1] * (1 + 1e-10)).all()


@pytest.mark.parametrize("solver", METHODS)
def test_the_shortest_solution_where_rank_is_lacking(solver):
    rng = np.random.default_rng(5)
    A = rng.standard_normal((30, 4)) @ rng.standard_normal((4, 20))
    for b in (rng.standard_normal(30), A @ rng.standard_normal(20)):
        solution = solver(A, b, atol=1e-11, btol=1e-11)
        assert solution.converged
        np.testing.assert_allclose(solution.x, np.linalg.pinv(A) @ b, atol=1e-8)


@pytest.mark.parametrize("solver", METHODS)
def test_three_singular_values_take_three_steps(solver):
    rng = np.random.default_rng(2)
    U, _ = np.linalg.qr(rng.standard_normal((20, 9)))
    V, _ = np.linalg.qr(rng.standard_normal((9, 9)))
    A = U * np.repeat([1.0, 2.0, 5.0], 3) @ V.T
    solution = solver(A, rng.standard_normal(20), atol=1e-10)
    assert solution.iterations == 3
    np.testing.assert_allclose(solution.singular_values, [1, 5], rtol=1e-10)


@pytest.mark.parametrize("solver", METHODS)
@pytest.mark.parametrize("damp", [0.0, 0.5])
def test_singular_values_lie_inside_and_show(solver, damp):
    A, b = problem((50, 20), seed=7)
    A = A * np.geomspace(1, 1e-9, 20)
    solution = solver(A, b, damp=damp, atol=0, btol=0, maxiter=80)
    true = np.hypot(np.linalg.svd(A, compute_uv=False), damp)
    low, high = solution.singular_values
    assert high == pytest.approx(true[0], rel=1e-10 if solver is rv.lsmr else 1e-6)
    assert true[-1] * (1 - 1e-6) <= low
    assert solution.condition == high / low
    assert solution.norma <= true[0] * (1 + 1e-12)


def test_small_singular_values_do_not_drown():
    """The matrix of the process is not squared: 1e-10 shows beside 1, where A^H A has 1e-20."""
    A = np.zeros((4, 3))
    A[:3] = np.diag([1.0, 1e-5, 1e-10])
    solution = rv.lsmr(A, np.array([1.0, 1e5, 1e10, 1.0]), atol=0, btol=0, maxiter=30)
    assert solution.singular_values[0] == pytest.approx(1e-10, rel=1e-3)


@pytest.mark.parametrize("solver", METHODS)
@pytest.mark.parametrize("damp", [0.0, 0.4])
def test_preconditioned_from_the_right(solver, damp):
    A, b = problem((60, 25), seed=4)
    A = A * np.geomspace(1, 1e3, 25)
    factor = np.linalg.inv(np.linalg.qr(np.vstack([A, damp * np.eye(25)]))[1])
    wanted = exact(A, b, damp, np.ones(25))
    M = LinearOperator((25, 25), matvec=lambda y: factor @ y, rmatvec=lambda y: factor.T @ y, dtype=float)
    counts = []
    for M_given in ("jacobi", factor, sparse.csr_array(factor), M):
        solution = solver(A, b, damp=damp, x0=np.ones(25), M=M_given, atol=1e-11, btol=1e-11)
        assert solution.converged
        assert solution.preconditioned
        np.testing.assert_allclose(solution.x, wanted, rtol=1e-6)
        counts.append(solution.iterations)
    assert counts[0] <= 60
    assert max(counts[1:]) <= 8  # the columns of A M are orthonormal


@pytest.mark.parametrize("solver", METHODS)
@pytest.mark.parametrize("M", [None, "jacobi"])
def test_what_rounding_leaves_is_told_from_slowness(solver, M):
    A, b = problem((60, 20))
    with pytest.warns(rv.ConvergenceWarning, match="float64 can do no better"):
        solution = solver(A, b, atol=0, btol=0, M=M)
    assert solution.status is Status.STAGNATED
    assert solution.relative_residual <= 10 * solution.attainable_residual < 1e-13
    np.testing.assert_allclose(solution.x, exact(A, b), rtol=1e-11)


def test_single_precision_begins_anew_from_the_true_residual():
    A, b = problem((60, 20))
    solution = rv.lsmr(A.astype(np.float32), b.astype(np.float32), atol=2e-7, btol=0)
    assert solution.converged
    assert solution.x.dtype == np.float32
    assert solution.relative_residual <= 2e-7


@pytest.mark.parametrize("precision", ["bf16", "fp16", "tf32", "fp32"])
@pytest.mark.parametrize("M", [None, "jacobi"])
def test_emulated_precision_is_certified_in_that_of_the_data(precision, M):
    A, b = problem((60, 20))
    for backend in ("numpy", "numba"):
        solution = rv.lsmr(A, b, precision=precision, atol=2e-2, btol=2e-2, M=M, backend=backend)
        r = b - A @ solution.x
        assert solution.converged
        assert np.linalg.norm(A.T @ r) <= 2e-2 * np.linalg.norm(A, 2) * np.linalg.norm(r)


@pytest.mark.parametrize("solver", METHODS)
def test_operators_that_only_multiply(solver):
    A, b = problem((30, 12))
    for size in (1.0, 1e-150, 1e150):
        operator = LinearOperator(A.shape, lambda x, s=size: s * (A @ x), lambda y, s=size: s * (A.T @ y), dtype=float)
        solution = solver(operator, size * b, atol=1e-12)
        assert solution.converged
        np.testing.assert_allclose(solution.x, exact(A, b), rtol=1e-8)

    class Callable:
        shape, dtype = A.shape, A.dtype

        def __call__(self, x):
            return A @ x

        def rmatvec(self, y):
            return A.T @ y

    np.testing.assert_allclose(solver(Callable(), b, atol=1e-12).x, exact(A, b), rtol=1e-8)


def test_lsmr_ends_at_the_condition_number_that_is_set():
    """Where SciPy's ends, whose estimate is the same where A is not small: it has the 1 that it begins with in it."""
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((40, 40)))[0]
    A, b = Q * np.geomspace(100, 1e-4, 40) @ Q.T, np.ones(40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        ends = [rv.lsmr(A, b, atol=0, btol=0, conlim=conlim) for conlim in (5, 20)]
    for solution, conlim in zip(ends, (5, 20), strict=True):
        x, istop, iterations, *_ = scipy_lsmr(A, b, atol=0, btol=0, conlim=conlim, maxiter=400)
        assert istop == 3
        assert (solution.status, solution.cause) == (Status.STOPPED, Cause.CONDITION)
        assert solution.iterations == iterations
        assert np.linalg.norm(solution.x - x) <= 1e-6 * np.linalg.norm(x)
    assert rv.lsmr(A, A @ b, conlim=1e9).converged
    with pytest.raises(rv.InputError, match="conlim: found 0"):
        rv.lsmr(A, b, conlim=0)


def test_a_symmetric_matrix_serves_as_its_adjoint():
    A = rv.gallery.poisson((12, 12)).A
    held = LeastSquares(A, np.ones(144))
    assert held.adjoint is held.operator
    for operator in (A, rv.Stencil((12, 12), 4.0, ((-1, -1), (-1, -1)))):
        assert rv.lsmr(operator, np.ones(144), atol=1e-10, btol=1e-10).converged


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_units_change_no_digit(scale):
    A, b = problem((20, 7))
    power = 2.0 ** np.round(np.log2(scale))
    plain = rv.lsmr(A, b, damp=0.25, atol=1e-9)
    scaled = rv.lsmr(power * A, power * b, damp=0.25 * power, atol=1e-9)
    np.testing.assert_array_equal(plain.x, scaled.x)
    assert scaled.normr == power * plain.normr
    assert scaled.norma == power * plain.norma


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_libraries(library):
    xp = pytest.importorskip(library)
    A, b = problem((30, 12))
    for backend in (None, "torch") if library == "torch" else (None,):
        matrix, rhs = xp.asarray(A), xp.asarray(b)
        solution = rv.lsmr(matrix, rhs, damp=0.2, M="jacobi", atol=1e-12, x0=xp.asarray(np.ones(12)), backend=backend)
        assert type(solution.x) is type(rhs)
        np.testing.assert_allclose(np.asarray(solution.x), exact(A, b, 0.2, np.ones(12)), rtol=1e-8)
        if library == "torch":
            solution = rv.cgls(matrix.to_sparse_csr(), rhs, atol=1e-12, backend=backend)
            np.testing.assert_allclose(np.asarray(solution.x), exact(A, b), rtol=1e-8)


def test_several_right_hand_sides_and_matrices():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((4, 9, 3)), rng.standard_normal((4, 9, 2))
    X = rv.lsmr(A, B, atol=1e-12)
    assert X.x.shape == (4, 3, 2)
    assert X.converged
    for k in range(4):
        np.testing.assert_allclose(X.x[k], np.linalg.lstsq(A[k], B[k], rcond=None)[0], atol=1e-9)
    assert rv.lsmr(A, B[..., 0]).x.shape == (4, 3)
    assert rv.cgls(A[0], B[0], x0=np.ones((3, 2))).x.shape == (3, 2)
    assert rv.lsmr(A[0], B[0, :, :1]).x.shape == (3, 1)
    with pytest.raises(rv.InputError, match=r"x0: found shape \(9, 2\); wanted \(3, 2\), the shape of x"):
        rv.lsmr(A[0], B[0], x0=np.ones((9, 2)))


def test_interruption_keeps_the_iterate():
    A, b = problem((30, 12))

    def interrupt(progress):
        if progress.iteration == 6:
            raise KeyboardInterrupt

    with pytest.warns(rv.ConvergenceWarning):
        solution = rv.lsmr(A, b, callback=interrupt, M="jacobi")
    assert solution.status is Status.INTERRUPTED
    assert 0 < solution.relative_residual < 0.5
    with pytest.warns(rv.ConvergenceWarning):
        stopped = rv.cgls(A, b, callback=lambda p: p.iteration == 5)
    assert (stopped.status, stopped.iterations) == (Status.STOPPED, 5)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    seed=st.integers(0, 10**6),
    damp=st.sampled_from([0.0, 1e-3, 1.0, 1e3]),
    solver=st.sampled_from(METHODS),
)
def test_whatever_converged_passes_the_tests_it_names(shape, seed, damp, solver):
    rng = np.random.default_rng(seed)
    A = rng.integers(-2, 3, shape) * 2.0 ** rng.integers(-3, 4, shape)
    b, x0 = rng.integers(-3, 4, shape[0]).astype(float), rng.standard_normal(shape[1])
    before = A.copy(), b.copy(), x0.copy()
    solution = solver(A, b, damp=damp, x0=x0, atol=1e-8, btol=1e-8, backend="numpy")
    for array, kept in zip((A, b, x0), before, strict=True):
        np.testing.assert_array_equal(array, kept)
    assert solution.converged
    full = np.vstack([A, damp * np.eye(shape[1])])
    r = np.concatenate([b - A @ solution.x, -damp * (solution.x - x0)])
    norm = np.linalg.norm(full, 2)
    gradient, image = np.linalg.norm(full.T @ r), norm * np.linalg.norm(solution.x)
    noise = 1e-13 * norm * (image + np.linalg.norm(b) + norm * np.linalg.norm(x0))
    if solution.consistent:
        assert np.linalg.norm(r) <= 1e-8 * (np.linalg.norm(b) + image) + noise
    else:
        assert gradient <= 1e-8 * norm * np.linalg.norm(r) + noise


@pytest.mark.parametrize("name", rv.LEAST_SQUARES_METHODS)
def test_a_step_costs_what_is_declared(name):
    A, b = problem((30, 30))
    backend, method = Counting(), rv.LEAST_SQUARES_METHODS[name]()
    held = LeastSquares(A, b, backend=backend)
    state = method.start(held)
    declared = method.traffic
    for _ in range(3):
        backend.counted[:] = 0
        method.step(held, state)
        assert backend.counted.tolist() == [declared.passes, declared.reductions, declared.matvecs]
    text = " ".join(getattr(rv, name).__doc__.split())
    assert f"{declared.passes} vector passes ({declared.compiled_passes} compiled" in text
    assert f"{declared.vectors} vectors of length n" in text


def test_a_direction_that_is_rounding_alone_ends_cgls_in_words():
    A = np.array(
        [
            [1.2407306e-05, -3.7554607e-03, 2.3597180e-10, 3.2095304e-09, -1.3847938e03, 3.1769672e02],
            [2.6483771e02, 4.4662002e-03, -6.1888220e09, -5.2353050e09, -3.2027202e03, 4.2209351e01],
            [-1.3657252e04, -1.3135882e-03, -6.2721597e-08, -1.9698650e04, -1.7494119e00, -5.0691706e-05],
        ],
        np.float32,
    )
    b = np.array([1.3458754, 0.7813114, 0.26445562], np.float32)
    solution = rv.cgls(A, b, backend="numpy")
    assert solution.status is rv.Status.STAGNATED
    assert solution.normr == pytest.approx(np.linalg.norm(b.astype(float) - A.astype(float) @ solution.x), rel=1e-5)
