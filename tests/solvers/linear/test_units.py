"""Units do not matter: solve(2^j A, 2^k b) gives the same bits times 2^(k - j), over the whole range of the format."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.gallery import convection_diffusion, poisson

METHODS = ("cg", "chebyshev", "richardson", "jacobi", "gauss_seidel", "sor", "ssor", "auto")
HERMITIAN = ("cg", "chebyshev", "richardson")
BACKENDS = ("numpy", "numba")

# Exponents of A and of b. Entries of A are within 2^3 of one and so are those of x, so that nothing leaves the range.
SHIFTS = {
    "float64": [(0, 500), (0, -500), (500, 0), (-500, 0), (500, 500), (-500, -500), (480, -480), (-480, 480),
                (0, 1015), (0, -1000), (1015, 1015), (-1000, -1000), (1015, 30), (-1000, -30), (3, -7)],
    "float32": [(0, 60), (0, -60), (60, 0), (-60, 0), (60, 60), (-60, -60), (55, -55), (-55, 55),
                (0, 120), (0, -110), (120, 120), (-110, -110), (120, 30), (-110, -30), (3, -7)],
}  # fmt: skip
SHIFTS["complex128"] = SHIFTS["float64"]


def system(dtype):
    """Hermitian positive definite with a varying diagonal, n = 25; b is generic."""
    A = poisson((5, 5)).A.toarray() + np.diag(np.linspace(0, 1, 25))
    b = np.random.default_rng(5).standard_normal(25)
    if np.dtype(dtype).kind == "c":
        A = A + 0.25j * (np.eye(25, k=1) - np.eye(25, k=-1))
        b = b + 1j * np.random.default_rng(6).standard_normal(25)
    return A.astype(dtype), b.astype(dtype)


def times(values, exponent):
    """2^exponent values, exactly, also where 2^exponent itself is out of range."""
    if np.iscomplexobj(values):
        result = np.empty_like(values)
        result.real, result.imag = np.ldexp(values.real, exponent), np.ldexp(values.imag, exponent)
        return result
    return np.ldexp(values, exponent)


def solved(A, b, method, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return rv.solve(A, b, method=method, **options)


def same_but_for_units(base, other, j, k):
    """Every number of one solution against the other's."""
    assert other.status is base.status
    assert other.iterations == base.iterations
    # At the end of the range the solution is checked once more after it has been put back into its units.
    assert 0 <= other.matvecs - base.matvecs <= 1
    np.testing.assert_array_equal(other.x, times(base.x, k - j))
    np.testing.assert_array_equal(other.residual_iterations, base.residual_iterations)
    np.testing.assert_array_equal(other.residual_norms, np.ldexp(base.residual_norms, k))
    assert other.relative_residual == base.relative_residual
    assert other.residual_norm == np.ldexp(base.residual_norm, k)
    assert other.backward_error == base.backward_error
    assert other.condition == base.condition
    assert other.error_bound == base.error_bound
    if base.spectrum is None:
        assert other.spectrum is None
    else:
        assert other.spectrum == tuple(np.ldexp(base.spectrum, j if not base.preconditioned else 0))


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
def test_bits_do_not_depend_on_units(method, backend, storage, dtype):
    A, b = system(dtype)
    rtol = 1e-4 if dtype == "float32" else 1e-9
    base = solved(storage(A), b, method, rtol=rtol, backend=backend)
    assert base.converged
    for j, k in SHIFTS[dtype]:
        other = solved(storage(times(A, j)), times(b, k), method, rtol=rtol, backend=backend)
        same_but_for_units(base, other, j, k)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_stencils(method, backend, dtype):
    pairs = [(-1.0, -1.0), (-0.5, -0.5)]
    b = np.random.default_rng(5).standard_normal(30).astype(dtype)
    rtol = 1e-4 if dtype == "float32" else 1e-9
    base = solved(rv.Stencil((5, 6), 3.5, pairs, dtype), b, method, rtol=rtol, backend=backend)
    assert base.converged
    for j, k in SHIFTS[dtype]:
        scaled = [tuple(float(np.ldexp(value, j)) for value in pair) for pair in pairs]
        stencil = rv.Stencil((5, 6), float(np.ldexp(3.5, j)), scaled, dtype)
        same_but_for_units(base, solved(stencil, times(b, k), method, rtol=rtol, backend=backend), j, k)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
def test_bands(method, backend):
    data = np.array([np.linspace(3, 4, 20), np.linspace(-1, -0.5, 20)])
    b = np.random.default_rng(5).standard_normal(20)
    base = solved(rv.Diagonals(data, [0, 1], symmetric=True), b, method, rtol=1e-9, backend=backend)
    assert base.converged
    for j, k in SHIFTS["float64"]:
        bands = rv.Diagonals(times(data, j), [0, 1], symmetric=True)
        same_but_for_units(base, solved(bands, times(b, k), method, rtol=1e-9, backend=backend), j, k)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["jacobi", "gauss_seidel", "sor", "ssor", "auto"])
