"""Solves in emulated precision: what accuracy they reach, and that everything a Solution says of it is true.

Oracles: float64 and rational arithmetic, closed-form spectra, and textbooks written out here with a rounding after each
written vector.
"""

import math
import re
import warnings
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.sparse.linalg import aslinearoperator

import resolvent as rv
from resolvent.backends.numba_backend import NumbaBackend
from resolvent.gallery import poisson, randsvd, strakos
from resolvent.precision import FixedPoint, Precision, formats
from resolvent.precision.policy import as_precision
from resolvent.solvers.linear.system import LinearSystem

FORMATS = ("fp64", "fp32", "tf32", "bf16", "fp16")
EMULATED = ("tf32", "bf16", "fp16")

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return function(*args, **options)


def unit(format):
    return formats.format_named(format).unit_roundoff


def on_grid(size):
    """2-D Poisson with a random solution: the matrix, its norm, the right-hand side."""
    problem = poisson((size, size))
    x = np.random.default_rng(size).standard_normal(size**2)
    return problem.A, problem.spectrum[1], problem.A @ x


def definite(n, condition, mode=3, seed=0):
    A = randsvd(n, condition, mode, "spd", seed=seed).A
    return (A + A.T) / 2


def eta(A, norm, x, b):
    """||b - A x|| / (||A|| ||x||) in float64."""
    return np.linalg.norm(b - A @ x) / (norm * np.linalg.norm(x))


def exact_residual(A, x, b):
    """||b - A x||, rounded once, and ||b||."""
    rows = [[as_fraction(v) for v in row] for row in np.asarray(A).tolist()]
    x, b = ([as_fraction(v) for v in part.tolist()] for part in (np.asarray(x), np.asarray(b)))
    residual = [
        right - sum((a * v for a, v in zip(row, x, strict=True)), Exact(0)) for row, right in zip(rows, b, strict=True)
    ]
    return norm_of(residual), norm_of(b)


class Exact:
    """A complex number of two fractions."""

    def __init__(self, real, imaginary=0):
        self.real, self.imag = Fraction(real), Fraction(imaginary)

    def __mul__(self, other):
        return Exact(self.real * other.real - self.imag * other.imag, self.real * other.imag + self.imag * other.real)

    def __add__(self, other):
        return Exact(self.real + other.real, self.imag + other.imag)

    def __sub__(self, other):
        return Exact(self.real - other.real, self.imag - other.imag)


def as_fraction(value):
    return Exact(value.real, value.imag)


def norm_of(values):
    square = sum(v.real**2 + v.imag**2 for v in values)
    return float(mpmath.sqrt(mpmath.mpf(square.numerator) / square.denominator))


# What can be reached ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "format",
    [pytest.param(name, marks=[pytest.mark.slow] if name in ("fp32", "tf32", "fp16") else []) for name in FORMATS],
)
@pytest.mark.parametrize("method", ["cg", "chebyshev", "sor"])
def test_backward_error_of_at_most_ten_units(method, format):
    """For condition numbers from 32 to 1712; and the solver knows that this is all there is to be had."""
    for size in (8, 16, 32, 64):
        A, norm, b = on_grid(size)
        solution = quietly(rv.solve, A, b, method=method, rtol=0, precision=format)
        u = unit(format)
        assert eta(A, norm, solution.x, b) <= 10 * u
        assert solution.status is rv.Status.STAGNATED
        assert f"{solution.precision} can do no better" in solution.reason
        assert solution.unit_roundoff == u
        # The prediction is within a factor of ten, but for float64's own, which b shares.
        assert solution.relative_residual <= 10 * solution.attainable_residual
        assert solution.relative_residual >= solution.attainable_residual / 10


@pytest.mark.parametrize("format", ["fp64", "fp32", "tf32"])
def test_richardson_is_less_accurate_than_that(format):
    """Its iterates creep for so long that the roundings of x pile up: kappa / 10 units, where others have one."""
    A, norm, b = on_grid(16)
    solution = quietly(rv.richardson, A, b, rtol=0, maxiter=20000, precision=format)
    assert eta(A, norm, solution.x, b) > 10 * unit(format)


@pytest.mark.parametrize("method", ["chebyshev", "sor"])
@pytest.mark.parametrize("mode", [1, 2])
def test_a_plateau_is_not_the_accuracy_limit(method, mode):
    """One large or one small eigenvalue: the residual falls at once, stands long, and falls again."""
    A = definite(50, 1000.0, mode, seed=mode)
    b = A @ np.random.default_rng(1).standard_normal(50)
    solution = quietly(rv.solve, A, b, method=method, rtol=0, precision="tf32")
    if "can do no better" in solution.reason:
        assert eta(A, 1.0, solution.x, b) <= 10 * unit("tf32")


# Residuals carried and true -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format", "low", "high"), [("bf16", 1e-3, 2e-2), ("tf32", 1e-4, 3e-3), ("fp32", 1e-8, 1e-6)])
def test_the_carried_residual_falls_without_the_true_one(format, low, high):
    A, _, b = on_grid(64)
    solution = quietly(rv.cg, A, b, rtol=0, maxiter=500, precision=format, residual_replacement=False)
    true = np.linalg.norm(b - A @ solution.x) / np.linalg.norm(b)
    assert low < true < high
    assert solution.residual_norms.min() < 1e-4 * true * np.linalg.norm(b)
    assert solution.relative_residual == pytest.approx(true, rel=1e-6)
    assert not solution.converged
    # Asked for something between the two, it does not take the carried one's word for it.
    asked = quietly(rv.cg, A, b, rtol=true / 30, maxiter=500, precision=format, residual_replacement=False)
    assert not asked.converged


