"""Condition numbers against known spectra: bounds that hold, estimates that are close, chances that are as said."""

import math

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.sparse.linalg import LinearOperator

import resolvent as rv
from resolvent.gallery import convection_diffusion, hilbert, kms, lehmer, minij, pei, poisson, randsvd
from resolvent.solvers.spectra import condition as module


def diagonal(values):
    return sparse.diags_array(np.asarray(values, dtype=np.float64)).tocsr()


def hidden_in(values, seed=0):
    """A dense matrix with these eigenvalues: a reflection of a diagonal one, whose entries tell nothing."""
    values = np.asarray(values, dtype=np.float64)
    v = np.random.default_rng(seed).standard_normal(values.size)
    v /= np.linalg.norm(v)
    A = np.diag(values)
    A = A - 2 * np.outer(v, v @ A)
    A = A - 2 * np.outer(A @ v, v)
    return (A + A.T) / 2


# Exact --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "problem", [poisson((12, 9)), minij(20), lehmer(15), pei(30, 0.01), kms(40, 0.7)], ids=lambda p: p.name
)
def test_small_matrices_by_all_eigenvalues(problem):
    found = rv.condition_number(problem.A)
    true = np.linalg.cond(problem.A.toarray() if sparse.issparse(problem.A) else problem.A)
    assert (found.method, found.norm, found.failure_probability) == ("exact", 2, 0.0)
    assert found.estimate == pytest.approx(true, rel=1e-9)
    assert found.lower <= true * (1 + 1e-9)
    assert true <= found.upper * (1 + 1e-9)
    assert found.upper / found.lower < 1 + 1e-7
    low, high = problem.spectrum
    assert found.smallest[0] * (1 - 1e-9) <= low <= found.smallest[1] * (1 + 1e-9)
    assert found.largest[0] * (1 - 1e-9) <= high <= found.largest[1] * (1 + 1e-9)
    assert float(found) == found.estimate


def test_small_matrices_by_singular_values():
    A = convection_diffusion((8, 8)).A
    singular = np.linalg.svd(A.toarray(), compute_uv=False)
    found = rv.condition_number(A)
    assert found.estimate == pytest.approx(singular[0] / singular[-1], rel=1e-12)
    assert found.smallest[0] <= singular[-1] <= found.smallest[1]
    indefinite = np.diag([-8.0, 2.0, 4.0])
    found = rv.condition_number(indefinite)
    assert found.estimate == pytest.approx(4)
    assert found.smallest == pytest.approx((-8, -8))


@pytest.mark.parametrize("A", [np.array([[1.0, 2], [3, 4]]), np.array([[2, 1j], [-1j, 3]]), hilbert(5).A])
@pytest.mark.parametrize("norm", [1, 2])
def test_exact_numbers_in_both_norms(A, norm):
    found = rv.condition_number(A, norm=norm)
    true = np.linalg.cond(A, norm)
    assert found.estimate == pytest.approx(true, rel=1e-9)
    assert found.lower <= true * (1 + 1e-13)
    assert true <= found.upper * (1 + 1e-13)


def test_hilbert_matrix_is_singular_to_rounding():
    """Its condition number is 1.7e16 for n = 12 and grows with n."""
    for norm in (1, 2):
        found = rv.condition_number(hilbert(15).A, norm=norm)
        assert math.isinf(found.estimate)
        assert 1e13 < found.lower < 1e17
        assert "singular to rounding" in found.reason
        assert str(found).startswith("infinite to rounding, at least")


@pytest.mark.parametrize("exponent", [-900, -300, 0, 300, 900])
def test_units_do_not_matter(exponent):
    A = poisson((30, 30)).A
    first, found = rv.condition_number(A), rv.condition_number(A * 2.0**exponent)
    assert found.estimate == pytest.approx(first.estimate, rel=1e-12)
    assert found.smallest == pytest.approx(np.ldexp(first.smallest, exponent), rel=1e-9)
    small = rv.condition_number(np.array([[2.0, 1], [1, 2]]) * 2.0**exponent)
    assert small.estimate == pytest.approx(3)
    assert small.largest == pytest.approx((3 * 2.0**exponent, 3 * 2.0**exponent))


# Lanczos ------------------------------------------------------------------------------------------------------------

SPECTRA = {
    "uniform": np.linspace(1, 100, 600),
    "geometric": np.geomspace(1, 1e4, 600),
    "small outlier": np.r_[1e-3, np.linspace(1, 2, 599)],
    "tiny outlier": np.r_[1e-9, np.linspace(1, 2, 599)],
    "large outlier": np.r_[np.linspace(1, 2, 599), 1e7],
    "two clusters": np.r_[np.full(300, 1.0), np.full(300, 50.0)],
    "identity": np.full(600, 3.0),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SPECTRA)
