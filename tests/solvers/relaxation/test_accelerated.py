"""Accelerated relaxations: GMRES where they are it, fewer sweeps than without, and true residuals at the end."""

import warnings

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.fixed_point.anderson import Anderson
from resolvent.solvers.linear.system import LinearSystem
from resolvent.solvers.methods import method_named
from resolvent.solvers.relaxation.accelerated import Accelerated, accelerated
from resolvent.solvers.relaxation.sor import SOR

from ..counting import Counting, vectors_in

RELAXATIONS = {
    "richardson": {"omega": 0.125},
    "jacobi": {"omega": 0.8},
    "gauss_seidel": {},
    "sor": {"omega": 1.7},
    "ssor": {"omega": 1.0},
}


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return function(*args, **options)


def near_identity(n, dtype=np.float64, seed=3):
    """A matrix with a small condition that is not normal, and a right-hand side."""
    rng = np.random.default_rng(seed)
    E, b = rng.standard_normal((2, n, n))[0], rng.standard_normal(n)
    if np.dtype(dtype).kind == "c":
        E, b = E + 1j * rng.standard_normal((n, n)), b + 1j * rng.standard_normal(n)
    return (np.eye(n) + 0.5 * E / np.linalg.norm(E, 2)).astype(dtype), b.astype(dtype)


def gmres(A, b, steps):
    """x_0, x_1, ... of GMRES from zero: Arnoldi's basis, and least squares on its Hessenberg matrix."""
    V, H = [b / np.linalg.norm(b)], np.zeros((steps + 1, steps), A.dtype)
    found = [np.zeros_like(b)]
    for k in range(steps):
        w = A @ V[k]
        for _ in range(2):
            for i in range(k + 1):
                h = np.vdot(V[i], w)
                H[i, k] += h
                w = w - h * V[i]
        H[k + 1, k] = np.linalg.norm(w)
        V.append(w / H[k + 1, k])
        e = np.zeros(k + 2, A.dtype)
        e[0] = np.linalg.norm(b)
        found.append(np.stack(V[: k + 1], axis=1) @ np.linalg.lstsq(H[: k + 2, : k + 1], e)[0])
    return found


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_richardson_with_all_differences_is_gmres(dtype, backend):
    A, b = near_identity(40, dtype)
    seen = []
    accelerate = Anderson(depth=40)
    watch = {"callback": lambda at: seen.append(at.x) and None, "backend": backend}
    rv.richardson(A, b, omega=1.0, accelerate=accelerate, rtol=1e-13, **watch)
    krylov = gmres(A, b, len(seen))
    assert len(seen) > 12
    for x, previous in zip(seen, krylov, strict=False):
        assert np.linalg.norm(x - (previous + b - A @ previous)) <= 1e-12 * np.linalg.norm(x)


@pytest.mark.parametrize("omega", [0.6, 1.0, 1.2])
def test_a_poor_omega_matters_little_to_accelerated_sweeps(omega):
    problem = rv.gallery.poisson((20, 20))
    plain = rv.sor(problem.A, problem.b, omega=omega, rtol=1e-8)
    faster = rv.sor(problem.A, problem.b, omega=omega, rtol=1e-8, accelerate="anderson")
    assert faster.converged
    assert faster.matvecs < plain.matvecs / 4
    assert faster.matvecs < 120  # where the best omega takes 72 sweeps


def systems():
    rng = np.random.default_rng(0)
    B = rng.standard_normal((30, 30))
    C = B + 1j * rng.standard_normal((30, 30))
    yield rv.gallery.poisson((10, 10)).A.toarray()
    yield rv.gallery.poisson((2, 2)).A.toarray()
    yield rv.gallery.convection_diffusion((8, 8)).A.toarray()
    yield rv.gallery.anisotropic((8, 8)).A.toarray()
    yield B + np.diag(np.abs(B).sum(1) + 1)
    yield C + np.diag(np.abs(C).sum(1) + 1)
    yield np.tril(B) + 8 * np.eye(30)
    yield np.diag(np.arange(1.0, 31.0))
    yield np.eye(12) - 0.9 * np.roll(np.eye(12), 1, axis=1)


