"""The fast extragradient method: its exact bound, and F that is not monotone."""

import numpy as np
import pytest

import resolvent as rv


@pytest.mark.parametrize("lipschitz", [1.0, 0.25, 3.0])
def test_the_bound_is_attained_on_the_bilinear_problem(bilinear, residuals, lipschitz):
    """||F(z_k)|| = 2 L / k at k = 2, 6, 10, ..., and is nowhere more."""
    found = residuals(lambda z: lipschitz * bilinear(z), np.array([1.0, 0.0]), 102, lipschitz=lipschitz, method="feg")
    k = np.arange(1, 103)
    assert np.all(found[1:] * k <= 2 * lipschitz * (1 + 1e-14))
    np.testing.assert_allclose((found[1:] * k)[1::4], 2 * lipschitz, rtol=1e-14)


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_holds_on_affine_problems(affine, residuals, seed):
    F = affine(seed)
    found = residuals(F, np.zeros(20), 500, lipschitz=F.lipschitz, method="feg")
    k = np.arange(1, len(found))
    worst = (found[1:] * k).max() / (F.lipschitz * F.distance)
    assert 1 < worst <= 2


@pytest.mark.parametrize("rho", [-0.1, -0.3, -0.45])
def test_negatively_comonotone_operators(residuals, rho):
    """Re <F(z), z> = rho ||F(z)||^2 with L = 1: the bound is nearly attained, and without rho the method diverges."""
    other = np.sqrt(1 - rho**2)
    A = np.array([[rho, other], [-other, rho]])
    z0 = np.array([1.0, 0.0])
    found = residuals(lambda z: A @ z, z0, 1000, lipschitz=1.0, method="feg", comonotone=rho)
    scaled = found[1:] * np.arange(1, len(found)) * (1 + 2 * rho)
    assert len(found) == 1001
    assert 1.99 < scaled.max() <= 2 * (1 + 1e-12)
    if rho < -0.2:
        assert residuals(lambda z: A @ z, z0, 1000, lipschitz=1.0, method="feg").max() > 1e3


def test_a_positive_rho_is_a_faster_method(affine, residuals):
    """A strongly monotone F is comonotone with rho = mu / L^2."""
    F = affine(3, strong=1.0)
    rho = 1.0 / F.lipschitz**2
    found = residuals(F, np.zeros(20), 300, lipschitz=F.lipschitz, method="feg", comonotone=rho)
    k = np.arange(1, len(found))
    assert np.all(found[1:] * k <= 2 * F.distance / (1 / F.lipschitz + 2 * rho))


def test_comonotone_is_in_the_units_of_z_over_those_of_F(residuals):
    z0 = np.array([1.0, 0.0])
    A = np.array([[-0.3, np.sqrt(0.91)], [-np.sqrt(0.91), -0.3]])
    plain = residuals(lambda z: A @ z, z0, 50, lipschitz=1.0, comonotone=-0.3)
    scaled = residuals(lambda z: 2.0**600 * (A @ z), z0, 50, lipschitz=2.0**600, comonotone=-0.3 * 2.0**-600)
    np.testing.assert_allclose(scaled, 2.0**600 * plain, rtol=1e-12)


def test_a_rho_outside_its_range_is_refused(bilinear):
    with pytest.raises(rv.InputError, match=r"comonotone: found -0\.6; wanted more than -1 / \(2 lipschitz\), -0\.5"):
        rv.extragradient(bilinear, np.ones(2), lipschitz=1.0, comonotone=-0.6)
    with pytest.raises(rv.InputError, match="without lipschitz; wanted both"):
        rv.extragradient(bilinear, np.ones(2), comonotone=-0.1)
    with pytest.raises(rv.InputError, match="comonotone: found nan"):
        rv.extragradient(bilinear, np.ones(2), lipschitz=1.0, comonotone=float("nan"))
