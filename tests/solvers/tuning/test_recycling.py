"""What a sequence keeps from one system to the next: fewer products, the same answers, and no more than it says."""

import copy
import warnings

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.solvers.krylov.deflated_cg import DeflatedCG
from resolvent.solvers.krylov.gcrodr import GCRODR
from resolvent.solvers.krylov.rminres import RMINRES
from resolvent.solvers.tuning import Fixed, GaussianThompson

KINDS = {"gmres": GCRODR, "minres": RMINRES, "cg": DeflatedCG}
SIDE = 16


def system(name, t, side=SIDE, dtype=np.float64):
    """Diffusion with Neumann ends, a small shift that drifts, and for gmres a convection, for minres a negative one."""
    one = np.ones(side)
    D = sparse.diags_array([-one[1:], 2 * one, -one[1:]], offsets=[-1, 0, 1]).tolil()
    D[0, 0] = D[-1, -1] = 1.0
    I = sparse.eye_array(side)
    A = sparse.kron(D, (1 + 0.1 * t) * I) + sparse.kron(I, D)
    if name == "gmres":
        up = sparse.diags_array([one, -one[1:]], offsets=[0, -1])
        A = A + 0.2 * (1 + 0.1 * t) * sparse.kron(I, up)
    A = A + (-0.05 if name == "minres" else 1e-3) * (1 + 0.1 * t) * sparse.eye_array(side**2)
    return sparse.csr_array(A.astype(dtype))


def march(sequence, name, count, seed=0, dtype=np.float64, step=0.01, made=system):
    rng = np.random.default_rng(seed)
    solutions = []
    for i in range(count):
        A = made(name, i * step, dtype=dtype)
        b = rng.standard_normal(A.shape[0]).astype(dtype)
        solution = sequence.solve(A, b)
        assert solution.converged
        residual = np.linalg.norm(b - A @ np.asarray(solution.x, dtype))
        assert residual <= (1.01 if np.finfo(dtype).eps < 1e-10 else 2) * sequence.options.rtol * np.linalg.norm(b)
        solutions.append(solution)
    return solutions


def always(k):
    return Fixed(k, parameter="recycle")


def make(name, recycle=8, **options):
    options = {"rtol": 1e-8, "warm_start": None, "backend": "numpy", **options}
    return rv.Sequence(name, recycle=recycle, **options)


# What it saves, and what it costs where it saves nothing.


@pytest.mark.parametrize(("name", "share"), [("gmres", 0.5), ("minres", 0.75), ("cg", 0.75)])
def test_fewer_products_on_a_sequence_that_changes_slowly(name, share):
    """From the third system on, with those that the space takes, to random right-hand sides."""
    plain, recycling = rv.Sequence(name, rtol=1e-8, warm_start=None, backend="numpy"), make(name, tuner=always(8))
    without = march(plain, name, 8)
    found = march(recycling, name, 8)
    assert sum(one.matvecs for one in found[2:]) <= share * sum(one.matvecs for one in without[2:])
    for one, other in zip(without, found, strict=True):
        assert np.linalg.norm(one.x - other.x) <= 1e-4 * np.linalg.norm(one.x)
    assert found[-1].method == name
    assert "8 vectors of the systems before were used" in found[-1].reason


@pytest.mark.parametrize("name", KINDS)
def test_the_same_system_again_takes_far_fewer(name):
    sequence = make(name, recycle=12, tuner=always(12))
    first, *_, last = march(sequence, name, 5, step=0.0)
    assert last.iterations <= 0.7 * first.iterations


@pytest.mark.parametrize("name", KINDS)
def test_where_it_does_not_pay_it_is_dropped(name):
    """Systems that have nothing in common: the work of all of them is at most a tenth more than without."""

    def unrelated(name, t, dtype):
        rng = np.random.default_rng(round(1000 * t))
        Q = np.linalg.qr(rng.standard_normal((80, 80)))[0]
        values = rng.uniform(1, 9, 80) * (rng.choice([-1, 1], 80) if name == "minres" else 1)
        A = (Q * values) @ Q.T
        return A + 0.3 * rng.standard_normal((80, 80)) / 9 if name == "gmres" else A

    plain, recycling = (make(name, recycle=k, cost="work") for k in (0, 8))
    for sequence in (plain, recycling):
        march(sequence, name, 60, made=unrelated, step=0.001)
    assert sum(recycling.history.costs) <= 1.1 * sum(plain.history.costs)
    assert recycling.history.parameters[-30:].count(0) >= 25