def test_bounds_hold_and_meet(name, seed):
    """Of dense matrices whose entries bound nothing, so that only the probable bounds are left."""
    values = SPECTRA[name]
    true = values.max() / values.min()
    found = rv.condition_number(hidden_in(values), seed=seed, rtol=0.2, steps=3000)
    perturbation = 1 + 1e-13 * true
    assert found.method == "lanczos"
    assert found.lower <= true * perturbation
    assert true <= found.upper * perturbation
    assert found.upper <= 1.2 * found.lower * perturbation
    assert found.smallest[0] <= values.min() * perturbation
    assert found.largest[1] >= values.max() / perturbation
    assert found.failure_probability in (0.0, 1e-6)


@pytest.mark.parametrize("shape", [(30, 30), (80, 50), (12, 11, 10)])
def test_poisson(shape):
    problem = poisson(shape)
    found = rv.condition_number(problem.A)
    assert found.estimate == pytest.approx(problem.condition, rel=1e-3)
    assert found.lower <= problem.condition <= found.upper <= 1.1 * found.lower
    steps = int(found.reason.split()[0])
    promised = 0.5 * math.sqrt(problem.condition) * math.log(4e6 * math.sqrt(problem.condition * problem.A.shape[0]))
    assert steps < 1.3 * promised  # looked at each time there are 1.3 times as many


def test_more_steps_bring_the_bounds_closer():
    problem = poisson((60, 60))
    few, more, enough = (rv.condition_number(problem.A, steps=steps) for steps in (30, 200, 400))
    assert few.lower < more.lower < enough.lower * 1.001
    assert few.upper == math.inf
    assert few.failure_probability == 0
    assert "more steps may" in few.reason
    assert enough.upper <= more.upper < math.inf
    assert few.lower < 0.6 * problem.condition < 0.999 * problem.condition < enough.lower


def test_the_chance_is_what_is_said(monkeypatch):
    """With a chance of one half, bounds after few steps still fail less often, but a made-up certainty fails often."""
    values = np.r_[0.02, np.linspace(1, 2, 59)]
    A, true = hidden_in(values), 100.0
    monkeypatch.setattr(module, "_FAILURE", 0.5)
    found = [rv.condition_number(A, method="lanczos", steps=9, seed=seed) for seed in range(400)]
    wrong = sum(true > one.upper for one in found) / 400
    assert wrong <= 0.5
    assert all(one.lower <= true * (1 + 1e-12) for one in found)
    # The test can tell: were the chance understated by much, upper bounds would fail most of the time.
    monkeypatch.setattr(module, "_FAILURE", 200.0)
    found = [rv.condition_number(A, method="lanczos", steps=6, seed=seed) for seed in range(100)]
    assert sum(true > one.upper for one in found) > 50


@pytest.mark.slow
def test_kuczynski_and_wozniakowski():
    """Their a-priori bound, 1.648 sqrt(n) exp(-sqrt(eps) (2k - 1)), of the chance that lambda_max is missed by eps."""
    n, eps = 100, 0.01
    values = np.r_[np.linspace(0, 0.98, n - 1), 1.0]
    A = diagonal(values + 1e-6)
    missed = dict.fromkeys((8, 16, 30), 0)
    for k in missed:
        for seed in range(200):
            found = rv.condition_number(A, method="lanczos", steps=k, rtol=1e-9, seed=seed)
            missed[k] += found.largest[0] < (1 - eps) * (1 + 1e-6)
        assert missed[k] / 200 <= min(1.0, 1.648 * math.sqrt(n) * math.exp(-math.sqrt(eps) * (2 * k - 1)))
    assert missed[8] > 100


def test_the_same_seed_gives_the_same_bits():
    A = poisson((30, 30)).A
    state = np.random.get_state()[1].copy()  # noqa: NPY002  # that of NumPy's global generator, to see it untouched
    for options in ({}, {"norm": 1}):
        assert rv.condition_number(A, **options) == rv.condition_number(A, **options)
        assert rv.condition_number(A, seed=1, **options).estimate == pytest.approx(rv.condition_number(A).estimate, 0.5)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert rv.condition_number(A, seed=1).lower != rv.condition_number(A, seed=2).lower


