"""Shifted Laplacians: the stream of the reference, always the same, and what it refuses."""

import numpy as np
import pytest

from resolvent.gallery import poisson, shifted_laplacians


def test_matrices_and_right_hand_sides():
    sequence = shifted_laplacians(10, 40, shifts="high", seed=3)
    assert len(sequence) == 40
    K = poisson((10, 10)).A
    for problem, c in zip(sequence, sequence.shifts, strict=True):
        assert problem.context == c
        np.testing.assert_array_equal(problem.A.toarray(), (K + c * np.eye(100)))
        assert problem.b @ problem.b <= 100
        assert problem.positive_definite
    values = np.linalg.eigvalsh(problem.A.toarray())
    np.testing.assert_allclose(problem.eigenvalues(), values, atol=1e-12)
    np.testing.assert_allclose(problem.spectrum, values[[0, -1]], atol=1e-12)


def test_the_same_each_time_and_another_with_another_seed():
    sequence = shifted_laplacians(5, 6, shifts=np.linspace(0, 1, 6), seed=1)
    first, again = ([problem.b for problem in sequence] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = shifted_laplacians(5, 6, shifts=np.linspace(0, 1, 6), seed=2)
    assert not np.array_equal(first[0], next(iter(other)).b)


@pytest.mark.parametrize(("variance", "mean"), [("low", 0.0), ("high", 0.0)])
def test_shifts_lie_where_the_reference_has_them(variance, mean):
    shifts = shifted_laplacians(10, 4000, shifts=variance).shifts
    assert -0.15 <= shifts.min() < shifts.max() <= 0.45
    assert shifts.mean() == pytest.approx(mean, abs=0.01)


def test_bad_arguments_are_named():
    for make, said in (
        (lambda: shifted_laplacians(0), "points is 0"),
        (lambda: shifted_laplacians(10, 0), "steps is 0"),
        (lambda: shifted_laplacians(10, 5, shifts="middling"), "shifts: found 'middling'"),
        (lambda: shifted_laplacians(10, 5, shifts=[0.1]), r"shifts has shape (1,); it must be (5,)"),
        (lambda: shifted_laplacians(10, 1, shifts=[-1.0]), "all must be above -0.162"),
        (lambda: shifted_laplacians(10, 5, seed=-1), "seed is -1"),
    ):
        with pytest.raises(ValueError) as caught:
            make()
        assert said in str(caught.value)