@pytest.mark.parametrize("distance", [30.0, 100.0])
@pytest.mark.parametrize("seed", [3, 4])
def test_replacing_the_residual_recovers_what_a_large_iterate_cost(distance, seed):
    """A first guess far off makes ||x_j|| large, and leaves u times that in the gap between the two residuals."""
    A, norm, b = on_grid(16)
    x = b + distance * np.random.default_rng(seed).standard_normal(256)
    reached = {}
    for replaced in (False, True):
        # Later both would begin anew from the true residual.
        options = {"rtol": 0, "maxiter": 70, "precision": "fp32", "residual_replacement": replaced}
        solution = quietly(rv.cg, A, b, x0=x, **options)
        reached[replaced] = eta(A, norm, solution.x, b) / unit("fp32")
        assert ("The residual was replaced" in solution.reason) == replaced
    assert reached[True] <= 2
    assert reached[False] >= 10


# Strakos's matrices -------------------------------------------------------------------------------------------------

THRESHOLDS = (1e-2, 1e-4, 1e-8, 1e-12)
# (n, largest eigenvalue, rho): iterations to each threshold of the relative A-norm error, None for never.
REORTHOGONALISED = {
    (24, 100.0, 0.65): (16, 18, 21, 23),
    (48, 1000.0, 0.8): (33, 38, 43, 46),
    (48, 1000.0, 0.9): (47, 48, 48, 48),
}
DELAYED = {
    (24, 100.0, 0.65): {"fp64": (18, 22, 33, 42), "fp32": (25, 37, None, None), "tf32": (38, None, None, None)},
    (48, 1000.0, 0.8): {"fp64": (55, 80, 120, 156), "fp32": (91, 151, None, None), "tf32": (151, None, None, None)},
    (48, 1000.0, 0.9): {"fp64": (80, 86, 93, 103), "fp32": (119, 132, None, None), "tf32": (163, None, None, None)},
}


def iterations_to(errors):
    errors = np.array(errors)
    return tuple(int(np.argmax(errors <= t)) + 1 if (errors <= t).any() else None for t in THRESHOLDS)


def energy_errors(problem, **options):
    values, exact = problem.A.diagonal(), problem.x

    def energy(v):
        return math.sqrt(np.sum(values * v * v))

    errors = []
    quietly(
        rv.cg,
        problem.A,
        problem.b,
        rtol=0,
        callback=lambda at: errors.append(energy(at.x - exact) / energy(exact)) or False,
        **options,
    )
    return errors


@pytest.mark.parametrize("case", DELAYED)
@pytest.mark.parametrize("replaced", [False, True])
def test_rounding_delays_conjugate_gradients_on_the_matrices_of_strakos(case, replaced):
    n, largest, rho = case
    problem = strakos(n, 0.1, largest, rho)
    before = REORTHOGONALISED[case]
    for format, wanted in DELAYED[case].items():
        errors = energy_errors(problem, precision=format, residual_replacement=replaced, maxiter=200)
        found = iterations_to(errors)
        for count, known, sooner in zip(found, wanted, before, strict=True):
            assert (count is None) == (known is None)
            if known is not None:
                assert count == pytest.approx(known, rel=0.1)
                assert count >= 0.97 * (sooner or 0), "a coarser format is never sooner"
        before = found
    in_bf16 = energy_errors(problem, precision="bf16", residual_replacement=replaced, maxiter=200)
    assert min(in_bf16) > 8e-3, "coarser than the first threshold, or at it"
    assert min(in_bf16) == pytest.approx({0.65: 2.1e-2, 0.8: 5.4e-2, 0.9: 6.2e-2}[rho], rel=0.6)


@pytest.mark.parametrize("case", REORTHOGONALISED)
def test_without_rounding_there_is_no_delay(case):
    """Residuals kept orthogonal stand in for exact arithmetic, which needs at most n iterations."""
    n, largest, rho = case
    problem = strakos(n, 0.1, largest, rho)
    values, exact = problem.A.diagonal(), problem.x
    x, r = np.zeros(n), problem.b.copy()
    p, basis, errors = r.copy(), [r / np.linalg.norm(r)], []
    for _ in range(n):
        alpha = r @ r / (p @ (values * p))
        x, before = x + alpha * p, r @ r
        r = r - alpha * values * p
        for _ in range(2):
            for v in basis:
                r = r - (v @ r) * v
        basis.append(r / np.linalg.norm(r))
        p = r + (r @ r / before) * p
        errors.append(math.sqrt(np.sum(values * (x - exact) ** 2) / np.sum(values * exact**2)))
    assert iterations_to(errors) == pytest.approx(REORTHOGONALISED[case], abs=1)
    plain = iterations_to(energy_errors(problem, maxiter=200))
    if rho == 0.8:
        assert plain[2] > 2 * n


# Textbooks ----------------------------------------------------------------------------------------------------------


def to_bf16(x):
    """Nearest even, of float32 numbers, by way of the remainder."""
    unit = np.exp2(np.floor(np.log2(np.abs(np.where(x == 0, 1, x)).astype(np.float64))) - 7)
    return (np.rint(x.astype(np.float64) / unit) * unit).astype(np.float32)