@pytest.mark.parametrize("name", RELAXATIONS)
@pytest.mark.parametrize(("rtol", "single"), [(1e-3, False), (1e-8, False), (1e-4, True)])
def test_never_more_sweeps_than_without_and_the_residual_is_the_true_one(name, rtol, single):
    solve = getattr(rv, name)
    for A in systems():
        b = np.random.default_rng(1).standard_normal(len(A)).astype(A.dtype)
        if single:
            A, b = (x.astype(np.complex64 if x.dtype.kind == "c" else np.float32) for x in (A, b))
        plain = quietly(solve, A, b, rtol=rtol, **RELAXATIONS[name])
        faster = quietly(solve, A, b, rtol=rtol, accelerate="anderson", **RELAXATIONS[name])
        assert faster.converged
        assert faster.x.dtype == b.dtype
        wide = np.result_type(b.dtype, np.float64)
        assert np.linalg.norm(b - A.astype(wide) @ faster.x) <= 1.0001 * rtol * np.linalg.norm(b)
        if plain.converged:
            assert faster.iterations <= 1.1 * plain.iterations + 1
            assert faster.matvecs <= 1.1 * plain.matvecs + 2


def test_converges_where_the_sweeps_diverge():
    B = np.random.default_rng(0).standard_normal((30, 30))
    A, b = 3 * np.eye(30) + (B - B.T) / 3, np.ones(30)
    assert not quietly(rv.jacobi, A, b).converged
    assert rv.jacobi(A, b, accelerate="anderson", rtol=1e-10).iterations < 70


def test_a_residual_that_the_map_does_not_show_is_not_taken_for_convergence():
    # The sweep divides by a diagonal of 1e9: its steps are tiny while b - A x is not.
    A = np.array([[1e9, 1.0, 0.0], [1.0, 1.0, 0.5], [0.0, 0.5, 1e-3 + 0.26]])
    b = np.array([1.0, 1.0, 1.0])
    for name, keywords in (("jacobi", {}), ("gauss_seidel", {}), ("ssor", {"omega": 1.0})):
        found = quietly(getattr(rv, name), A, b, rtol=1e-10, accelerate="anderson", **keywords)
        assert found.converged
        assert np.linalg.norm(b - A @ found.x) <= 1.0001e-10 * np.linalg.norm(b)


def test_history_and_callback_tell_true_residuals_of_the_iterates():
    problem = rv.gallery.convection_diffusion((8, 8))
    A, b = problem.A.toarray(), problem.b
    for name, keywords in RELAXATIONS.items():
        seen = []
        found = getattr(rv, name)(
            A,
            b,
            rtol=1e-8,
            accelerate="anderson",
            callback=lambda p, seen=seen: seen.append((p.iteration, p.x, p.residual_norm)) and None,
            **keywords,
        )
        assert [iteration for iteration, *_ in seen] == list(range(1, found.iterations + 1))
        assert list(found.history[0]) == list(range(found.iterations + 1))
        for _, x, norm in seen[:-1]:
            assert np.isclose(np.linalg.norm(b - A @ x), norm, rtol=1e-6)


def test_a_first_guess_is_used():
    problem = rv.gallery.poisson((10, 10))
    x = np.linalg.solve(problem.A.toarray(), problem.b)
    again = rv.sor(problem.A, problem.b, x0=x * (1 + 1e-7), omega=1.0, accelerate="anderson", rtol=1e-5)
    assert again.iterations == 0


def test_by_name_through_everything_that_takes_methods():
    problem = rv.gallery.poisson((10, 10))
    expected = rv.sor(problem.A, problem.b, omega=1.0, accelerate={"depth": 4})
    for found in (
        rv.solve(problem.A, problem.b, method="sor", omega=1.0, accelerate={"depth": 4}),
        rv.prepare(problem.A, method="sor", omega=1.0, accelerate=Anderson(4)).solve(problem.b),
        rv.Sequence("sor", omega=1.0, accelerate={"depth": 4}).solve(problem.A, problem.b),
    ):
        assert found.method == expected.method == "sor accelerated by anderson"
        assert np.array_equal(found.x, expected.x)
        assert found.iterations == expected.iterations
    auto = rv.gauss_seidel(problem.A, problem.b, accelerate="auto")
    assert auto.converged
    assert auto.method == "gauss_seidel accelerated by auto"


