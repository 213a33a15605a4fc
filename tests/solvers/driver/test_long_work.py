"""Callbacks, time limits, Ctrl-C and the live line: what a person waiting for a long solve needs."""

import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import resolvent as rv
from resolvent.gallery import poisson

BACKENDS = ("numpy", "numba")
METHODS = ("cg", "chebyshev", "richardson", "jacobi", "gauss_seidel", "sor", "ssor")


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return function(*args, **options)


@pytest.fixture
def problem():
    return poisson((10, 10))


def residual(problem, x):
    return np.linalg.norm(problem.b - problem.A @ x)


# Callbacks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1.0, 1e-200, 1e150])
def test_a_callback_is_called_once_an_iteration_with_the_truth(problem, method, backend, size):
    seen, copies = [], []

    def watch(at):
        seen.append((at.iteration, at.residual_norm, at.relative_residual, at.tolerance, at.seconds))
        copies.append(at.x)

    b = size * problem.b
    solution = rv.solve(problem.A, b, method=method, rtol=1e-5, callback=watch, backend=backend)
    assert [entry[0] for entry in seen] == list(range(1, solution.iterations + 1))
    for (_, norm, relative, tolerance, _), x in zip(seen, copies, strict=True):
        truth = np.linalg.norm(problem.b - problem.A @ (x / size)) / np.linalg.norm(problem.b)
        assert relative == pytest.approx(truth, rel=1e-6)
        assert norm == pytest.approx(relative * np.linalg.norm(problem.b) * size, rel=1e-12)
        assert tolerance == pytest.approx(1e-5, rel=1e-12)
    seconds = [entry[4] for entry in seen]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0
    np.testing.assert_array_equal(copies[-1], solution.x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_copy_handed_out_is_a_copy(problem, backend):
    plain = rv.cg(problem.A, problem.b, rtol=1e-10, callback=lambda at: None, backend=backend)

    def spoil(at):
        x = at.x
        x[:] = np.nan

    spoilt = rv.cg(problem.A, problem.b, rtol=1e-10, callback=spoil, backend=backend)
    np.testing.assert_array_equal(spoilt.x, plain.x)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
def test_watching_does_not_change_what_is_computed(problem, method, backend):
    watched = rv.solve(problem.A, problem.b, method=method, rtol=1e-7, callback=lambda at: None, backend=backend)
    alone = rv.solve(problem.A, problem.b, method=method, rtol=1e-7, backend=backend)
    assert watched.iterations <= alone.iterations <= watched.iterations + 16
    seen = []
    options = {"method": method, "rtol": 1e-30, "maxiter": alone.iterations, "backend": backend}
    quietly(rv.solve, problem.A, problem.b, callback=lambda at: seen.append(at.x) and None, **options)
    # The same iterates, but for the order in which compiled and plain steps round.
    np.testing.assert_allclose(seen[-1], alone.x, rtol=0, atol=1e-9 * np.abs(alone.x).max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
def test_a_true_answer_stops(problem, method, backend):
    solution = quietly(
        rv.solve, problem.A, problem.b, method=method, callback=lambda at: at.iteration == 4, backend=backend
    )
    assert solution.status is rv.Status.STOPPED
    assert solution.iterations == 4
    assert "callback" in solution.reason
    assert residual(problem, solution.x) <= np.linalg.norm(problem.b)
    assert solution.residual_norm == pytest.approx(residual(problem, solution.x), rel=1e-10)


def test_stopping_at_a_converged_iterate_is_converging(problem):
    def stop(at):
        return at.relative_residual < 1e-5

    solution = rv.cg(problem.A, problem.b, rtol=1e-5, callback=stop)
    assert solution.converged


def test_errors_of_a_callback_are_the_callers(problem):
    def fail(at):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        rv.cg(problem.A, problem.b, callback=fail)


def test_errors_of_an_operator_are_the_callers(problem):
    def multiply(x):
        raise RuntimeError("mine too")

    multiply.shape, multiply.dtype = problem.A.shape, problem.A.dtype
    with pytest.raises(RuntimeError, match="mine too"):
        rv.cg(multiply, problem.b)


# Limits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
def test_a_time_limit_returns_the_best_so_far(method, backend):
    # No clock is looked at: the limit is over before the first look, which comes long before the end.
    problem = poisson((150, 150))
    solution = quietly(
        rv.solve, problem.A, problem.b, method=method, rtol=1e-12, time_limit=1e-9, maxiter=10**6, backend=backend
    )
    assert solution.status is rv.Status.TIME_LIMIT
    assert "time limit" in solution.reason
    assert solution.iterations >= 1
    assert residual(problem, solution.x) <= np.linalg.norm(problem.b)


def test_a_generous_time_limit_changes_nothing(problem):
    free = rv.cg(problem.A, problem.b, rtol=1e-9)
    limited = rv.cg(problem.A, problem.b, rtol=1e-9, time_limit=3600)
    np.testing.assert_array_equal(limited.x, free.x)


# Ctrl-C -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
def test_an_interrupt_in_a_callback_returns_the_best_so_far(problem, method, backend):
    def interrupt(at):
        if at.iteration == 6:
            raise KeyboardInterrupt

    solution = quietly(rv.solve, problem.A, problem.b, method=method, callback=interrupt, backend=backend)
    assert solution.status is rv.Status.INTERRUPTED
    assert solution.iterations == 6
    assert "nterrupted" in solution.reason
    assert residual(problem, solution.x) < np.linalg.norm(problem.b)
    assert solution.residual_norm == pytest.approx(residual(problem, solution.x), rel=1e-10)


class Interrupting:
    """A callable operator during whose k-th product Ctrl-C is hit."""

    def __init__(self, A, when):
        self.A, self.shape, self.dtype, self.when, self.calls = A, A.shape, A.dtype, when, 0

    def __call__(self, x):
        self.calls += 1
        if self.calls == self.when:
            raise KeyboardInterrupt
        return self.A @ x


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["cg", "chebyshev", "richardson", "auto"])
@pytest.mark.parametrize("when", [1, 2, 7, 25, 40])
@pytest.mark.parametrize("guess", [False, True])
def test_an_interrupt_during_a_product_returns_the_best_so_far(problem, method, when, guess, backend):
    x0 = 0.5 * problem.x if guess else None
    A = Interrupting(problem.A, when)
    solution = quietly(rv.solve, A, problem.b, x0=x0, method=method, rtol=1e-14, maxiter=10**5, backend=backend)
    assert solution.status is rv.Status.INTERRUPTED
    initial = residual(problem, x0) if guess else np.linalg.norm(problem.b)
    assert residual(problem, solution.x) <= initial * (1 + 1e-12)
    assert solution.residual_norm == pytest.approx(residual(problem, solution.x), rel=1e-8)
    if method in ("cg", "auto") and when >= 25:
        assert residual(problem, solution.x) <= 0.1 * initial, "the work done is lost"


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_interrupt_inside_a_preconditioner_returns_the_best_so_far(problem, backend):
    calls = []

    def multiply(r):
        calls.append(None)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return 0.25 * r

    multiply.shape, multiply.dtype = problem.A.shape, problem.A.dtype
    solution = quietly(rv.cg, problem.A, problem.b, M=multiply, rtol=1e-14, backend=backend)
    assert solution.status is rv.Status.INTERRUPTED
    assert residual(problem, solution.x) <= np.linalg.norm(problem.b)


def test_an_interrupt_ends_a_batch_too(problem):
    calls = []

    def interrupt(at):
        calls.append(at.iteration)
        if len(calls) == 40:
            raise KeyboardInterrupt

    b = np.random.default_rng(0).standard_normal((100, 6))
    solution = quietly(rv.cg, problem.A, b, rtol=1e-10, callback=interrupt)
    assert solution.systems[0].converged
    assert any(system.status is rv.Status.INTERRUPTED for system in solution.systems)
    assert not solution.converged
    assert len(calls) == 40, "Ctrl-C ends the whole batch, not one of its systems"
    assert solution.x.shape == b.shape


# The live line ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["cg", "gauss_seidel", "auto"])
def test_progress_leaves_nothing_on_standard_output(problem, method, capfd):
    shown = rv.solve(problem.A, problem.b, method=method, rtol=1e-8, progress=True, maxiter=5000)
    assert shown.converged
    assert capfd.readouterr().out == ""
    hidden = rv.solve(problem.A, problem.b, method=method, rtol=1e-8, maxiter=5000)
    np.testing.assert_array_equal(shown.x, hidden.x)


def test_progress_without_a_terminal_in_another_process():
    code = (
        "import numpy as np, resolvent as rv\n"
        "from resolvent.gallery import poisson\n"
        "p = poisson((30, 30))\n"
        "rv.cg(p.A, p.b, rtol=1e-10, progress=True, callback=lambda at: None).raise_for_status()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""


def test_progress_survives_failures_and_interrupts(problem, capfd):
    def interrupt(at):
        raise KeyboardInterrupt

    for _ in range(2):  # a display left open would make the second one fail
        quietly(rv.cg, problem.A, problem.b, progress=True, callback=interrupt)
        quietly(rv.cg, -problem.A, problem.b, progress=True)
        quietly(rv.cg, problem.A, np.zeros(100), progress=True)
    assert capfd.readouterr().out == ""


def test_solves_in_several_threads_do_not_disturb_each_other(problem):
    expected = rv.cg(problem.A, problem.b, rtol=1e-10).x
    found = [None] * 4

    def work(k):
        found[k] = rv.cg(problem.A, problem.b, rtol=1e-10).x

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x in found:
        np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_the_same_call_gives_the_same_bits(problem, method, backend):
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = rv.solve(problem.A, problem.b, method=method, rtol=1e-9, maxiter=5000, backend=backend)
    again = rv.solve(problem.A, problem.b, method=method, rtol=1e-9, maxiter=5000, backend=backend)
    np.testing.assert_array_equal(again.x, first.x)
    assert again.reason == first.reason
    np.testing.assert_array_equal(again.residual_norms, first.residual_norms)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
