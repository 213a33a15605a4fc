"""The extragradient method with one step length and with two."""

import numpy as np
import pytest

import resolvent as rv


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stepsize", [0.5**0.5, 0.3])
def test_residuals_do_not_grow_and_keep_their_bound(affine, residuals, seed, stepsize):
    F = affine(seed)
    found = residuals(F, np.zeros(20), 300, lipschitz=F.lipschitz, method="extragradient", stepsize=stepsize)
    k = np.arange(len(found))
    assert np.all(np.diff(found) <= 1e-14 * found[0])
    bound = F.lipschitz * F.distance / (stepsize * np.sqrt(1 - stepsize**2))
    assert np.all(found * np.sqrt(k + 1) <= bound)


def test_linear_convergence_where_F_is_strongly_monotone(affine):
    F = affine(0, strong=0.5)
    found = rv.extragradient(F, np.zeros(20), lipschitz=F.lipschitz, method="extragradient", rtol=1e-8)
    anchored = rv.extragradient(F, np.zeros(20), lipschitz=F.lipschitz, method="feg", rtol=1e-8, restart_at=0.37)
    assert found.converged
    assert anchored.converged
    assert found.evaluations < 800
    assert anchored.evaluations < 1600


@pytest.mark.parametrize(("rho", "ratio"), [(0.05, 0.5), (0.2, 0.5), (0.4, 0.1)])
def test_two_step_lengths_for_weak_minty_solutions(rho, ratio):
    """Re <F(z), z> = -rho ||F(z)||^2 with L = 1: the least ||F(h)|| so far keeps its bound."""
    other = np.sqrt(1 - rho**2)
    A, seen = np.array([[-rho, other], [-other, -rho]]), []

    def F(z):
        seen.append(np.linalg.norm(A @ z))
        return A @ z

    rv.extragradient(F, np.array([1.0, 0.0]), lipschitz=1.0, method="two_timescale", ratio=ratio, rtol=1e-3)
    halves = np.minimum.accumulate(seen[1::2])
    k = np.arange(len(halves))
    assert np.all(halves <= 1 / np.sqrt(ratio * (1 - ratio - 2 * rho) * (k + 1)))


def test_one_step_length_diverges_where_two_converge():
    rho = 0.2
    other = np.sqrt(1 - rho**2)
    A = np.array([[-rho, other], [-other, -rho]])
    z0 = np.array([1.0, 0.0])
    assert rv.extragradient(lambda z: A @ z, z0, lipschitz=1.0, method="two_timescale", rtol=1e-4).converged
    with pytest.warns(rv.ConvergenceWarning):
        assert not rv.extragradient(lambda z: A @ z, z0, lipschitz=1.0, method="extragradient", maxiter=2000).converged


def test_steps_outside_their_range_are_refused(bilinear):
    with pytest.raises(rv.InputError, match="stepsize: found 1"):
        rv.extragradient(bilinear, np.ones(2), method="extragradient", stepsize=1)
    with pytest.raises(rv.InputError, match="ratio: found 3"):
        rv.extragradient(bilinear, np.ones(2), method="two_timescale", ratio=3)
