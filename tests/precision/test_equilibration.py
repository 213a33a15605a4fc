"""Equilibration: exact powers of two, scaled as promised, undone exactly, against closed forms and SVD."""

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.optimize import minimize

from resolvent.gallery import poisson, randsvd
from resolvent.precision import equilibrate
from resolvent.precision import round as rounded_to

METHODS = ("jacobi", "ruiz", "symmetric")


def badly_scaled(n=30, kind="spd", seed=0, decades=8):
    """A matrix of moderate condition with rows and columns of wildly different size."""
    rng = np.random.default_rng(seed)
    D, E = 10.0 ** rng.uniform(-decades, decades, (2, n))
    if kind == "general":
        return D[:, None] * rng.standard_normal((n, n)) * E
    B = randsvd(n, 50.0, 3, "spd", seed=seed).A if kind == "spd" else rng.standard_normal((n, n))
    A = D[:, None] * (B + B.T) * D
    return (A + A.T) / 2


def digits(values):
    """The significands."""
    return np.frexp(values)[0]


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array, sparse.coo_matrix])
@pytest.mark.parametrize("method", METHODS)
def test_powers_of_two_change_no_digit(method, convert):
    A = badly_scaled()
    scaled = equilibrate(convert(A), method)
    matrix = scaled.matrix.toarray() if sparse.issparse(scaled.matrix) else scaled.matrix
    np.testing.assert_array_equal(digits(matrix), digits(A))
    assert scaled.method == method
    for scaling in (scaled.row_scaling, scaled.column_scaling):
        np.testing.assert_array_equal(digits(scaling), 0.5)
    back = matrix / scaled.row_scaling[:, None] / scaled.column_scaling
    np.testing.assert_array_equal(back, A)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("columns", [(), (3,)])
def test_solution_and_rhs_are_scaled_back(method, columns):
    A = badly_scaled(decades=3)
    x = np.random.default_rng(1).standard_normal((30, *columns))
    scaled = equilibrate(A, method, target="fp16")
    y = np.linalg.solve(scaled.matrix, scaled.rhs(A @ x))
    # Componentwise in the units of the scaled system, in which nothing is small.
    error = np.abs(y - x / scaled.column_scaling.reshape(30, *[1] * len(columns))).max() / np.abs(y).max()
    assert error < 1e-12
    np.testing.assert_array_equal(scaled.solution(y), (scaled.column_scaling * y.T).T)


def test_jacobi_brings_the_diagonal_to_one():
    scaled = equilibrate(badly_scaled(), "jacobi")
    diagonal = np.diagonal(scaled.matrix)
    assert ((diagonal >= 0.5) & (diagonal <= 2)).all()
    np.testing.assert_array_equal(scaled.matrix, scaled.matrix.T)
    np.testing.assert_array_equal(scaled.row_exponents, scaled.column_exponents)


@pytest.mark.parametrize("kind", ["spd", "symmetric", "general"])
def test_ruiz_brings_every_row_and_column_to_one(kind):
    A = badly_scaled(kind=kind)
    size = np.abs(equilibrate(A, "ruiz").matrix)
    for largest in (size.max(0), size.max(1)):
        assert largest.min() > 2**-1.05
        assert largest.max() < 2**1.05


def test_symmetric_stays_symmetric():
    A = badly_scaled(kind="symmetric")
    for method in ("symmetric", "ruiz", "auto"):
        scaled = equilibrate(A, method)
        np.testing.assert_array_equal(scaled.matrix, scaled.matrix.T)
        np.testing.assert_array_equal(scaled.row_exponents, scaled.column_exponents)
    assert equilibrate(A).method == "symmetric"


