"""h of degree 8 in three products."""

import numpy as np
import pytest

import resolvent as rv

ns = rv.newton_schulz


def three_products(f, A):
    """h(A), with a count of the products."""
    one = np.eye(len(A))
    A2 = A @ A
    y = (f.s * A2 + f.t * A) @ A2
    return (y + f.d2 * A2 + f.d1 * A) @ (y + f.e2 * A2) + f.e0 * y + f.a2 * A2 + f.a1 * A + f.a0 * one


@pytest.mark.parametrize("lower", [1e-12, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.9])
def test_the_factors_multiply_to_the_polynomial(lower):
    """For every step that leads from this interval to one; h(A) against h of the eigenvalues."""
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((9, 9)))[0]
    eigenvalues = np.linspace(0, 1, 9)
    for step in ns.schedule(lower, degree=17, steps=3).coefficients:
        terms = sum(abs(c) for c in step)
        found = Q.T @ three_products(ns.degree_17_factors(step), Q @ np.diag(eigenvalues) @ Q.T) @ Q
        wanted = np.polynomial.polynomial.polyval(eigenvalues, step)
        np.testing.assert_allclose(found, np.diag(wanted), atol=1e-13 * terms)


def test_what_has_no_real_factors_is_refused():
    with pytest.raises(rv.InputError, match=r"found -10\.625 as the discriminant for e2; wanted"):
        ns.degree_17_factors((1, 1, 1, -5, 1, 1, 1, 1, 1))
    with pytest.raises(rv.InputError, match="coefficients: found 3 of them; wanted the 9 of h of degree 8"):
        ns.degree_17_factors((1.875, -1.25, 0.375))
    with pytest.raises(rv.InputError, match="coefficients: found a last one of -1"):
        ns.degree_17_factors((1,) * 8 + (-1,))
    with pytest.raises(rv.InputError, match="coefficients: found"):
        ns.degree_17_factors((float("nan"),) + (1,) * 8)
