"""What other libraries were seen to get wrong, in one table: the input, whose failure it was, and what is right.

Each row was observed; docs/hostile.py shows how the libraries that are installed behave on such inputs.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv

KRYLOV = ("cg", "minres", "gmres", "bicgstab", "idrs")
EXACT = np.linspace(1, 2, 20)
SPREAD = np.diag(np.linspace(1, 10, 20))
SIGNS = np.diag([1.0, -1.0, 1.0, -1.0])


def path(n):
    """The Laplacian of a path: constants are its kernel."""
    A = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    A[0, 0] = A[-1, -1] = 1
    return A


def tridiagonal(n):
    return sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)).tocsr()


def poisson(points, dtype):
    problem = rv.gallery.poisson((points, points))
    return problem.A.astype(dtype), problem.b.astype(dtype)


def true_residual(A, x, b):
    """||b - A x|| / ||b|| in extended precision and range."""
    A = A.toarray() if sparse.issparse(A) else np.asarray(A)
    A, x, b = (np.asarray(one).astype(np.longdouble) for one in (A, x, b))
    return float(np.sqrt(np.sum((b - A @ x) ** 2)) / np.sqrt(np.sum(b**2)))


def solved(A, b, method, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return rv.solve(A, b, method=method, **{"backend": "numpy", **options})


@dataclasses.dataclass
class Failure:
    """A failure of a peer.

    Attributes
    ----------
    of : str
        The libraries that were seen to fail.
    what : str
    A, b : arrays
    right : callable
        From a Solution and the case to whether it is right.
    methods : tuple of str
    options : dict
    """

    of: str
    what: str
    A: Any
    b: Any
    right: Callable[[Any, Any], bool]
    methods: tuple = KRYLOV
    options: dict = dataclasses.field(default_factory=dict)


def converged(solution, case):
    """Solved, and truly so: to what was asked for, but for the rounding of the judge's own data."""
    tolerance = case.options.get("rtol", 1e-5)
    return solution.converged and true_residual(case.A, solution.x, case.b) <= tolerance * (1 + 1e-6)


def honest(solution, case):
    """Solved truly, or not said to be, with the residual that it has."""
    found = true_residual(case.A, solution.x, case.b)
    tolerance = case.options.get("rtol", 1e-5)
    told = abs(found - solution.relative_residual) <= 1e-3 * found + 1e-15
    return told and (found <= tolerance * (1 + 1e-6) if solution.converged else bool(solution.reason))


def unsolved(solution, case):
    """Said to be unsolved, with a finite x and a reason."""
    return not solution.converged and bool(np.isfinite(solution.x).all()) and bool(solution.reason)


SCALES = [("f4", s) for s in (1.0, 1e-18, 1e-20, 1e-22, 1e-24, 1e18, 1e20)]
SCALES += [("f8", s) for s in (1.0, 1e-160, 1e-200, 1e160)]

FAILURES = [
    *(
        Failure("scipy, pyamg", f"single precision at {rtol:.0e}", *poisson(48, "f4"), honest, KRYLOV, {"rtol": rtol})
        for rtol in (1e-5, 1e-6, 1e-7)
    ),
    Failure("scipy minres", "double precision at 1e-8", *poisson(48, "f8"), converged, ("minres",), {"rtol": 1e-8}),
    *(
        Failure("scipy, jax, lineax, pyamg", f"b of size {s:.0e}", SPREAD.astype(t), np.full(20, s, t), converged)
        for t, s in SCALES
    ),
    *(Failure("AMGCL, Krylov.jl", f"b of norm {s:.0e}", SPREAD, s * EXACT, converged) for s in (1e-9, 1e-17)),
    Failure("scipy cg, cgs", "the identity in one iteration", np.eye(5), EXACT[:5], converged, KRYLOV, {"maxiter": 1}),
    Failure("scipy cg", "plus and minus one", SIGNS, np.ones(4), unsolved, ("cg",)),
    Failure("scipy cg", "plus and minus one", SIGNS, np.ones(4), converged, ("minres", "gmres", "idrs")),
    # r^H A r is zero for this b, so that the method itself ends: it is to say so.
    Failure("scipy cg", "plus and minus one", SIGNS, np.ones(4), unsolved, ("bicgstab",)),
    Failure("scipy minres, cg", "A is zero", np.zeros((4, 4)), np.ones(4), unsolved, KRYLOV),
    Failure("scipy minres", "singular, no solution", path(6), np.eye(6)[0], unsolved, KRYLOV),
    Failure("scipy", "singular, with solutions", path(6), path(6) @ EXACT[:6], converged, ("cg", "minres", "gmres")),
    *(
        Failure("linear_operator", f"tridiagonal of {n}", tridiagonal(n), np.ones(n), converged, ("cg", "minres"))
        for n in (900, 2000)
    ),
    Failure("linear_operator", "condition 100", np.diag(np.linspace(1, 100, 50)), np.ones(50), converged),
    *(
        Failure(
            "CoLA, cupyx, krylov",
            f"x0 is the solution, of size {s:.0e}",
            SPREAD,
            SPREAD @ (s * EXACT),
            lambda solution, case: converged(solution, case) and solution.iterations == 0,
            KRYLOV,
            {"x0": s * EXACT, "rtol": 1e-8},
        )
        for s in (1e-6, 1.0, 1e6)
    ),
    Failure(
        "krylov, PETSc, IterativeSolvers.jl",
        "an interval too narrow",
        SPREAD,
        np.ones(20),
        lambda solution, case: honest(solution, case) and bool(np.isfinite(solution.x).all()),
        ("chebyshev",),
        {"interval": (2.0, 5.0), "rtol": 1e-8},
    ),
]
CASES = [
    pytest.param(case, method, id=f"{case.of}: {case.what}: {method}") for case in FAILURES for method in case.methods
]


