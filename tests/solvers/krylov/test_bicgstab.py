"""BiCGSTAB against the textbook and SciPy, and what happens where its recurrence ends."""

import warnings

import numpy as np
import pytest
import scipy.sparse.linalg as scipy_solvers

import resolvent as rv
from resolvent.solvers.driver.status import Cause

from . import textbook

BACKENDS = ("numpy", "numba")


def quietly(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return rv.bicgstab(*args, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("velocity", "scheme"), [(0.5, "upwind"), (1.5, "central"), (8.0, "upwind")])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_iterations_are_those_of_the_textbook_and_of_scipy(velocity, scheme, preconditioned, backend):
    problem = rv.gallery.convection_diffusion((12, 13), velocity, scheme)
    A, b = problem.A, problem.b
    M = rv.precondition.ssor(A) if preconditioned else None
    solution = rv.bicgstab(A, b, rtol=1e-8, M=M, backend=backend)
    assert solution.converged
    norms = textbook.bicgstab(A, b, 80, *[lambda r: M @ r] * preconditioned)
    assert abs(solution.iterations - textbook.iterations(norms, 1e-8)) <= 1
    counted = []
    scipy_solvers.bicgstab(A, b, rtol=1e-8, M=M, callback=counted.append)
    assert abs(solution.iterations - len(counted)) <= 1
    assert solution.matvecs >= 2 * solution.iterations
    np.testing.assert_allclose(solution.x, problem.x, atol=1e-5 * abs(problem.x).max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_carried_norms_are_those_of_the_textbook(backend):
    rng = np.random.default_rng(3)
    A = rng.standard_normal((12, 12)) + 1j * rng.standard_normal((12, 12)) + 8 * np.eye(12)
    b = rng.standard_normal(12) + 1j * rng.standard_normal(12)
    norms = textbook.bicgstab(A, b, 6)
    solution = quietly(A, b, rtol=0, maxiter=6, backend=backend)
    np.testing.assert_allclose(solution.residual_norms, norms, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_ended_recurrence_is_begun_anew(backend):
    """The third residual is orthogonal to the first: without a new shadow the next step divides by zero."""
    A = np.array([[1.0, -1.0, 0, 0], [1.0, 1.0, 0, 0], [0, 0, 2.0, -3.0], [0, 0, 3.0, 2.0]])
    # r^H r for b = e1 + e3, of which the first step leaves a residual that r^H sees nothing of.
    b = np.array([1.0, 0, 0, 0])
    solution = rv.bicgstab(A, b, rtol=1e-12, backend=backend)
    assert solution.converged
    np.testing.assert_allclose(A @ solution.x, b, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_vanished_omega_is_begun_anew(backend):
    """A s is orthogonal to s in the first step, so that omega is zero, and the next ratio would be over zero."""
    A = np.array([[1.0, 1.0, 0.0], [-1.0, 0.0, 2.0], [0.0, -2.0, 0.0]])
    b = np.array([1.0, 0.0, 0.0])
    solution = quietly(A, b, rtol=1e-10, backend=backend)
    assert "begun anew from the residual" in solution.reason or solution.cause is Cause.RECURRENCE
    assert solution.converged == (np.linalg.norm(b - A @ solution.x) <= 1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_skew_matrices_are_said_to_be_beyond_it(backend):
    A = np.array([[0.0, 2.0, 0.0], [-2.0, 0.0, 1.0], [0.0, -1.0, 0.0]]) + 0.0
    solution = quietly(A, np.array([1.0, 2.0, 3.0]), backend=backend)
    assert solution.status is rv.Status.BREAKDOWN
    assert solution.cause is Cause.RECURRENCE
    assert "gmres" in solution.reason


@pytest.mark.parametrize("backend", BACKENDS)
def test_singular_matrices_are_said_to_be_singular(backend):
    A = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 2.0]])
    solution = quietly(A, np.array([1.0, 1.0, -1.0]), backend=backend)  # b spans the kernel
    assert solution.status is rv.Status.BREAKDOWN
    assert solution.cause is Cause.SINGULAR
    consistent = rv.bicgstab(A, A @ np.array([1.0, 2.0, 3.0]), rtol=1e-10, backend=backend)
    assert consistent.converged


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_exact_half_step_ends_it(backend):
    """A multiple of the identity is solved by half an iteration, and nothing is left to be stabilised."""
    for scale in (4.0, -2.0):
        solution = rv.bicgstab(scale * np.eye(5), np.arange(1.0, 6.0), rtol=0, backend=backend)
        assert solution.converged
        assert solution.iterations == 1
        # That of the half step, and of the certificate; the compiled loop leaves it to the textbook step after one.
        assert solution.matvecs == (3 if backend == "numba" else 2)


def test_half_of_the_first_step_is_enough_with_the_exact_inverse():
    problem = rv.gallery.convection_diffusion((9, 8), 1.0)
    inverse = np.linalg.inv(problem.A.toarray())
    solution = rv.bicgstab(problem.A, problem.b, M=inverse, rtol=1e-10)
    assert solution.converged
    assert (solution.iterations, solution.matvecs) == (1, 2)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_in_emulated_precision(precision):
    problem = rv.gallery.convection_diffusion((6, 5), 1.0)
    solution = rv.bicgstab(problem.A, problem.b, rtol=0.05, precision=precision)
    assert solution.converged
    assert np.linalg.norm(problem.b - problem.A @ solution.x) <= 0.05 * np.linalg.norm(problem.b)
