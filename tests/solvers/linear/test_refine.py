"""Iterative refinement: what accuracy corrections in a low precision reach, when they escalate, and what is said."""

import copy
import pickle
import warnings

import mpmath
import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.sparse.linalg import aslinearoperator

import resolvent as rv
from resolvent.gallery import poisson, randsvd
from resolvent.precision import FixedPoint, Precision

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return function(*args, **options)


def definite(n, condition, seed=0, mode=3):
    """Symmetric positive definite with a geometric spectrum."""
    A = randsvd(n, condition, mode, "spd", seed=seed).A
    return (A + A.T) / 2


def backward_error(A, x, b):
    """||b - A x|| / (||A||_2 ||x|| + ||b||), the residual in extended precision."""
    wide = np.longdouble
    residual = np.linalg.norm((b.astype(wide) - A.astype(wide) @ x.astype(wide)).astype(float))
    return residual / (np.linalg.norm(A, 2) * np.linalg.norm(x) + np.linalg.norm(b))


def true_error(A, x, b):
    with mpmath.workdps(40):
        exact = mpmath.lu_solve(mpmath.matrix(A.tolist()), mpmath.matrix(b.tolist()))
        return float(mpmath.norm(mpmath.matrix(x.tolist()) - exact) / mpmath.norm(exact))


# Accuracy and escalation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["cg", "chebyshev"])
@pytest.mark.parametrize("condition", [1e1, 1e2, 1e3, 1e4, 1e5])
def test_corrections_in_bf16_reach_double_precision(condition, inner):
    for seed in range(4):
        A = definite(200, condition, seed)
        b = np.random.default_rng(seed).standard_normal(200)
        solution = rv.refine(A, b, inner=inner, inner_precision="bf16")
        assert solution.converged
        assert backward_error(A, solution.x, b) <= 4e-16
        assert solution.backward_error <= 1.5 * 3 * 2.0**-53
        assert solution.iterations <= 50
        assert solution.x.dtype == np.float64
        assert solution.precision == "float64"
        assert solution.method == "refine"
        if condition <= 1e2:
            assert f"Corrections by {inner} in bf16 took" in solution.reason
            assert "given up" not in solution.reason
        if condition >= 1e4:
            assert "bf16 was given up for tf32" in solution.reason
            assert "tf32" in solution.reason.partition("Corrections by")[2]


@pytest.mark.parametrize("inner", ["cg", "chebyshev"])
def test_without_escalation_the_gate_fails_in_words(inner):
    for seed in range(3):
        A = definite(200, 1e4, seed)
        b = np.random.default_rng(seed).standard_normal(200)
        solution = quietly(rv.refine, A, b, inner=inner, escalate=False)
        assert not solution.converged
        assert solution.status is rv.Status.BREAKDOWN
        assert f"Refinement does not converge with {inner} in bf16" in solution.reason
        assert "escalate" in solution.reason
        assert "tf32" not in solution.reason.partition("Corrections by")[2]
        # What was reached is said, and it is not worse than nothing.
        residual = np.linalg.norm(b - A @ solution.x) / np.linalg.norm(b)
        assert solution.relative_residual == pytest.approx(residual, rel=1e-6)
        assert solution.relative_residual <= 1


@pytest.mark.parametrize(
    ("format", "ladder"), [("bf16", "tf32"), ("tf32", "float32"), ("fp16", "float32"), ("fp8_e4m3fn", "bf16")]
)
def test_the_next_format_is_that_with_fewer_digits_lost(format, ladder):
    A, b = definite(100, 3e4, 1), np.random.default_rng(1).standard_normal(100)
    solution = rv.refine(A, b, inner_precision=format)
    assert solution.converged
    assert backward_error(A, solution.x, b) <= 4e-16
    assert f"{format} was given up for {ladder}" in solution.reason


def test_an_escalation_is_told_with_the_condition_that_caused_it():
    A, b = definite(200, 1e4), np.ones(200)
    reason = rv.refine(A, b).reason
    assert "times 1 / u" in reason or "changed the residual by the factor" in reason


