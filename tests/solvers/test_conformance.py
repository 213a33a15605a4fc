"""Every method on every backend: the answers, and the iterates step by step, of the NumPy reference.

Generated from the tables of methods and backends, so that a new row of either is held to all of this.
"""

import functools
import importlib.util
import math
import warnings

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.backends.numba_backend import NumbaBackend

GRID = (5, 4)
N = math.prod(GRID)
DTYPES = ("float64", "float32", "complex128")
KINDS = {
    "numpy": ("dense", "csr", "stencil", "diagonals", "callable"),
    "numba": ("dense", "csr", "stencil", "diagonals", "callable"),
    "array_api": ("dense", "callable"),
    "torch": ("dense", "csr", "callable"),
    "cupy": ("dense", "csr", "callable"),
}
NEEDS = {"array_api": "array_api_strict", "torch": "torch", "cupy": "cupy"}
PRECONDITIONED = [name for name, method in rv.METHODS.items() if method.takes_preconditioner]

# Whatever overflows on the way is looked for and reported in words, never as a warning of NumPy's.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def places(*kinds):
    """Parameters (backend, kind, device): all of them, those on a device marked, or the given kinds alone."""
    found = []
    for backend in rv.BACKENDS:
        if importlib.util.find_spec(NEEDS.get(backend, "numpy")) is None:
            continue
        # A device that is not the default one, so that what is made on the default one by mistake does not fit.
        devices = {"torch": ("cpu", "cuda"), "cupy": ("cuda",), "array_api": ("device1",)}
        for device in devices.get(backend, ("",)):
            marks = [pytest.mark.gpu] if device == "cuda" else []
            for kind in KINDS[backend]:
                if not kinds or kind in kinds:
                    name = "-".join(filter(None, (backend, device, kind)))
                    found.append(pytest.param((backend, kind, device), id=name, marks=marks))
    return found


def cases():
    """Parameters (method, place) for all methods in all places, leaving out those that need entries where none are."""
    return [
        pytest.param(method, *place.values, id=f"{method}-{place.id}", marks=place.marks)
        for method in rv.METHODS
        for place in places()
        if not (rv.METHODS[method].needs_entries and place.values[0][1] == "callable")
    ]


def to_library(place, x):
    """A NumPy array in the place's library, on its device."""
    backend, _, device = place
    if backend == "torch":
        import torch

        return torch.tensor(x, device=device)
    if backend == "array_api":
        import array_api_strict

        return array_api_strict.asarray(x, device=array_api_strict.Device(device), copy=True)
    if backend == "cupy":
        import cupy

        return cupy.asarray(x)
    return np.array(x)


def to_host(x):
    """Any library's array as NumPy's."""
    if hasattr(x, "get"):
        return x.get()
    if hasattr(x, "cpu"):
        return x.cpu().numpy()
    return np.from_dlpack(x) if hasattr(x, "__dlpack__") else np.asarray(x)


class Callable:
    """A matrix that hides its entries; what it is applied to and what it returns stay in the library."""

    def __init__(self, matrix, dtype):
        self.matrix, self.shape, self.dtype = matrix, (N, N), dtype

    def __call__(self, x):
        return self.matrix @ x


def stencil(dtype):
    """Hermitian positive definite and diagonally dominant, with a condition number of about ten."""
    side = -0.8 + 0.5j if np.dtype(dtype).kind == "c" else -1.0
    return rv.Stencil(GRID, 5.0, ((side, np.conj(side)),) * 2, dtype)


def varied(dtype):
    """The same with a diagonal that varies, so that its inverse is of use."""
    scale = np.linspace(1, 4, N)
    return (scale[:, None] * stencil(dtype).tocsr().toarray() * scale).astype(dtype)


