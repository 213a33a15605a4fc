"""Graph Laplacians: null spaces, closed spectra, bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from resolvent.gallery import graph_laplacian

KINDS = ("path", "cycle", "grid", "complete", "star", "random")


@given(st.sampled_from(KINDS), st.integers(3, 9), st.sampled_from([0.0, 0.01, 3.0]), st.integers(0, 2**31))
def test_facts(kind, n, shift, seed):
    problem = graph_laplacian(kind, n, shift, seed=seed)
    A = problem.A.toarray()
    np.testing.assert_array_equal(A, A.T)
    np.testing.assert_allclose(A.sum(axis=1), shift, atol=1e-14)
    off = A - np.diag(A.diagonal())
    assert set(np.unique(off)) <= {-1.0, 0.0}
    assert connected_components(problem.A)[0] == 1
    values = np.linalg.eigvalsh(A)
    assert values[0] == pytest.approx(shift, abs=1e-12)
    assert values[1] > shift + 1e-3  # connected, so the null space is one-dimensional
    if kind == "random":
        assert problem.eigenvalues() is None
    else:
        np.testing.assert_allclose(problem.eigenvalues(), values, atol=1e-12)
    largest_degree = (-off.sum(axis=1)).max()
    if shift:
        assert values[-1] / values[0] <= (2 * largest_degree + shift) / shift * (1 + 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_singular_ones_are_consistent_and_x_is_the_shortest_solution(kind):
    problem = graph_laplacian(kind, 12)
    assert not problem.positive_definite
    assert problem.b.sum() == 0
    assert problem.x.sum() == 0
    np.testing.assert_array_equal(problem.A @ problem.x, problem.b)
    shortest = np.linalg.lstsq(problem.A.toarray(), problem.b, rcond=1e-12)[0]
    np.testing.assert_allclose(problem.x, shortest, atol=1e-11)
    if kind != "random":
        assert problem.condition == np.inf


def test_grid_takes_a_shape():
    problem = graph_laplacian("grid", (3, 4, 2))
    assert problem.A.shape == (24, 24)
    assert problem.A.diagonal().sum() == 2 * (2 * 4 * 2 + 3 * 3 * 2 + 3 * 4 * 1)  # twice the number of edges
    assert graph_laplacian("grid", 5).A.shape == (25, 25)


def test_random_graph_depends_on_the_seed():
    one, two = (graph_laplacian("random", 30, seed=seed).A for seed in (1, 2))
    assert (one != two).nnz > 0
    # a tree and at most 2 n further edges
    assert 2 * 29 <= one.diagonal().sum() <= 2 * (29 + 60)


def test_a_shift_below_rounding_does_not_make_it_definite():
    assert not graph_laplacian("path", 5, 1e-30).positive_definite
    assert graph_laplacian("path", 5, 1e-10).positive_definite


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("wheel", 5), "kind: found 'wheel'; wanted one of path"),
        (("cycle", 2), "n is 2; it must be at least 3"),
        (("path", 1), "n is 1; it must be at least 2"),
        (("path", 5, -1.0), r"shift is -1.0; it must lie in \[0, inf"),
        (("grid", (2, 0)), r"n\[1\] is 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        graph_laplacian(*arguments)