def test_a_hopeless_condition_ends_in_words():
    """1e12 is beyond float32 as well."""
    A, b = definite(60, 1e12), np.random.default_rng(0).standard_normal(60)
    solution = quietly(rv.refine, A, b, maxiter=20)
    if solution.converged:
        assert backward_error(A, solution.x, b) <= 4e-16
    else:
        assert solution.reason
        assert solution.relative_residual <= 1


@pytest.mark.parametrize("seed", range(3))
def test_residuals_in_twice_the_precision_give_a_smaller_forward_error(seed):
    A = definite(40, 1e3, seed)
    b = np.random.default_rng(seed).standard_normal(40)
    errors = {}
    for residual in ("fp64", "fp128"):
        # Beyond the smallest backward error there is: until the iterates stand.
        solution = quietly(rv.refine, A, b, inner_precision="fp32", residual=residual, backward_error=0.0, maxiter=12)
        errors[residual] = true_error(A, solution.x, b)
    assert errors["fp128"] <= 4 * 2.0**-53
    assert errors["fp64"] >= 4 * errors["fp128"]


def test_working_in_single_with_residuals_in_double():
    """The columns fp16, fp32, fp64 of Carson and Higham's table."""
    A = definite(40, 1e3).astype(np.float32)
    A = (A + A.T) / 2
    b = np.random.default_rng(0).standard_normal(40).astype(np.float32)
    errors = {}
    for residual in ("fp32", "fp64"):
        solution = quietly(
            rv.refine, A, b, inner_precision="bf16", working="fp32", residual=residual, backward_error=0.0, maxiter=30
        )
        assert solution.precision == "float32"
        assert solution.x.dtype == np.float32
        errors[residual] = true_error(A.astype(float), solution.x.astype(float), b.astype(float))
        default = rv.refine(A, b, inner_precision="bf16", working="fp32", residual=residual)
        assert default.converged
        assert backward_error(A.astype(float), default.x.astype(float), b.astype(float)) <= 4 * 2.0**-24
    assert errors["fp64"] <= 4 * 2.0**-24
    assert errors["fp64"] < errors["fp32"]


def test_float64_data_worked_on_in_single():
    A, b = definite(40, 100.0), np.random.default_rng(0).standard_normal(40)
    solution = rv.refine(A, b, working="fp32", residual="fp64")
    assert solution.converged
    assert solution.precision == "float32"
    np.testing.assert_array_equal(solution.x, solution.x.astype(np.float32))
    assert backward_error(A, solution.x, b) <= 4 * 2.0**-24


# Methods, preconditioners, data -------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", list(rv.METHODS))
def test_every_method_serves_as_inner(inner):
    A = poisson((8, 8)).A
    b = A @ np.random.default_rng(0).standard_normal(64)
    solution = rv.refine(A, b, inner=inner)
    assert solution.converged
    assert backward_error(A.toarray(), solution.x, b) <= 4e-16
    assert f"Corrections by {inner} in bf16" in solution.reason


@pytest.mark.parametrize(
    ("inner", "parameters"),
    [
        ("chebyshev", {"interval": (0.2, 8.0)}),
        ("richardson", {"omega": 0.25}),
        ("sor", {"omega": 1.5, "order": "multicolor"}),
        ("cg", {"flexible": True}),
    ],
)
def test_parameters_of_the_inner_method(inner, parameters):
    A = poisson((8, 8)).A
    b = A @ np.random.default_rng(0).standard_normal(64)
    solution = rv.refine(A, b, inner=inner, **parameters)
    assert solution.converged
    assert backward_error(A.toarray(), solution.x, b) <= 4e-16


def test_a_nonsymmetric_matrix_with_a_method_that_takes_it():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((30, 30))
    A += np.diag(2 * np.abs(A).sum(axis=1))
    b = rng.standard_normal(30)
    solution = rv.refine(A, b, inner="gauss_seidel")
    assert solution.converged
    assert backward_error(A, solution.x, b) <= 4e-16
    for inner in ("cg",):
        with pytest.raises(rv.NotHermitianError, match="cg needs a symmetric"):
            rv.refine(A, b, inner=inner)