def test_only_multiplying_is_enough():
    problem = poisson((30, 30))
    black_box = LinearOperator(problem.A.shape, matvec=lambda x: problem.A @ x, dtype=np.float64)
    found = rv.condition_number(black_box)
    assert found.lower <= problem.condition <= found.upper <= 1.1 * found.lower
    tiny = LinearOperator(problem.A.shape, matvec=lambda x: 2.0**-600 * (problem.A @ x), dtype=np.float64)
    scaled = rv.condition_number(tiny)
    assert scaled.estimate == pytest.approx(found.estimate, rel=1e-9)
    assert scaled.largest[0] == pytest.approx(problem.spectrum[1] * 2.0**-600, rel=1e-2)


def test_hermitian_matrices():
    rng = np.random.default_rng(0)
    values = np.r_[1e-2, np.linspace(1, 2, 199)]
    Q = np.linalg.qr(rng.standard_normal((200, 200)) + 1j * rng.standard_normal((200, 200)))[0]
    A = (Q * values) @ Q.conj().T
    A = (A + A.conj().T) / 2
    for method in ("exact", "lanczos"):
        found = rv.condition_number(A, method=method)
        assert found.lower <= 200 * (1 + 1e-12)
        assert found.upper * (1 + 1e-12) >= 200
        assert found.upper < 1.11 * found.lower


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_backends(backend):
    problem = poisson((30, 30))
    found = rv.condition_number(problem.A, backend=backend)
    assert found.estimate == pytest.approx(problem.condition, rel=1e-2)
    single = rv.condition_number(problem.A.astype(np.float32), backend=backend)  # computed in double precision
    assert single.estimate == pytest.approx(found.estimate, rel=1e-9)


def test_torch():
    torch = pytest.importorskip("torch")
    problem = poisson((25, 25))
    found = rv.condition_number(torch.from_numpy(problem.A.toarray()))
    assert found.lower <= problem.condition <= found.upper <= 1.1 * found.lower


def test_certain_bounds_are_preferred():
    """A strongly dominant matrix: Gershgorin's discs settle it in a few steps, without a chance of failure."""
    n = 700
    A = sparse.diags_array([np.full(n - 1, -0.01), np.linspace(1, 3, n), np.full(n - 1, -0.01)], offsets=(-1, 0, 1))
    found = rv.condition_number(A, rtol=0.3)
    assert found.failure_probability == 0
    assert "Gershgorin" in found.reason
    true = np.linalg.cond(A.toarray())
    assert found.lower <= true <= found.upper <= 1.3 * found.lower


# The 1-norm ---------------------------------------------------------------------------------------------------------


def test_one_norm_estimates_of_random_matrices():
    """Never more than the truth, exact for nine in ten, never below a third here."""
    rng = np.random.default_rng(3)
    ratios = []
    for _ in range(200):
        A = rng.standard_normal((30, 30))
        found = rv.condition_number(A, norm=1, method="norm1")
        true = np.linalg.cond(A, 1)
        assert found.lower <= true
        ratios.append(found.estimate / true)
    assert np.max(ratios) <= 1 + 1e-9
    assert np.min(ratios) > 1 / 3
    assert np.mean(np.array(ratios) > 0.999) > 0.8


def test_one_norm_of_large_matrices():
    A = convection_diffusion((30, 30)).A
    true = np.linalg.cond(A.toarray(), 1)
    for found in (rv.condition_number(A), rv.condition_number(A, norm=1)):
        assert (found.method, found.norm) == ("norm1", 1)
        assert found.lower <= true <= found.upper
        assert found.estimate == pytest.approx(true, rel=1e-6)
    assert "not Hermitian, so the 1-norm is given" in rv.condition_number(A).reason


def test_varahs_bound():
    rng = np.random.default_rng(5)
    A = sparse.random_array((600, 600), density=0.01, rng=rng)
    A = (A + sparse.diags_array(1 + 1.2 * abs(A).sum(0))).tocsr()
    found = rv.condition_number(A, norm=1)
    true = np.linalg.cond(A.toarray(), 1)
    assert found.lower <= true <= found.upper < 20 * true
    assert "Varah" in found.reason


def test_complex_one_norm():
    A = np.array([[1, 2j, 0], [0, 1 + 1j, 3], [1, 0, 1j]])
    found = rv.condition_number(A, norm=1, method="norm1")
    assert found.estimate == pytest.approx(np.linalg.cond(A, 1), rel=1e-12)


# What has no answer -------------------------------------------------------------------------------------------------