def test_condition_numbers_are_those_of_the_matrices():
    A = badly_scaled(decades=2)
    scaled = equilibrate(A)
    before, after = scaled.conditions
    assert before == pytest.approx(np.linalg.cond(A), rel=1e-12)
    assert after == pytest.approx(np.linalg.cond(scaled.matrix), rel=1e-12)
    assert after < 1e-3 * before
    sparse_before, sparse_after = equilibrate(sparse.csr_array(A)).conditions
    assert (sparse_before, sparse_after) == pytest.approx((before, after), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_van_der_sluis(seed):
    """Within n (four times that for powers of two) of the best diagonal scaling, found by minimisation."""
    n = 5
    A = badly_scaled(n, seed=seed, decades=2)
    D = np.diagonal(A) ** -0.5

    def condition(logarithms):
        d = D * np.exp(logarithms)
        return np.log(np.linalg.cond(d[:, None] * A * d))

    best = np.exp(minimize(condition, np.zeros(n), method="Nelder-Mead", options={"maxiter": 2000}).fun)
    jacobi = np.linalg.cond(D[:, None] * A * D)
    after = equilibrate(A, "jacobi").conditions[1]
    assert best <= jacobi * (1 + 1e-9)
    assert jacobi <= n * best
    assert after <= 4 * jacobi


def test_jacobi_is_best_for_tridiagonal_matrices():
    """Forsythe & Straus: a scaled second-difference matrix gets its condition number back, to the factor four."""
    problem = poisson((40,))
    D = 4.0 ** np.random.default_rng(2).integers(-10, 11, 40)
    A = D[:, None] * problem.A.toarray() * D
    assert equilibrate(A, "jacobi").conditions[1] == pytest.approx(problem.condition, rel=1e-9)
    D = 10.0 ** np.random.default_rng(2).uniform(-6, 6, 40)
    assert equilibrate(D[:, None] * problem.A.toarray() * D).conditions[1] <= 4 * problem.condition


@pytest.mark.parametrize("target", ["fp16", "bf16", "fp8_e4m3fn", "mxfp8_e5m2"])
@pytest.mark.parametrize("headroom", [0.1, 1.0])
def test_squeezed_into_a_format(target, headroom):
    from resolvent.precision.formats import format_named

    format = format_named(target)
    largest = getattr(format, "element", format).largest
    A = badly_scaled(kind="general")
    scaled = equilibrate(A, target=target, headroom=headroom)
    size = np.abs(scaled.matrix).max()
    assert headroom * largest / 2 < size <= headroom * largest
    x = np.linspace(1, 2, 30)
    np.testing.assert_allclose(scaled.matrix @ (x / scaled.column_scaling), scaled.rhs(A @ x), rtol=1e-9)


def test_squeezing_saves_a_solve_in_fp16():
    """The matrix itself is out of the range of fp16; scaled and rounded to it, it gives the solution to a few u."""
    A = badly_scaled(decades=6)
    assert np.isinf(rounded_to(A, "fp16")).any()
    scaled = equilibrate(A, target="fp16")
    rounded = rounded_to(scaled.matrix, "fp16")
    assert np.isfinite(rounded).all()
    x = scaled.solution(np.ones(30))
    y = np.linalg.solve(rounded, scaled.rhs(A @ x))
    error = np.linalg.norm(y - 1) / np.linalg.norm(y)
    assert error < 2 * scaled.conditions[1] * 2.0**-11 < 0.5


def test_batches_are_scaled_one_by_one():
    A = np.stack([badly_scaled(seed=seed) for seed in range(6)]).reshape(2, 3, 30, 30)
    b = np.random.default_rng(3).standard_normal((2, 3, 30))
    for method in METHODS:
        scaled = equilibrate(A, method)
        for index in np.ndindex(2, 3):
            alone = equilibrate(A[index], method)
            np.testing.assert_array_equal(scaled.matrix[index], alone.matrix)
            np.testing.assert_array_equal(scaled.rhs(b)[index], alone.rhs(b[index]))
            np.testing.assert_array_equal(scaled.solution(b[..., None])[index][:, 0], alone.solution(b[index]))
        assert scaled.conditions[1].shape == (2, 3)


def test_sparse_is_dense():
    A = badly_scaled(40, "general")
    A[np.random.default_rng(4).random(A.shape) < 0.7] = 0
    A += np.diag(np.full(40, 1e-3))
    dense, held = equilibrate(A, "ruiz"), equilibrate(sparse.csc_array(A), "ruiz")
    np.testing.assert_array_equal(held.matrix.toarray(), dense.matrix)
    np.testing.assert_array_equal(held.row_exponents, dense.row_exponents)
    twice = sparse.coo_array((np.ones(4), ([0, 0, 1, 0], [0, 0, 1, 1])), shape=(2, 2))  # a repeated entry is a sum
    np.testing.assert_array_equal(equilibrate(twice, "ruiz").matrix.toarray() != 0, [[True, True], [False, True]])
    assert twice.nnz == 4


def test_rectangular_and_complex():
    A = badly_scaled(20, "general")[:, :7] * np.exp(1j * np.arange(7))
    scaled = equilibrate(A)
    assert scaled.method == "ruiz"
    assert scaled.matrix.shape == (20, 7)
    np.testing.assert_array_equal(digits(scaled.matrix.imag), digits(A.imag))
    assert np.abs(scaled.matrix).max(0).min() > 2**-1.05
    np.testing.assert_array_equal(scaled.rhs(A)[0], A[0] * scaled.row_scaling[0])


def test_extreme_sizes():
    """Rows whose scaling alone would overflow, and entries down to the smallest subnormal number."""
    A = np.array([[2.0**1020, 2.0**400], [2.0**400, 2.0**-1074]])
    scaled = equilibrate(A)
    np.testing.assert_array_equal(np.diagonal(scaled.matrix), 1)
    assert scaled.matrix[0, 1] == 2.0 ** (400 - 510 + 537)
    np.testing.assert_array_equal(equilibrate(np.diag([2.0**-1074, 1.0])).matrix, np.eye(2))


def test_types():
    assert equilibrate(np.eye(2, dtype=np.float32) * 3).matrix.dtype == np.float32
    assert equilibrate(np.eye(2, dtype=np.float16) * 3).matrix.dtype == np.float32
    assert equilibrate([[2, 1], [1, 2]]).matrix.dtype == np.float64
    A = np.eye(3) * 8.0
    A.flags.writeable = False
    np.testing.assert_array_equal(equilibrate(A).matrix, np.eye(3) / 2)  # scaled by 2**-2, as -3/2 is rounded to even
    assert A[0, 0] == 8


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("A", "options", "said"),
    [
        (np.eye(2), {"method": "best"}, "method: found 'best'; wanted one of auto, jacobi"),
        (np.eye(2), {"headroom": 0.0}, "headroom: found 0.0"),
        (np.eye(2), {"headroom": 1.5}, "headroom: found 1.5"),
        (np.eye(2), {"target": "fp17"}, "format: found 'fp17'"),
        (np.ones(3), {}, r"A: found shape \(3,\)"),
        (np.ones((2, 3)), {"method": "jacobi"}, r"A: found shape \(2, 3\); wanted a square matrix"),
        (np.ones((2, 3)), {"method": "symmetric"}, "not symmetric; use"),
        (np.triu(np.ones((2, 2))), {"method": "symmetric"}, "not symmetric; use"),
        (np.array([[0.0, 1], [1, 1]]), {"method": "jacobi"}, "the diagonal entry of row 0 is zero"),
        (np.array([[1.0, 0], [1, 0]]), {}, "column 1 is zero"),
        (np.array([[1.0, 1], [0, 0]]), {}, "row 1 is zero"),
        (np.array([[[1.0]], [[0.0]]]), {"method": "ruiz"}, r"row \(1, 0\) is zero"),
        (sparse.csr_array((2, 2)), {"method": "ruiz"}, "row 0 is zero"),
        (np.array([[np.nan]]), {}, "NaN or infinity"),
        (sparse.csr_array(np.array([[np.inf]])), {}, "NaN or infinity"),
    ],
)
def test_what_cannot_be_used_is_said(A, options, said):
    with pytest.raises(ValueError, match=said):
        equilibrate(A, **options)


def test_vectors_that_do_not_fit():
    scaled = equilibrate(np.eye(3))
    with pytest.raises(ValueError, match=r"b: found shape \(2,\); wanted \(3,\)"):
        scaled.rhs(np.ones(2))
    with pytest.raises(TypeError, match="not a working precision"):
        equilibrate(np.eye(2, dtype=np.longdouble))