def given(place, matrix):
    """A matrix, or a stencil, as the kind of object that the place takes."""
    _, kind, _device = place
    if kind == "stencil":
        return matrix
    full = matrix.tocsr().toarray() if isinstance(matrix, rv.Stencil) else matrix
    if kind == "diagonals":
        banded = sparse.csr_array(full).todia()
        data = np.zeros_like(banded.data)  # SciPy keeps a band by columns, rv.Diagonals by rows
        for row, offset in enumerate(banded.offsets):
            data[row] = np.roll(banded.data[row], -offset)
        return rv.Diagonals(data, banded.offsets)
    if kind == "csr" and place[0] == "torch":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)
            return to_library(place, full).to_sparse_csr()
    if kind == "csr" and place[0] == "cupy":
        import cupyx.scipy.sparse

        return cupyx.scipy.sparse.csr_matrix(sparse.csr_matrix(full))
    if kind == "csr":
        return sparse.csr_array(full)
    array = to_library(place, full)
    return Callable(array, array.dtype) if kind == "callable" else array


def rhs(dtype, *shape):
    rng = np.random.default_rng(7)
    b = rng.standard_normal((*shape, N))
    return (b + 1j * rng.standard_normal(b.shape) if np.dtype(dtype).kind == "c" else b).astype(dtype)


def assert_converged(solution, A, b, rtol):
    """CONVERGED, and rightly so: by a residual in extended precision from the x that was returned."""
    assert solution.status is rv.Status.CONVERGED, solution.reason
    wide = np.clongdouble if A.dtype.kind == "c" else np.longdouble
    x = to_host(solution.x)
    residual = np.linalg.norm((b.astype(wide) - A.astype(wide) @ x.astype(wide)).astype(complex))
    norms = np.linalg.norm(A, 2) * np.linalg.norm(x) + np.linalg.norm(b)
    # Backends without extended precision certify in float64, and norms are rounded to the working precision.
    rounding = 10 * np.finfo(np.float64).eps * norms + np.finfo(A.dtype).eps * rtol * np.linalg.norm(b)
    assert residual <= rtol * np.linalg.norm(b) + rounding
    exact = np.linalg.solve(A.astype(complex), b)
    assert np.linalg.norm(x - exact) <= 1.1 * np.linalg.cond(A) * rtol * np.linalg.norm(exact)


# Of random shadows one may be all but orthogonal to what it is to see, at the cost of some digits; of these none is.
DRAWN = {"idrs": {"seed": 12}}


def iterates(method, A, b, backend, steps, **parameters):
    """The iterates of the first steps, as the callback sees them."""
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        rv.solve(
            A,
            b,
            method=method,
            rtol=0,
            maxiter=steps,
            backend=backend,
            callback=lambda progress: seen.append(to_host(progress.x)),
            **DRAWN.get(method, {}),
            **parameters,
        )
    return np.array(seen)


# Left to themselves these find their parameters by Lanczos steps, whose last ones here are made of roundoff.
GIVEN = {"chebyshev": {"interval": (0.2, 2.0)}, "richardson": {"omega": 0.9}}


@functools.cache
def reference(method, dtype, steps):
    """Iterates of the textbook on plain NumPy, for the stencil."""
    return iterates(method, given(("numpy", "dense", ""), stencil(dtype)), rhs(dtype), "numpy", steps)


@functools.cache
def preconditioned_reference(method, preconditioner, dtype, steps):
    """The same with a preconditioner, for the matrix of varied diagonal."""
    A = varied(dtype)
    M = PRECONDITIONERS[preconditioner](("numpy", "dense", ""), A)
    return iterates(method, A, rhs(dtype), "numpy", steps, M=M, **GIVEN.get(method, {}))


def assert_same_iterates(found, wanted, dtype):
    assert found.shape == wanted.shape
    roundoff = np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1) / np.finfo(dtype).eps
    # Backends add in different orders; each step may part them by a few units, which contraction keeps from growing.
    assert roundoff.max() < 200


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("method", "place"), cases())
def test_solution(method, place, dtype):
    backend, kind, _ = place
    rtol = 1e-5 if dtype == "float32" else 1e-10
    dense, host_b = stencil(dtype).tocsr().toarray(), rhs(dtype)
    A, b = given(place, stencil(dtype)), to_library(place, host_b)
    solution = rv.solve(A, b, method=method, rtol=rtol, backend=backend)
    assert_converged(solution, dense, host_b, rtol)
    assert (type(solution.x), solution.x.dtype) == (type(b), b.dtype)
    assert getattr(solution.x, "device", None) == getattr(b, "device", None)
    assert tuple(solution.x.shape) == (N,)
    assert (solution.backend, solution.method, solution.precision) == (backend, method, dtype)
    np.testing.assert_array_equal(to_host(b), host_b)
    if kind == "dense":
        np.testing.assert_array_equal(to_host(A), dense)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("method", "place"), cases())