@pytest.mark.parametrize("policy", ["op", "matvec", "tensor-core"])
def test_inner_precisions_of_all_policies(policy):
    A, b = definite(50, 50.0), np.random.default_rng(0).standard_normal(50)
    solution = rv.refine(A, b, inner_precision=Precision("bf16", policy=policy))
    assert solution.converged
    assert backward_error(A, solution.x, b) <= 4e-16


@pytest.mark.parametrize("format", ["fp16", "tf32", "fp32", "fp8_e4m3fn", "mxfp8_e4m3", FixedPoint(6, 10)])
def test_inner_precisions_of_all_kinds(format):
    A, b = definite(50, 5.0), np.random.default_rng(0).standard_normal(50)
    solution = rv.refine(A, b, inner_precision=format)
    assert solution.converged
    assert backward_error(A, solution.x, b) <= 4e-16


def test_stochastic_corrections():
    A, b = definite(50, 20.0), np.random.default_rng(0).standard_normal(50)
    for seed in range(3):
        solution = rv.refine(A, b, inner_precision=Precision("bf16", rounding="stochastic", seed=seed))
        assert solution.converged
        assert backward_error(A, solution.x, b) <= 4e-16


def test_a_preconditioner_is_passed_on():
    d = np.geomspace(1, 1e4, 60)
    A = np.sqrt(d[:, None] * d) * definite(60, 10.0)
    b = A @ np.random.default_rng(0).standard_normal(60)
    alone = quietly(rv.refine, A, b)
    for M in (rv.precondition.jacobi(A), rv.precondition.ssor(A), np.diag(1 / A.diagonal())):
        solution = rv.refine(A, b, M=M)
        assert solution.converged
        assert solution.matvecs < alone.matvecs
        assert backward_error(A, solution.x, b) <= 4e-16
        assert "given up" not in solution.reason, "preconditioned, the condition is small"
    with pytest.raises(rv.InputError, match="M: sor is itself a relaxation"):
        rv.refine(A, b, inner="sor", M=rv.precondition.jacobi(A))


@pytest.mark.parametrize("storage", ["csr", "stencil", "operator", "torch", "array_api"])
def test_matrices_of_all_kinds(storage):
    problem = poisson((8, 8))
    dense = problem.A.toarray()
    b = dense @ np.random.default_rng(0).standard_normal(64)
    A, rhs = sparse.csr_array(problem.A), b
    if storage == "stencil":
        A = rv.Stencil((8, 8), 4.0, ((-1.0, -1.0),) * 2)
    elif storage == "operator":
        A = aslinearoperator(problem.A)
    elif storage == "torch":
        torch = pytest.importorskip("torch")
        A, rhs = torch.tensor(dense), torch.tensor(b)
    elif storage == "array_api":
        strict = pytest.importorskip("array_api_strict")
        A, rhs = strict.asarray(dense, copy=True), strict.asarray(b, copy=True)
    solution = rv.refine(A, rhs)
    assert solution.converged
    assert type(solution.x) is type(rhs)
    x = solution.x.numpy() if storage == "torch" else np.asarray(solution.x)
    assert backward_error(dense, x, b) <= 4e-16
    assert solution.backward_error <= 1.5 * 3 * 2.0**-53


@pytest.mark.parametrize("condition", [10.0, 1e3, 1e4])
def test_an_operator_that_only_multiplies_is_refined_as_far(condition):
    """Its norm is not known beforehand, only what corrections show of it."""
    A = definite(60, condition, 1)
    b = np.ones(60)
    solution = quietly(rv.refine, aslinearoperator(A), b)
    assert backward_error(A, solution.x, b) <= 4e-16
    assert solution.status in (rv.Status.CONVERGED, rv.Status.STAGNATED)


