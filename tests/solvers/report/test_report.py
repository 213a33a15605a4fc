"""What a Solution says in a terminal, and what its figure and the data beside it hold."""

import csv
import json
import re
import sys
import warnings

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import resolvent as rv
from resolvent.cli.system import _fields
from resolvent.solvers.report.figures import plot
from resolvent.solvers.report.text import BLOCKS, report


@pytest.fixture(autouse=True)
def quiet():
    """Solves that do not converge are meant here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        yield


def interrupt(progress):
    raise KeyboardInterrupt


def systems():
    """A solve for each status, made the way it comes about."""
    A, b = rv.gallery.poisson((12, 12)).A, np.linspace(1, 2, 144)
    hilbert = rv.gallery.hilbert(12)
    return {
        "CONVERGED": lambda: rv.cg(A, b, rtol=1e-8),
        "MAX_ITERATIONS": lambda: rv.cg(A, b, rtol=1e-8, maxiter=5),
        "STAGNATED": lambda: rv.cg(A, b, rtol=0.0),
        "BREAKDOWN": lambda: rv.cg(np.diag([1.0, -1.0]), np.ones(2)),
        "DIVERGED": lambda: rv.jacobi(hilbert.A, hilbert.b),
        "INFEASIBLE": lambda: rv.cg(np.diag([1.0, 0.0]), np.ones(2)),
        "OVERFLOW": lambda: rv.cg(np.eye(2) * 1e-200, np.full(2, 1e200)),
        "TIME_LIMIT": lambda: rv.cg(A, b, rtol=1e-8, time_limit=1e-9, callback=lambda progress: False),
        "INTERRUPTED": lambda: rv.cg(A, b, rtol=1e-8, callback=interrupt),
        "STOPPED": lambda: rv.cg(A, b, rtol=1e-8, callback=lambda progress: progress.iteration == 3),
        "REFUSED": lambda: rv.cg(np.full((1, 2, 2), np.nan), np.ones((1, 2)), errors="collect").systems[0],
    }


def batch(**options):
    """Six systems, of which some need more iterations than others."""
    A = rv.gallery.poisson((12, 12)).A
    B = np.random.default_rng(0).standard_normal((144, 6))
    B[:, 2] = A @ np.ones(144)
    return rv.cg(A, B, rtol=1e-8, **options)


def fits(text):
    """One screen, and no escape codes."""
    lines = text.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in text
    return lines


@pytest.mark.parametrize("name", systems())
def test_every_status_has_a_report(name, tmp_path):
    solution = systems()[name]()
    assert solution.status.name == name
    lines = fits(report(solution))
    assert solution.status.value in lines[0]
    assert lines[0].startswith("✓") == solution.converged
    assert " ".join(solution.reason.split()[:4]) in " ".join(report(solution).split())
    solution.plot(file=tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_every_status_is_tried():
    assert set(systems()) == {status.name for status in rv.Status}


def test_report_holds_the_numbers():
    solution = systems()["CONVERGED"]()
    text = str(solution)
    assert text == report(solution)
    for number in (solution.relative_residual, solution.tolerance, solution.backward_error, solution.error_estimate):
        assert f"{number:.2e}" in text
    assert f"iterations        {solution.iterations}" in text
    assert f"products with A   {solution.matvecs}" in text
    assert f"{solution.condition:.4g}" in text
    assert f"{solution.backward_error / solution.unit_roundoff:.3e} u" in text
    assert "cg on numba in float64" in text


def test_spark_line_falls():
    drawn = str(systems()["CONVERGED"]()).splitlines()[-1]
    bars = [BLOCKS.index(sign) for sign in drawn if sign in BLOCKS]
    assert bars[0] == len(BLOCKS) - 1
    assert bars[-1] == 0


def test_long_reason_is_cut():
    solution = systems()["CONVERGED"]()
    solution.reason = "words and words " * 500
    lines = fits(report(solution))
    assert any("solution.reason" in line for line in lines)


@pytest.mark.parametrize(
    ("A", "b"),
    [
        (np.eye(3), np.zeros(3)),
        (np.zeros((0, 0)), np.zeros(0)),
        (np.eye(3), np.zeros((3, 0))),
        (np.zeros((2, 0, 0)), np.zeros((2, 0))),
    ],
    ids=["zero", "empty", "no columns", "empty systems"],
)
def test_nothing_to_say_is_no_error(A, b, tmp_path):
    solution = rv.cg(A, b)
    fits(report(solution))
    solution.plot(file=tmp_path / "figure.png")
    assert (tmp_path / "figure.csv").exists()


def test_zero_residual_from_a_guess(tmp_path):
    solution = rv.cg(np.eye(3), np.ones(3), x0=np.ones(3))
    fits(report(solution))
    solution.plot(file=tmp_path / "figure.png")


def test_preconditioned_spectrum_is_called_so():
    problem = rv.gallery.poisson((12, 12))
    text = str(rv.cg(problem.A, problem.b, M=rv.precondition.ssor(problem.A)))
    assert "spectrum of M A" in text
    assert "spectrum of A " not in text


def test_batch_counts_by_status():
    short = batch().iterations.min()
    solution = batch(maxiter=int(short))
    lines = fits(report(solution))
    converged = sum(system.converged for system in solution.systems)
    assert 0 < converged < 6
    assert f"{6 - converged} of 6 systems did not converge" in lines[0]
    rows = {name: cells for name, *cells in (re.split(r"\s{2,}", line.strip()) for line in lines)}
    assert rows["converged"][0] == str(converged)
    assert rows["iteration limit reached"][0] == str(6 - converged)
    slowest = int(np.argmax(solution.iterations))
    assert any(line.startswith(f"  slowest system    {slowest}:") for line in lines)


def test_batch_iteration_range():
    solution = batch()
    lines = fits(report(solution))
    assert lines[0].startswith("✓ all 6 systems converged")
    assert any(f"{solution.iterations.min()} to {solution.iterations.max()}" in line for line in lines)


def test_batch_in_a_grid_names_its_slowest():
    stack = np.broadcast_to(np.diag(np.arange(1.0, 31)), (2, 3, 30, 30))
    b = np.ones((2, 3, 30))
    b[1, 1:, 3:] = 0  # easier than the others
    b[0, :, 10:] = 0
    solution = rv.cg(stack, b, rtol=1e-10)
    assert np.argmax(solution.iterations) == 3
    assert "slowest system    (1, 0)" in str(solution)


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("method", ["cg", "chebyshev", "gauss_seidel"])
def test_csv_is_the_history(method, tmp_path):
    problem = rv.gallery.poisson((12, 12))
    b = problem.b * 2.0**70
    solution = rv.solve(problem.A, b, method=method, rtol=1e-8)
    solution.plot(file=tmp_path / "figure.png")
    *carried, true = rows_of(tmp_path / "figure.csv")
    assert [int(row["iteration"]) for row in carried] == solution.residual_iterations.tolist()
    assert [float(row["residual_norm"]) for row in carried] == solution.residual_norms.tolist()
    relative = solution.residual_norms / np.linalg.norm(b)
    np.testing.assert_allclose([float(row["relative_residual"]) for row in carried], relative, rtol=1e-12)
    assert {row["kind"] for row in carried} == {"recurrence" if method == "cg" else "computed"}
    assert true["kind"] == "true"
    assert float(true["relative_residual"]) == solution.relative_residual
    assert int(true["iteration"]) == solution.iterations


def test_batch_csv_holds_every_system(tmp_path):
    A = np.broadcast_to(np.diag([1.0, 2.0, 3.0]), (5, 6, 3, 3))
    solution = rv.cg(A, np.ones((5, 6, 3)))
    axes = solution.plot(file=tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").exists()
    rows = rows_of(tmp_path / "figure.csv")
    assert {row["system"] for row in rows} == {f"{i} {j}" for i in range(5) for j in range(6)}
    drawn = [line for line in axes.lines if len(line.get_xdata()) > 2]
    assert len(drawn) == 20  # of thirty


def test_figure_shows_the_data():
    solution = systems()["CONVERGED"]()
    axes = solution.plot()
    by_label = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(by_label["carried residual"].get_xdata(), solution.residual_iterations)
    marker = by_label[f"true residual {solution.relative_residual:.1e}"]
    assert list(marker.get_ydata()) == [solution.relative_residual]
    assert any(f"{solution.tolerance:.1e}" in text.get_text() for text in axes.texts)
    low, high = axes.get_ylim()
    assert low < solution.relative_residual < 1 < high


def test_figure_shows_the_chebyshev_bound():
    problem = rv.gallery.poisson((12, 12))
    solution = rv.chebyshev(problem.A, problem.b, interval=problem.spectrum, rtol=1e-8)
    axes = solution.plot()
    (theory,) = [line for line in axes.lines if "T$_k$" in str(line.get_label())]
    bound = np.interp(solution.residual_iterations, theory.get_xdata(), theory.get_ydata())
    carried = solution.residual_norms / np.linalg.norm(problem.b)
    assert (carried <= bound * (1 + 1e-9)).all()


def beside_the_residual(solution):
    """Iterations, values and label of the curve that is no residual; None where there is none."""
    known = ("carried residual", "residual", "true residual", "_")
    lines = [line for line in solution.plot().lines if not str(line.get_label()).startswith(known)]
    assert len(lines) <= 1
    return (*lines[0].get_data(), lines[0].get_label()) if lines else None


def energy_norm(A, x):
    return float(np.sqrt((x.conj() @ (A @ x)).real))


@hypothesis.settings(max_examples=15)
@hypothesis.given(st.integers(2, 30), st.floats(1e-3, 10), st.integers(-300, 300), st.booleans(), st.integers(0, 99))
def test_what_is_drawn_as_at_most_is_above_every_error_of_conjugate_gradients(n, margin, exponent, guess, seed):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n))
    A += A.T
    np.fill_diagonal(A, 0)
    A += np.diag(np.abs(A).sum(axis=1) * (1 + margin * rng.random(n)) + margin)  # Gershgorin tells that it is definite
    x, seen = rng.standard_normal(n), []
    x0 = rng.standard_normal(n) if guess else None
    solution = rv.cg(
        np.ldexp(A, exponent), np.ldexp(A @ x, exponent), x0=x0, rtol=1e-10, callback=lambda at: seen.append(at.x)
    )
    found = beside_the_residual(solution)
    if found is None:
        hypothesis.reject()
    at, drawn, label = found
    assert label.startswith("at most")
    errors = np.array([energy_norm(A, x - y) for y in [np.zeros(n) if x0 is None else x0, *seen]])
    rounding = 10 * solution.attainable_residual * np.linalg.norm(A @ x) / np.sqrt(np.linalg.eigvalsh(A)[0])
    assert (drawn >= (errors[at] - rounding) / errors[0]).all()
    assert (drawn <= 2 * (errors[at] + rounding) / errors[0]).all()


def test_without_a_certain_eigenvalue_the_error_is_drawn_as_an_estimate():
    problem = rv.gallery.poisson((12, 12))
    seen = [np.zeros(144)]
    x = np.linspace(1, 2, 144)
    solution = rv.cg(problem.A, problem.A @ x, rtol=1e-8, callback=lambda at: seen.append(at.x))
    at, drawn, label = beside_the_residual(solution)
    assert label.startswith("about")
    errors = [energy_norm(problem.A, x - y) for y in seen]
    np.testing.assert_allclose(drawn, np.array(errors)[at] / errors[0], rtol=1.0)
    assert len(at) > 0.8 * solution.iterations


@hypothesis.settings(max_examples=15)
@hypothesis.given(st.integers(2, 30), st.floats(1.01, 1e4), st.floats(1e-6, 0.5), st.integers(0, 99))
def test_what_is_drawn_as_at_most_is_above_every_residual_of_chebyshev_iteration(n, condition, wider, seed):
    rng = np.random.default_rng(seed)
    problem = rv.gallery.randsvd(n, condition, seed=seed, kind="spd")
    low, high = problem.spectrum
    given_interval = (low * (1 - wider), high * (1 + wider))
    for b in (rng.standard_normal(n), problem.b):
        solution = rv.chebyshev(problem.A, b, interval=given_interval, rtol=1e-10, callback=lambda at: None)
        at, drawn, label = beside_the_residual(solution)
        assert label.startswith("at most")
        np.testing.assert_array_equal(at, solution.residual_iterations)
        assert (solution.residual_norms / np.linalg.norm(b) <= drawn * (1 + 1e-9)).all()
        assert drawn[-1] < 1e-4


def test_an_interval_that_was_estimated_promises_nothing():
    problem = rv.gallery.poisson((12, 12))
    assert beside_the_residual(rv.chebyshev(problem.A, problem.b))[2].startswith("about")


@pytest.mark.parametrize(
    "solve",
    [
        lambda A, b: rv.refine(A, b),
        lambda A, b: rv.refine(A, b, inner="chebyshev"),
        lambda A, b: rv.chebyshev(A, b, interval=(0.1, 4.0), rtol=1e-8),  # repaired on the way
        lambda A, b: rv.chebyshev(A, b, M=rv.precondition.ssor(A)),  # the bound is one in another norm
        lambda A, b: rv.chebyshev(A + np.triu(np.ones(A.shape), 1), b, interval=(1.0, 9.0), maxiter=20),
        lambda A, b: rv.cg(A, b, rtol=1e-2, precision="bf16"),
        lambda A, b: rv.sor(A, b),
    ],
    ids=["refine", "refine chebyshev", "repaired", "preconditioned", "not Hermitian", "bf16", "sor"],
)
def test_what_bounds_no_residual_is_not_drawn(solve):
    problem = rv.gallery.poisson((12, 12))
    assert beside_the_residual(solve(problem.A, np.linspace(1, 2, 144))) is None


def test_own_axes_are_drawn_into_and_nothing_global_changes():
    matplotlib = pytest.importorskip("matplotlib")
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.add_subplot()
    before = dict(matplotlib.rcParams)
    assert plot(systems()["CONVERGED"](), axes) is axes
    assert dict(matplotlib.rcParams) == before


def test_figure_needs_a_format_that_is_known(tmp_path):
    with pytest.raises(rv.InputError, match="png"):
        systems()["CONVERGED"]().plot(file=tmp_path / "figure.xyz")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"resolvent\[plot\]"):
        systems()["CONVERGED"]().plot()


def test_json_of_a_batch_holds_each_system():
    """Also of those that were refused, of which nothing is known: null, since JSON has no NaN."""
    A = np.stack([np.diag([1.0, 2.0]), np.full((2, 2), np.nan)])
    solution = rv.cg(A, np.ones((2, 2)), errors="collect")
    found = json.loads(json.dumps(_fields(solution), allow_nan=False))
    assert found["status"] == "REFUSED"
    assert [system["status"] for system in found["systems"]] == ["CONVERGED", "REFUSED"]
    assert found["iterations"] == [system["iterations"] for system in found["systems"]] == [2, 0]
    assert found["residual_norm"][1] is None


def test_what_is_unknown_of_a_batch_is_left_blank(tmp_path):
    A = np.stack([np.full((2, 2), np.nan), np.diag([1.0, 2.0])])
    solution = rv.cg(A, np.ones((2, 2)), errors="collect")
    text = str(solution)
    fits(text)
    row = next(line for line in text.splitlines() if line.strip().startswith("refused"))
    assert row.split()[-3:] == ["1", "0", "–"]
    solution.plot(file=tmp_path / "batch.png")
    assert (tmp_path / "batch.csv").read_text().count("\n") > 3
