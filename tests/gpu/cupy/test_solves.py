"""Solves of CuPy arrays end as those of NumPy arrays do: the same status, cause, words and iterations."""

import importlib
import re

import numpy as np
import pytest
import scipy.sparse

import resolvent as rv

pytestmark = pytest.mark.filterwarnings("ignore::resolvent.ConvergenceWarning")


def poisson(shift=0.0, grid=(13, 12)):
    A = scipy.sparse.csr_matrix(rv.gallery.poisson(grid).A)
    return scipy.sparse.csr_matrix(A + shift * scipy.sparse.eye(A.shape[0]))


def path(n=60):
    """The Laplacian of a path: singular, its kernel the constants."""
    A = scipy.sparse.diags([-np.ones(n - 1), np.full(n, 2.0), -np.ones(n - 1)], [-1, 0, 1]).tolil()
    A[0, 0] = A[-1, -1] = 1
    return scipy.sparse.csr_matrix(A)


def skew(n=40):
    return scipy.sparse.csr_matrix(scipy.sparse.diags([-np.ones(n - 1), np.ones(n - 1)], [-1, 1]))


def convection(grid=(12, 11)):
    return scipy.sparse.csr_matrix(rv.gallery.convection_diffusion(grid).A)


def random(n, seed=5):
    return np.random.default_rng(seed).standard_normal(n)


def centred(n):
    b = random(n)
    return b - b.mean()


# name: (matrix, right-hand side, method, what else is asked for)
CASES = {
    "converges": (poisson(), random(156), "cg", {"rtol": 1e-8}),
    "an easy one": (poisson(6.0), random(156), "cg", {}),
    "by minres": (poisson(), random(156), "minres", {"rtol": 1e-8}),
    "indefinite by minres": (poisson(-1.5), random(156), "minres", {"rtol": 1e-6}),
    "by bicgstab": (convection(), random(132), "bicgstab", {"rtol": 1e-4}),
    "by gmres": (convection(), random(132), "gmres", {"rtol": 1e-8}),
    "by chebyshev": (poisson(), random(156), "chebyshev", {"rtol": 1e-6}),
    "by richardson": (poisson(6.0), random(156), "richardson", {"rtol": 1e-8}),
    "by jacobi": (poisson(2.0), random(156), "jacobi", {"rtol": 1e-8}),
    "by sor": (poisson(2.0), random(156), "sor", {"order": "multicolor", "rtol": 1e-8}),
    "preconditioned": (poisson(), random(156), "cg", {"M": "jacobi", "rtol": 1e-8}),
    "bicgstab, preconditioned": (convection(), random(132), "bicgstab", {"M": "jacobi", "rtol": 1e-4}),
    "flexible": (poisson(), random(156), "cg", {"flexible": True}),
    "by whatever fits": (poisson(), random(156), "auto", {}),
    "a first guess": (poisson(), random(156), "cg", {"x0": random(156, 6)}),
    "zero": (poisson(), np.zeros(156), "cg", {}),
    "a limit": (poisson(), random(156), "cg", {"maxiter": 7, "rtol": 1e-10}),
    "a limit of sweeps": (poisson(), random(156), "ssor", {"order": "multicolor", "maxiter": 7}),
    "no limit at all": (poisson(), random(156), "cg", {"maxiter": 0}),
    "indefinite": (poisson(-1.5), random(156), "cg", {"rtol": 1e-10}),
    "negative definite": (-poisson(), random(156), "cg", {}),
    "singular, and solvable": (path(), centred(60), "cg", {"rtol": 1e-8}),
    "singular, and not": (path(), np.ones(60), "cg", {"rtol": 1e-8}),
    "singular, and not, by minres": (path(), random(60), "minres", {"rtol": 1e-8}),
    "singular, and not, by bicgstab": (path(), np.ones(60), "bicgstab", {"rtol": 1e-8}),
    "skew": (skew(), random(40), "bicgstab", {}),
    "diverges": (poisson(), random(156), "richardson", {"omega": 0.9}),
    "a wrong interval": (poisson(), random(156), "chebyshev", {"interval": (0.5, 4.0), "maxiter": 300}),
    "all digits": (poisson(6.0), random(156), "cg", {"rtol": 0.0}),
    "an empty row": (scipy.sparse.csr_matrix(np.diag([1.0, 0.0, 2.0])), np.ones(3), "minres", {}),
    "one unknown": (scipy.sparse.csr_matrix([[2.0]]), np.ones(1), "cg", {}),
}


def on_device(cupy, A, b, given):
    sparse = importlib.import_module("cupyx.scipy.sparse")
    arrays = {key: cupy.asarray(value) if isinstance(value, np.ndarray) else value for key, value in given.items()}
    return sparse.csr_matrix(A), cupy.asarray(b), arrays