def test_complex_systems():
    rng = np.random.default_rng(0)
    G = rng.standard_normal((40, 40)) + 1j * rng.standard_normal((40, 40))
    A = G @ G.conj().T + 10 * np.eye(40)
    A = np.tril(A) + np.tril(A, -1).conj().T - 1j * np.diag(A.diagonal().imag)
    b = rng.standard_normal(40) + 1j * rng.standard_normal(40)
    solution = rv.refine(A, b, backend="numpy")
    assert solution.converged
    assert solution.x.dtype == np.complex128
    residual = np.linalg.norm(b - A @ solution.x)
    assert residual <= 8e-16 * (np.linalg.norm(A, 2) * np.linalg.norm(solution.x) + np.linalg.norm(b))


@pytest.mark.parametrize(("of_A", "of_b"), [(1e200, 1.0), (1e-200, 1e-100), (1e10, 1e250), (1.0, 1e-290)])
@pytest.mark.parametrize("format", ["bf16", "fp16"])
def test_units_do_not_matter(of_A, of_b, format):
    A, b = definite(40, 50.0), np.random.default_rng(0).standard_normal(40)
    unscaled = rv.refine(A, b, inner_precision=format)
    solution = rv.refine(of_A * A, of_b * b, inner_precision=format)
    assert solution.converged
    np.testing.assert_allclose(solution.x / of_b * of_A, unscaled.x, rtol=0, atol=1e-13 * np.abs(unscaled.x).max())
    assert abs(solution.iterations - unscaled.iterations) <= 3


def test_batches():
    A = np.array([definite(20, 10.0), definite(20, 100.0, 1)])
    b = np.random.default_rng(0).standard_normal((2, 20, 3))
    solution = rv.refine(A, b)
    assert solution.converged
    assert solution.x.shape == (2, 20, 3)
    for k in range(2):
        for j in range(3):
            assert backward_error(A[k], solution.x[k, :, j], b[k, :, j]) <= 4e-16
    np.testing.assert_array_equal(solution.x[1, :, 2], rv.refine(A[1], b[1, :, 2]).x)


def test_trivial_systems():
    assert rv.refine(np.zeros((0, 0)), np.zeros(0)).converged
    zero = rv.refine(np.eye(3), np.zeros(3))
    assert zero.converged
    assert zero.iterations == 0
    A = definite(20, 10.0)
    x = np.random.default_rng(0).integers(-5, 5, 20).astype(float)
    exact = rv.refine(np.round(A * 64), np.round(A * 64) @ x, x0=x)
    assert exact.converged
    assert exact.iterations == 0
    np.testing.assert_array_equal(exact.x, x)
    assert rv.refine(np.array([[3]]), np.array([1])).x[0] == 1 / 3


# Stopping -----------------------------------------------------------------------------------------------------------


def test_iterations_and_products_are_counted():
    for condition in (10.0, 3e3):  # without and with an escalation
        A = definite(60, condition, 1)
        counted = []

        def multiply(x, A=A, counted=counted):
            counted.append(None)
            return A @ x

        multiply.shape, multiply.dtype = A.shape, A.dtype
        for inner in ("cg", "chebyshev"):
            counted.clear()
            solution = quietly(rv.refine, multiply, np.ones(60), inner=inner)
            assert solution.matvecs == len(counted)
            assert solution.iterations <= 50
            # Each residual, the first of zero apart, is one of them.
            assert solution.residual_norms.size == solution.iterations + 1
            taken = int(solution.reason.partition(" took ")[2].split()[0])
            assert solution.matvecs >= taken + solution.iterations


