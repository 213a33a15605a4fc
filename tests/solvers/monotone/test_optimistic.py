"""The optimistic methods: one evaluation an iteration, and their rates."""

import numpy as np
import pytest

import resolvent as rv


@pytest.mark.parametrize("method", ["optimistic", "accelerated_optimistic"])
def test_one_evaluation_an_iteration(affine, method):
    F, count = affine(0, strong=0.5), 0

    def counted(z):
        nonlocal count
        count += 1
        return F(z)

    found = rv.extragradient(counted, np.zeros(20), lipschitz=F.lipschitz, method=method, rtol=1e-2)
    assert found.converged
    assert count == found.evaluations == found.iterations + 1


def test_iterates_are_those_of_the_definition(bilinear, residuals):
    z0, a, b = np.array([0.6, -0.8]), 1 / np.sqrt(6), 0.3
    z = y = z0
    value = plain = bilinear(z0)
    wanted, wanted_plain = [1.0], [1.0]
    for k in range(100):
        base = z + (z0 - z) / (k + 2)
        value = bilinear(base - a * value)
        z = base - a * value
        wanted.append(np.linalg.norm(value))
        plain = bilinear(y - b * plain)
        y = y - b * plain
        wanted_plain.append(np.linalg.norm(plain))
    found = residuals(bilinear, z0, 100, lipschitz=1.0, method="accelerated_optimistic")
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    found = residuals(bilinear, z0, 100, lipschitz=1.0, method="optimistic", stepsize=b)
    np.testing.assert_allclose(found, wanted_plain, rtol=1e-12)


@pytest.mark.parametrize(("stepsize", "limit"), [(1 / np.sqrt(6), np.sqrt(6)), (0.5, 2.0), (0.57, 1 / 0.57)])
def test_the_limit_on_the_bilinear_problem(bilinear, residuals, stepsize, limit):
    """k ||F(h_k)|| tends to 1 / stepsize."""
    found = residuals(
        bilinear, np.array([1.0, 0.0]), 1000, lipschitz=1.0, method="accelerated_optimistic", stepsize=stepsize
    )
    assert found[-1] * 1000 == pytest.approx(limit, rel=2e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_anchored_one_keeps_the_order_of_the_fast_methods(affine, residuals, seed):
    F = affine(seed)
    found = residuals(F, np.zeros(20), 500, lipschitz=F.lipschitz, method="accelerated_optimistic")
    assert 2 < (found * np.arange(501)).max() / (F.lipschitz * F.distance) < 4


def test_steps_outside_their_range_are_refused(bilinear):
    with pytest.raises(rv.InputError, match=r"stepsize: found 0\.58; wanted a number in \(0, 1 / sqrt\(3\)\)"):
        rv.extragradient(bilinear, np.ones(2), method="accelerated_optimistic", stepsize=0.58)
    with pytest.raises(rv.InputError, match=r"stepsize: found 0\.6; wanted a number in \(0, 1/2\]"):
        rv.extragradient(bilinear, np.ones(2), method="optimistic", stepsize=0.6)