def test_singular_matrices_are_said_to_be():
    assert "row 1 has no nonzero" in rv.condition_number(np.diag([1.0, 0.0])).reason
    assert str(rv.condition_number(np.diag([1.0, 0.0]))) == "infinite in the 2-norm"
    ones = rv.condition_number(np.ones((3, 3)))
    assert math.isinf(ones.estimate)
    assert "singular to rounding" in ones.reason
    assert math.isinf(rv.condition_number(np.ones((3, 3)), norm=1).estimate)
    assert math.isinf(rv.condition_number(np.ones((3, 3)), norm=1, method="norm1").estimate)


def test_large_singular_matrices():
    n = 900
    laplacian = sparse.diags_array([np.full(n - 1, -1.0), np.r_[1, np.full(n - 2, 2.0), 1], np.full(n - 1, -1.0)],
                                   offsets=(-1, 0, 1))  # fmt: skip
    found = rv.condition_number(laplacian)
    assert found.upper == math.inf
    assert found.lower > 1e3
    values = np.r_[0.0, np.linspace(1, 2, 599)]
    found = rv.condition_number(hidden_in(values))
    assert math.isinf(found.estimate)
    assert found.lower > 1e13
    assert "singular to rounding, or indefinite" in found.reason


def test_indefinite_matrices_fall_back_on_the_1_norm():
    values = np.r_[np.linspace(-2, -1, 300), np.linspace(1, 2, 300)]
    A = hidden_in(values)
    found = rv.condition_number(A)
    assert found.norm == 1
    assert "not positive definite, so the 1-norm is given" in found.reason
    assert found.lower <= np.linalg.cond(A, 1)
    with pytest.raises(rv.InputError, match="not positive definite"):
        rv.condition_number(A, method="lanczos")
    black_box = LinearOperator(A.shape, matvec=lambda x: A @ x, dtype=np.float64)
    with pytest.raises(rv.InputError, match="not positive definite"):
        rv.condition_number(black_box)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"norm": 3}, "norm: found 3; wanted 1 or 2"),
        ({"norm": np.inf}, "norm: found inf"),
        ({"method": "guess"}, "method: found 'guess'; wanted one of auto, exact"),
        ({"method": "lanczos", "norm": 1}, "'lanczos' tells the 2-norm, but norm is 1"),
        ({"method": "norm1"}, "'norm1' tells the 1-norm, but norm is 2"),
        ({"rtol": 0.0}, "rtol: found 0.0"),
        ({"rtol": np.nan}, "rtol: found nan"),
        ({"steps": 0}, "steps: found 0"),
    ],
)
def test_bad_options(options, said):
    with pytest.raises(rv.InputError, match=said):
        rv.condition_number(np.eye(3), **options)


def test_bad_matrices():
    with pytest.raises(rv.InputError, match=r"A: found shape \(2, 3\)"):
        rv.condition_number(np.ones((2, 3)))
    with pytest.raises(rv.InputError, match=r"entry \(0, 0\) is nan"):
        rv.condition_number(np.array([[np.nan]]))
    with pytest.raises(rv.InputError, match="the matrix is empty"):
        rv.condition_number(np.zeros((0, 0)))
    with pytest.raises(rv.NotHermitianError, match="Lanczos needs a Hermitian matrix"):
        rv.condition_number(np.array([[1.0, 2.0], [0.0, 1.0]]), method="lanczos")
    with pytest.raises(TypeError):
        rv.condition_number("A")
    black_box = LinearOperator((3, 3), matvec=lambda x: x, dtype=np.float64)
    for options in ({"norm": 1}, {"method": "exact"}):
        with pytest.raises(rv.InputError, match="only multiplies"):
            rv.condition_number(black_box, **options)
    with pytest.raises(ArithmeticError, match="not finite"):
        rv.condition_number(LinearOperator((3, 3), matvec=lambda x: x * np.nan, dtype=np.float64))


def test_one_by_one():
    for method, norm in (("auto", 2), ("lanczos", 2), ("exact", 1), ("norm1", 1)):
        found = rv.condition_number(np.array([[5.0]]), method=method, norm=norm)
        assert found.estimate == pytest.approx(1, abs=1e-12)
        assert found.lower <= 1 <= found.upper


def test_reports_in_words():
    poisson_problem = poisson((30, 30))
    assert "but for a chance of 1e-06" in str(rv.condition_number(poisson_problem.A))
    assert str(rv.condition_number(np.diag([1.0, 4.0]))) == "4 in the 2-norm, exact to rounding"
    assert str(rv.condition_number(poisson_problem.A, steps=5)).startswith("at least")
    condition = rv.condition_number(randsvd(40, 1e3, 3, "spd", seed=0).A)
    assert condition.estimate == pytest.approx(1e3, rel=1e-6)