@pytest.mark.parametrize("name", KINDS)
def test_where_it_pays_it_stays(name):
    """Of full matrices, whose products cost more than some vectors."""

    def full(name, t, dtype):
        return system(name, t, 10).toarray()

    recycling, plain = make(name), make(name, recycle=0, cost="work")
    for sequence in (recycling, plain):
        march(sequence, name, 30, made=full)
    assert recycling.cost == "work"
    assert recycling.history.parameters.count(8) >= 22
    assert sum(recycling.history.costs) < sum(plain.history.costs)


def test_the_products_of_the_space_are_counted():
    sequence = make("gmres", tuner=always(8), restart=200)
    first, second = march(sequence, "gmres", 2)
    assert second.matvecs == second.iterations + 8 + first.matvecs - first.iterations


def test_a_tuner_may_choose_the_number():
    tuner = GaussianThompson([0, 4, 8, 12], parameter="recycle", smoothness=0)
    march(rv.Sequence("gmres", tuner=tuner, rtol=1e-8, warm_start=None, cost="work", backend="numpy"), "gmres", 25)
    assert tuner.best >= 4


def test_a_tuner_of_something_else_leaves_the_space_in_use():
    tuner = GaussianThompson([20, 40], parameter="restart", smoothness=0)
    solutions = march(make("gmres", tuner=tuner), "gmres", 4)
    assert all("systems before were used" in one.reason for one in solutions[1:])


def test_a_preconditioner_that_is_made_of_each_system():
    sequence = make("cg", precondition=lambda A, value: "jacobi")
    with_name = make("cg", M="ssor", tuner=always(8))
    for one in (sequence, with_name):
        solutions = march(one, "cg", 5)
        assert solutions[-1].iterations < 0.8 * solutions[0].iterations


# Kinds of systems.


@pytest.mark.parametrize("dtype", [np.float32, np.complex128, np.complex64])
@pytest.mark.parametrize("name", KINDS)
def test_dtypes(name, dtype):
    def turned(name, t, dtype):
        """The same with entries that are complex, and Hermitian where they were symmetric."""
        A = system(name, t, 9).toarray()
        if np.dtype(dtype).kind == "c":
            phase = np.exp(1j * np.arange(A.shape[0]))
            A = phase[:, None] * A * phase.conj()
        return A.astype(dtype)

    sequence = make(name, rtol=1e-3 if np.finfo(dtype).eps > 1e-10 else 1e-8, tuner=always(8))
    solutions = march(sequence, name, 4, dtype=dtype, made=turned)
    assert solutions[-1].x.dtype == dtype
    assert solutions[-1].iterations < solutions[0].iterations


@pytest.mark.parametrize("name", KINDS)
def test_numba_and_numpy_agree(name):
    counts = []
    for backend in ("numpy", "numba"):
        counts.append([one.iterations for one in march(make(name, tuner=always(8), backend=backend), name, 4)])
    assert np.abs(np.subtract(*counts)).max() <= 2


@pytest.mark.parametrize("name", KINDS)
def test_tensors(name, tmp_path):
    torch = pytest.importorskip("torch")
    sequence, other = (make(name, tuner=always(8), backend="torch") for _ in range(2))
    rng = np.random.default_rng(0)
    counts = []
    for i in range(4):
        A, b = torch.from_numpy(system(name, 0.01 * i, 8).toarray()), torch.from_numpy(rng.standard_normal(64))
        solution = sequence.solve(A, b)
        assert solution.converged
        assert isinstance(solution.x, torch.Tensor)
        counts.append(solution.iterations)
    assert counts[-1] < counts[0]
    sequence.save(tmp_path / "kept")
    other.load(tmp_path / "kept")
    assert other.solve(A, b).iterations == sequence.solve(A, b).iterations


@pytest.mark.filterwarnings("ignore::resolvent.ConvergenceWarning")
@pytest.mark.parametrize("name", KINDS)
def test_sizes_and_types_may_change(name):
    sequence = make(name, tuner=always(8))
    rng = np.random.default_rng(0)
    for side, dtype in ((8, float), (5, float), (2, float), (1, float), (8, complex), (8, float), (8, np.float32)):
        A = system(name, 0.0, side).toarray() if side > 1 else np.array([[2.0]])
        b = rng.standard_normal(side**2)
        assert sequence.solve(A.astype(dtype), b.astype(dtype)).status.name in ("CONVERGED", "STAGNATED")
    assert sequence.solve(A, np.zeros(64)).iterations == 0
    assert sequence.solve(A, b).converged