@pytest.mark.whole_grid
@pytest.mark.parametrize(("case", "method"), CASES)
def test_what_peers_get_wrong(case, method):
    solution = solved(case.A, case.b, method, **case.options)
    assert case.right(solution, case), f"{solution.status}: {solution.reason}"


@pytest.mark.parametrize("method", KRYLOV)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["A", "b", "x0"])
def test_nan_is_neither_iterated_on_nor_solved(where, bad, method):
    """scipy iterates to the end; jax and lineax return zeros, and lineax calls that a success."""
    given = {"A": SPREAD.copy(), "b": np.ones(20), "x0": np.ones(20)}
    given[where][(0,) * given[where].ndim] = bad
    with pytest.raises(rv.InputError, match=rf"^{where}: entry"):
        solved(given["A"], given["b"], method, x0=given["x0"])


@pytest.mark.parametrize("method", KRYLOV)
@pytest.mark.parametrize("rtol", [-1.0, math.nan])
def test_tolerances_that_are_none_are_refused(rtol, method):
    """scipy takes both."""
    with pytest.raises(rv.InputError, match=r"^rtol: found"):
        solved(SPREAD, np.ones(20), method, rtol=rtol)


@pytest.mark.parametrize("method", ["cg", "minres", "ssor_cg"])
def test_a_nonsymmetric_matrix_is_refused_by_symmetric_methods(method):
    """scipy's minres says that it converged."""
    with pytest.raises(rv.NotHermitianError, match=r"^A: "):
        solved(np.array([[2.0, 1.0], [0.0, 3.0]]), np.ones(2), method)


@pytest.mark.parametrize("method", rv.METHODS)
def test_zeros_for_zeros_are_new(method):
    """scipy returns b itself."""
    b = np.zeros(20)
    solution = solved(SPREAD, b, method)
    assert solution.converged
    assert not solution.x.any()
    assert not np.shares_memory(solution.x, b)


@pytest.mark.parametrize("omega", [2.5, 0.0, -1.0])
def test_relaxation_outside_the_range_is_refused(omega):
    """krylov ends in NaN."""
    with pytest.raises(rv.InputError, match=r"^omega: found"):
        solved(SPREAD, np.ones(20), "sor", omega=omega)


def test_chebyshev_takes_the_root_of_the_condition_number_and_thousands_of_steps():
    """IterativeSolvers.jl takes as many as the condition number, and PETSc overflows at 1143."""
    counts = []
    for condition in (100.0, 10000.0):
        A = sparse.diags_array(np.linspace(1, condition, 200)).tocsr()
        solution = solved(A, np.ones(200), "chebyshev", interval=(1.0, condition), rtol=1e-6)
        assert solution.converged
        counts.append(solution.iterations)
    assert 8 < counts[1] / counts[0] < 12
    A = sparse.diags_array(np.linspace(1, 1e8, 50)).tocsr()
    solution = solved(A, np.ones(50), "chebyshev", interval=(1.0, 1e8), rtol=1e-12, maxiter=5000)
    assert solution.iterations == 5000
    assert np.isfinite(solution.x).all()


@pytest.mark.parametrize("degree", [25, 30])
def test_chebyshev_polynomials_of_high_degree_are_right(degree):
    """pyamg's coefficients are off by three orders at 25, and diverge at 30."""
    eigenvalues = np.linspace(1, 30, 60)
    M = rv.precondition.polynomial(np.diag(eigenvalues), degree, interval=(1.0, 30.0))
    left = np.abs(1 - eigenvalues * M.matvec(np.ones(60)))
    assert left.max() <= (1 + 1e-6) / np.cosh(degree * np.arccosh(31 / 29))


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_anderson_does_not_depend_on_units(scale):
    """Of a map scaled by 1e-4, jaxopt's is worse than no acceleration."""
    g = np.cos
    x0 = np.full(3, 0.2)
    plain = rv.anderson(g, x0, rtol=1e-10)
    scaled = rv.anderson(lambda x: scale * g(x / scale), scale * x0, rtol=1e-10)
    assert scaled.converged
    assert abs(scaled.iterations - plain.iterations) <= 1
    np.testing.assert_allclose(scaled.x / scale, plain.x, rtol=1e-8)


@pytest.mark.parametrize("method", ["gmres", "bicgstab"])
def test_gradients_of_nonsymmetric_systems_are_those_of_a_dense_solve(method):
    """torchsparsegradutils' first is off by 132 %, torch-sla's second derivative by 68 %."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((6, 6)) + 6 * np.eye(6)
    right = rng.standard_normal(6)

    def derivatives(solve):
        A, b = (torch.tensor(one, dtype=torch.float64, requires_grad=True) for one in (matrix, right))
        first = torch.autograd.grad((solve(A, b) ** 3).sum(), (A, b), create_graph=True)
        second = torch.autograd.grad(sum((one**2).sum() for one in first), (A, b))
        return [one.detach().numpy() for one in (*first, *second)]

    found = derivatives(lambda A, b: rv.layers.solve(A, b, method=method, rtol=1e-13))
    for one, wanted in zip(found, derivatives(torch.linalg.solve), strict=True):
        np.testing.assert_allclose(one, wanted, rtol=1e-7, atol=1e-9 * np.abs(wanted).max())