class Textbook:
    """Methods as written in books, in float32, each vector rounded when it is written."""

    def __init__(self, A, b):
        self.A, self.b = to_bf16(A.astype(np.float32)), to_bf16(b.astype(np.float32))

    def product(self, x):
        return (self.A.astype(np.float64) @ x.astype(np.float64)).astype(np.float32)

    def cg(self):
        x, r = np.zeros_like(self.b), self.b.copy()
        p, rho = r.copy(), np.float64(r.astype(float) @ r.astype(float))
        while True:
            q = to_bf16(self.product(p))
            alpha = np.float32(rho / (p.astype(float) @ q.astype(float)))
            x, r = to_bf16(x + alpha * p), to_bf16(r - alpha * q)
            rho, before = r.astype(float) @ r.astype(float), rho
            p = to_bf16(r + np.float32(rho / before) * p)
            yield x

    def richardson(self, omega):
        x = np.zeros_like(self.b)
        while True:
            x = to_bf16(x + np.float32(omega) * to_bf16(self.b - self.product(x)))
            yield x

    def jacobi(self):
        x, inverse = np.zeros_like(self.b), to_bf16(1 / self.A.diagonal())
        while True:
            x = to_bf16(x + to_bf16(inverse * to_bf16(self.b - self.product(x))))
            yield x

    def chebyshev(self, low, high):
        x = before = np.zeros_like(self.b)
        sigma, rho, first = (high + low) / (high - low), 0.0, True
        while True:
            rho, last = (1 / sigma if first else 1 / (2 * sigma - rho)), rho
            beta = 0.0 if first else rho * last
            gamma = 2 / (high + low) if first else 4 * rho / (high - low)
            first = False
            r = to_bf16(self.b - self.product(x))
            x, before = to_bf16(x + np.float32(beta) * (x - before) + np.float32(gamma) * r), x
            yield x

    def sor(self, omega, symmetric=False):
        x, inverse = np.zeros_like(self.b), 1 / self.A.diagonal()  # a coefficient, not a vector that is kept
        n = x.size
        while True:
            for rows in (range(n), range(n - 1, -1, -1))[: 1 + symmetric]:
                for i in rows:
                    defect = self.b[i] - np.float32(self.A[i].astype(float) @ x.astype(float))
                    x[i] = to_bf16(x[i] + (np.float32(omega) * inverse[i]) * defect)
            yield x.copy()


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(
    ("method", "parameters", "arguments"),
    [
        ("cg", {"residual_replacement": False}, ()),
        ("chebyshev", {"interval": (1.0, 9.0)}, (1.0, 9.0)),
        ("richardson", {"omega": 0.21}, (0.21,)),
        ("jacobi", {}, ()),
        ("gauss_seidel", {}, (1.0,)),
        ("sor", {"omega": 1.3}, (1.3,)),
        ("ssor", {"omega": 1.1}, (1.1, True)),
    ],
)
def test_iterates_in_bf16_are_those_of_the_textbook(method, parameters, arguments, backend):
    """Sums are taken in another order and may be contracted, so that one number in a hundred may be the next one."""
    A = poisson((5, 4)).A.toarray() + np.diag(np.linspace(1, 2, 20))
    b = np.random.default_rng(2).standard_normal(20)
    textbook = getattr(Textbook(A, b), {"gauss_seidel": "sor", "ssor": "sor"}.get(method, method))(*arguments)
    found = []
    quietly(
        rv.solve, A, b, method=method, rtol=0, maxiter=8, precision="bf16", backend=backend,
        callback=lambda at: found.append(at.x) or False, **parameters,
    )  # fmt: skip
    wanted = np.array([next(textbook) for _ in range(8)])
    assert len(found) == 8
    assert np.mean(np.array(found) == wanted) >= 0.99
    np.testing.assert_allclose(np.array(found), wanted, rtol=0, atol=2.0**-7 * np.abs(wanted).max())


class Stepwise(NumbaBackend):
    """The compiled backend without its loops: the textbook step, one at a time."""

    def loop(self, *arguments):
        return None


def stencil(dtype):
    side = -0.8 + 0.5j if np.dtype(dtype).kind == "c" else -1.0
    return rv.Stencil((5, 4), 5.0, ((side, np.conj(side)),) * 2, dtype)


def stored(kind, dtype):
    A = stencil(dtype)
    if kind == "stencil":
        return A
    if kind == "diagonals":
        full = A.tocsr().toarray()
        offsets = [-4, -1, 0, 1, 4]
        data = np.zeros((5, 20), dtype)
        for row, offset in zip(data, offsets, strict=True):
            diagonal = full.diagonal(offset)
            row[max(0, -offset) :][: diagonal.size] = diagonal
        return rv.Diagonals(data, offsets)
    return sparse.csr_array(A.tocsr()) if kind == "csr" else A.tocsr().toarray()


@pytest.mark.parametrize(
    ("kind", "dtype", "format"),
    [
        ("csr", "float64", "bf16"),
        *(pytest.param(kind, "float64", "bf16", marks=pytest.mark.slow) for kind in ("dense", "diagonals", "stencil")),
        pytest.param("csr", "complex128", "bf16", marks=pytest.mark.slow),
        ("csr", "float64", "fp16"),
    ],
)
def test_compiled_loops_take_the_textbook_steps(kind, dtype, format):
    """Bit by bit, save for a rare number that a contracted multiplication and addition puts on the other side."""
    A = stored(kind, dtype)
    rng = np.random.default_rng(0)
    b = rng.standard_normal(20) + (1j * rng.standard_normal(20) if dtype == "complex128" else 0)
    for method, parameters in (
        ("cg", {}),
        ("cg", {"M": rv.precondition.jacobi(A)}),
        ("chebyshev", {"interval": (1.5, 9.0)}),
        ("jacobi", {"omega": 0.8}),
        ("sor", {"omega": 1.2}),
        ("ssor", {"omega": 1.2}),
        ("sor", {"omega": 1.2, "order": "multicolor"}),
        ("ssor", {"order": "multicolor", "omega": 1.1}),
    ):
        seen = []
        for backend in ("numba", Stepwise()):
            iterates = []
            solution = quietly(
                rv.solve, A, b, method=method, rtol=0, maxiter=10, precision=format, backend=backend,
                callback=lambda at, iterates=iterates: iterates.append(at.x) or False, **parameters,
            )  # fmt: skip
            seen.append((np.array(iterates), solution))
        (loop, compiled), (steps, textbook) = seen
        assert np.mean(loop == steps) >= 0.95, method
        np.testing.assert_allclose(loop, steps, rtol=0, atol=4 * unit(format) * np.abs(steps).max())
        assert compiled.iterations == textbook.iterations >= 4
        # Near the rounding level one digit more or less is much of a residual.
        above = textbook.residual_norms > 10 * unit(format) * textbook.residual_norms[0]
        np.testing.assert_allclose(compiled.residual_norms[above], textbook.residual_norms[above], rtol=0.02)


def to_library(name, x):
    if name == "torch":
        return pytest.importorskip("torch").tensor(x)
    if name == "array_api":
        return pytest.importorskip("array_api_strict").asarray(x, copy=True)
    return x


def to_host(x):
    return x.numpy() if hasattr(x, "detach") else np.asarray(x)


