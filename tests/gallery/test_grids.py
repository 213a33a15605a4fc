"""Problems on grids: stencils, spectra, order of the discretisation, and operators without a matrix."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import spsolve

from resolvent.gallery import anisotropic, convection_diffusion, diffusion, lattice, poisson

grids = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)


def second_difference(n):
    return sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n))


def kronecker_sum(matrices):
    """Of one matrix an axis, the last axis fastest."""
    total = sparse.csr_array((1, 1))
    for M in matrices:
        total = sparse.kron(total, sparse.eye_array(M.shape[0])) + sparse.kron(sparse.eye_array(total.shape[0]), M)
    return total.toarray()


def eigenvalues_of(A):
    return np.linalg.eigvalsh(A.toarray())


class TestPoisson:
    @given(grids)
    def test_is_a_kronecker_sum(self, grid):
        np.testing.assert_array_equal(poisson(grid).A.toarray(), kronecker_sum([second_difference(n) for n in grid]))

    @given(grids)
    def test_spectrum(self, grid):
        problem = poisson(grid)
        np.testing.assert_allclose(problem.eigenvalues(), eigenvalues_of(problem.A), atol=1e-13)

    @pytest.mark.parametrize("grid", [16, (16, 16), (16, 16, 16)])
    def test_condition_is_the_same_in_every_dimension(self, grid):
        assert poisson(grid).condition == pytest.approx(1 / math.tan(math.pi / 34) ** 2, rel=1e-13)

    def test_smallest_eigenvalue_keeps_its_relative_accuracy(self):
        n = 10**6
        assert poisson(n).spectrum[0] == pytest.approx((math.pi / (n + 1)) ** 2, rel=1e-11)

    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    def test_b_is_exact(self, dtype):
        problem = poisson((7, 5, 6), dtype=dtype)
        assert problem.A.dtype == problem.b.dtype == problem.x.dtype == dtype
        # scaled to integers, the product cannot round
        integers = problem.A.toarray().astype(np.int64) @ (1024 * problem.x).astype(np.int64)
        np.testing.assert_array_equal(1024 * problem.b, integers)

    def test_an_int_is_a_line(self):
        assert poisson(5).A.shape == (5, 5)
        np.testing.assert_array_equal(poisson(5).A.toarray(), poisson((5,)).A.toarray())

    @pytest.mark.parametrize(("grid", "error"), [((2, 2, 2, 2), ValueError), ((3, 0), ValueError), (4.0, TypeError)])
    def test_bad_grid(self, grid, error):
        with pytest.raises(error, match="grid"):
            poisson(grid)

    def test_bad_dtype(self):
        with pytest.raises(ValueError, match="dtype is int32; it must be float64 or float32"):
            poisson(3, dtype=np.int32)

    def test_too_large_for_the_index(self):
        with pytest.raises(ValueError, match="matrix_free"):
            lattice.csr((2**16, 2**16), lattice.cross(4.0, [(-1.0, -1.0)] * 2))


class TestAnisotropic:
    @given(st.integers(1, 6), st.integers(1, 6), st.floats(1e-6, 1e3))
    def test_aligned_spectrum(self, n, m, epsilon):
        problem = anisotropic((n, m), epsilon)
        reference = kronecker_sum([second_difference(n), epsilon * second_difference(m)])
        np.testing.assert_allclose(problem.A.toarray(), reference, rtol=1e-15)
        scale = 4 * (1 + epsilon)
        np.testing.assert_allclose(problem.eigenvalues(), np.linalg.eigvalsh(reference), atol=1e-14 * scale)

    @given(st.floats(1e-6, 1e2), st.floats(-4, 4))
    def test_is_positive_definite_at_every_angle(self, epsilon, theta):
        A = anisotropic((6, 7), epsilon, theta).A
        np.testing.assert_array_equal(A.toarray(), A.T.toarray())
        assert eigenvalues_of(A)[0] > 0

    def test_a_quarter_turn_exchanges_the_axes(self):
        turned, other = anisotropic((4, 5), 0.1, math.pi / 2), anisotropic((5, 4), 0.1)
        assert turned.A.nnz == other.A.nnz
        np.testing.assert_allclose(turned.eigenvalues(), other.eigenvalues(), rtol=1e-13)

    def test_isotropic_is_poisson_at_every_angle(self):
        np.testing.assert_allclose(anisotropic(5, 1.0, 0.7).A.toarray(), poisson((5, 5)).A.toarray(), atol=1e-15)

    def test_annihilates_what_the_differential_operator_does(self):
        # Second differences are exact for quadratics: inside, the stencil gives -(a u_xx + 2 b u_xy + c u_yy) h**2.
        epsilon, theta, n = 0.05, 0.6, 7
        x, y = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
        D = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
        D = D @ np.diag([1, epsilon]) @ D.T
        A = anisotropic(n, epsilon, theta).A
        for u, expected in ((x * x, -2 * D[0, 0]), (x * y, -2 * D[0, 1]), (y * y, -2 * D[1, 1]), (x + y, 0)):
            inside = (A @ u.ravel().astype(float)).reshape(n, n)[1:-1, 1:-1]
            np.testing.assert_allclose(inside, expected, atol=1e-12)

    def test_fast_direction_is_along_theta(self):
        # A wave across the fast direction costs little, one along it much.
        problem = anisotropic(16, 1e-3, theta=math.pi / 4)
        i, j = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
        quotients = []
        for phase in (i + j, i - j):
            u = np.cos(0.5 * phase).ravel()
            quotients.append(u @ (problem.A @ u) / (u @ u))
        assert quotients[0] > 3 * quotients[1]

    @pytest.mark.parametrize(
        ("arguments", "word"), [((4, 0.0), "epsilon"), ((4, 1.0, math.inf), "theta"), (((4, 4, 4),), "grid")]
    )
    def test_bad_arguments(self, arguments, word):
        with pytest.raises(ValueError, match=word):
            anisotropic(*arguments)


class TestDiffusion:
    @given(grids, st.floats(1e-3, 1e3))
    def test_constant_coefficient(self, grid, k):
        problem = diffusion(grid, k)
        np.testing.assert_allclose(problem.A.toarray(), k * poisson(grid).A.toarray(), rtol=1e-15)
        np.testing.assert_allclose(problem.eigenvalues(), k * poisson(grid).eigenvalues(), rtol=1e-12)

    @given(grids, st.floats(1, 1e8), st.integers(0, 2**31))
    def test_is_a_symmetric_m_matrix(self, grid, contrast, seed):
        A = diffusion(grid, contrast=contrast, seed=seed).A.toarray()
        np.testing.assert_array_equal(A, A.T)
        assert (A - np.diag(A.diagonal()) <= 0).all()
        np.linalg.cholesky(A)
        # k lies between 1 and contrast, hence A between the two Laplacians
        low, high = poisson(grid).spectrum
        found = np.linalg.eigvalsh(A)
        assert found[0] >= low * (1 - 1e-9) - 1e-14 * found[-1]
        assert found[-1] <= contrast * high * (1 + 1e-9)

    @pytest.mark.parametrize("dimensions", [1, 2, 3])
    def test_order_two_on_a_manufactured_solution(self, dimensions):
        def k(*x):
            return 1 + sum((axis + 1) * value**2 for axis, value in enumerate(x))

        def u(*x):
            return math.prod(np.sin(math.pi * value) for value in x)

        def f(*x):  # - k lap u - grad k . grad u
            total = dimensions * math.pi**2 * k(*x) * u(*x)
            for axis, value in enumerate(x):
                slope = math.pi * np.cos(math.pi * value)
                others = math.prod(np.sin(math.pi * other) for j, other in enumerate(x) if j != axis)
                total = total - 2 * (axis + 1) * value * slope * others
            return total

        errors = []
        for intervals in (8, 16):
            line = np.arange(1, intervals) / intervals
            x = np.meshgrid(*[line] * dimensions, indexing="ij")
            A = diffusion((intervals - 1,) * dimensions, k).A
            found = spsolve(A.tocsc(), (f(*x) / intervals**2).ravel())
            errors.append(np.abs(found - u(*x).ravel()).max())
        assert errors[1] < 0.01
        assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)

    def test_flux_is_exact_where_the_coefficient_jumps(self):
        # In one dimension the harmonic mean makes the discrete solution of (k u')' = 0 exact between the points:
        # u' is inversely proportional to k. With the value 1 at the far end, the answer is a ratio of resistances.
        k = np.array([1.0, 1.0, 1.0, 100.0, 100.0, 100.0])  # at the points, boundary included
        A = diffusion(4, k).A
        resistance = (1 / k[1:] + 1 / k[:-1]) / 2
        b = np.zeros(4)
        b[-1] = 1 / resistance[-1]
        expected = np.cumsum(resistance)[:-1] / resistance.sum()
        np.testing.assert_allclose(spsolve(A.tocsc(), b), expected, rtol=1e-13)

    def test_array_without_boundary_takes_the_value_beside_it(self):
        inner = np.random.default_rng(0).uniform(1, 2, size=(3, 4))
        np.testing.assert_array_equal(
            diffusion((3, 4), inner).A.toarray(), diffusion((3, 4), np.pad(inner, 1, mode="edge")).A.toarray()
        )

    def test_extreme_contrast_does_not_overflow(self):
        problem = diffusion(3, np.array([1e300, 1e-300, 1e300]))
        assert np.isfinite(problem.A.data).all()
        np.testing.assert_allclose(problem.A.toarray()[0, 1], -2e-300)

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"coefficient": -1.0}, ValueError, r"coefficient lies in \[-1, -1\]"),
            ({"coefficient": np.zeros(4)}, ValueError, "must be positive"),
            ({"coefficient": np.ones(5)}, ValueError, r"coefficient has shape \(5,\); it must be \(4,\), or \(6,\)"),
            ({"coefficient": lambda x: x[1:] + 1}, ValueError, r"coefficient returned an array of shape \(5,\)"),
            ({"coefficient": np.ones(4, dtype=complex)}, TypeError, "coefficient is of dtype complex128"),
            ({"coefficient": np.array([1, np.nan, 1, 1])}, ValueError, "finite"),
            ({"contrast": 0.5}, ValueError, r"contrast is 0.5; it must lie in \[1, inf"),
            ({"coefficient": 1.0, "contrast": 2.0}, ValueError, "both given"),
        ],
    )
    def test_bad_arguments(self, options, error, message):
        with pytest.raises(error, match=message):
            diffusion(4, **options)


class TestConvectionDiffusion:
    @given(st.lists(st.tuples(st.integers(1, 6), st.floats(-1.5, 1.5)), min_size=1, max_size=2))
    def test_real_spectra(self, axes):
        grid, velocity = zip(*axes, strict=True)
        for scheme in ("upwind", "central"):
            problem = convection_diffusion(grid, velocity, scheme)
            reference = np.linalg.eigvals(problem.A.toarray())
            np.testing.assert_allclose(reference.imag, 0, atol=1e-6)
            np.testing.assert_allclose(problem.eigenvalues(), np.sort(reference.real), atol=1e-6)
            assert problem.spectrum == pytest.approx((problem.eigenvalues()[0], problem.eigenvalues()[-1]), rel=1e-12)

    def test_complex_spectrum_of_central_differences_on_a_coarse_mesh(self):
        problem = convection_diffusion(8, 4.0, "central")
        reference = np.linalg.eigvals(problem.A.toarray())
        found = problem.eigenvalues()
        assert problem.spectrum is None
        np.testing.assert_allclose(found.real, 2, rtol=1e-14)  # all on one vertical line
        np.testing.assert_allclose(np.sort(found.imag), np.sort(reference.imag), atol=1e-12)
        assert found.imag.max() == pytest.approx(2 * math.sqrt(3) * math.cos(math.pi / 9))

    def test_defective_limit(self):
        # at |v| = 2 the central matrix is bidiagonal: one eigenvalue, n times
        problem = convection_diffusion(6, 2.0, "central")
        np.testing.assert_array_equal(problem.eigenvalues(), 2.0)
        assert problem.A.nnz == 11

    @given(grids, st.floats(-50, 50))
    def test_upwind_is_an_m_matrix(self, grid, v):
        A = convection_diffusion(grid, v).A.toarray()
        assert (A - np.diag(A.diagonal()) <= 0).all()
        assert (A.sum(axis=1) >= -1e-12 * A.max()).all()
        assert np.linalg.eigvalsh((A + A.T) / 2)[0] > 0

    @given(st.floats(-50, 50))
    def test_central_has_the_laplacian_as_its_symmetric_part(self, v):
        A = convection_diffusion((3, 4), v, "central").A.toarray()
        np.testing.assert_allclose((A + A.T) / 2, poisson((3, 4)).A.toarray(), atol=1e-14)

    def test_orders_of_the_two_schemes(self):
        # -u'' + 8 u' = 0, u(0) = 0, u(1) = 1
        def error(scheme, intervals):
            A = convection_diffusion(intervals - 1, 8 / intervals, scheme).A
            b = np.zeros(intervals - 1)
            b[-1] = 1.0 if scheme == "upwind" else 1.0 - 4 / intervals
            x = np.arange(1, intervals) / intervals
            return np.abs(spsolve(A.tocsc(), b) - np.expm1(8 * x) / np.expm1(8)).max()

        assert math.log2(error("upwind", 128) / error("upwind", 256)) == pytest.approx(1, abs=0.15)
        assert math.log2(error("central", 128) / error("central", 256)) == pytest.approx(2, abs=0.05)

    def test_velocity_may_be_a_number_or_any_sequence(self):
        problems = [convection_diffusion((3, 4), v) for v in (0.5, (0.5, 0.5), [0.5, 0.5], np.full(2, 0.5))]
        for problem in problems[1:]:
            np.testing.assert_array_equal(problem.A.toarray(), problems[0].A.toarray())
            assert problem.name == problems[0].name

    def test_without_velocity_it_is_poisson(self):
        problem = convection_diffusion((3, 3), 0.0)
        assert problem.symmetric
        assert problem.positive_definite
        assert problem.condition == pytest.approx(poisson((3, 3)).condition)
        assert not convection_diffusion((3, 3), 0.1).symmetric
        assert convection_diffusion((3, 3), 0.1).condition is None

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((4, 1.0, "downwind"), "scheme: found 'downwind'; wanted one of upwind, central"),
            (((4, 4), (1.0,)), "velocity has 1 components; it must have 2"),
            ((4, math.nan), "velocity is nan"),
            ((4, (1.0, 2.0)), "velocity has 2 components; it must have 1"),
        ],
    )
    def test_bad_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            convection_diffusion(*arguments)


@pytest.mark.parametrize(
    ("family", "grid", "options"),
    [
        (poisson, 7, {}),
        (poisson, (4, 5), {}),
        (poisson, (3, 1, 4), {}),
        (poisson, (4, 3), {"dtype": np.float32}),
        (anisotropic, (5, 4), {"epsilon": 0.01}),
        (anisotropic, (5, 4), {"epsilon": 0.01, "theta": 0.3}),
        (anisotropic, (5, 2), {"epsilon": 0.01, "theta": 0.3}),
        (anisotropic, (1, 5), {"epsilon": 0.01, "theta": 0.3}),
        (diffusion, 6, {"contrast": 100.0}),
        (diffusion, (3, 1, 4), {"contrast": 100.0}),
        (diffusion, (4, 3, 2), {"contrast": 100.0}),
        (convection_diffusion, (4, 5), {"velocity": (1.5, -0.5)}),
        (convection_diffusion, (4, 5), {"velocity": (1.5, -5.0), "scheme": "central"}),
    ],
)
def test_operators_without_a_matrix_are_the_same_matrix(family, grid, options):
    pytest.importorskip("resolvent.operators")
    stored, free = family(grid, **options), family(grid, matrix_free=True, **options)
    assert not sparse.issparse(free.A)
    assert not isinstance(free.A, np.ndarray)
    assert free.A.dtype == stored.A.dtype
    np.testing.assert_array_equal(free.A.tocsr().toarray(), stored.A.toarray())
    np.testing.assert_allclose(free.A.matvec(stored.x), stored.b, rtol=0, atol=1e-14 * np.abs(stored.A).max())
    np.testing.assert_array_equal(free.b, stored.b)
    assert free.condition == stored.condition
    assert type(free.A).__name__ in repr(free)


@given(grids, st.data())
def test_upper_diagonals_hold_the_upper_half(grid, data):
    axes = len(grid)
    entries = lattice.cross(2.0 * axes, [(-1.0, -1.0)] * axes)
    if axes == 2 and data.draw(st.booleans()):
        entries |= {(1, 1): 0.25, (-1, -1): 0.25, (1, -1): -0.5, (-1, 1): -0.5}
    diagonals, offsets = lattice.upper_diagonals(grid, entries)
    n = math.prod(grid)
    A = np.zeros((n, n))
    for values, offset in zip(diagonals, offsets, strict=True):
        assert 0 <= offset < n
        assert (values[n - offset :] == 0).all()
        A += np.diag(values[: n - offset], offset)
    np.testing.assert_array_equal(A, np.triu(lattice.csr(grid, entries).toarray()))
