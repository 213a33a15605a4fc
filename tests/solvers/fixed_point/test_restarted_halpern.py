"""Halpern's iteration with restarts: when the anchor is set, and how fast it converges where that helps."""

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.driver.status import Status

from .maps import PrimalDual

unconverged = pytest.mark.filterwarnings("ignore::resolvent.errors.ConvergenceWarning")


def bilinear(smallest, n=8):
    """The resolvent of min max x B y with singular values of B from ``smallest`` to 1."""
    B = np.diag(np.linspace(smallest, 1, n))
    J = np.linalg.inv(np.block([[np.eye(n), B], [-B, np.eye(n)]]))
    return lambda z: J @ z, np.ones(2 * n)


def linear_program():
    """A program with a unique solution, which is returned as well."""
    rng = np.random.default_rng(0)
    m, n = 6, 12
    A, x, s = rng.normal(size=(m, n)), np.zeros(n), np.zeros(n)
    x[:m], y, s[m:] = rng.random(m) + 0.5, rng.normal(size=m), rng.random(n - m) + 0.5
    return PrimalDual(A, A @ x, A.T @ y + s), x


@unconverged
def test_iterates_are_those_of_the_definition():
    g, x0 = bilinear(0.3, 2)
    seen, norms = [], []
    rv.restarted_halpern(g, x0, rtol=0, maxiter=60, reflection=0.5, every=2, callback=lambda p: seen.append(p.x.copy()))
    x, anchor, inner, at_anchor, before, restarts = x0, x0, 0, np.linalg.norm(g(x0) - x0), np.inf, []
    for total, found in enumerate(seen, 1):
        norm = np.linalg.norm(g(x) - x)
        norms.append(norm)
        anew = False
        if inner and inner % 2 == 0:
            anew = norm <= 0.2 * at_anchor or before < norm <= 0.5 * at_anchor or inner >= 0.36 * total
            before = norm
        if anew:
            anchor = x = g(x)
            inner, before, at_anchor = 0, np.inf, np.linalg.norm(g(x) - x)
            restarts.append(total)
        else:
            inner += 1
            x = (anchor + inner * (1.5 * g(x) - 0.5 * x)) / (inner + 1)
        np.testing.assert_allclose(found, x, rtol=1e-12, atol=1e-15)
    assert len(restarts) > 5


def test_linear_convergence_at_the_square_root_of_picards_price():
    """Iterations grow like 1 / (smallest singular value), of Picard iteration like its square."""
    counts = []
    for smallest in (0.1, 0.05):
        g, z = bilinear(smallest)
        restarted = rv.restarted_halpern(g, z, rtol=1e-8, maxiter=20000)
        reflected = rv.restarted_halpern(g, z, rtol=1e-8, maxiter=20000, reflection=1)
        picard = rv.picard(g, z, rtol=1e-8, maxiter=20000)
        assert restarted.converged
        assert reflected.converged
        assert picard.converged
        counts.append((picard.iterations, restarted.iterations, reflected.iterations))
    (picard, restarted, reflected), (picard_2, restarted_2, reflected_2) = counts
    assert picard > 5 * restarted
    assert picard_2 > 3.5 * picard
    assert restarted_2 < 2.5 * restarted
    assert reflected < 0.6 * restarted
    assert reflected_2 < 0.6 * restarted_2


@unconverged
def test_restarts_on_a_linear_program():
    program, x = linear_program()
    z = np.zeros(18)
    reflected = rv.restarted_halpern(program.g, z, rtol=1e-8, reflection=1, maxiter=2000)
    assert reflected.converged
    np.testing.assert_allclose((program.inner @ reflected.x)[:12], x, atol=1e-6)
    plain = rv.halpern(program.g, z, rtol=1e-8, reflection=1, maxiter=2000)
    picard = rv.picard(program.g, z, rtol=1e-8, maxiter=2000)
    assert plain.relative_residual > 1e4 * reflected.relative_residual
    assert picard.relative_residual > 1e2 * reflected.relative_residual
    assert "The anchor was set anew" in reflected.reason


def test_in_half_the_digits():
    g, z = bilinear(0.1)
    solution = rv.restarted_halpern(
        lambda x: g(x.astype(np.float64)).astype(np.float32), z.astype(np.float32), rtol=1e-5, reflection=1
    )
    assert solution.precision == "float32"
    assert solution.converged
    assert np.abs(solution.x).max() < 1e-3


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"sufficient": 0.7}, "sufficient, necessary: found 0.7 and 0.5"),
        ({"sufficient": 0}, "sufficient, necessary: found 0 and"),
        ({"artificial": 0}, "artificial: found 0"),
        ({"every": 0}, "every: found 0"),
        ({"reflection": 2}, "reflection: found 2"),
        ({"radius": -1}, "radius: found -1"),
    ],
)
def test_what_is_refused(parameters, said):
    with pytest.raises(rv.InputError, match=said):
        rv.restarted_halpern(np.cos, 1.0, **parameters)
    with pytest.raises(TypeError, match=r"every: found 2\.5"):
        rv.restarted_halpern(np.cos, 1.0, every=2.5)


def test_a_map_that_expands_is_said_to():
    with pytest.warns(rv.ConvergenceWarning, match="g expands"):
        assert rv.restarted_halpern(lambda x: -3 * x + 1, np.zeros(2)).status is Status.DIVERGED