@pytest.mark.parametrize("other", ["numba", "torch", "array_api"])
@pytest.mark.parametrize("method", ["cg", "chebyshev", "sor"])
@pytest.mark.parametrize(
    "options", [{}, {"rounding": "stochastic", "seed": 3}, {"policy": "op"}, {"scalars": "bf16"}, {"format": "fp16"}]
)
def test_vectors_are_the_same_on_all_backends(method, other, options):
    """Rounding hides in which order a library sums, nearly always."""
    A = poisson((6, 6)).A.toarray()
    b = A @ np.random.default_rng(1).standard_normal(36)
    precision = Precision(**{"format": "bf16", **options})
    results = []
    for name in ("numpy", other):
        given = [to_library(name, part) for part in (A, b)]
        results.append(quietly(rv.solve, *given, method=method, rtol=0, maxiter=6, backend=name, precision=precision))
    numpy, found = results
    x = to_host(found.x)
    assert np.mean(x == numpy.x) >= 0.9
    np.testing.assert_allclose(x, numpy.x, rtol=0, atol=4 * precision.unit_roundoff * np.abs(numpy.x).max())
    assert found.precision == numpy.precision == str(precision.format)
    assert found.relative_residual == pytest.approx(numpy.relative_residual, rel=0.05)


@pytest.mark.parametrize("other", ["numba", "torch", "array_api"])
@pytest.mark.parametrize("policy", ["matvec", "tensor-core"])
def test_products_are_nearly_the_same_on_all_backends(policy, other):
    """What is not rounded is as different as float32 sums are."""
    A = poisson((6, 6)).A.toarray()
    b = A @ np.random.default_rng(1).standard_normal(36)
    results = []
    for name in ("numpy", other):
        given = [to_library(name, part) for part in (A, b)]
        precision = Precision("bf16", policy=policy)
        results.append(quietly(rv.cg, *given, rtol=0, maxiter=10, backend=name, precision=precision))
    x, wanted = to_host(results[1].x), results[0].x
    np.testing.assert_allclose(x, wanted, rtol=0, atol=0.1 * unit("bf16") * np.abs(wanted).max())


