"""The bound of how many entries the factors of a sparse matrix have, against elimination on patterns."""

import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import splu

from resolvent.operators.fill import column_order, factor_entries


def eliminated(pattern):
    """Entries of the Cholesky factor of A^T A for a pattern of A, by elimination on full matrices."""
    S = pattern.T.astype(int) @ pattern > 0
    for k in range(len(S)):
        below = k + 1 + np.flatnonzero(S[k + 1 :, k])
        S[np.ix_(below, below)] = True
    return int(np.tril(S).sum())


def random(seed, n, density):
    rng = np.random.default_rng(seed)
    A = sparse.random_array((n, n), density=density, rng=rng, data_sampler=rng.standard_normal)
    return sparse.csr_array(A)


@given(st.integers(0, 10**6), st.integers(1, 25), st.floats(0.01, 0.4))
def test_the_count_is_that_of_elimination(seed, n, density):
    A = random(seed, n, density)
    order = np.random.default_rng(seed).permutation(n)
    pattern = (A.toarray() != 0) | np.eye(n, dtype=bool)
    assert factor_entries(A, order) == 2 * eliminated(pattern[:, order])


@given(st.integers(0, 10**6), st.integers(1, 25), st.floats(0.01, 0.4))
def test_no_factors_have_more(seed, n, density):
    A = random(seed, n, density) + sparse.eye_array(n)
    order = column_order(A)
    assert sorted(order) == list(range(n))
    lu = splu(sparse.csc_array(A)[:, order], permc_spec="NATURAL", options={"SymmetricMode": False})
    assert lu.L.nnz + lu.U.nnz <= factor_entries(A, order)


@pytest.mark.parametrize("k", [12, 25])
def test_the_order_is_that_of_scipy_and_keeps_factors_sparse(k):
    T = sparse.diags_array([-1.0, 2.0, -1.3], offsets=[-1, 0, 1], shape=(k, k))
    A = sparse.csc_array(sparse.kronsum(T, T))
    order = column_order(A)
    np.testing.assert_array_equal(order, splu(A).perm_c.argsort())
    natural = factor_entries(A, np.arange(k * k))
    assert factor_entries(A, order) < 0.8 * natural


def test_full_and_diagonal_matrices():
    assert factor_entries(sparse.csr_array(np.ones((6, 6))), np.arange(6)) == 6 * 7
    assert factor_entries(sparse.eye_array(6, format="csr"), np.arange(6)) == 12
    assert factor_entries(sparse.csr_array((6, 6)), np.arange(6)) == 12
