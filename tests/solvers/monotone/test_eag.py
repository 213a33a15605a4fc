"""The extra anchored gradient methods against their bounds and their definitions."""

import numpy as np
import pytest

import resolvent as rv


def textbook(F, z0, steps, a, varying):
    """F(z_k), k = 0, 1, ..., with L = 1."""
    z, found = z0, [F(z0)]
    for k in range(steps):
        h = z + (z0 - z) / (k + 2) - a * F(z)
        z = z + (z0 - z) / (k + 2) - a * F(h)
        if varying:
            a = a / (1 - a**2) * (1 - (k + 2) ** 2 / ((k + 1) * (k + 3)) * a**2)
        found.append(F(z))
    return np.linalg.norm(found, axis=1)


@pytest.mark.parametrize(("method", "a"), [("eag_c", 0.125), ("eag_v", 0.618)])
def test_iterates_are_those_of_the_definition(bilinear, residuals, method, a):
    z0 = np.array([0.6, -0.8])
    found = residuals(bilinear, z0, 200, lipschitz=1.0, method=method)
    np.testing.assert_allclose(found, textbook(bilinear, z0, 200, a, method == "eag_v"), rtol=1e-11)


@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3])
def test_bounds(affine, bilinear, residuals, seed):
    """260 / (k + 1)^2 and 27 / ((k + 1)(k + 2)), times L^2 ||z0 - z*||^2."""
    F, z0, L, R = bilinear, np.array([1.0, 0.0]), 1.0, 1.0
    if seed is not None:
        F, z0 = affine(seed), np.zeros(20)
        L, R = F.lipschitz, F.distance
    k = np.arange(501)
    constant = residuals(F, z0, 500, lipschitz=L, method="eag_c")
    varying = residuals(F, z0, 500, lipschitz=L, method="eag_v")
    worst = (constant**2 * (k + 1) ** 2).max() / (L * R) ** 2, (varying**2 * (k + 1) * (k + 2)).max() / (L * R) ** 2
    assert 100 < worst[0] <= 260
    assert 7 < worst[1] <= 27


def test_varying_steps_tend_to_a_positive_limit(bilinear):
    """0.437 / L from 0.618 / L on."""
    from resolvent.solvers.driver.iterate import iterate
    from resolvent.solvers.driver.stopping import Options
    from resolvent.solvers.monotone.eag import ExtraAnchoredGradientVarying
    from resolvent.solvers.monotone.problem import MonotoneProblem

    seen = []

    class Watched(ExtraAnchoredGradientVarying):
        def follow(self, problem, s):
            super().follow(problem, s)
            seen.append(s.factor)

    iterate(MonotoneProblem(bilinear, np.ones(2), lipschitz=1.0), Watched(), Options(rtol=1e-3))
    assert np.all(np.diff(seen) < 0)
    assert seen[-1] == pytest.approx(0.437, abs=2e-3)


@pytest.mark.parametrize(("method", "stepsize"), [("eag_c", 1.0), ("eag_v", 0.75), ("eag_c", 0), ("eag_v", "long")])
def test_steps_outside_their_range_are_refused(bilinear, method, stepsize):
    with pytest.raises(rv.InputError, match=r"stepsize: found .*; wanted a number in"):
        rv.extragradient(bilinear, np.ones(2), method=method, stepsize=stepsize)