def test_stochastic_rounding_depends_on_the_seed_alone():
    A, _, b = on_grid(8)
    drawn = [
        quietly(rv.cg, A, b, rtol=0, maxiter=12, precision=Precision("bf16", rounding="stochastic", seed=seed)).x
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.mean(drawn[0] != drawn[2]) > 0.5


# Range --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e10, 1e-10])
@pytest.mark.parametrize("of", ["A", "b"])
@pytest.mark.parametrize("method", ["cg", "chebyshev", "sor"])
def test_half_precision_in_any_units(method, of, size):
    """Powers of two bring the system into range and cost no digit; the reason says which."""
    A, norm, b = on_grid(32)
    A, b, norm = (size * A, b, size * norm) if of == "A" else (A, size * b, norm)
    rtol = 0.01
    solution = rv.solve(A, b, method=method, rtol=rtol, precision="fp16")
    assert solution.converged
    assert np.linalg.norm(b - A @ solution.x) <= rtol * np.linalg.norm(b)
    said = solution.reason.partition("To fit the range of fp16, b was multiplied by 2^")[2]
    of_b, of_A = (int(part.split(",")[0].split(" ")[0]) for part in said.split(" and A by 2^"))
    assert abs(of_A + math.log2(norm)) < 8
    assert -12 < of_b + math.log2(np.abs(b).max()) < 4
    # In units that are powers of two the bits are the same.
    one, other = (
        rv.solve(A * unit_of_A, b * unit_of_b, method=method, rtol=rtol, precision="fp16").x
        for unit_of_A, unit_of_b in ((2.0**50, 2.0**-20), (2.0**-50, 2.0**30))
    )
    np.testing.assert_array_equal(other, np.ldexp(one, 150))


@pytest.mark.parametrize("size", [1e5, 1e-5, 1e8, 1e-9, 1e300, 1e-300])
@pytest.mark.parametrize("of", ["A", "b"])
@pytest.mark.parametrize("format", ["fp16", "bf16", "fp32"])
def test_without_scaling_what_is_out_of_range_is_said(format, of, size):
    """What is well within the range of float32 is solved as it is; the rest is refused, or ends in OVERFLOW."""
    A, _, b = on_grid(32)
    A, b = (size * A, b) if of == "A" else (A, size * b)
    inside = format != "fp16" and 1e-9 <= size <= 1e9
    for method in ("cg", "chebyshev", "sor"):
        try:
            precision = Precision(format, scale="none")
            solution = quietly(rv.solve, A, b, method=method, rtol=0.05, maxiter=500, precision=precision)
        except rv.InputError as refused:
            said = str(refused)
            assert not inside
            assert said.startswith(f"{of}: its largest entry")
            assert 'scale="auto"' in said
        else:
            assert solution.converged == inside
            if not inside:
                assert solution.status in (rv.Status.OVERFLOW, rv.Status.STAGNATED)
                assert "leave scale at auto" in solution.reason


def test_an_iterate_that_leaves_the_range():
    """Unscaled data in range, a solution that is not: overflow is reported as such and never called converged."""
    A = np.diag([1.0, 2.0, 4.0]) * 2.0**-12
    solution = quietly(rv.jacobi, A, np.full(3, 2.0**6), rtol=0.01, precision=Precision("fp16", scale="none"))
    assert not solution.converged
    assert solution.status is rv.Status.OVERFLOW
    assert "An iterate left the range of fp16, whose largest number is 65504" in solution.reason
    assert "leave scale at auto" in solution.reason
    assert np.isfinite(solution.x).all()
    scaled = rv.jacobi(A, np.full(3, 2.0**6), rtol=0.01, precision="fp16")
    np.testing.assert_allclose(scaled.x, 2.0**18 / np.array([1.0, 2.0, 4.0]), rtol=1e-3)


@pytest.mark.parametrize("of_b", [1.0, 1e20, 1e-20])
def test_room_is_left_for_a_solution_larger_than_the_right_hand_side(of_b):
    """256 times as large; e4m3 ends at 240, so b is brought to a quarter of the usual size."""
    A, b = np.diag([1.0, 2.0**-8]), of_b * np.array([0.25, 1.75])
    solution = rv.gauss_seidel(A, b, rtol=0.1, precision="fp8_e4m3")
    assert solution.converged
    np.testing.assert_allclose(solution.x, of_b * np.array([0.25, 448.0]), rtol=0.1)


@pytest.mark.parametrize(("size", "format"), [(1e10, "fp16"), (1e-10, "fp16"), (1e50, "bf16"), (1e-50, "fp32")])
@pytest.mark.parametrize("made", ["jacobi", "ssor", "polynomial", "matrix", "callable"])
def test_preconditioners_in_any_units(made, size, format):
    """M is of the size of the inverse of A: what brings A into range must not leave it out of range."""
    A = size * poisson((8, 8)).A
    b = A @ np.random.default_rng(0).standard_normal(64)
    if made == "matrix":
        M = sparse.diags_array(np.full(64, 0.25 / size)).tocsr()
    elif made == "callable":

        def M(r):
            return r * 0.25 * np.float64(1 / size)

        M.shape, M.dtype = (64, 64), np.dtype(np.float64)
    else:
        M = getattr(rv.precondition, made)(A)
    solution = quietly(rv.cg, A, b, M=M, rtol=0.02, precision=format)
    if made == "callable" and not solution.converged:
        assert "range" in solution.reason, "it is not M that is wrong"
        return
    assert solution.converged
    assert np.linalg.norm(b - A @ solution.x) <= 0.02 * np.linalg.norm(b)


# What a Solution says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["bf16", "tf32"])
@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_the_condition_number_comes_free_in_low_precision(format, size):
    """Within 5 %, however far the iteration runs on."""
    problem = poisson((size, size))
    b = problem.A @ np.random.default_rng(size).standard_normal(size**2)
    for steps in (5 * size, 100, 300):
        solution = quietly(rv.cg, problem.A, b, rtol=0, maxiter=steps, precision=format)
        assert solution.condition == pytest.approx(problem.condition, rel=0.05)
        if solution.condition_sense == "at least":
            assert solution.condition <= 1.1 * problem.condition
        low, high = solution.spectrum
        assert low == pytest.approx(problem.spectrum[0], rel=0.05)
        assert high == pytest.approx(problem.spectrum[1], rel=0.02)


@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_residuals_that_leave_the_range_spoil_no_condition_number(size):
    """Those of fp16 are subnormal soon, and its coefficients of no use; fewer of them are a lower bound."""
    problem = poisson((size, size))
    b = problem.A @ np.random.default_rng(size).standard_normal(size**2)
    for steps in (5 * size, 100, 300):
        solution = quietly(rv.cg, problem.A, b, rtol=0, maxiter=steps, precision="fp16")
        assert 1 <= solution.condition <= 1.1 * problem.condition
        assert solution.spectrum[1] <= 1.02 * problem.spectrum[1]


@pytest.mark.parametrize("format", EMULATED)
@pytest.mark.parametrize("mode", [1, 2, 3, 4])
def test_the_condition_is_never_said_to_be_at_least_more_than_it_is(format, mode):
    A = definite(50, 10.0, mode, seed=mode)
    b = A @ np.random.default_rng(1).standard_normal(50)
    solution = quietly(rv.cg, A, b, rtol=0, precision=format)
    assert solution.status is rv.Status.STAGNATED
    assert solution.condition <= 11


@pytest.mark.parametrize("format", ["fp64", "fp32"])
def test_running_on_below_rounding_spoils_no_certificate(format):
    """Carried residuals shrink until they underflow; what was learnt of the spectrum must not go with them."""
    for size in (8, 16):
        A, norm, b = on_grid(size)
        for backend in ("numpy", "numba"):
            solution = quietly(rv.cg, A, b, rtol=0, precision=format, backend=backend)
            assert solution.status is rv.Status.STAGNATED
            assert solution.spectrum[1] == pytest.approx(norm, rel=1e-4)
            residual = np.linalg.norm(b - A @ solution.x)
            # float64 itself is only so good at telling the residual of float64.
            if format == "fp32":
                true = residual / (norm * np.linalg.norm(solution.x) + np.linalg.norm(b))
                assert solution.backward_error == pytest.approx(true, rel=0.01)


def system_of(seed):
    """A small system, its format and policy and method, anything from friendly to hopeless."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    G = rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if seed % 5 == 0 else 0)
    square = G @ G.conj().T + 0.1 * np.eye(n)
    A = {
        0: lambda: np.tril(square) + np.tril(square, -1).conj().T - 1j * np.diag(square.diagonal().imag),
        1: lambda: G + 2 * np.diag(np.abs(G).sum(axis=1)),
        2: lambda: np.diag(rng.uniform(0.5, 2, n)),
        3: lambda: G,
    }[int(rng.choice([0, 0, 0, 1, 2, 3]))]()
    A = (A.real if G.dtype.kind != "c" else A) * 10.0 ** rng.choice([0, 0, 0, 6, -6, 30, -30])
    b = A @ rng.standard_normal(n) * 10.0 ** rng.choice([0, 0, 6, -6])
    choices = (
        "bf16", "fp16", "tf32", "fp32", "fp8_e5m2", "fp8_e4m3fn", "fp8_e4m3", "fp6_e2m3", "fp6_e3m2", "fp4_e2m1",
        "mxfp8_e4m3", "mxfp6_e3m2", "mxfp4", "nvfp4", FixedPoint(6, 8), FixedPoint(3, 12, overflow="wrap"),
        FixedPoint(0, 10), FixedPoint(12, 0), formats.Format(1, -10, 10), formats.Format(5, -3, 3, subnormals=False),
    )  # fmt: skip
    format = choices[int(rng.integers(len(choices)))]
    options = {"policy": str(rng.choice(["storage", "storage", "op", "matvec", "tensor-core"]))}
    options["rounding"] = str(rng.choice(["nearest-even", "nearest-even", "toward-zero", "stochastic"]))
    options["scalars"] = [None, None, "bf16", "fp8_e5m2"][int(rng.integers(4))]
    options["scale"] = str(rng.choice(["auto", "auto", "auto", "none"]))
    method = str(rng.choice(["auto", *rv.METHODS]))
    solve = {"rtol": float(10 ** rng.uniform(-4, -0.3)), "maxiter": int(rng.choice([0, 1, 5, 60, 300]))}
    solve["backend"] = str(rng.choice(["numpy", "numba"]))
    if rng.random() < 0.3:
        solve["x0"] = rng.standard_normal(n)
    if rng.random() < 0.3:
        solve["atol"] = float(0.05 * np.abs(b).max())
    return A, b, format, options, method, solve


@pytest.mark.parametrize("block", range(8))
def test_whatever_the_format_nothing_false_is_said(block):
    """Residuals in rational arithmetic: CONVERGED holds, relative residuals are true, backward errors not too small."""
    solved, converged, refused_for = 0, 0, set()
    for seed in range(60 * block, 60 * block + 60):
        A, b, format, options, method, solve = system_of(seed)
        try:
            precision = Precision(format, **options)
            solution = quietly(rv.solve, A, b, method=method, precision=precision, **solve)
        except (ValueError, TypeError) as refused:
            refused_for.add(str(refused).partition(":")[0])
            continue
        solved += 1
        converged += solution.converged
        residual, size = exact_residual(A, solution.x, b)
        tolerance = max(solve["rtol"] * size, solve.get("atol", 0.0))
        if solution.converged:
            assert residual <= tolerance * (1 + 1e-12), seed
        assert solution.relative_residual == pytest.approx(residual / size, rel=1e-9, abs=1e-17), seed
        norm = np.linalg.norm(A, 2) * np.linalg.norm(solution.x) + size
        wrapping = getattr(precision.format, "overflow", "") == "wrap"
        if not wrapping:
            assert solution.backward_error >= 0.99 * residual / norm - 1e-17, seed
        assert solution.precision in (str(precision.format), "float32", "complex64")
        assert not re.search(r"\b(nan|inf)\b", str(solution).lower()), seed
    assert solved >= 20
    assert converged >= 3
    assert refused_for <= {"A", "b", "policy", "rounding", "precision", "input, output"}


@pytest.mark.parametrize("format", ["bf16", "fp8_e4m3fn", "mxfp4", FixedPoint(4, 4)])
def test_reasons_and_reports_name_the_format(format):
    A, _, b = on_grid(8)
    solution = quietly(rv.cg, A, b, rtol=1e-6, precision=format)
    name = str(precision_of(format))
    assert not solution.converged
    assert solution.precision == name
    assert name in solution.reason
    assert name in str(solution)
    assert "rv.refine" in solution.reason
    assert len(str(solution).splitlines()) >= 5
    assert solution.x.dtype == np.float64, "the caller's type"


def precision_of(format):
    return Precision(format).format


def test_prediction_of_the_error():
    A, _, b = on_grid(16)
    exact = np.linalg.solve(A.toarray(), b)
    for format in EMULATED:
        solution = quietly(rv.cg, A, b, rtol=0, precision=format)
        error = np.linalg.norm(solution.x - exact) / np.linalg.norm(exact)
        assert error <= 10 * solution.attainable_error
        assert solution.attainable_error == pytest.approx(min(1, solution.condition * unit(format)))
        assert f"{solution.backward_error / unit(format):.1f} u" in solution.reason


def test_stochastic_rounding_claims_nothing_that_is_not_so():
    A, _, b = on_grid(16)
    converged = 0
    for seed in range(12):
        precision = Precision("bf16", rounding="stochastic", seed=seed)
        solution = quietly(rv.cg, A, b, rtol=0.03, maxiter=300, precision=precision)
        true = np.linalg.norm(b - A @ solution.x) / np.linalg.norm(b)
        assert solution.relative_residual == pytest.approx(true, rel=1e-6)
        assert solution.converged == (true <= 0.03)
        converged += solution.converged
    assert converged >= 6


# Data and arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_the_certificate_is_of_the_data_as_given(backend):
    """Iterating in float32 solves a rounded system; what is certified is the one in float64."""
    rng = np.random.default_rng(4)
    A = definite(30, 100.0) + 1e-9 * np.diag(rng.standard_normal(30))
    b = A @ rng.standard_normal(30)
    solution = rv.cg(A, b, rtol=1e-5, precision="fp32", backend=backend)
    residual, size = exact_residual(A, solution.x, b)
    assert solution.converged
    assert solution.precision == "float32"
    assert solution.unit_roundoff == 2.0**-24
    assert solution.x.dtype == np.float64
    np.testing.assert_array_equal(solution.x, solution.x.astype(np.float32).astype(np.float64), "iterates of float32")
    assert solution.relative_residual == pytest.approx(residual / size, rel=1e-10)
    rounded = np.linalg.norm(b - A.astype(np.float32) @ solution.x) / size
    assert abs(solution.relative_residual - rounded) > 1e-10
    assert not quietly(rv.cg, A, b, rtol=1e-10, precision="fp32", backend=backend).converged


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_precision_wider_than_the_data(backend):
    A = definite(30, 1000.0).astype(np.float32)
    A = (A + A.T) / 2
    b = np.random.default_rng(4).standard_normal(30).astype(np.float32)
    solution = rv.cg(A, b, rtol=1e-12, precision="fp64", backend=backend)
    assert solution.converged
    assert solution.precision == "float64"
    residual, size = exact_residual(A.astype(float), solution.x, b.astype(float))
    assert residual <= 1e-12 * size
    assert solution.x.dtype == np.float64
    assert not quietly(rv.cg, A, b, rtol=1e-12, backend=backend).converged, "float32 itself cannot"


@pytest.mark.parametrize("dtype", ["int64", "bool", "float16", "float32", "complex64", "complex128"])
def test_data_of_all_types_in_bf16(dtype):
    A = np.diag([4.0, 3.0, 2.0]) + np.eye(3, k=1) + np.eye(3, k=-1)
    if dtype == "bool":
        A = np.eye(3)
    if np.dtype(dtype).kind == "c":
        A = A + 0.5j * (np.eye(3, k=1) - np.eye(3, k=-1))
    A, b = A.astype(dtype), np.ones(3).astype(dtype)
    for options in ({}, {"policy": "op"}, {"policy": "matvec"}):
        solution = rv.cg(A, b, rtol=0.02, precision=Precision("bf16", **options))
        assert solution.converged
        exact = np.linalg.solve(A.astype(complex), b.astype(complex))
        np.testing.assert_allclose(solution.x, exact, atol=0.03)
        wanted = {"int64": "float64", "bool": "float64", "float16": "float32"}.get(dtype, dtype)
        assert solution.x.dtype == np.dtype(wanted)


def test_complex_systems_round_both_parts():
    rng = np.random.default_rng(0)
    G = rng.standard_normal((20, 20)) + 1j * rng.standard_normal((20, 20))
    A = G @ G.conj().T + 20 * np.eye(20)
    A = np.tril(A) + np.tril(A, -1).conj().T - 1j * np.diag(A.diagonal().imag)
    b = rng.standard_normal(20) + 1j * rng.standard_normal(20)
    solution = quietly(rv.cg, A, b, rtol=0, precision="bf16")
    residual = np.linalg.norm(b - A @ solution.x)
    assert residual <= 10 * unit("bf16") * np.linalg.norm(A, 2) * np.linalg.norm(solution.x)
    for part in (solution.x.real, solution.x.imag):
        np.testing.assert_array_equal(part, rv.precision.round(part, "bf16"))


@pytest.mark.parametrize("policy", ["storage", "op", "matvec", "tensor-core"])
def test_a_first_guess_a_preconditioner_and_a_batch(policy):
    A, _, b = on_grid(8)
    exact = np.linalg.solve(A.toarray(), b)
    precision = Precision("bf16", policy=policy)
    near = rv.cg(A, b, x0=exact * (1 + 1e-3), rtol=0.05, precision=precision)
    assert near.converged
    assert near.iterations == 0
    for M in (rv.precondition.jacobi(A), rv.precondition.polynomial(A, 3), np.eye(64) / 4, lambda r: r / 4):
        if callable(M):
            M.shape, M.dtype = (64, 64), np.dtype(np.float64)
            if policy in ("op", "tensor-core"):
                continue
        solution = rv.cg(A, b, M=M, rtol=0.03, precision=precision)
        assert solution.converged
        assert np.linalg.norm(b - A @ solution.x) <= 0.03 * np.linalg.norm(b)
    rhs = np.column_stack([b, -2 * b, np.zeros(64)])
    batch = rv.cg(A, rhs, rtol=0.03, precision=precision)
    assert batch.converged
    assert batch.precision == "bf16"
    one = rv.cg(A, b, rtol=0.03, precision=precision)
    np.testing.assert_array_equal(batch.x, np.column_stack([one.x, -2 * one.x, 0 * b]))
    assert batch.iterations.tolist() == [one.iterations, one.iterations, 0]


def test_ssor_as_a_preconditioner():
    A, _, b = on_grid(16)
    plain = rv.cg(A, b, rtol=0.02, precision="bf16")
    for options in ({}, {"policy": "op"}):
        solution = rv.cg(A, b, M=rv.precondition.ssor(A), rtol=0.02, precision=Precision("bf16", **options))
        assert solution.converged
        assert solution.iterations < plain.iterations


@pytest.mark.parametrize("format", ["bf16", "fp8_e4m3fn", "mxfp4", "fp32"])
def test_trivial_systems(format):
    empty = rv.cg(np.zeros((0, 0)), np.zeros(0), precision=format)
    assert empty.converged
    assert empty.x.shape == (0,)
    zero = rv.cg(np.eye(3), np.zeros(3), precision=format)
    assert zero.converged
    np.testing.assert_array_equal(zero.x, np.zeros(3))
    exact = rv.cg(np.eye(3), np.ones(3), rtol=1e-15, precision=format)
    assert exact.converged
    np.testing.assert_array_equal(exact.x, np.ones(3))
    column = rv.cg(np.eye(3), np.ones((3, 1)), precision=format)
    assert column.x.shape == (3, 1)


def test_a_small_right_hand_side_is_not_zero():
    A, _, b = on_grid(4)
    for precision in ("bf16", "fp16", "fp32", "fp64"):
        solution = rv.cg(A, 1e-300 * b, rtol=0.05, precision=precision)
        assert solution.converged
        assert solution.iterations > 0
        np.testing.assert_allclose(A @ (solution.x * 1e300), b, atol=0.05 * np.linalg.norm(b))


@pytest.mark.parametrize("method", ["cg", "jacobi", "gauss_seidel", "ssor"])
def test_matrices_that_only_multiply(method):
    """Their products are rounded; what needs the entries is refused by name."""
    A, _, b = on_grid(8)
    free = aslinearoperator(A)
    for policy in ("storage", "op", "matvec", "tensor-core"):
        precision = Precision("bf16", policy=policy)
        if method == "cg" and policy in ("storage", "matvec"):
            solution = rv.cg(free, b, rtol=0.03, precision=precision)
            assert solution.converged
            assert np.linalg.norm(b - A @ solution.x) <= 0.03 * np.linalg.norm(b)
        else:
            with pytest.raises(rv.InputError, match=r"A: the (entries|diagonal) (are|is) needed"):
                rv.solve(free, b, method=method, precision=precision)


@pytest.mark.parametrize("policy", ["matvec", "tensor-core"])
@pytest.mark.parametrize("method", ["gauss_seidel", "sor", "ssor"])
def test_relaxations_have_no_products(method, policy):
    A, _, b = on_grid(4)
    with pytest.raises(rv.InputError, match=f"precision: the policy '{policy}' concerns products with A"):
        rv.solve(A, b, method=method, precision=Precision("bf16", policy=policy))


def test_tensor_cores_are_real():
    with pytest.raises(rv.InputError, match="precision: tensor cores multiply real numbers"):
        rv.cg(np.eye(3) * (1 + 0j), np.ones(3), precision=Precision("bf16", policy="tensor-core"))


@pytest.mark.parametrize(("wrong", "error"), [("bf17", ValueError), (16, TypeError), ("", ValueError)])
def test_what_is_no_precision_is_said(wrong, error):
    for solve in (rv.cg, rv.sor, rv.solve):
        with pytest.raises(error, match="found"):
            solve(np.eye(3), np.ones(3), precision=wrong)


def test_every_method_takes_a_precision():
    A, _, b = on_grid(4)
    for method in rv.METHODS:
        by_name = rv.solve(A, b, method=method, rtol=0.05, precision="bf16")
        itself = getattr(rv, method)(A, b, rtol=0.05, precision="bf16")
        assert by_name.precision == itself.precision == "bf16"
        np.testing.assert_array_equal(by_name.x, itself.x)
    auto = rv.solve(A, b, rtol=0.05, precision="bf16")
    assert auto.converged
    assert auto.precision == "bf16"
    assert "conjugate" in auto.reason or "cg was chosen" in auto.reason


@pytest.mark.parametrize("precision", ["fp16", "fp8_e5m2", "fp8_e4m3", "fp6_e2m3"])
def test_units_leave_room_for_the_product_with_a_large_guess(precision):
    """b and A x0, whichever is larger, has its largest entry where the format wants that of b."""
    asked = as_precision(precision)
    A, b = np.diag([1.0, 0.5, 0.25, 0.125]), np.ones(4)
    for exponent in range(-3, round(-math.log2(asked.unit_roundoff))):
        x0 = np.full(4, 2.0**exponent)
        system = LinearSystem(A, b, x0=x0, precision=precision)
        largest = max(1.0, 2.0**exponent)
        assert math.ldexp(largest, -system.exponent) == 2.0**asked.rhs_level
        assert system.guess is not None
        x, _, norm = system.initial()
        assert np.isfinite(norm)
        np.testing.assert_array_equal(np.ldexp(x, system.exponent - system.matrix_exponent), x0)


def test_a_guess_larger_than_the_format_is_used():
    A, x = np.diag([1.0, 0.125]), np.array([1.0, 8.0])  # the largest number of the format is 7.5
    solution = rv.cg(A, A @ x, x0=x, precision="fp6_e2m3", rtol=1e-2)
    assert solution.converged
    assert solution.iterations == 0
    np.testing.assert_array_equal(solution.x, x)


# Diagonal entries below the range of a format -------------------------------------------------------------------------

SMALL = np.diag([1.0, 1e-4, 1.0, 2.0])
SMALL[0, 3] = SMALL[3, 0] = 0.1
DIVIDING = {
    "jacobi": lambda A, **options: rv.jacobi(A, np.ones(4), **options),
    "gauss_seidel": lambda A, **options: rv.gauss_seidel(A, np.ones(4), **options),
    "sor": lambda A, **options: rv.sor(A, np.ones(4), **options),
    "ssor": lambda A, **options: rv.ssor(A, np.ones(4), **options),
    "ssor_cg": lambda A, **options: rv.ssor_cg(A, np.ones(4), **options),
    "M=jacobi": lambda A, **options: rv.cg(A, np.ones(4), M=rv.precondition.jacobi(A), **options),
    "M=ssor": lambda A, **options: rv.cg(A, np.ones(4), M=rv.precondition.ssor(A), **options),
}


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name", DIVIDING)
def test_a_diagonal_entry_that_rounds_to_zero_is_not_called_zero(name, backend):
    with pytest.raises(rv.SingularError, match=r"row 1 is not zero, but 5.0e-05 .* rounds to zero in fp8_e4m3fn"):
        DIVIDING[name](SMALL, precision="fp8_e4m3fn", backend=backend)
    if name == "ssor_cg":
        return  # of a zero it says that A is not positive definite
    zero = SMALL.copy()
    zero[1, 1], zero[1, 2], zero[2, 1] = 0, 0.5, 0.5
    for precision in ("fp8_e4m3fn", None):
        with pytest.raises(rv.SingularError, match="row 1 is zero"):
            DIVIDING[name](zero, precision=precision, backend=backend)


@pytest.mark.parametrize("name", ["gauss_seidel", "jacobi", "M=jacobi"])
def test_an_entry_that_single_precision_has_no_number_for(name):
    tiny = SMALL.copy()
    tiny[1, 1] = 1e-60
    with pytest.raises(rv.SingularError, match="rounds to zero in float32"):
        DIVIDING[name](tiny, precision="fp32")


def test_a_choice_of_methods_goes_on_where_one_would_divide_by_what_rounds_to_zero():
    solution = quietly(rv.solve, SMALL, np.ones(4), precision="fp8_e4m3fn")
    assert "rounds to zero in fp8_e4m3fn" in solution.reason


@pytest.mark.parametrize("options", [{"inner": "jacobi"}, {"inner": "sor"}, {"M": rv.precondition.jacobi(SMALL)}])
def test_refinement_gives_up_a_format_in_which_the_diagonal_vanishes(options):
    solution = rv.refine(SMALL, np.ones(4), inner_precision="fp8_e4m3fn", **options)
    assert solution.converged
    assert "fp8_e4m3fn was given up" in solution.reason
    with pytest.raises(rv.SingularError, match="rounds to zero"):
        rv.refine(SMALL, np.ones(4), inner_precision="fp8_e4m3fn", escalate=False, **options)


@pytest.mark.parametrize("given", ["fp17", 16, object()])
def test_an_unknown_format_is_named_as_the_argument_that_it_is(given):
    with pytest.raises((ValueError, TypeError), match=r"^precision: found"):
        rv.cg(np.eye(2), np.ones(2), precision=given)
    with pytest.raises((ValueError, TypeError), match=r"^scalars: found"):
        rv.Precision("bf16", scalars=given)