@pytest.mark.filterwarnings("ignore::resolvent.ConvergenceWarning")
@pytest.mark.parametrize("name", KINDS)
def test_failures_leave_the_sequence_as_it_was(name):
    sequence = make(name, tuner=always(8))
    march(sequence, name, 3)
    kept = sequence._recycled.vectors
    A, b = system(name, 0.03), np.ones(SIDE**2)

    class Broken:
        shape, dtype, calls = A.shape, A.dtype, 0

        def __init__(self, what):
            self.what = what

        def matvec(self, x):
            self.calls += 1
            return self.what(A @ x, self.calls)

    def interrupt(y, calls):
        if calls == 12:
            raise KeyboardInterrupt
        return y

    assert not sequence.solve(Broken(lambda y, calls: y if calls < 12 else np.full_like(y, np.nan)), b).converged
    assert sequence.solve(Broken(interrupt), b).status.name == "INTERRUPTED"
    assert not sequence.solve(lambda_of(A, np.nan), b).converged
    assert sequence._recycled.vectors is kept
    again = sequence.solve(A, np.random.default_rng(5).standard_normal(SIDE**2))
    assert again.converged
    assert "8 vectors of the systems before were used" in again.reason


def lambda_of(A, factor):
    return sparse.linalg.LinearOperator(A.shape, lambda x: factor * (A @ x), dtype=A.dtype)


def test_a_solve_that_fails_with_the_space_goes_on_without():
    """maxiter that is enough for gmres, and not for what shares its basis with a space of another system."""
    n = 24
    shift = np.roll(np.eye(n), 1, axis=0)
    sequence = rv.Sequence("gmres", recycle=8, restart=n, maxiter=n, rtol=1e-8, warm_start=None, backend="numpy")
    rng = np.random.default_rng(0)
    for _ in range(12):
        assert sequence.solve(shift + 0.01 * rng.standard_normal((n, n)), rng.standard_normal(n)).converged


def test_at_the_limit_of_accuracy_the_method_without_has_the_last_word():
    """Single precision at a condition of 4e4, to what it just attains: whatever MINRES solves is solved."""
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((60, 60)))[0]
    values = np.concatenate([[1e-3, -2e-3, 0.01, 0.03, 40.0], np.resize([1.0, -1.5, 2.0], 55)])
    A = ((Q * values) @ Q.T).astype(np.float32)
    sequence = make("minres", recycle=5, rtol=1e-4)
    for _ in range(8):
        b = rng.standard_normal(60).astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rv.ConvergenceWarning)
            if rv.minres(A, b, rtol=1e-4, backend="numpy").converged:
                assert sequence.solve(A, b).converged


# What it shows, keeps and refuses.


@pytest.mark.parametrize("name", KINDS)
def test_saved_and_loaded_goes_on_the_same(name, tmp_path):
    whole, first, second = (make(name, warm_start="previous") for _ in range(3))

    def go(sequence, systems):
        for i in systems:
            b = np.random.default_rng(i).standard_normal(SIDE**2)
            sequence.solve(system(name, 0.01 * i), b)

    go(whole, range(12))
    go(first, range(7))
    first.save(tmp_path / "learnt")
    second.load(tmp_path / "learnt")
    copied = copy.deepcopy(first)
    for sequence in (second, copied):
        go(sequence, range(7, 12))
        assert sequence.history.iterations == whole.history.iterations
        assert sequence.history.parameters == whole.history.parameters


def test_report():
    sequence = make("gmres")
    march(sequence, "gmres", 4)
    assert repr(sequence) == "<Sequence gmres with Recycling, 4 systems>"
    assert "work" in sequence.report()
    assert "<svg" in sequence._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("sor", {"recycle": 3}), rv.InputError, "recycle: found 3 for sor"),
        ((["cg", "minres"], {"recycle": 3}), rv.InputError, "recycle: found 3 for cg, minres"),
        (("gmres", {"recycle": 30}), rv.InputError, "wanted less than restart, which is 30"),
        (("gmres", {"recycle": -1}), rv.InputError, "wanted at least 0"),
        (("gmres", {"recycle": 2.5}), TypeError, "wanted an integer"),
        (("cg", {"recycle": 3, "flexible": True}), rv.InputError, "flexible"),
        (("sor", {"tuner": Fixed(3, parameter="recycle")}), rv.InputError, "recycle"),
    ],
)
def test_what_is_refused(arguments, error, said):
    method, options = arguments
    with pytest.raises(error, match=said):
        rv.Sequence(method, **options)
