"""Batches on array libraries: systems iterated as a stack come to what each comes to alone on the same backend."""

import functools
import importlib.util
import re
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import resolvent as rv
from resolvent.solvers.linear import stacked, stacked_matrices

N = 12
METHODS = {
    "cg": {},
    "chebyshev": {},
    "richardson": {},
    "sor": {},
    "ssor": {},
    "jacobi": {"omega": 0.7},
    "gauss_seidel": {},
    "auto": {},
}
LEARNING = ("chebyshev", "richardson", "sor", "ssor")
SWEEPS = ("sor", "ssor", "gauss_seidel")
LIBRARIES = [
    name
    for name, needs in (("numpy", "numpy"), ("torch", "torch"), ("array_api", "array_api_strict"))
    if importlib.util.find_spec(needs) is not None
]
SAME = ("status", "iterations", "matvecs", "method", "backend", "precision", "predicted_iterations", "preconditioned")
CLOSE = ("tolerance", "reference", "smallest_eigenvalue")
SMALL = ("relative_residual", "residual_norm", "backward_error")


@pytest.fixture(autouse=True)
def quiet():
    """Solves that do not converge are meant here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        yield


@pytest.fixture(params=LIBRARIES)
def library(request):
    return request.param


@pytest.fixture
def left(monkeypatch):
    """The numbers of the systems that each solve of a batch left to the driver."""
    return watched(monkeypatch)


def watched(monkeypatch):
    left = []
    solve = stacked.solve_stack

    def noted(*arguments):
        found = solve(*arguments)
        left.append("all" if found is None else found.left.tolist())
        return found

    monkeypatch.setattr("resolvent.solvers.linear.stacked.solve_stack", noted)
    return left


def given_to(library, array):
    if library == "torch":
        import torch

        return torch.tensor(array)
    if library == "array_api":
        import array_api_strict

        return array_api_strict.asarray(array, copy=True)
    return np.array(array)


def on_host(x):
    return np.asarray(x)


def takes_long(library, method):
    """Sweeps, of many operations that are slow on the standard's reference, which the next tests have few of."""
    return library == "array_api" and method in SWEEPS


def definite(count, n=N, dtype=np.float64, seed=0):
    """Hermitian positive definite, each with a spectrum of its own, by Gershgorin above 0.5."""
    rng = np.random.default_rng(seed)
    A = rng.uniform(-1, 0, (count, n, n)).astype(dtype)
    if np.dtype(dtype).kind == "c":
        A = A * np.exp(1j * rng.uniform(0, 1, (count, n, n)))
    A = A + np.conj(np.swapaxes(A, -1, -2))
    A[:, np.arange(n), np.arange(n)] = np.abs(A).sum(-1) + rng.uniform(0.5, 3, (count, n))
    return A.astype(dtype)


