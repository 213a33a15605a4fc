"""Batches: each system as if it were alone, whatever its neighbours are, and the arrays that come back."""

import copy
import functools
import gc
import pickle
import threading
import warnings
import weakref

import hypothesis
import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import strategies as st

import resolvent as rv
from resolvent.solvers.driver.batch_solution import BatchSolution
from resolvent.solvers.linear import small

N = 12
GATHERED = ("status", "iterations", "matvecs", "relative_residual", "residual_norm", "tolerance")
OF_EACH = (*GATHERED, "reason", "backward_error", "condition", "spectrum", "predicted_iterations", "preconditioned")


@pytest.fixture(autouse=True)
def quiet():
    """Solves that do not converge are meant here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        yield


def definite(*lead, dtype=float):
    """Symmetric positive definite and diagonally dominant matrices, each with a condition of its own."""
    rng = np.random.default_rng(0)
    A = rng.uniform(-1, 0, (*lead, N, N))
    A = A + A.mT
    A[..., np.arange(N), np.arange(N)] += np.abs(A).sum(-1) + rng.uniform(0.1, 3, (*lead, N))
    return A.astype(dtype)


def vectors(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


METHODS = {
    "cg": {},
    "chebyshev": {"interval": (0.05, 60.0)},
    "richardson": {"omega": 0.03},
    "jacobi": {"omega": 0.9},
    "gauss_seidel": {},
    "sor": {"omega": 1.2},
    "ssor": {"omega": 1.1},
    "auto": {},
}


def equal_each(batch, alone, fields=OF_EACH):
    """Every system of a batch is what it is alone, to the last bit."""
    assert len(batch.systems) == len(alone)
    for k, (system, one) in enumerate(zip(batch.systems, alone, strict=True)):
        for name in fields:
            found, wanted = getattr(system, name), getattr(one, name)
            assert found == wanted or (found != found and wanted != wanted), (k, name, found, wanted)
        np.testing.assert_array_equal(system.x, one.x)
        np.testing.assert_array_equal(system.residual_norms, one.residual_norms)
    for name in GATHERED:
        np.testing.assert_array_equal(getattr(batch, name).ravel(), [getattr(one, name) for one in alone])


def close_each(batch, alone):
    """Every system of a batch comes to what it comes to alone, up to rounding."""
    assert len(batch.systems) == len(alone)
    for system, one in zip(batch.systems, alone, strict=True):
        assert (system.status, system.tolerance, system.reference) == (one.status, one.tolerance, one.reference)
        np.testing.assert_allclose(system.x, one.x, rtol=1e-6, atol=1e-9)
        assert (system.iterations, system.matvecs) == (one.iterations, one.matvecs)


@pytest.mark.usefixtures("compiled_small_solves")
@pytest.mark.parametrize(("backend", "equal_each"), [("numba", equal_each), ("numpy", close_each)])
@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=[pytest.mark.slow] if name not in ("cg", "auto") else []) for name in METHODS]
)
def test_systems_are_what_they_are_alone(method, backend, equal_each):
    A, b = definite(3), vectors(3, N)
    solve = functools.partial(rv.solve, method=method, rtol=1e-9, backend=backend, **METHODS[method])
    matrices, rhs = list(A), list(b)
    equal_each(solve(A, b), [solve(*pair) for pair in zip(matrices, rhs, strict=True)])
    guess = vectors(3, N, seed=2)
    guessed = [solve(one, right, x0=x) for one, right, x in zip(matrices, rhs, guess, strict=True)]
    equal_each(solve(A, b, x0=guess), guessed)
    # Many right-hand sides of one matrix.
    columns = solve(A[0], b.T)
    assert columns.x.shape == (N, 3)
    equal_each(columns, [solve(A[0], right) for right in rhs])
    # Sparse matrices of one pattern; the products of full ones are summed in another order.
    pattern = sparse.csr_array(A[0])
    stack = rv.as_operator((pattern.indptr, pattern.indices, A.reshape(3, -1)), (N, N))
    equal_each(solve(stack, b), [solve(sparse.csr_array(one), right) for one, right in zip(matrices, rhs, strict=True)])


@pytest.mark.usefixtures("compiled_small_solves")
@pytest.mark.parametrize("method", ["cg", "chebyshev", "gauss_seidel"])
def test_the_compiled_call_solves_those_that_it_can(method, monkeypatch):
    """Of these methods none is left to the driver."""

    def refuse(*given):
        raise AssertionError("solved alone")

    monkeypatch.setattr(small.Small, "solve", refuse)
    solution = rv.solve(definite(4), vectors(4, N), method=method, rtol=1e-8, **METHODS[method])
    assert solution.converged
    residual = vectors(4, N) - (definite(4) @ solution.x[..., None])[..., 0]
    true = np.linalg.norm(residual, axis=-1) / np.linalg.norm(vectors(4, N), axis=-1)
    np.testing.assert_allclose(solution.relative_residual, true, rtol=1e-4)
    assert np.all(true <= 1e-8)


SHAPES = [
    ((3,), (3, N)),
    ((2, 3), (2, 3, N)),
    ((3,), (3, N, 2)),
    ((3,), (1, N, 2)),
    ((3,), (N, 2)),
    ((1,), (4, N, 2)),
    ((2, 1), (3, N, 2)),
    ((3,), (2, 1, N, 2)),
    ((), (4, N, 2)),
    ((), (N, 5)),
    ((3,), (3, N, 1)),
    ((N,), (N, N)),
]


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize(("lead", "size"), SHAPES)
def test_shapes_broadcast_as_numpys_solve_does(lead, size, backend):
    A, b = definite(*lead), vectors(*size)
    stacked = size == A.shape[:-1]
    wanted = np.linalg.solve(A, b[..., None])[..., 0] if stacked else np.linalg.solve(A, b)
    solution = rv.cg(A, b, rtol=1e-12, backend=backend)
    assert solution.x.shape == wanted.shape
    np.testing.assert_allclose(solution.x, wanted, rtol=1e-9, atol=1e-9)
    shape = wanted.shape[:-1] if stacked else (*wanted.shape[:-2], wanted.shape[-1])
    assert solution.status.shape == solution.iterations.shape == solution.converged_each.shape == shape
    for at in np.ndindex(shape):
        where = at if stacked else (*at[:-1], slice(None), at[-1])
        np.testing.assert_array_equal(solution.systems[at].x, solution.x[where])
        assert solution.systems[at].iterations == solution.iterations[at]


@pytest.mark.parametrize(
    ("A", "b", "x0", "words"),
    [
        (np.ones((3, 4, 5)), np.ones((3, 4)), None, r"A: found shape \(3, 4, 5\); wanted square"),
        (definite(3), np.ones(N), None, "b: found shape"),
        (definite(3), np.ones((2, N)), None, "b: found shape"),
        (definite(3), np.ones((2, N, 2)), None, "b: found shape"),
        (definite(3), np.ones((3, N - 1, 2)), None, "b: found shape"),
        (definite(), np.ones((4, 2, N)), None, "b: found shape"),
        (definite(3), 1.0, None, "b: found shape"),
        (definite(3), np.ones((3, N)), np.ones(N), "x0: found shape"),
        (np.ones((2, 3)), np.ones((2, 2)), None, r"A: found shape \(2, 3\); wanted a square"),
        (definite(2), np.ma.masked_greater(vectors(2, N), 0), None, "b: entry .* is masked"),
        ([[[1.0]], [[1.0, 2.0]]], np.ones((2, 1)), None, "A: cannot be read"),
    ],
)
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_what_is_no_batch_is_refused(A, b, x0, words, backend):
    with pytest.raises(rv.InputError, match=words):
        rv.cg(A, b, x0=x0, backend=backend)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_types_that_are_not_worked_in_are_named(backend):
    for A, b, name in ((definite(2), vectors(2, N).astype(object), "b"), (definite(2).astype(object), 0, "A")):
        with pytest.raises(TypeError, match=f"^{name}: .*object"):
            rv.cg(A, b if np.ndim(b) else vectors(2, N), backend=backend)
    with pytest.raises(TypeError, match="shape and dtype"):
        rv.cg(lambda x: x, np.ones((N, 2)), backend=backend)


@pytest.mark.slow
def test_layouts_and_types():
    A, b = definite(3), vectors(3, N)
    wanted = rv.cg(A, b, rtol=1e-9).x
    frozen = A.copy()
    frozen.setflags(write=False)
    for other, right in (
        (np.asfortranarray(A), np.asfortranarray(b)),
        (np.repeat(A, 2, 0)[::2], np.repeat(b, 2, 1)[:, ::2]),
        (A[::-1][::-1], b),
        (frozen, b),
        (A.astype(">f8"), b.astype(">f8")),
        (A.tolist(), b.tolist()),
        (A.view(type("Sub", (np.ndarray,), {})), b),
        (np.ma.array(A), b),
    ):
        x = rv.cg(other, right, rtol=1e-9).x
        assert type(x) is np.ndarray
        np.testing.assert_array_equal(x, wanted)
    single = rv.cg(A.astype(np.float16), b.astype(np.float16), rtol=1e-3)
    assert single.x.dtype == np.float32
    whole = np.broadcast_to(np.diag(np.arange(1, 4)), (2, 3, 3))
    assert rv.cg(whole, np.ones((2, 3), bool)).x.dtype == np.float64
    assert rv.cg(A, b * 1j).x.dtype == np.complex128
    np.testing.assert_allclose(rv.cg(A, b * 1j, rtol=1e-9).x, 1j * wanted, rtol=1e-12, atol=1e-12)


# Neighbours ---------------------------------------------------------------------------------------------------------

BAD = {
    "nan": (lambda A: A * np.nan, "REFUSED"),
    "inf": (lambda A: np.where(np.eye(N) > 0, np.inf, A), "REFUSED"),
    "asymmetric": (lambda A: np.triu(A), "REFUSED"),
    "indefinite": (lambda A: A - 100 * np.diag(np.arange(N) % 2), "BREAKDOWN"),
    "zero": (lambda A: 0 * A, "INFEASIBLE"),
    "huge": (lambda A: 1e300 * A, "CONVERGED"),
    "tiny": (lambda A: 1e-300 * A, "CONVERGED"),
}


@functools.cache
def good(count, columns):
    return rv.cg(definite(count), vectors(count, N, 2) if columns else vectors(count, N), rtol=1e-8)


@hypothesis.given(
    placed=st.dictionaries(st.integers(0, 7), st.sampled_from(sorted(BAD)), max_size=5),
    zeros=st.sets(st.integers(0, 7), max_size=2),
    columns=st.booleans(),
)
@hypothesis.settings(max_examples=40)
def test_no_system_depends_on_its_neighbours(placed, zeros, columns):
    A, b = definite(8), vectors(8, N, 2) if columns else vectors(8, N)
    for k, kind in placed.items():
        A[k] = BAD[kind][0](A[k])
    b[sorted(zeros)] = 0
    solution = rv.cg(A, b, rtol=1e-8, errors="collect")
    untouched = [k for k in range(8) if k not in placed and k not in zeros]
    wanted = good(8, columns)
    np.testing.assert_array_equal(solution.x[untouched], wanted.x[untouched])
    for name in GATHERED:
        np.testing.assert_array_equal(getattr(solution, name)[untouched], getattr(wanted, name)[untouched])
    for k, kind in placed.items():
        if k not in zeros:
            assert {status.name for status in np.atleast_1d(solution.status[k])} == {BAD[kind][1]}
            assert np.isnan(solution.x[k]).all() == (BAD[kind][1] == "REFUSED")
    assert solution.converged == solution.converged_each.all()
    refused = [k for k, kind in placed.items() if BAD[kind][1] == "REFUSED"]
    if refused:
        with pytest.raises(rv.InputError, match=rf"system \({min(refused)},") as caught:
            rv.cg(A, b, rtol=1e-8)
        assert "of the batch" in str(caught.value)


@functools.cache
def good_by(method):
    return rv.solve(definite(6), vectors(6, N), method=method, rtol=1e-7, **METHODS[method])


@hypothesis.given(
    method=st.sampled_from(sorted(METHODS)),
    placed=st.dictionaries(st.integers(0, 5), st.sampled_from(sorted(BAD)), max_size=4),
)
@hypothesis.settings(max_examples=40)
def test_no_system_depends_on_its_neighbours_by_any_method(method, placed):
    A = definite(6)
    for k, kind in placed.items():
        A[k] = BAD[kind][0](A[k])
    solution = rv.solve(A, vectors(6, N), method=method, rtol=1e-7, errors="collect", **METHODS[method])
    untouched = [k for k in range(6) if k not in placed]
    np.testing.assert_array_equal(solution.x[untouched], good_by(method).x[untouched])
    for name in GATHERED:
        found, wanted = getattr(solution, name), getattr(good_by(method), name)
        np.testing.assert_array_equal(found[untouched], wanted[untouched])


def test_a_bad_column_is_named_by_its_index():
    b = vectors(3, N, 2)
    b[1, 5, 1] = np.inf
    with pytest.raises(rv.InputError, match=r"b: entry 5 is not finite \(system \(1, 1\) of the batch\)"):
        rv.cg(definite(3), b)
    solution = rv.cg(definite(3), b, errors="collect")
    assert solution.overall_status is rv.Status.REFUSED
    assert solution.converged_each.tolist() == [[True, True], [True, False], [True, True]]
    assert "the first, (1, 1): refused" in solution.reason
    with pytest.raises(rv.ConvergenceError, match="1 of 6 systems did not converge"):
        solution.raise_for_status()


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_a_refused_first_system_hides_nothing_of_the_others(backend):
    A = definite(2)
    A[0] = np.nan
    solution = rv.cg(A, np.ones((2, N), int), errors="collect", backend=backend)
    assert (solution.method, solution.backend, solution.precision) == ("cg", backend, "float64")
    assert str(solution).splitlines()[0] == f"✗ 1 of 2 systems did not converge: cg on {backend} in float64"
    assert "nan" not in str(solution).replace("is nan; wanted", "")
    both = rv.cg(np.full((2, N, N), np.nan), np.ones((2, N)), errors="collect", backend=backend)
    assert [status.name for status in both.status] == ["REFUSED", "REFUSED"]
    assert np.isnan(both.x).all()
    assert len(str(both).splitlines()) <= 24


def test_errors_is_checked():
    with pytest.raises(rv.InputError, match="errors: found 'ignore'"):
        rv.cg(definite(2), vectors(2, N), errors="ignore")


# What comes back ----------------------------------------------------------------------------------------------------


def test_statuses_of_every_system():
    """Diagonal systems with 1 to 4 different eigenvalues need as many iterations."""
    A = np.stack([np.diag(1.0 + np.arange(N) % k) for k in (1, 2, 3, 4)])
    solution = rv.cg(A, vectors(4, N), rtol=1e-10, maxiter=3)
    assert solution.iterations.tolist() == [1, 2, 3, 3]
    assert [status.name for status in solution.status] == ["CONVERGED"] * 3 + ["MAX_ITERATIONS"]
    assert solution.converged_each.tolist() == [True, True, True, False]
    assert solution.converged is False
    assert solution.overall_status is rv.Status.MAX_ITERATIONS
    assert solution.matvecs.tolist() == [2, 3, 4, 4]
    assert rv.cg(A, vectors(4, N), rtol=1e-10).overall_status is rv.Status.CONVERGED
    assert isinstance(solution, BatchSolution)
    assert repr(solution).startswith("<BatchSolution of 4 systems by cg: 1 of 4")


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_systems_by_every_index(backend):
    systems = rv.cg(definite(2, 3), vectors(2, 3, N), backend=backend).systems
    assert len(systems) == 6
    assert systems[5] is systems[1, 2] is systems[-1] is systems[-1, -1] is systems[np.int64(5)]
    assert [one.iterations for one in systems[1:5:2]] == [systems[1].iterations, systems[3].iterations]
    assert [one is systems[k] for k, one in enumerate(systems)] == [True] * 6
    assert systems.index_of(4) == (1, 1)
    for index in (6, -7, (2, 0), (0, 3), (0,), (0, 0, 0)):
        with pytest.raises(IndexError, match="found the index"):
            systems[index]
    with pytest.raises(TypeError):
        systems[1.0]


EMPTY = [
    ((0, N, N), (0, N), (0, N)),
    ((0, N, N), (1, N, 4), (0, N, 4)),
    ((0, 2, N, N), (N, 4), (0, 2, N, 4)),
    ((3, N, N), (3, N, 0), (3, N, 0)),
    ((N, N), (N, 0), (N, 0)),
    ((3, 0, 0), (3, 0), (3, 0)),
    ((0, 0), (0, 3), (0, 3)),
]


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("solve", [rv.cg, rv.solve, rv.jacobi])
@pytest.mark.parametrize(("A", "b", "x"), EMPTY)
def test_empty_batches(A, b, x, solve, library):
    ones = np.ones if library == "numpy" else pytest.importorskip("torch").ones
    solution = solve(ones(A), ones(b))
    assert tuple(solution.x.shape) == x
    assert type(solution.x) is type(ones(b))
    assert solution.converged
    assert solution.iterations.shape == solution.status.shape
    assert not solution.iterations.sum()
    assert len(solution.systems) == solution.status.size
    assert "converged" in str(solution)
    assert repr(solution)


def test_no_systems_of_one_pattern():
    stack = rv.as_operator((np.array([0, 1, 2]), np.array([0, 1]), np.ones((0, 2))), (2, 2))
    assert rv.cg(stack, np.ones((0, 2))).x.shape == (0, 2)


def test_pickles_and_copies():
    solution = rv.cg(definite(3), vectors(3, N), rtol=1e-9)
    for again in (pickle.loads(pickle.dumps(solution)), copy.deepcopy(solution), copy.copy(solution)):
        equal_each(again, list(rv.cg(definite(3), vectors(3, N), rtol=1e-9).systems))
        assert str(again).splitlines()[1:] == str(solution).splitlines()[1:]
    one = rv.cg(definite(), vectors(N), rtol=1e-9)
    again = pickle.loads(pickle.dumps(one))
    assert (again.reason, again.spectrum, again.condition) == (one.reason, one.spectrum, one.condition)
    np.testing.assert_array_equal(again.residual_norms, one.residual_norms)


@pytest.mark.usefixtures("compiled_small_solves")
def test_a_pickle_holds_what_happened_and_not_what_might_have():
    """Numbers are kept of the iterations that were done, not of all that there might have been."""
    A, b = np.broadcast_to(np.eye(N), (200, N, N)), vectors(200, N)
    assert len(pickle.dumps(rv.cg(A, b))) < 200 * 1000


SOLVES = {
    "alone": lambda A: rv.cg(A, np.ones(N)),
    "batch": lambda A: rv.cg(A, np.ones((N, 3))),
    "driver": lambda A: rv.cg(A, np.ones(N), backend="numpy"),
    "unfinished": lambda A: rv.cg(A, vectors(N), maxiter=2, rtol=1e-12),
    "auto": lambda A: rv.solve(A, vectors(N, 2)),
    "chebyshev": lambda A: rv.chebyshev(A, vectors(N), interval=(0.05, 60.0)),
    "gauss_seidel": lambda A: rv.gauss_seidel(A, vectors(N)),
    "refined": lambda A: rv.refine(A, vectors(N)),
}


@pytest.mark.parametrize("name", SOLVES)
def test_a_solution_keeps_no_matrix_alive(name):
    A = definite()
    kept = weakref.ref(A)
    solutions = [SOLVES[name](A) for _ in range(2)]
    del A
    gc.collect()
    assert kept() is None
    assert solutions[-1].reason
    assert str(solutions[-1])


def test_later_changes_of_the_matrix_change_no_solution():
    A, b = definite(3), vectors(3, N)
    solution, eager = rv.cg(A, b, rtol=1e-9), rv.cg(A.copy(), b.copy(), rtol=1e-9)
    wanted = list(eager.systems)
    [(one.reason, one.spectrum, one.residual_norms) for one in wanted]
    A[...] = b[...] = np.nan
    equal_each(solution, wanted)


@pytest.mark.usefixtures("compiled_small_solves")
def test_numbers_are_kept_of_256_systems():
    """Beyond, a history has its ends, and nothing is known of the spectrum; all else is the same."""
    A, b = definite(), vectors(N, small.KEPT + 1)
    few, many = (rv.cg(A, b[:, :count], rtol=1e-9) for count in (small.KEPT, small.KEPT + 1))
    np.testing.assert_array_equal(many.x[:, :-1], few.x)
    np.testing.assert_array_equal(many.iterations[:-1], few.iterations)
    one, other = few.systems[7], many.systems[7]
    assert one.residual_iterations.tolist() == list(range(one.iterations + 1))
    assert other.residual_iterations.tolist() == [0, one.iterations]
    np.testing.assert_array_equal(other.residual_norms, one.residual_norms[[0, -1]])
    assert one.condition > 1
    assert other.condition is None
    assert other.reason == one.reason
    assert "slowest system" in str(many)


# Limits, warnings, threads ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("compiled_small_solves")
def test_a_time_limit_is_that_of_the_batch(monkeypatch):
    """A clock that passes a second whenever it is read; the first share of the systems is solved all the same."""
    now = iter(range(10**6))
    monkeypatch.setattr(small.time, "perf_counter", lambda: float(next(now)))
    monkeypatch.setattr(small, "CHUNK", 1)
    guess = np.full((5, N), 1e-3)
    solution = rv.cg(definite(5), vectors(5, N), x0=guess, rtol=1e-9, time_limit=0.5)
    assert [status.name for status in solution.status] == ["CONVERGED"] + ["TIME_LIMIT"] * 4
    np.testing.assert_array_equal(solution.x[1:], guess[1:])
    assert solution.iterations[0] > 0
    assert not solution.iterations[1:].any()
    assert "The time limit of 0.5 s" in solution.systems[3].reason
    assert len(str(solution).splitlines()) <= 24
    assert "nan" not in str(solution)


def test_a_time_limit_holds_for_systems_one_by_one():
    """Of 30 systems that take a twentieth of a second each, most are not begun."""
    pause = threading.Event()
    slow = functools.partial(
        rv.cg, definite(30), vectors(30, N), rtol=1e-9, callback=lambda progress: pause.wait(0.05) and False
    )
    solution = slow(time_limit=0.2)
    begun = int(np.count_nonzero(solution.iterations))
    assert 1 <= begun <= 6
    assert {status.name for status in solution.status[begun:]} == {"TIME_LIMIT"}
    assert "before this system" in solution.systems[-1].reason
    assert not solution.x[-1].any()


@pytest.mark.usefixtures("compiled_small_solves")
def test_an_interrupt_leaves_the_rest_of_a_batch(monkeypatch):
    monkeypatch.setattr(small, "CHUNK", 1)
    kernel, calls = small.kernels().solve_all, []

    class Interrupted:
        def __call__(self, *given):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return kernel.serial(*given)

    A = definite(5)
    A[0] -= 100 * np.diag(np.arange(N) % 2)  # the driver's, and not begun before the interrupt
    monkeypatch.setattr("resolvent.backends.numba_backend.NumbaBackend.shared", lambda *given: Interrupted())
    solution = rv.cg(A, vectors(5, N), rtol=1e-9)
    assert [status.name for status in solution.status] == ["INTERRUPTED", "CONVERGED"] + ["INTERRUPTED"] * 3
    assert not solution.x[[0, 2, 3, 4]].any()
    assert "interrupted" in solution.systems[4].reason


def test_one_warning_for_all():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        solution = rv.cg(definite(7), vectors(7, N), rtol=1e-12, maxiter=2)
        rv.cg(definite(7), vectors(7, N))
    assert [one.category for one in heard] == [rv.ConvergenceWarning]
    assert heard[0].filename == __file__
    assert "7 of 7 systems did not converge; the first, (0,)" in str(heard[0].message)
    assert str(heard[0].message) == solution.reason


def test_threads_solve_batches_at_once():
    """Each of four threads, and many systems shared among threads, as one after the other on one."""
    given = [(definite(40), vectors(40, N, 3, seed=seed)) for seed in range(4)]
    wanted = [rv.cg(*pair, rtol=1e-10).x for pair in given]
    found = [None] * 4

    def work(k):
        for _ in range(5):
            found[k] = rv.cg(*given[k], rtol=1e-10).x

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for k in range(4):
        np.testing.assert_array_equal(found[k], wanted[k])


@pytest.mark.usefixtures("compiled_small_solves")
@pytest.mark.parametrize("method", ["cg", "gauss_seidel"])
def test_threads_share_systems_and_change_no_bit(method, monkeypatch):
    A, b = definite(150), vectors(150, N)
    backend = "resolvent.backends.numba_backend.NumbaBackend.shared"
    monkeypatch.setattr(backend, lambda self, kernel, work: kernel.serial)
    alone = rv.solve(A, b, method=method, rtol=1e-10)
    monkeypatch.setattr(backend, lambda self, kernel, work: kernel.parallel)
    shared = rv.solve(A, b, method=method, rtol=1e-10)
    np.testing.assert_array_equal(shared.x, alone.x)
    np.testing.assert_array_equal(shared.iterations, alone.iterations)


# Tensors ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_small_solves")
def test_tensors_on_the_cpu():
    torch = pytest.importorskip("torch")
    A, b = definite(2, 3), vectors(2, 3, N, 2)
    wanted = rv.cg(A, b, rtol=1e-9)
    solution = rv.cg(torch.tensor(A).transpose(-1, -2), torch.tensor(b), rtol=1e-9)
    assert solution.backend == "numba"
    assert isinstance(solution.systems[1, 2, 0].x, torch.Tensor)
    np.testing.assert_array_equal(solution.x.numpy(), wanted.x)
    np.testing.assert_array_equal(solution.iterations, wanted.iterations)
    broken = torch.tensor(A[0])
    broken[1] = torch.nan
    collected = rv.cg(broken, torch.ones(3, N, dtype=torch.int32), errors="collect")
    assert collected.x.dtype == torch.float64
    assert torch.isnan(collected.x).any(-1).tolist() == [False, True, False]
    sparse_ones = torch.tensor(A[0]).to_sparse_csr()
    torch.testing.assert_close(rv.cg(sparse_ones, torch.tensor(b[0]), rtol=1e-12).x, torch.tensor(wanted.x[0]))
    with pytest.raises(rv.BackendError, match="numpy and torch"):
        rv.cg(rv.as_operator(([0, 1], [0], np.ones((2, 1))), (1, 1)), torch.ones(2, 1))


@pytest.mark.filterwarnings("error:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::resolvent.ConvergenceWarning")
def test_a_refused_system_is_nan_in_the_shape_of_x():
    A = np.stack([np.ones((5, 2)), np.full((5, 2), np.nan), np.eye(5, 2)])
    solution = rv.lstsq(A, np.ones((3, 5)), errors="collect", backend="numpy")
    assert solution.x.shape == (3, 2)
    assert [status.name for status in solution.status] == ["CONVERGED", "REFUSED", "CONVERGED"]
    assert np.isnan(solution.x[1]).all()
    b = np.array([[1.0], [np.inf]]) * (1 + 1j)
    solution = rv.cg(np.eye(1), b[:, :, None], errors="collect", backend="numpy")
    assert np.isnan(solution.x[1]).all()
