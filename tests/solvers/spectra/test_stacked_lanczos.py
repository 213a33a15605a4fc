"""The Lanczos process on stacks: of each matrix the coefficients that it has alone, and none from its neighbours."""

import importlib.util

import numpy as np
import pytest

from resolvent.backends import choose_backend
from resolvent.solvers.linear.system import LinearSystem
from resolvent.solvers.preconditioners.jacobi import JacobiPreconditioner
from resolvent.solvers.spectra.lanczos import Lanczos
from resolvent.solvers.spectra.stacked_lanczos import stacked_lanczos

LIBRARIES = [
    name
    for name, needs in (("numpy", "numpy"), ("torch", "torch"), ("array_api", "array_api_strict"))
    if importlib.util.find_spec(needs) is not None
]
DTYPES = ("float64", "float32", "complex64", "complex128")


@pytest.fixture(params=LIBRARIES)
def library(request):
    return request.param


def given_to(library, array):
    if library == "torch":
        import torch

        return torch.tensor(array)
    if library == "array_api":
        import array_api_strict

        return array_api_strict.asarray(array, copy=True)
    return np.array(array)


def definite(count, n, dtype, seed=0):
    rng = np.random.default_rng(seed)
    G = rng.standard_normal((count, n, n))
    if np.dtype(dtype).kind == "c":
        G = G + 1j * rng.standard_normal((count, n, n))
    scale = np.exp(rng.uniform(-1, 1, (count, n, 1)))
    A = scale * (G @ np.conj(np.swapaxes(G, -1, -2)) / n + np.eye(n)) * np.swapaxes(scale, -1, -2)
    return A.astype(dtype)


def run(library, A, start, steps, scaled=False, suited=None):
    backend = choose_backend(library, given_to(library, A))
    matrices = given_to(library, A)

    def product(x, out):
        return (matrices @ x[..., None])[..., 0]

    wide = np.ascontiguousarray(np.broadcast_to(start, A.shape[:-1]), A.dtype)
    inverse = given_to(library, (1 / np.einsum("...ii->...i", A)).astype(A.dtype)) if scaled else None
    u = float(np.finfo(A.dtype).eps) / 2
    suited = np.ones(A.shape[:-2], bool) if suited is None else suited
    with np.errstate(all="ignore"):
        return stacked_lanczos(
            backend,
            product,
            given_to(library, wide),
            steps,
            u,
            inverse,
            suited=suited,
            most=int(np.finfo(A.dtype).maxexp),
        )


def alone(A, start, steps, scaled):
    """Rows of the process on one matrix."""
    system = LinearSystem(A, start, backend="numpy")
    if scaled:
        system.use_preconditioner(JacobiPreconditioner(system.operator).bind(system.backend, system.dtype))
    process = Lanczos(system, start.astype(A.dtype).copy())
    while len(process.diagonal) < steps and not process.exhausted and process.pivot > 0:
        process.step()
    return np.array(process.diagonal), np.array(process.off)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_those_of_each_matrix_alone(library, dtype, scaled):
    A, start = definite(4, 10, dtype), np.random.default_rng(1).standard_normal(10)
    diagonal, off, rows = run(library, A, start, 6, scaled)
    digits = 2e3 * float(np.finfo(dtype).eps)
    assert rows.tolist() == [6] * 4
    for k in range(4):
        wanted = alone(A[k], start, 6, scaled)
        np.testing.assert_allclose(diagonal[k], wanted[0], rtol=digits)
        np.testing.assert_allclose(off[k], wanted[1], rtol=digits)


@pytest.mark.parametrize("scaled", [False, True])
def test_eigenvalues_of_all_steps_are_those_of_the_matrix(library, scaled):
    A, start = definite(3, 6, "float64"), np.random.default_rng(1).standard_normal(6)
    diagonal, off, rows = run(library, A, start, 6, scaled)
    assert rows.tolist() == [6] * 3
    for k in range(3):
        T = np.diag(diagonal[k]) + np.diag(off[k, :-1], 1) + np.diag(off[k, :-1], -1)
        d = np.sqrt(np.diag(A[k])) if scaled else np.ones(6)
        wanted = np.linalg.eigvalsh(A[k] / np.outer(d, d))
        np.testing.assert_allclose(np.linalg.eigvalsh(T), wanted, rtol=1e-8)


def test_each_ends_by_itself(library):
    """Of few eigenvalues, of one, indefinite, not suited, with NaN; and one that none of these reaches."""
    n = 8
    A = definite(6, n, "float64")
    start = np.ones(n)
    A[0] = np.diag(np.repeat([1.0, 5.0], 4))
    A[1] = 3 * np.eye(n)
    A[2] = np.diag([1.0] * 7 + [-4.0])
    A[4] = np.nan
    suited = np.array([True, True, True, False, True, True])
    diagonal, off, rows = run(library, A, start, n, suited=suited)
    assert rows.tolist() == [2, 1, 0, 0, 0, n]
    assert diagonal[1, 0] == pytest.approx(3)
    assert off[1, 0] == pytest.approx(0, abs=1e-14)
    wanted = run(library, A[5:], start, n)
    for found, one in zip((diagonal, off, rows), wanted, strict=True):
        np.testing.assert_allclose(found[5:], one, rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize("exponent", [-40, -12, 12, 40])
def test_units_change_no_bit(exponent):
    """Powers of two are taken out of the vectors of each matrix before they leave the range."""
    A, start = definite(3, 9, "float32"), np.random.default_rng(1).standard_normal(9)
    wanted = run("numpy", A, start, 7)
    scaled = A.copy()
    scaled[1] = np.ldexp(A[1], exponent)
    diagonal, off, rows = run("numpy", scaled, start, 7)
    assert rows.tolist() == [7] * 3
    shift = np.array([0, exponent, 0])[:, None]
    np.testing.assert_array_equal(np.ldexp(diagonal, -shift), wanted[0])
    np.testing.assert_array_equal(np.ldexp(off, -shift), wanted[1])


def test_neighbours_change_no_bit_on_numpy():
    A, start = definite(5, 7, "float64"), np.random.default_rng(1).standard_normal(7)
    A[0] = -A[0]
    together = run("numpy", A, start, 7)
    for k in range(5):
        for found, one in zip(together, run("numpy", A[k : k + 1], start, 7), strict=True):
            np.testing.assert_array_equal(found[k : k + 1] if together[2][k] else one, one)