def vectors(*shape, dtype=np.float64, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def words(reason):
    """A reason without its numbers."""
    return re.sub(r"[-+.\d]+(e[-+]\d+)?", "#", reason)


def same_each(batch, alone, slack=0, digits=1e-10):
    """Every field of every system is what it is alone, up to rounding; iterations to within ``slack``."""
    assert len(batch.systems) == len(alone)
    for k, (system, one) in enumerate(zip(batch.systems, alone, strict=True)):
        assert abs(system.iterations - one.iterations) <= slack, (k, system.iterations, one.iterations)
        if slack and system.iterations != one.iterations:
            assert system.status is one.status
            continue
        for name in SAME:
            assert getattr(system, name) == getattr(one, name), (k, name)
        assert words(system.reason) == words(one.reason)
        x = on_host(one.x)
        assert on_host(system.x).dtype == x.dtype
        np.testing.assert_allclose(on_host(system.x), x, rtol=0, atol=digits * max(1, np.abs(x).max()))
        for name in CLOSE:
            found, wanted = getattr(system, name), getattr(one, name)
            assert found == pytest.approx(wanted, rel=1e-5), (k, name)
        for name in SMALL:  # relative to b, or to A and x
            assert getattr(system, name) == pytest.approx(getattr(one, name), rel=1e-3, abs=0.1 * digits), (k, name)
        np.testing.assert_array_equal(system.residual_iterations, one.residual_iterations)
        norms = one.residual_norms
        np.testing.assert_allclose(system.residual_norms, norms, rtol=1e-3, atol=0.1 * digits * norms[:1].sum())
        for name in ("spectrum", "condition"):
            found, wanted = getattr(system, name), getattr(one, name)
            assert (found is None) == (wanted is None), (k, name)
            assert found is None or found == pytest.approx(wanted, rel=1e-3)
    for name in ("status", "iterations", "matvecs", "relative_residual"):
        np.testing.assert_array_equal(
            getattr(batch, name).ravel(), [getattr(one, name) for one in batch.systems], strict=False
        )


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
@pytest.mark.parametrize("method", METHODS)
def test_systems_are_what_they_are_alone(method, dtype, library, left):
    if takes_long(library, method):
        return
    A, b, guess = definite(3, dtype=dtype), vectors(3, N, dtype=dtype), vectors(3, N, dtype=dtype, seed=2)
    single = dtype == np.float32
    give = functools.partial(given_to, library)
    solve = functools.partial(
        rv.solve, method=method, rtol=1e-4 if single else 1e-9, backend=library, **METHODS[method]
    )
    close = functools.partial(same_each, slack=int(single), digits=1e-4 if single else 1e-10)
    close(solve(give(A), give(b)), [solve(give(one), give(right)) for one, right in zip(A, b, strict=True)])
    close(
        solve(give(A), give(b), x0=give(guess)),
        [solve(give(one), give(right), x0=give(x)) for one, right, x in zip(A, b, guess, strict=True)],
    )
    # Many right-hand sides of one matrix, of which one is zero, and of each of several.
    b[1] = 0
    close(solve(give(A[0]), give(b.T)), [solve(give(A[0]), give(right)) for right in b])
    close(solve(give(A), give(b.T)), [solve(give(one), give(right)) for one in A for right in b])
    assert left == [[]] * 4


@pytest.mark.parametrize("method", METHODS)
def test_iterations_that_do_not_suffice_end_alike(method, library, left):
    n = 8 if library == "array_api" else N
    A, b = definite(3, n), vectors(3, n)
    give = functools.partial(given_to, library)
    solve = functools.partial(rv.solve, method=method, rtol=1e-9, maxiter=4, backend=library, **METHODS[method])
    alone = [solve(give(one), give(right)) for one, right in zip(A, b, strict=True)]
    assert {one.status.name for one in alone} == {"MAX_ITERATIONS"}
    same_each(solve(give(A), give(b)), alone)
    assert left == [[]]


BAD = {
    "nan": (lambda A: A * np.nan, "REFUSED"),
    # Relaxation still converges, since the diagonal dominates.
    "indefinite": (lambda A: A - 100 * np.diag(np.arange(N) % 2), "BREAKDOWN"),
    "huge": (lambda A: 1e300 * A, "CONVERGED"),
    "tiny": (lambda A: 1e-300 * A, "CONVERGED"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("method", LEARNING)
def test_no_system_depends_on_its_neighbours(method, kind, library, left):
    if takes_long(library, method):
        return
    A, b = definite(5), vectors(5, N)
    give = functools.partial(given_to, library)
    solve = functools.partial(rv.solve, method=method, rtol=1e-7, backend=library)
    good = solve(give(A), give(b))
    change, status = BAD[kind]
    A[2] = change(A[2])
    found = solve(give(A), give(b), errors="collect")
    assert left == [[], [] if kind == "indefinite" and method in SWEEPS else [2]]
    others = [0, 1, 3, 4]
    assert found.converged_each[others].all()
    np.testing.assert_allclose(on_host(found.x)[others], on_host(good.x)[others], rtol=0, atol=1e-12)
    for name in ("status", "iterations", "matvecs"):
        np.testing.assert_array_equal(getattr(found, name)[others], getattr(good, name)[others])
    if status == "REFUSED":
        assert found.status[2].name == "REFUSED"
        with pytest.raises(rv.InputError, match=r"entry .*nan.* \(system \(2,\) of the batch\)"):
            solve(give(A), give(b))
        return
    one = solve(give(A[2]), give(b[2]))
    assert found.status[2] is one.status
    assert one.status.name == ("CONVERGED" if method in SWEEPS else status)
    assert words(found.systems[2].reason) == words(one.reason)


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 1000), st.sampled_from(LEARNING))
def test_property_neighbours_change_no_bit(count, n, seed, method):
    """On NumPy, whose products of one matrix know nothing of others."""
    A, b = definite(count, n, seed=seed), vectors(count, n, seed=seed)
    other, beside = definite(2, n, seed=seed + 1), vectors(2, n, seed=seed + 1)
    other[0] *= -1
    solve = functools.partial(rv.solve, method=method, rtol=1e-8, backend="numpy")
    few = solve(A, b)
    many = solve(np.concatenate([other, A]), np.concatenate([beside, b]))
    assert few.converged
    np.testing.assert_array_equal(many.x[2:], few.x)
    for name in ("status", "iterations", "matvecs"):
        np.testing.assert_array_equal(getattr(many, name)[2:], getattr(few, name))


@pytest.mark.parametrize("method", [*LEARNING, "cg", "jacobi", "gauss_seidel"])
def test_a_batch_costs_the_products_of_its_slowest_system(method, library, monkeypatch):
    """Those of the search, of as many iterations as the slowest takes, and a certificate for all at once."""
    if takes_long(library, method):
        return
    counted = []
    product = stacked_matrices.Matrices.product

    def counting(self, x, out):
        counted.append(x.shape)
        return product(self, x, out)

    monkeypatch.setattr(stacked_matrices.Matrices, "product", counting)
    left = watched(monkeypatch)
    A, b = definite(6), vectors(6, N)
    A += np.linspace(0, 30, 6)[:, None, None] * np.eye(N)  # of different conditions
    found = rv.solve(given_to(library, A), given_to(library, b), method=method, rtol=1e-8, backend=library)
    assert found.converged
    assert left == [[]]
    assert len(set(found.iterations.tolist())) > 1
    search = N if method in LEARNING else 0
    assert [shape[:-2] for shape in counted] == [(6,)] * len(counted)
    sweeps = method in SWEEPS
    looks = {int(at) for one in found.systems for at in one.residual_iterations[1:]} if sweeps else ()
    iterations = 0 if sweeps else found.iterations.max()
    assert len(counted) <= search + iterations + len(looks) + 1
    assert len(counted) < found.matvecs.sum() / 2


def test_the_search_is_made_once_for_all_right_hand_sides(library, monkeypatch):
    shapes = []
    product = stacked_matrices.Matrices.product

    def counting(self, x, out):
        shapes.append(tuple(x.shape))
        return product(self, x, out)

    monkeypatch.setattr(stacked_matrices.Matrices, "product", counting)
    A, b = definite(1)[0], vectors(N, 4)
    found = rv.solve(given_to(library, A), given_to(library, b), method="chebyshev", rtol=1e-8, backend=library)
    assert found.converged
    assert 5 <= shapes.count((1, N)) <= N
    assert shapes.count((4, N)) == found.iterations.max() + 1


def test_a_matrix_that_is_not_hermitian_is_relaxed_with_one(library, left):
    """Young's formula is one for positive definite A; elsewhere omega is 1, and nothing is looked for."""
    A, b = definite(3), vectors(3, N)
    A[1] = np.triu(A[1], -1)
    found = rv.sor(given_to(library, A), given_to(library, b), rtol=1e-8, backend=library)
    gauss_seidel = rv.gauss_seidel(given_to(library, A[1]), given_to(library, b[1]), rtol=1e-8, backend=library)
    assert left == [[]]
    np.testing.assert_allclose(on_host(found.x)[1], on_host(gauss_seidel.x), rtol=0, atol=1e-12)
    assert found.matvecs[1] == gauss_seidel.matvecs
    assert "omega" not in found.systems[1].reason
    assert "omega = " in found.systems[0].reason


@pytest.mark.parametrize("method", ["richardson", "jacobi"])
def test_systems_that_diverge_or_stand_still_are_not_iterated_to_the_end(method, library, monkeypatch):
    """They are the driver's; the others have long been done."""
    counted = []
    product = stacked_matrices.Matrices.product
    monkeypatch.setattr(stacked_matrices.Matrices, "product", lambda *given: counted.append(1) or product(*given))
    A, b = definite(3), vectors(3, N)
    A[1] = np.triu(np.full((N, N), 30.0)) + np.tril(A[1])
    omega = {"omega": 0.02} if method == "richardson" else {}
    give = functools.partial(given_to, library)
    found = rv.solve(give(A), give(b), method=method, rtol=1e-6, maxiter=100_000, backend=library, **omega)
    one = rv.solve(give(A[1]), give(b[1]), method=method, rtol=1e-6, maxiter=100_000, backend=library, **omega)
    assert found.status[1] is one.status
    assert one.status.name == "DIVERGED"
    assert found.converged_each[[0, 2]].all()
    assert len(counted) < 2000


PRECONDITIONERS = {
    "matrix": lambda A, give: give(np.linalg.inv(A + np.diag(np.arange(N)))),
    "jacobi": lambda A, give: rv.precondition.jacobi(give(A)),
    "polynomial": lambda A, give: rv.precondition.polynomial(give(A), 3, interval=(1.0, 2.2 * np.abs(A).max())),
    "neumann": lambda A, give: rv.precondition.polynomial(give(A), 2, kind="neumann"),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
@pytest.mark.parametrize("kind", PRECONDITIONERS)
def test_one_preconditioner_for_all_systems(kind, dtype, library, left):
    A, b, guess = definite(3, dtype=dtype), vectors(3, N, dtype=dtype), vectors(3, N, dtype=dtype, seed=2)
    A[1:] = A[0] + 0.1 * A[1:]  # which one matrix preconditions
    b[1] = 0
    give = functools.partial(given_to, library)
    M = PRECONDITIONERS[kind](A[0], give)
    single = dtype == np.float32
    solve = functools.partial(rv.cg, M=M, rtol=1e-4 if single else 1e-9, backend=library)
    close = functools.partial(same_each, slack=int(single), digits=1e-4 if single else 1e-10)
    close(solve(give(A), give(b)), [solve(give(one), give(right)) for one, right in zip(A, b, strict=True)])
    close(
        solve(give(A), give(b), x0=give(guess)),
        [solve(give(one), give(right), x0=give(x)) for one, right, x in zip(A, b, guess, strict=True)],
    )
    close(solve(give(A[0]), give(b.T)), [solve(give(A[0]), give(right)) for right in b])
    assert left == [[]] * 3


def test_other_preconditioners_and_faults_of_them_are_the_drivers(library, left):
    A, b = definite(3), vectors(3, N)
    give = functools.partial(given_to, library)
    sweeps = rv.precondition.ssor(give(A[0]))
    found = rv.cg(give(A), give(b), M=sweeps, rtol=1e-8, backend=library)
    assert found.converged
    assert rv.chebyshev(give(A), give(b), M=rv.precondition.jacobi(give(A[0])), backend=library).converged
    with pytest.raises(rv.InputError, match=r"^M: found shape"):
        rv.cg(give(A), give(b), M=give(np.eye(N + 1)), backend=library)
    indefinite = np.eye(N)
    indefinite[0, 0] = -1
    broken = rv.cg(give(A), give(b), M=give(indefinite), rtol=1e-8, backend=library)
    one = rv.cg(give(A[0]), give(b[0]), M=give(indefinite), rtol=1e-8, backend=library)
    assert left == ["all", "all", "all", [0, 1, 2]]
    assert broken.status[0] is one.status
    assert broken.systems[0].reason == one.reason