def test_nonsymmetric_matrices(method, backend):
    problem = convection_diffusion((5, 5))
    A = problem.A + 2 * sparse.eye_array(25)
    base = solved(A, problem.b, method, rtol=1e-9, backend=backend)
    assert base.converged
    for j, k in SHIFTS["float64"]:
        scaled = sparse.csr_array((times(A.tocsr().data, j), A.tocsr().indices, A.tocsr().indptr), shape=A.shape)
        same_but_for_units(base, solved(scaled, times(problem.b, k), method, rtol=1e-9, backend=backend), j, k)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", HERMITIAN)
@pytest.mark.parametrize("name", ["jacobi", "ssor", "neumann", "chebyshev", "matrix"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_preconditioners(method, name, backend, dtype):
    def made(A):
        match name:
            case "jacobi":
                return rv.precondition.jacobi(A)
            case "ssor":
                return rv.precondition.ssor(A, 1.2)
            case "neumann":
                return rv.precondition.polynomial(A, 3, kind="neumann")
            case "chebyshev":
                return rv.precondition.polynomial(A, 4)
        return None

    A, b = system(dtype)
    rtol = 1e-4 if dtype == "float32" else 1e-9
    inverse = np.diag(1 / A.diagonal()).astype(dtype) + np.eye(25, dtype=dtype) / 8
    base = solved(A, b, method, M=made(A) or inverse, rtol=rtol, backend=backend)
    assert base.converged
    for j, k in SHIFTS[dtype]:
        scaled = times(A, j)
        other = solved(scaled, times(b, k), method, M=made(scaled) or times(inverse, -j), rtol=rtol, backend=backend)
        same_but_for_units(base, other, j, k)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", HERMITIAN)
@pytest.mark.parametrize("shift", [500, -500, 900, -900])
def test_the_scale_of_the_preconditioner_alone_does_not_matter(method, backend, shift):
    A, b = system("float64")
    M = np.diag(1 / A.diagonal()) + np.eye(25) / 8
    base = solved(A, b, method, M=M, rtol=1e-9, backend=backend)
    other = solved(A, b, method, M=times(M, shift), rtol=1e-9, backend=backend)
    np.testing.assert_array_equal(other.x, base.x)
    assert other.iterations == base.iterations
    assert other.condition == base.condition
    assert other.backward_error == base.backward_error


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
def test_guesses_scale_too(method, backend):
    A, b = system("float64")
    x0 = np.linspace(-1, 1, 25)
    base = solved(A, b, method, x0=x0, rtol=1e-9, backend=backend)
    for j, k in SHIFTS["float64"]:
        other = solved(times(A, j), times(b, k), method, x0=times(x0, k - j), rtol=1e-9, backend=backend)
        same_but_for_units(base, other, j, k)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS[:-1])
def test_parameters_in_units_scale_too(method, backend):
    """The interval is in the units of A, Richardson's omega in those of 1/A, atol in those of b."""
    A, b = system("float64")
    low, high = np.linalg.eigvalsh(A)[[0, -1]]

    def parameters(j):
        if method == "chebyshev":
            return {"interval": (float(np.ldexp(low, j)), float(np.ldexp(high, j)))}
        if method == "richardson":
            return {"omega": float(np.ldexp(2 / (low + high), -j))}
        return {}

    base = solved(A, b, method, rtol=0.0, atol=1e-7, backend=backend, **parameters(0))
    assert base.converged
    for j, k in SHIFTS["float64"]:
        atol = float(np.ldexp(1e-7, k))
        if not 1e-300 < atol < 1e300:
            continue  # atol itself would be rounded
        other = solved(times(A, j), times(b, k), method, rtol=0.0, atol=atol, backend=backend, **parameters(j))
        same_but_for_units(base, other, j, k)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["cg", "chebyshev", "richardson", "auto"])
def test_operators_that_only_multiply(method, backend):
    """The units of b are known; those of a black box show in its first product."""
    A, b = system("float64")

    def black_box(matrix):
        def multiply(x):
            return matrix @ x

        multiply.shape, multiply.dtype = matrix.shape, matrix.dtype
        return multiply

    base = solved(black_box(A), b, method, rtol=1e-9, backend=backend)
    assert base.converged
    for j, k in [(0, 500), (0, -500), (0, 1015), (0, -1000), (400, 0), (-400, 0), (400, 400), (-400, -400), (3, -7)]:
        other = solved(black_box(times(A, j)), times(b, k), method, rtol=1e-9, backend=backend)
        assert other.converged
        assert other.iterations == base.iterations
        np.testing.assert_allclose(other.x, times(base.x, k - j), rtol=1e-9)


def test_failures_are_the_same_in_any_units():
    """Indefinite, singular, stagnating and diverging systems end alike."""
    indefinite = np.diag([1.0, 2.0, -3.0, 1.5])
    neumann = 2 * np.eye(8) - np.eye(8, k=1) - np.eye(8, k=-1)
    neumann[0, 0] = neumann[-1, -1] = 1
    A, _ = system("float64")
    for matrix, method in [(indefinite, "cg"), (neumann, "cg"), (A, "cg"), (neumann, "gauss_seidel"), (A, "jacobi")]:
        b = np.linspace(1, 2, matrix.shape[0])
        base = solved(matrix, b, method, rtol=1e-30)
        assert not base.converged
        for j, k in SHIFTS["float64"]:
            other = solved(times(matrix, j), times(b, k), method, rtol=1e-30)
            same_but_for_units(base, other, j, k)