def test_a_tuner_chooses_how_many_differences_are_kept():
    problem = rv.gallery.poisson((10, 10))
    few, many = ({"accelerate": {"depth": depth}} for depth in (1, 20))
    tuner = rv.tuning.TsallisINF([few, many], parameter="accelerate")
    sequence = rv.Sequence("gauss_seidel", tuner=tuner, rtol=1e-8, warm_start=None)
    for _ in range(40):
        assert sequence.solve(problem.A, problem.b).converged
    assert sequence.history.parameters[-10:].count(many) >= 8


def test_the_same_on_other_libraries():
    torch = pytest.importorskip("torch")
    problem = rv.gallery.poisson((6, 6))
    A, b = problem.A.toarray(), problem.b
    expected = rv.ssor(A, b, omega=1.2, accelerate="anderson", rtol=1e-10)
    found = rv.ssor(torch.tensor(A), torch.tensor(b), omega=1.2, accelerate="anderson", rtol=1e-10, backend="torch")
    assert found.iterations == expected.iterations
    assert np.allclose(found.x.numpy(), expected.x, rtol=1e-9)


def test_in_emulated_precision():
    A, b = near_identity(20)
    found = rv.richardson(A, b, omega=1.0, accelerate="anderson", precision="bf16", rtol=0.02)
    assert found.converged
    assert np.linalg.norm(b - A @ found.x) <= 0.02 * np.linalg.norm(b)


def test_an_operator_that_is_not_finite_is_blamed_as_without():
    calls = []

    def product(x):
        calls.append(0)
        return np.arange(1.0, 6.0) * x if len(calls) < 5 else x * np.nan

    from scipy.sparse.linalg import LinearOperator

    A = LinearOperator((5, 5), matvec=product, dtype=np.float64)
    endings = []
    for keywords in ({}, {"accelerate": {"depth": 2}}):
        calls.clear()
        found = quietly(rv.richardson, A, np.ones(5), omega=0.1, rtol=1e-10, **keywords)
        endings.append((found.status, found.cause))
        assert np.all(np.isfinite(found.x))
    assert endings[0] == endings[1]


@pytest.mark.parametrize("wrong", ["picard", "none", 3, {"depth": 0}, {"omga": 1.0}, ["anderson"]])
def test_what_is_no_acceleration_is_refused(wrong):
    with pytest.raises(rv.InputError, match=r"^(accelerate|depth|omga): "):
        rv.gauss_seidel(np.eye(2), np.ones(2), accelerate=wrong)


def test_methods_that_are_no_relaxation_have_none():
    with pytest.raises(rv.InputError, match=r"^accelerate: cg has no such parameter"):
        rv.solve(np.eye(2), np.ones(2), method="cg", accelerate="anderson")


@pytest.mark.parametrize("depth", [3, 10])
@pytest.mark.parametrize("name", RELAXATIONS)
def test_a_step_costs_what_is_declared(name, depth):
    backend = Counting()
    A = rv.Stencil((6, 5), 4.0, ((-1.0, -1.0),) * 2)
    system = LinearSystem(A, np.random.default_rng(0).standard_normal(30), backend=backend)
    method = method_named(name, {**RELAXATIONS[name], "accelerate": {"depth": depth}})
    state, declared = method.start(system), method.traffic
    for _ in range(depth + 1):
        method.step(system, state)
    for _ in range(2):
        backend.counted[:], before = 0, system.matvecs
        method.step(system, state)
        passes, reductions, _ = backend.counted.tolist()
        assert declared.passes - 4 <= passes <= declared.passes
        assert (reductions, system.matvecs - before) == (declared.reductions, declared.matvecs)
    assert declared.vectors - 1 <= len(vectors_in(state, 30, (LinearSystem,))) <= declared.vectors


def test_what_is_accelerated_is_a_method_of_its_own():
    assert isinstance(accelerated(SOR(1.0), "anderson"), Accelerated)
    assert SOR(1.0).accelerated(None) == SOR(1.0)
    backwards = accelerated(SOR(1.0, "forward"), Anderson(3)).adjoint()
    assert backwards == Accelerated(SOR(1.0, "backward"), Anderson(3))
