"""Precision advice: what is advised is solved to the accuracy asked for, and what is advised against is not needed."""

import math
import warnings

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.sparse.linalg import LinearOperator

import resolvent as rv
from resolvent.gallery import convection_diffusion, poisson, randsvd
from resolvent.precision import equilibrate

UNIT_ROUNDOFF = {"bf16": 2.0**-8, "fp16": 2.0**-11, "tf32": 2.0**-11, "fp32": 2.0**-24, "fp64": 2.0**-53}
ORDER = list(UNIT_ROUNDOFF)


def definite(condition, n=40):
    A = randsvd(n, condition, 3, "spd", seed=2).A
    return (A + A.T) / 2


def relative_error(solve, A, **options):
    """Of a solve with a known solution."""
    x = np.random.default_rng(1).standard_normal(A.shape[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        solution = solve(A, A @ x, **options)
    return np.linalg.norm(solution.x - x) / np.linalg.norm(x)


@pytest.mark.parametrize("accuracy", [0.9, 0.3, 0.02, 1e-3, 1e-5, 1e-9, 1e-13])
@pytest.mark.parametrize("kappa", [1.0, 10.0, 200.0, 2000.0, 1e5, 1e8])
def test_the_rule(kappa, accuracy):
    """kappa u <= accuracy, first in the order of bits."""
    advice = rv.precision_for(np.eye(3), accuracy, condition=kappa)
    fitting = [name for name, u in UNIT_ROUNDOFF.items() if kappa * u <= accuracy]
    assert advice.format == (fitting[0] if fitting else None)
    assert [row.format for row in advice.table] == ORDER
    assert [row.error for row in advice.table] == [kappa * u for u in UNIT_ROUNDOFF.values()]
    assert [row.solves for row in advice.table] == [kappa * u <= accuracy for u in UNIT_ROUNDOFF.values()]
    gate = [name for name, u in UNIT_ROUNDOFF.items() if kappa * u <= 1]
    assert [row.format for row in advice.table if row.corrects] == gate
    assert (advice.condition, advice.accuracy) == (kappa, accuracy)
    if advice.format is not None and gate and ORDER.index(gate[0]) < ORDER.index(advice.format):
        inner, working, residual = advice.refinement
        assert (inner, residual) == (gate[0], "fp64")
        assert kappa * UNIT_ROUNDOFF[working] <= accuracy
        assert working == ("fp32" if kappa * UNIT_ROUNDOFF["fp32"] <= accuracy else "fp64")
    elif advice.format is not None:
        assert advice.refinement is None


@pytest.mark.parametrize("accuracy", [0.5, 0.05, 1e-4, 1e-6])
@pytest.mark.parametrize("kappa", [5.0, 100.0, 1000.0])
def test_advised_formats_reach_the_accuracy(kappa, accuracy):
    A = definite(kappa)
    advice = rv.precision_for(A, accuracy)
    assert advice.condition == pytest.approx(kappa, rel=1e-6)
    assert relative_error(rv.cg, A, precision=advice.format, rtol=1e-14) <= accuracy


@pytest.mark.parametrize("accuracy", [1e-4, 1e-6, 1e-10])
@pytest.mark.parametrize("kappa", [5.0, 100.0, 1000.0])
def test_advised_refinement_reaches_the_accuracy(kappa, accuracy):
    A = definite(kappa)
    inner, working, residual = rv.precision_for(A, accuracy).refinement
    options = {"inner_precision": inner, "working": working, "residual": residual, "escalate": False}
    assert relative_error(rv.refine, A, **options) <= accuracy


def test_what_no_format_reaches_alone():
    """kappa u > accuracy in fp64; residuals in twice the digits give the solution of the stored system."""
    A = definite(1e10, n=12)
    advice = rv.precision_for(A, 1e-10)
    assert advice.format is None
    assert advice.refinement == ("fp64", "fp64", "fp128")
    assert "Even in fp64 kappa u is" in " ".join(advice.reasons)
    assert 'residual="fp128", backward_error=0.0' in str(advice)
    x = np.arange(1.0, 13.0)
    A = np.ldexp(np.rint(np.ldexp(A, 40)), -40)  # so that A x is exact
    b = A @ x
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        solution = rv.refine(A, b, inner_precision="fp64", residual="fp128", backward_error=0.0, maxiter=10)
    assert np.linalg.norm(solution.x - x) / np.linalg.norm(x) <= 1e-10


def test_singular_matrices_are_beyond_help():
    advice = rv.precision_for(np.ones((3, 3)), 0.1)
    assert (advice.format, advice.refinement) == (None, None)
    assert math.isinf(advice.condition)
    assert "To double precision A is singular" in str(advice)
    assert "rv.precision.ridge_for_condition" in str(advice)
    assert str(advice).startswith("no format for a relative error of 1e-01")


def test_the_range_of_fp16():
    """Rows that differ by 2**20: fp16 would lose the digits of the small one; equilibrated, it would not."""
    d = np.array([2.0**10, 1.0, 2.0**-10])
    A = d[:, None] * (np.eye(3) + 0.1) * d
    advice = rv.precision_for(A, 0.01, condition=5.0)
    assert advice.format == "tf32"
    fits = {row.format: row.in_range for row in advice.table}
    assert fits == {"bf16": True, "fp16": False, "tf32": True, "fp32": True, "fp64": True}
    assert "The range of fp16 is too small" in str(advice)
    scaled = equilibrate(A)
    assert rv.precision_for(scaled.matrix, 0.01, condition=5.0).format == "fp16"
    assert rv.precision_for(np.diag([1.0, 2.0**-14]), 0.01, condition=5.0).format == "fp16"
    assert rv.precision_for(np.diag([1.0, 2.0**-14.01]), 0.01, condition=5.0).format == "tf32"
    # Large and small entries in one row and column do no harm, and neither do units.
    assert rv.precision_for(np.array([[1.0, 2.0**-30], [2.0**-30, 1.0]]), 0.01, condition=5.0).format == "fp16"
    assert rv.precision_for(np.eye(2) * 1e200, 0.01, condition=5.0).format == "fp16"


def test_the_range_of_float32():
    advice = rv.precision_for(np.diag([1.0, 1e-60]), 1e-3, condition=10.0)
    assert advice.format == "fp64"
    assert "The range of bf16 and fp16 and tf32 and fp32 is too small" in str(advice)
    assert advice.refinement is None


@pytest.mark.parametrize("shape", [(8, 8), (30, 30)])
def test_condition_numbers_are_computed_and_quoted(shape):
    problem = poisson(shape)
    found = rv.condition_number(problem.A)
    advice = rv.precision_for(problem.A, 1e-3)
    assert advice.condition == found.upper
    assert f"The condition number is {found}." in advice.reasons
    assert rv.precision_for(problem.A, 1e-3, condition=found).condition == found.upper
    assert rv.precision_for(problem.A, 1e-3, condition=float(found)).condition == found.estimate


def test_an_estimate_without_upper_bound_is_said_to_be_one():
    advice = rv.precision_for(convection_diffusion((30, 30)).A, 1e-3)
    assert advice.format == "fp32"
    assert "Nothing bounds it from above" in str(advice)


def test_matrices_that_only_multiply():
    problem = poisson((25, 25))
    black_box = LinearOperator(problem.A.shape, matvec=lambda x: problem.A @ x, dtype=np.float64)
    assert rv.precision_for(black_box, 1e-3).format == "fp32"
    assert all(row.in_range for row in rv.precision_for(black_box, 1e-3).table)


def test_sparse_and_complex_matrices():
    A = sparse.csr_array(np.array([[2, 1j, 0], [-1j, 3, 0], [0, 0, 1]]))
    assert rv.precision_for(A, 0.1).format == "bf16"


def test_report():
    said = str(rv.precision_for(poisson((20, 20)).A, 1e-4))
    assert said.splitlines()[0] == "fp32 for a relative error of 1e-04, or refinement from bf16 to fp32"
    assert 'rv.refine(A, b, inner_precision="bf16", working="fp32") reaches the same' in said
    assert max(map(len, said.splitlines())) <= 120
    cheapest = rv.precision_for(np.eye(2), 0.5)
    assert "no format is cheaper" in str(cheapest)
    assert str(cheapest).splitlines()[0] == "bf16 for a relative error of 5e-01"


@pytest.mark.parametrize("accuracy", [0.0, 1.0, -1e-3, 2.0, np.nan, np.inf])
def test_bad_accuracies(accuracy):
    with pytest.raises(rv.InputError, match=r"accuracy: found .*; wanted a relative error between 0 and 1"):
        rv.precision_for(np.eye(2), accuracy)


@pytest.mark.parametrize("condition", [0.5, -1.0, np.nan])
def test_bad_condition_numbers(condition):
    with pytest.raises(rv.InputError, match="condition: found"):
        rv.precision_for(np.eye(2), 0.1, condition=condition)


def test_bad_matrices():
    with pytest.raises(rv.InputError, match=r"A: found shape \(2, 3\)"):
        rv.precision_for(np.ones((2, 3)), 0.1)
    with pytest.raises(rv.InputError, match="the matrix is empty"):
        rv.precision_for(np.zeros((0, 0)), 0.1)