def test_corrections_stop_at_what_was_asked_for():
    A, b = definite(100, 50.0), np.random.default_rng(0).standard_normal(100)
    counts = []
    for rtol in (1e-2, 1e-5, 1e-10, 0.0):
        solution = rv.refine(A, b, rtol=rtol)
        assert solution.converged
        assert np.linalg.norm(b - A @ solution.x) <= max(rtol * np.linalg.norm(b), 1e-13)
        counts.append(solution.iterations)
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] <= 15
    small = rv.refine(A, b, atol=0.5)
    assert np.linalg.norm(b - A @ small.x) <= 0.5
    assert small.iterations <= counts[0] + 1
    loose = rv.refine(A, b, backward_error=1e-6)
    assert loose.converged
    assert 1e-10 < backward_error(A, loose.x, b) <= 1.0e-6
    limited = quietly(rv.refine, A, b, maxiter=2)
    assert limited.iterations == 2
    assert limited.status is rv.Status.MAX_ITERATIONS
    assert limited.relative_residual < 0.1
    none = quietly(rv.refine, A, b, maxiter=0)
    assert none.iterations == 0
    assert none.relative_residual == 1


def test_residuals_fall_by_the_rate_of_the_inner_precision():
    A, b = definite(200, 100.0), np.random.default_rng(0).standard_normal(200)
    solution = rv.refine(A, b)
    norms = solution.residual_norms
    rates = norms[1:-1] / norms[:-2]
    assert rates.max() < 0.25
    finer = rv.refine(A, b, inner_precision="tf32")
    assert finer.iterations < solution.iterations


def test_callback_progress_and_clock(capsys):
    A, b = definite(60, 100.0), np.random.default_rng(0).standard_normal(60)
    seen = []
    solution = rv.refine(A, b, callback=lambda at: seen.append((at.iteration, at.relative_residual, at.x)) and None)
    assert [count for count, _, _ in seen] == list(range(1, solution.iterations + 1))
    for _, relative, x in seen:
        assert relative == pytest.approx(np.linalg.norm(b - A @ x) / np.linalg.norm(b), rel=0.3, abs=1e-15)
    stopped = quietly(rv.refine, A, b, callback=lambda at: at.iteration == 3)
    assert stopped.status is rv.Status.STOPPED
    np.testing.assert_array_equal(stopped.x, seen[2][2])
    late = quietly(rv.refine, A, b, time_limit=1e-9)
    assert late.status is rv.Status.TIME_LIMIT
    assert rv.refine(A, b, progress=True).converged
    assert capsys.readouterr().out == ""


def test_an_interrupt_keeps_what_was_reached():
    A = definite(60, 100.0)
    b = np.random.default_rng(0).standard_normal(60)
    whole = rv.refine(aslinearoperator(A), b, rtol=1e-10)
    calls = []

    def multiply(x):
        calls.append(None)
        if len(calls) == 2 * whole.matvecs // 3:
            raise KeyboardInterrupt
        return A @ x

    multiply.shape, multiply.dtype = A.shape, A.dtype
    solution = quietly(rv.refine, multiply, b, rtol=1e-10)
    assert solution.status is rv.Status.INTERRUPTED
    assert solution.relative_residual < 0.1
    assert solution.relative_residual == pytest.approx(np.linalg.norm(b - A @ solution.x) / np.linalg.norm(b), rel=1e-6)


def test_a_nan_in_a_product_is_no_matter_of_precision():
    def multiply(x):
        return np.full(5, np.nan)

    multiply.shape, multiply.dtype = (5, 5), np.dtype(np.float64)
    solution = quietly(rv.refine, multiply, np.ones(5))
    assert not solution.converged
    assert "NaN" in solution.reason


def test_an_indefinite_matrix_with_cg():
    A = np.diag(np.r_[-1.0, np.linspace(1, 2, 19)])
    solution = quietly(rv.refine, A, np.ones(20), maxiter=10)
    if solution.converged:
        assert backward_error(A, solution.x, np.ones(20)) <= 4e-16
    else:
        assert solution.reason