def without_digits(reason):
    """The words, whatever the last digits of the numbers among them."""
    return re.sub(r"-?\d[\d.]*(e[+-]?\d+)?", "#", reason)


@pytest.mark.parametrize("case", CASES)
def test_a_solve_ends_as_it_does_on_the_host(case, cupy):
    A, b, method, given = CASES[case]
    plain = rv.solve(A, b, method=method, backend="numpy", **given)
    A_there, b_there, given_there = on_device(cupy, A, b, given)
    found = rv.solve(A_there, b_there, method=method, **given_there)
    assert (found.status, found.cause, found.method) == (plain.status, plain.cause, plain.method)
    assert without_digits(found.reason) == without_digits(plain.reason)
    assert found.backend == "cupy"
    assert isinstance(found.x, cupy.ndarray)
    assert abs(found.iterations - plain.iterations) <= (1 if plain.iterations > 20 else 0)
    if plain.converged:
        np.testing.assert_allclose(found.x.get(), plain.x, rtol=0, atol=1e-3 * np.abs(plain.x).max())


def test_entries_that_are_not_finite_are_refused_in_the_same_words(cupy):
    A, b = poisson(), random(156)
    for wrong, where in ((np.nan, "A"), (np.inf, "b")):
        given = [A.copy(), b.copy()]
        (given[0].data if where == "A" else given[1])[9] = wrong
        with pytest.raises(rv.InputError) as plain:
            rv.cg(*given, backend="numpy")
        there = on_device(cupy, *given, {})[:2]
        with pytest.raises(rv.InputError, match=f"^{re.escape(str(plain.value))}$"):
            rv.cg(*there)


@pytest.mark.parametrize("method", ["cg", "minres", "bicgstab", "chebyshev"])
def test_a_callback_sees_every_iterate(method, cupy):
    A, b = poisson(2.0), random(156)
    seen = {}
    for name, arrays in (("host", (A, b)), ("device", on_device(cupy, A, b, {})[:2])):
        norms = seen[name] = []

        def look(progress, norms=norms, on_host=name == "host"):
            x = progress.x if on_host else progress.x.get()
            norms.append((progress.iteration, progress.residual_norm, np.linalg.norm(b - A @ x)))
            return progress.iteration == 12

        backend = {"backend": "numpy"} if name == "host" else {}
        solution = rv.solve(*arrays, method=method, rtol=1e-12, callback=look, **backend)
        assert solution.status.name == "STOPPED"
        assert solution.iterations == 12
    np.testing.assert_allclose(seen["device"], seen["host"], rtol=1e-6)
    np.testing.assert_allclose([row[1] for row in seen["device"]], [row[2] for row in seen["device"]], rtol=1e-6)


def test_ctrl_c_returns_the_best_iterate(cupy):
    A, b, _ = on_device(cupy, poisson(), random(156), {})

    def interrupt(progress):
        if progress.iteration == 9:
            raise KeyboardInterrupt

    solution = rv.cg(A, b, rtol=1e-12, callback=interrupt)
    assert solution.status.name == "INTERRUPTED"
    assert solution.iterations == 9
    assert 0 < solution.relative_residual < 1


def test_ctrl_c_between_two_stretches(cupy, monkeypatch):
    """Whatever was launched is waited for, and what x is by then is what is judged."""
    resident = importlib.import_module("resolvent.gpu.cupy.resident")
    looks, head = [], resident.Board.head

    def interrupted(board):
        looks.append(None)
        if len(looks) == 3:
            raise KeyboardInterrupt
        return head(board)

    monkeypatch.setattr(resident.Board, "head", interrupted)
    A, b, _ = on_device(cupy, poisson(), random(156), {})
    solution = rv.cg(A, b, rtol=1e-14)
    assert solution.status.name == "INTERRUPTED"
    assert cupy.cuda.get_current_stream() is cupy.cuda.Stream.null
    exact = np.linalg.norm(random(156) - poisson() @ solution.x.get()) / np.linalg.norm(random(156))
    assert solution.relative_residual == pytest.approx(exact, rel=1e-6)


def test_a_time_limit_ends_a_loop(cupy, monkeypatch):
    backends = importlib.import_module("resolvent.gpu.cupy.backend")
    seconds = iter(range(1000))
    monkeypatch.setattr(backends.CupyBackend, "clock", lambda self: float(next(seconds)))
    monkeypatch.setattr("resolvent.solvers.driver.iterate.MOST_STEPS", 8)
    A, b, _ = on_device(cupy, poisson(), random(156), {})
    solution = rv.cg(A, b, rtol=1e-14, time_limit=4.0)
    assert solution.status.name == "TIME_LIMIT"
    assert solution.iterations > 0
    assert solution.iterations % 8 == 0