def test_iterates_are_those_of_the_reference(method, place, dtype):
    found = iterates(method, given(place, stencil(dtype)), to_library(place, rhs(dtype)), place[0], 6)
    assert_same_iterates(found, reference(method, dtype, 6), dtype)


class Textbook(NumbaBackend):
    """The compiled primitives without the compiled loops."""

    def loop(self, method, system, state):
        return None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["dense", "csr", "stencil", "diagonals"])
@pytest.mark.parametrize("method", rv.METHODS)
def test_compiled_loop_takes_the_textbook_step(method, kind, dtype):
    A, b = given(("numba", kind, ""), stencil(dtype)), rhs(dtype)
    textbook = iterates(method, A, b, Textbook(), 6)
    assert_same_iterates(textbook, reference(method, dtype, 6), dtype)
    assert_same_iterates(iterates(method, A, b, "numba", 6), textbook, dtype)
    # Without a callback the loop takes several steps a call.
    for steps in (5, 6):
        with pytest.warns(rv.ConvergenceWarning):
            found = rv.solve(A, b, method=method, rtol=0, maxiter=steps, **DRAWN.get(method, {}))
        assert found.iterations == steps
        assert_same_iterates(found.x[None], textbook[steps - 1 : steps], dtype)


def hidden_approximation(place, A):
    """A callable that multiplies with the inverse of A + I / 2, in the arrays of the place."""
    M = to_library(place, np.linalg.inv(A + 0.5 * np.eye(N, dtype=A.dtype)))
    return Callable(M, M.dtype)


def matrix_approximation(place, A):
    return to_library(place, np.linalg.inv(A + 0.5 * np.eye(N, dtype=A.dtype)))


