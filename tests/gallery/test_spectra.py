"""Spectra made to measure: Strakoš's matrices and random ones with given singular values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolvent.gallery import randsvd, strakos


class TestStrakos:
    @pytest.mark.parametrize(("n", "largest", "rho"), [(24, 100.0, 0.65), (48, 1000.0, 0.8), (48, 1000.0, 0.9)])
    def test_classical_cases(self, n, largest, rho):
        problem = strakos(n, 0.1, largest, rho)
        values = problem.A.diagonal()
        assert problem.spectrum == (0.1, largest)
        assert problem.condition == pytest.approx(largest / 0.1, rel=1e-15)
        assert (np.diff(values) > 0).all()
        # the definition, at an index inside
        assert values[9] == pytest.approx(0.1 + 9 / (n - 1) * (largest - 0.1) * rho ** (n - 10), rel=1e-14)
        np.testing.assert_array_equal(problem.b, 1)

    def test_more_than_half_of_the_default_lies_below_a_twentieth(self):
        assert (strakos().eigenvalues() < 5).sum() == 17

    def test_rho_one_spaces_evenly(self):
        np.testing.assert_allclose(strakos(11, 1.0, 2.0, 1.0).eigenvalues(), np.linspace(1, 2, 11), rtol=1e-15)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((1,), "n is 1; it must be at least 2"),
            ((4, 0.0), "smallest is 0.0"),
            ((4, 2.0, 1.0), r"largest is 1.0; it must lie in \(2, inf\)"),
            ((4, 1.0, 2.0, 1.1), r"rho is 1.1; it must lie in \(0, 1\]"),
            ((4, 1.0, 2.0, 0.0), "rho"),
        ],
    )
    def test_bad_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            strakos(*arguments)


def expected_values(n, condition, mode):
    small = 1 / condition
    if mode == 1:
        return np.r_[1.0, np.full(n - 1, small)]
    if mode == 2:
        return np.r_[np.ones(n - 1), small]
    if mode == 3:
        return np.geomspace(1, small, n)
    return np.linspace(1, small, n)


class TestRandsvd:
    @pytest.mark.parametrize("kind", ["spd", "symmetric", "general"])
    @pytest.mark.parametrize("mode", [1, 2, 3, 4])
    def test_singular_values(self, mode, kind):
        problem = randsvd(30, 1e4, mode, kind, seed=7)
        found = np.linalg.svd(problem.A, compute_uv=False)
        np.testing.assert_allclose(found, expected_values(30, 1e4, mode), rtol=1e-10)
        assert problem.condition == pytest.approx(1e4, rel=1e-14)

    def test_mode_five_is_log_uniform_with_exact_ends(self):
        problem = randsvd(400, 1e6, 5)
        found = np.linalg.svd(problem.A, compute_uv=False)
        assert found[0] == pytest.approx(1, rel=1e-12)
        assert found[-1] == pytest.approx(1e-6, rel=1e-9)
        logs = -np.log10(found) / 6
        assert abs(logs.mean() - 0.5) < 4 / np.sqrt(12 * 400)
        assert abs(logs.std() - 1 / np.sqrt(12)) < 0.03

    @given(st.integers(2, 12), st.floats(1, 1e5), st.integers(1, 5), st.integers(0, 2**31))
    def test_kinds(self, n, condition, mode, seed):
        spd = randsvd(n, condition, mode, "spd", seed=seed)
        assert np.linalg.eigvalsh(spd.A)[0] == pytest.approx(1 / condition, rel=1e-8)
        signed = randsvd(n, condition, mode, "symmetric", seed=seed)
        low, high = signed.spectrum
        assert low < 0 < high
        assert high == 1
        np.testing.assert_allclose(np.linalg.eigvalsh(signed.A), signed.eigenvalues(), atol=1e-13)
        assert signed.condition == pytest.approx(condition, rel=1e-12)
        general = randsvd(n, condition, mode, "general", seed=seed)
        assert general.spectrum is None
        assert not general.symmetric

    def test_singular_vectors_are_isotropic(self):
        # Of a Haar matrix each entry has mean 0 and variance 1/n; a QR factorisation without the sign fix has not.
        from resolvent.gallery.randsvd import _orthogonal

        rng = np.random.default_rng(0)
        corners = np.array([_orthogonal(4, rng)[0, 0] for _ in range(2000)])
        assert abs(corners.mean()) < 4 * 0.5 / np.sqrt(2000)
        assert corners.var() == pytest.approx(0.25, abs=0.03)

    def test_order_one(self):
        np.testing.assert_allclose(randsvd(1, 1.0).A, [[1.0]])
        with pytest.raises(ValueError, match="condition is 10; it must be 1 for n = 1"):
            randsvd(1, 10.0)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((4, 0.5), r"condition is 0.5; it must lie in \[1, inf"),
            ((4, 10.0, 6), "mode is 6; it must be 1, 2, 3, 4 or 5"),
            ((4, 10.0, 0), "mode is 0"),
            ((4, 10.0, 3, "hermitian"), "kind: found 'hermitian'"),
        ],
    )
    def test_bad_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            randsvd(*arguments)