def test_progress_is_shown(cupy, capsys):
    A, b, _ = on_device(cupy, poisson(2.0), random(156), {})
    assert rv.cg(A, b, progress=True).converged


def test_stencils_and_diagonals_multiply_vectors_of_the_device(cupy):
    stencil = rv.Stencil((9, 8, 7), 6.5, ((-1.0, -1.5), (-1.0, -0.5), (-0.25, -1.0)))
    b = random(504)
    plain = rv.bicgstab(stencil, b, rtol=1e-9, backend="numpy")
    found = rv.bicgstab(stencil, cupy.asarray(b), rtol=1e-9)
    assert found.backend == "cupy"
    assert (found.status, found.iterations) == (plain.status, plain.iterations)
    np.testing.assert_allclose(found.x.get(), plain.x, rtol=1e-6)
    with pytest.raises(rv.BackendError, match=r"numpy and cupy|cupy and numpy"):
        rv.cg(rv.Diagonals(np.ones((1, 504)), [0]), cupy.asarray(b))


ENDS = {
    "converges": (0.0, {"rtol": 1e-8}),
    "a limit": (0.0, {"maxiter": 7, "rtol": 1e-10}),
    "all digits": (6.0, {"rtol": 0.0}),
    "digits of a residual that was replaced": (0.0, {"rtol": 1e-15}),
    "indefinite": (-1.5, {"rtol": 1e-10}),
    "preconditioned": (0.0, {"rtol": 1e-8, "M": "jacobi"}),
}


@pytest.mark.parametrize("method", ["cg", "minres"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("storage", ["diagonals", "stencil"])
def test_ends_on_diagonals_and_stencils(storage, end, method, cupy):
    shift, given = ENDS[end]
    b, stencil = random(156), rv.Stencil((13, 12), 4.0 + shift, ((-1.0, -1.0), (-1.0, -1.0)))
    there = stencil
    if storage == "diagonals":
        sparse = importlib.import_module("cupyx.scipy.sparse")
        there = sparse.dia_matrix(scipy.sparse.dia_matrix(stencil.tocsr()))
    plain = rv.solve(stencil, b, method=method, backend="numpy", **given)
    found = rv.solve(there, cupy.asarray(b), method=method, **given)
    assert (found.status, found.cause) == (plain.status, plain.cause)
    assert without_digits(found.reason) == without_digits(plain.reason)
    assert abs(found.iterations - plain.iterations) <= (1 if plain.iterations > 20 else 0)


def test_anderson_mixes_by_products_of_blocks(cupy):
    A, b = poisson(0.5), random(156)
    A_there, b_there, _ = on_device(cupy, A, b, {})
    plain = rv.anderson(lambda x: x + 0.2 * (b - A @ x), np.zeros(156), depth=12, rtol=1e-9, backend="numpy")
    found = rv.anderson(lambda x: x + 0.2 * (b_there - A_there @ x), cupy.zeros(156), depth=12, rtol=1e-9)
    assert (found.status, found.backend) == (plain.status, "cupy")
    assert abs(found.iterations - plain.iterations) <= 1
    np.testing.assert_allclose(found.x.get(), plain.x, rtol=0, atol=1e-7)


@pytest.mark.parametrize("storage", ["stencil", "diagonals"])
def test_prepared_and_emulated_solves(storage, cupy):
    b, stencil = random(156), rv.Stencil((13, 12), 6.0, ((-1.0, -1.0), (-1.0, -1.0)))
    there = stencil
    if storage == "diagonals":
        there = importlib.import_module("cupyx.scipy.sparse").dia_matrix(scipy.sparse.dia_matrix(stencil.tocsr()))
    plain = rv.cg(stencil, b, rtol=1e-8, backend="numpy")
    prepared = rv.prepare(there, method="cg", backend="cupy").solve(cupy.asarray(b), rtol=1e-8)
    assert prepared.iterations == plain.iterations
    np.testing.assert_allclose(prepared.x.get(), plain.x, rtol=0, atol=1e-7)
    coarse = rv.cg(stencil, b, rtol=1e-2, precision="bf16", backend="numpy")
    found = rv.cg(there, cupy.asarray(b), rtol=1e-2, precision="bf16")
    assert (found.status, found.iterations) == (coarse.status, coarse.iterations)
    np.testing.assert_allclose(found.x.get(), coarse.x, rtol=0, atol=0.1 * np.abs(coarse.x).max())
