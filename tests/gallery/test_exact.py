"""Products in twice the working precision, against exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from resolvent.gallery.exact import product, short_vector

entries = st.floats(-1e6, 1e6).map(lambda v: v if abs(v) > 1e-6 else 0.0)


def exactly(row, x):
    return sum((Fraction(float(a)) * Fraction(float(v)) for a, v in zip(row, x, strict=True)), Fraction(0))


@given(st.lists(st.tuples(entries, entries), min_size=1, max_size=12))
def test_rounds_like_a_sum_in_twice_the_precision(pairs):
    a, x = (np.array(column) for column in zip(*pairs, strict=True))
    exact = exactly(a, x)
    # Ogita, Rump, Oishi: one rounding of the result, and gamma_n**2 of the sum of magnitudes
    bound = 2.0**-53 * abs(exact) + Fraction(len(a) * 2.0**-53) ** 2 * exactly(abs(a), abs(x))
    for A in (a[None, :], sparse.csr_array(a[None, :])):
        assert abs(Fraction(float(product(A, x)[0])) - exact) <= bound


def test_survives_cancellation_that_defeats_a_plain_product():
    a = np.array([1e8, 1.0, -1e8]) + 2.0**-26
    x = np.array([1e8, 1.0, 1e8])
    exact = exactly(a, x)
    assert abs(Fraction(float(product(a[None, :], x)[0])) - exact) <= 2.0**-53 * abs(exact)
    assert abs(Fraction(float(a @ x)) - exact) > 2.0**-40 * abs(exact)


def test_rows_of_different_lengths_and_empty_ones():
    rng = np.random.default_rng(3)
    A = sparse.random_array((40, 40), density=0.05, rng=rng, format="csr")
    A.data[:] = rng.standard_normal(A.nnz)
    A = sparse.csr_array(sparse.vstack([A[:39], sparse.csr_array((1, 40))]))
    assert np.unique(np.diff(A.indptr)).size > 3
    x = rng.standard_normal(40)
    np.testing.assert_allclose(product(A, x), A @ x, rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(product(A, x), product(A.toarray(), x))


def test_complex():
    rng = np.random.default_rng(4)
    A = rng.standard_normal((6, 6)) + 1j * rng.standard_normal((6, 6))
    x = rng.standard_normal(6) + 1j * rng.standard_normal(6)
    np.testing.assert_allclose(product(A, x), A @ x, rtol=1e-13)
    np.testing.assert_allclose(product(sparse.csr_array(A), x), A @ x, rtol=1e-13)


@given(st.integers(0, 60), st.integers(0, 2**31))
def test_short_vectors_add_up_to_zero_if_asked(n, seed):
    x = short_vector(n, seed, zero_sum=True)
    assert x.shape == (n,)
    assert x.sum() == 0
    assert abs(x).max(initial=0) <= 1


def test_short_vectors_are_multiples_of_a_power_of_two():
    x = 1024 * short_vector(1000, 5)
    np.testing.assert_array_equal(x, np.rint(x))
    assert np.unique(x).size > 500
    with pytest.raises((ValueError, TypeError)):
        short_vector(3, "seed")