PRECONDITIONERS = {
    "jacobi": lambda place, A: rv.precondition.jacobi(given(place, A), backend=place[0]),
    "ssor": lambda place, A: rv.precondition.ssor(given(place, A), 1.2, backend=place[0]),
    "multicolor": lambda place, A: rv.precondition.ssor(given(place, A), order="multicolor", backend=place[0]),
    "polynomial": lambda place, A: rv.precondition.polynomial(given(place, A), 3, backend=place[0]),
    "matrix": matrix_approximation,
    "callable": hidden_approximation,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", places("dense", "csr"))
@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
@pytest.mark.parametrize("method", PRECONDITIONED)
def test_preconditioned(method, preconditioner, place, dtype):
    backend = place[0]
    rtol = 1e-4 if dtype == "float32" else 1e-9
    host_A, host_b = varied(dtype), rhs(dtype)
    A, b = given(place, host_A), to_library(place, host_b)
    M = PRECONDITIONERS[preconditioner](place, host_A)
    solution = rv.solve(A, b, method=method, M=M, rtol=rtol, backend=backend)
    assert_converged(solution, host_A, host_b, rtol)
    assert (type(solution.x), solution.x.dtype) == (type(b), b.dtype)
    found = iterates(method, A, b, backend, 4, M=M, **GIVEN.get(method, {}))
    assert_same_iterates(found, preconditioned_reference(method, preconditioner, dtype, 4), dtype)


@pytest.mark.parametrize("columns", [0, 3])
@pytest.mark.parametrize("place", places("dense"))
@pytest.mark.parametrize("method", rv.METHODS)
def test_batch_is_its_systems_one_by_one(method, place, columns):
    backend = place[0]
    easy, hard = stencil("float64").tocsr().toarray(), varied("float64")
    # The last is easier for all: scaling the diagonal makes no difference to some.
    matrices = np.stack([[easy, hard], [hard, 2 * easy + 8 * np.eye(N)]])
    host_b = rhs("float64", 2, 2, columns) if columns else rhs("float64", 2, 2)
    host_b = np.swapaxes(host_b, -1, -2).copy() if columns else host_b
    b = to_library(place, host_b)
    together = rv.solve(to_library(place, matrices), b, method=method, rtol=1e-8, backend=backend)
    assert together.converged, together.reason
    assert (type(together.x), together.x.dtype, together.x.shape) == (type(b), b.dtype, b.shape)
    assert getattr(together.x, "device", None) == getattr(b, "device", None)
    for index in np.ndindex(*host_b.shape[:2], *host_b.shape[3:]):
        where = (*index[:2], slice(None), *index[2:])
        A, one = to_library(place, matrices[index[:2]]), to_library(place, host_b[where])
        alone = rv.solve(A, one, method=method, rtol=1e-8, backend=backend)
        if backend == "numba":
            # A system that finished earlier than the others was not touched again: the same bits.
            assert together.iterations[index] == alone.iterations
            np.testing.assert_array_equal(to_host(together.x)[where], to_host(alone.x))
        else:
            np.testing.assert_allclose(to_host(together.x)[where], to_host(alone.x), rtol=1e-6, atol=1e-8)
    assert len(set(together.iterations.ravel().tolist())) > 1


@pytest.mark.parametrize("place", places("csr", "callable", "stencil"))
def test_several_right_hand_sides(place):
    host_b = rhs("float64", 3).T.copy()
    A, b = given(place, stencil("float64")), to_library(place, host_b)
    solution = rv.cg(A, b, rtol=1e-10, backend=place[0])
    assert solution.converged
    assert (type(solution.x), tuple(solution.x.shape)) == (type(b), (N, 3))
    np.testing.assert_allclose(
        to_host(solution.x), np.linalg.solve(stencil("float64").tocsr().toarray(), host_b), rtol=1e-8
    )


@pytest.mark.parametrize("place", places("dense"))
def test_column_and_guess_and_auto(place):
    host_A, host_b = varied("float64"), rhs("float64")[:, None]
    exact = np.linalg.solve(host_A, host_b)
    A, b, x0 = (to_library(place, part) for part in (host_A, host_b, exact * (1 + 1e-6)))
    solution = rv.solve(A, b, x0=x0, rtol=1e-12, backend=place[0])
    assert solution.converged
    assert (type(solution.x), tuple(solution.x.shape)) == (type(b), (N, 1))
    np.testing.assert_allclose(to_host(solution.x), exact, rtol=1e-9)
    np.testing.assert_array_equal(to_host(x0), exact * (1 + 1e-6))
    cold = rv.solve(A, b, rtol=1e-12, backend=place[0])
    assert solution.iterations < cold.iterations


@pytest.mark.parametrize("place", places("dense"))
@pytest.mark.parametrize(("matrix", "vector"), [(1e300, 1e-300), (1e-300, 1e300), (1.0, 1e307)])
def test_units_do_not_matter(place, matrix, vector):
    dense, host_b = stencil("float64").tocsr().toarray(), rhs("float64")
    tiny = 1e-200 if matrix == 1e-300 else 1.0  # so that the solution can be written down
    A, b = to_library(place, dense * matrix), to_library(place, host_b * vector * tiny)
    if matrix / vector > 1e308 or vector * tiny / matrix > 1e308:
        with pytest.warns(rv.ConvergenceWarning, match="range"):
            assert rv.cg(A, b, backend=place[0]).status is rv.Status.OVERFLOW
        return
    solution = rv.cg(A, b, rtol=1e-10, backend=place[0])
    plain = rv.cg(to_library(place, dense), to_library(place, host_b), rtol=1e-10, backend=place[0])
    assert solution.converged
    assert solution.iterations == plain.iterations
    np.testing.assert_allclose(to_host(solution.x) * (matrix / vector / tiny), to_host(plain.x), rtol=1e-12)


@pytest.mark.parametrize("place", places("dense", "csr"))
def test_auto_finds_its_way(place):
    """Negative definite, triangular and diagonal systems, each by the method that the entries call for."""
    full = varied("float64")
    for host_A, method in ((-full, "cg"), (np.tril(full), "gauss_seidel"), (np.diag(np.diag(full)), "jacobi")):
        solution = rv.solve(given(place, host_A), to_library(place, rhs("float64")), rtol=1e-9, backend=place[0])
        assert solution.method == method
        assert_converged(solution, host_A, rhs("float64"), 1e-9)