# What cannot be -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"inner": "cholesky"}, ValueError, "found 'cholesky'; wanted .*cg, .*chebyshev"),
        ({"inner": "cg", "omega": 1.0}, ValueError, "omega: cg has no such parameter"),
        ({"inner": "sor", "omega": 3.0}, ValueError, "omega: found 3.0"),
        ({"inner_precision": "bf17"}, ValueError, "inner_precision: found 'bf17'"),
        ({"inner_precision": None}, TypeError, "inner_precision: found None"),
        ({"inner_precision": 16}, TypeError, "inner_precision: found int"),
        ({"inner_precision": "fp64", "working": "fp32"}, ValueError, "inner_precision: fp64 has more digits"),
        ({"working": "fp65"}, ValueError, "working: found 'fp65'"),
        ({"working": None}, TypeError, "working: found None"),
        ({"residual": "fp129"}, ValueError, "residual: found 'fp129'"),
        ({"residual": 64}, TypeError, "residual: found int"),
        ({"residual": "bf16"}, ValueError, "residual: bf16 has fewer digits than float64"),
        ({"rtol": -1.0}, ValueError, "rtol: found -1.0"),
        ({"backward_error": -1.0}, ValueError, "backward_error: found -1.0"),
        ({"backward_error": "small"}, ValueError, "backward_error: found 'small'"),
        ({"maxiter": 1.5}, TypeError, "maxiter: found 1.5"),
        ({"maxiter": -1}, ValueError, "maxiter: found -1"),
        ({"M": np.eye(3)}, ValueError, "M: found shape"),
        ({"x0": np.ones(3)}, ValueError, "x0: found shape"),
    ],
)
def test_what_cannot_be_is_said(options, error, said):
    with pytest.raises(error, match=said):
        rv.refine(np.eye(4), np.ones(4), **options)


def test_what_the_inner_method_needs():
    A = poisson((4, 4)).A
    with pytest.raises(rv.InputError, match=r"A: the (diagonal is|entries are) needed"):
        rv.refine(aslinearoperator(A), np.ones(16), inner="sor")
    with pytest.raises(rv.InputError, match="A: the entries are needed"):
        rv.refine(aslinearoperator(A), np.ones(16), inner_precision=Precision("bf16", policy="op"))
    with pytest.raises(rv.InputError, match="precision: the policy 'matvec' concerns products"):
        rv.refine(A, np.ones(16), inner="sor", inner_precision=Precision("bf16", policy="matvec"))


def test_the_solution_says_what_it_says_of_any_solve():
    A = definite(60, 50.0)
    b = np.random.default_rng(0).standard_normal(60)
    solution = rv.refine(A, b)
    text = str(solution)
    assert "refine" in text
    assert "float64" in text
    assert solution.raise_for_status() is solution
    assert 30 < solution.condition < 55
    assert solution.unit_roundoff == 2.0**-53
    assert solution.residual_norms[0] == pytest.approx(np.linalg.norm(b))
    assert solution.attainable_residual > solution.relative_residual / 10


@pytest.mark.parametrize("seed", range(6))
def test_the_norm_of_a_black_box_is_not_overstated(seed):
    """Ritz values of a low precision may lie above the spectrum, and would make the backward error too small."""
    rng = np.random.default_rng(seed)
    A = rv.gallery.randsvd(12, 20, mode=4, seed=seed).A
    black_box, b = aslinearoperator(A), rng.standard_normal(12)
    solution = rv.refine(black_box, b)
    scale = np.linalg.norm(A, 2) * np.linalg.norm(solution.x) + np.linalg.norm(b)
    assert solution.backward_error >= solution.residual_norm / scale * (1 - 1e-12)
    assert solution.backward_error <= 1.2 * solution.residual_norm / scale


@pytest.mark.parametrize("scale", [1e-310, 1e300])
def test_what_is_learnt_of_the_spectrum_keeps_its_units(scale):
    A = scale * np.array([[2.0, 1], [1, 3]])
    solution = quietly(rv.refine, A, scale * np.array([1.0, -0.5]), inner_precision="fp32", rtol=1e-10)
    assert solution.converged
    np.testing.assert_allclose(solution.x, [0.7, -0.4], rtol=1e-9)


def test_solutions_are_pickled_and_copied():
    solution = rv.refine(np.diag([1.0, 2.0]), np.ones(2))
    for other in (pickle.loads(pickle.dumps(solution)), copy.deepcopy(solution)):
        np.testing.assert_array_equal(other.x, solution.x)
        assert other.reason == solution.reason
