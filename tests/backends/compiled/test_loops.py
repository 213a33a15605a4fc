"""The compiled loops as those use them who know a product, want to stop early, or do not follow the gap."""

import numba
import numpy as np
import pytest

import resolvent as rv
from resolvent.backends.compiled import compiling, vectors
from resolvent.backends.compiled.cg import cg_loop
from resolvent.backends.compiled.compiling import ROOM, SUMS, sums_of
from resolvent.backends.compiled.momentum import BLOCK, momentum_loop
from resolvent.backends.compiled.products import ShiftedArrays
from resolvent.precision.rounding_rule import Unrounded
from resolvent.solvers.chebyshev.coefficients import chebyshev_coefficients

SHIFT, NONE = 0.5, np.empty(0)


def system(n):
    """H with eigenvalues between 0 and 1, and b."""
    rng = np.random.default_rng(n)
    half = rng.standard_normal((n, n))
    H = half @ half.T
    return H / np.abs(H).sum(1).max(), rng.standard_normal(n)


@pytest.mark.parametrize("n", [1, 7, 8, 45, 2100])
def test_a_shifted_matrix_is_multiplied(n):
    H, x = system(n)
    out = np.empty(n)
    vectors.matvec.serial(ShiftedArrays(H, SHIFT, NONE), x, out)
    np.testing.assert_allclose(out, H @ x + SHIFT * x, atol=1e-13 * np.linalg.norm(x))


def momentum(A, x, previous, b, first, steps, limit):
    """So many steps of Chebyshev iteration after the first ones; how many were taken, and the last iterate."""
    ahead = chebyshev_coefficients(SHIFT, SHIFT + 1.0)
    betas, gammas = np.array([next(ahead) for _ in range(first + steps)]).reshape(-1, 2)[first:].T.copy()
    taken = momentum_loop.serial(A, b[:0], x, previous, b, Unrounded(), betas, gammas, limit)
    return taken, previous if taken % 2 else x


def test_chebyshev_iteration_stops_at_the_first_residual_within_the_limit():
    H, b = system(BLOCK + 10)
    A, limit = ShiftedArrays(H, SHIFT, NONE), 1e-12 * (b @ b)
    residuals = []
    for steps in range(25):
        taken, x = momentum(A, np.zeros_like(b), np.zeros_like(b), b, 0, steps, -1.0)
        assert taken == steps
        residuals.append(np.linalg.norm(b - H @ x - SHIFT * x) ** 2)
    wanted = next(k for k, square in enumerate(residuals) if square <= limit)
    assert 5 < wanted < 24
    taken, x = momentum(A, np.zeros_like(b), np.zeros_like(b), b, 0, 24, limit)
    assert taken == wanted
    np.testing.assert_array_equal(x, momentum(A, np.zeros_like(b), np.zeros_like(b), b, 0, wanted, -1.0)[1])


def test_a_known_product_stands_for_the_matrix():
    H, b = system(45)
    A = ShiftedArrays(H, SHIFT, NONE)
    x, previous = np.ones(45), np.zeros(45)
    wanted = momentum(A, x.copy(), previous.copy(), b, 1, 1, -1.0)[1]
    found = momentum(ShiftedArrays(H, SHIFT, H @ x + SHIFT * x), x, previous, b, 1, 1, -1.0)[1]
    np.testing.assert_allclose(found, wanted, atol=1e-13)


def test_conjugate_gradients_that_do_not_follow_the_gap_are_the_same():
    H, b = system(45)
    size = np.linalg.norm(b)
    found = []
    for gap in (None, (0.0, 0.0, 1e-16, 1e-16, size)):
        x, r, p, q = np.zeros_like(b), b.copy(), b.copy(), np.empty_like(b)
        norms, alphas, betas = np.empty((3, 100))
        A = ShiftedArrays(H, SHIFT, NONE)
        taken, _, bound, why = cg_loop.serial(
            A, b[:0], x, r, p, q, size * size, 1e-9 * size, gap, Unrounded(), norms, alphas, betas
        )
        assert (why, bound > 0.0) == (0, gap is not None)
        assert np.linalg.norm(b - H @ x - SHIFT * x) <= 1.01e-9 * size
        found.append((taken, x, norms[:taken]))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])
    np.testing.assert_array_equal(found[0][2], found[1][2])


def test_a_team_has_no_more_sums_than_there_is_room_for():
    @numba.njit
    def size(team, kinds, blocks):
        return sums_of(team, kinds, blocks).size

    common = np.zeros(SUMS + 12, np.int64)
    common[ROOM] = 12
    team = (0, 2, common.ctypes.data)
    assert size(team, 3, 4) == 12
    with pytest.raises(ValueError, match="more kinds of sums"):
        size(team, 4, 4)


def test_bicgstab_by_a_team_is_that_by_one_thread(monkeypatch):
    """The pass with most sums: nine a block."""
    A = rv.gallery.convection_diffusion((300, 200)).A
    b = np.random.default_rng(0).standard_normal(60_000)
    alone = rv.bicgstab(A, b, rtol=1e-6)
    monkeypatch.setattr(compiling, "PARALLEL_FROM", 0)
    monkeypatch.setattr(compiling, "threads", lambda: 2)
    together = rv.bicgstab(A, b, rtol=1e-6)
    np.testing.assert_array_equal(together.x, alone.x)
    assert together.converged
