"""What every problem of the gallery promises, whatever its family."""

import dataclasses
import pickle
from fractions import Fraction

import numpy as np
import pytest
from scipy import sparse

from resolvent import gallery

SIZES = {
    "strakos": 24,
    "anisotropic": (6, 5),
    "poisson": (4, 3, 5),
    "diffusion": (4, 5),
    "convection_diffusion": (3, 7),
}


def small(name):
    return gallery.by_name(name, SIZES.get(name, 9))


def dense_of(problem):
    return problem.A.toarray() if sparse.issparse(problem.A) else problem.A


@pytest.mark.parametrize("name", gallery.GALLERY)
class TestEveryProblem:
    def test_is_a_float64_matrix_in_the_promised_storage(self, name):
        A = small(name).A
        assert A.dtype == np.float64
        if sparse.issparse(A):
            assert isinstance(A, sparse.csr_array)
            assert A.indices.dtype == A.indptr.dtype == np.int32
            for i in range(A.shape[0]):
                row = A.indices[A.indptr[i] : A.indptr[i + 1]]
                assert (np.diff(row) > 0).all()  # sorted and without duplicates
            assert (A.data != 0).all()

    def test_b_is_the_product_to_the_last_bit(self, name):
        problem = small(name)
        if name == "strakos":  # there b is chosen and x rounded
            np.testing.assert_array_equal(problem.x, 1 / problem.A.diagonal())
            return
        A = dense_of(problem)
        x = [Fraction(v) for v in problem.x.tolist()]
        exact = [float(sum(Fraction(a) * v for a, v in zip(row, x, strict=True) if a)) for row in A.tolist()]
        np.testing.assert_allclose(problem.b, exact, rtol=2**-52, atol=np.abs(A).max() * 2**-90)

    def test_symmetry_and_definiteness_are_as_said(self, name):
        problem = small(name)
        A = dense_of(problem)
        assert problem.symmetric == (A == A.T).all()
        if problem.symmetric:
            smallest = np.linalg.eigvalsh(A)[0]
            assert problem.positive_definite == (smallest > 1e-13 * np.abs(A).max())

    def test_eigenvalues_are_those_of_lapack(self, name):
        problem = small(name)
        A, eigenvalues = dense_of(problem), problem.eigenvalues()
        if eigenvalues is None:
            return
        assert eigenvalues.shape == problem.b.shape
        reference = np.linalg.eigvalsh(A) if problem.symmetric else np.sort(np.linalg.eigvals(A).real)
        np.testing.assert_allclose(eigenvalues, reference, rtol=0, atol=1e-9 * np.abs(reference).max())
        assert (np.diff(eigenvalues) >= 0).all()

    def test_spectrum_and_condition_fit_the_matrix(self, name):
        problem = small(name)
        singular = np.linalg.svd(dense_of(problem), compute_uv=False)
        if problem.condition is not None:
            if np.isinf(problem.condition):
                assert singular[-1] < 1e-14 * singular[0]
            else:
                bound = 1e-15 * problem.condition * singular.size  # what rounding does to the smallest one
                assert problem.condition == pytest.approx(singular[0] / singular[-1], rel=max(bound, 1e-12))
        if problem.spectrum is not None and problem.eigenvalues() is not None:
            eigenvalues = problem.eigenvalues()
            assert problem.spectrum == pytest.approx((eigenvalues[0], eigenvalues[-1]), rel=1e-13)

    def test_inverse(self, name):
        problem = small(name)
        inverse = problem.inverse()
        if inverse is None:
            return
        inverse = inverse.toarray() if sparse.issparse(inverse) else inverse
        A = dense_of(problem)
        scale = np.linalg.norm(A) * np.linalg.norm(inverse)
        np.testing.assert_allclose(inverse @ A, np.eye(len(A)), rtol=0, atol=1e-15 * scale)

    def test_is_described(self, name):
        problem = small(name)
        assert problem.name in repr(problem)
        assert "\n" not in repr(problem)
        assert problem.reference in str(problem)
        assert ("positive definite" in repr(problem)) == problem.positive_definite

    def test_repeats_itself(self, name):
        one, two = small(name), small(name)
        np.testing.assert_array_equal(one.b, two.b)
        np.testing.assert_array_equal(dense_of(one), dense_of(two))

    def test_survives_pickling(self, name):
        problem = small(name)
        again = pickle.loads(pickle.dumps(problem))
        np.testing.assert_array_equal(problem.b, again.b)
        assert problem.condition == again.condition

    @pytest.mark.parametrize("size", [0, -3, (), 2.5, "4", True, None])
    def test_refuses_sizes_that_are_none(self, name, size):
        with pytest.raises((ValueError, TypeError), match=r"^(n|grid)\b"):
            gallery.by_name(name, size)


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        gallery.poisson(3).b = None


def test_seeds_matter_and_global_state_does_not():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert (gallery.poisson(50, seed=1).x != gallery.poisson(50, seed=2).x).any()
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_eigenvalues_are_not_shared():
    problem = gallery.strakos()
    problem.eigenvalues()[:] = 0
    assert problem.condition == 1000


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"name: found 'poison'; .*'poisson'"):
        gallery.by_name("poison", 4)


def test_by_name_passes_options_and_takes_a_tuple_of_one():
    problem = gallery.by_name("randsvd", (8,), condition=50.0, mode=4)
    assert problem.condition == pytest.approx(50)
    assert problem.b.shape == (8,)


def test_condition_of_an_indefinite_matrix_uses_the_eigenvalue_nearest_zero():
    values = np.array([-2.0, 0.5, 4.0])
    known = gallery.Known(lambda: values, lambda: (-2.0, 4.0))
    problem = gallery.Problem("d", np.diag(values), values, np.ones(3), True, False, "", known)
    assert problem.condition == 8
    assert dataclasses.replace(problem, known=gallery.Known(extremes=lambda: (-2.0, 4.0))).condition is None
