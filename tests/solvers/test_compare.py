"""rv.compare: what is run, what is not and why, which is recommended, and how it is told."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.sparse.linalg import LinearOperator

import resolvent as rv
from resolvent.solvers import compare as module
from resolvent.solvers.least_squares.lstsq import METHODS as LEAST_SQUARES

FEW = {"backend": "numpy", "preconditioners": ["none"]}


@pytest.fixture(scope="module")
def problem():
    return rv.gallery.poisson((6, 6))


@pytest.fixture(scope="module")
def found(problem):
    return rv.compare(problem.A, problem.b, backend="numpy")


def by_name(comparison):
    return {row.name: row for row in comparison.rows}


def test_every_method_and_every_preconditioner_that_suits_has_a_row(found):
    rows = by_name(found)
    assert {row.method for row in found.rows} == set(rv.METHODS)
    taking = [name for name, method in rv.METHODS.items() if method.takes_preconditioner]
    assert all(f"{name} + {M}" in rows for name in taking for M in ("jacobi", "ssor", "chebyshev", "neumann"))
    assert not any(row.preconditioner != "none" for row in found.rows if row.method not in taking)


def test_rows_are_what_the_methods_return(problem, found):
    rows = by_name(found)
    for name, M in (("cg", "none"), ("sor", "none"), ("minres", "ssor"), ("gmres", "chebyshev")):
        made = {"none": None, "ssor": rv.precondition.ssor, "chebyshev": rv.precondition.polynomial}[M]
        options = {} if made is None else {"M": made(problem.A)}
        alone = rv.solve(problem.A, problem.b, method=name, backend="numpy", **options)
        row = rows[name if M == "none" else f"{name} + {M}"]
        assert (row.status, row.iterations, row.matvecs) == (alone.status, alone.iterations, alone.matvecs)
        assert row.relative_residual == pytest.approx(alone.relative_residual, rel=1e-6)
        assert row.reason == alone.reason


def test_the_fastest_of_those_that_converged_is_recommended(found):
    assert found.best.converged
    assert found.best.seconds == min(row.seconds for row in found.rows if row.converged)
    assert found.solution.method == found.best.method
    assert found.solution.converged
    assert found.ran[0] is found.best
    assert found.call in found.reason


def test_the_call_recommended_solves(problem, found):
    solution = eval(found.call, {"rv": rv, "A": problem.A, "b": problem.b})
    assert solution.converged


def test_memory_is_what_methods_and_preconditioners_declare(problem, found):
    rows, vector = by_name(found), 8 * problem.A.shape[0]
    for name, method in rv.METHODS.items():
        assert rows[name].memory == method.traffic.vectors * vector
    kept = rv.METHODS["cg"].traffic.vectors
    assert rows["cg + chebyshev"].memory == (kept + 2) * vector
    assert rows["cg + ssor"].memory == kept * vector


def test_a_varying_diagonal_is_a_preconditioner_of_one_vector():
    A = np.diag(np.arange(1.0, 7)) + 0.1
    rows = by_name(rv.compare(A, np.ones(6), methods=["cg"], preconditioners=["none", "jacobi"], backend="numpy"))
    assert rows["cg + jacobi"].converged
    assert rows["cg + jacobi"].memory - rows["cg"].memory == 6 * 8


def test_what_does_not_suit_is_not_run_and_says_why():
    A = np.array([[3.0, 1, 0], [-1, 4, 1], [0, 2, 5]])
    found = rv.compare(A, np.ones(3), backend="numpy")
    rows = by_name(found)
    for name in ("cg", "minres", "ssor_cg"):
        assert rows[name].status is None
        assert "symmetric" in rows[name].reason
    assert rows["gmres"].converged
    assert rows["gmres + chebyshev"].status is None
    assert "Hermitian" in rows["gmres + chebyshev"].reason
    assert all(row.reason for row in found.rows)


def test_an_equal_diagonal_preconditions_nothing(found):
    row = by_name(found)["cg + jacobi"]
    assert row.status is None
    assert "equal" in row.reason


def test_a_zero_on_the_diagonal_leaves_relaxations_out():
    A = np.array([[0.0, 2, 1], [2, 1, 0], [1, 0, 3]])
    rows = by_name(rv.compare(A, np.ones(3), backend="numpy"))
    assert rows["minres"].converged
    for name in ("sor", "jacobi", "minres + jacobi", "minres + ssor"):
        assert rows[name].status is None
        assert "diagonal" in rows[name].reason


def test_an_operator_that_only_multiplies(problem):
    A = LinearOperator(problem.A.shape, matvec=lambda x: problem.A @ x, dtype=np.float64)
    rows = by_name(rv.compare(A, problem.b, backend="numpy", preconditioners=["none", "jacobi"]))
    assert rows["cg"].converged
    for name in ("sor", "cg + jacobi"):
        assert rows[name].status is None
        assert "only multiplies" in rows[name].reason


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_rectangular_systems_are_compared_by_least_squares(shape):
    rng = np.random.default_rng(0)
    A, b = sparse.csr_array(rng.standard_normal(shape)), rng.standard_normal(shape[0])
    found = rv.compare(A, b, rtol=1e-10, backend="numpy")
    rows = by_name(found)
    assert set(rows) == {*LEAST_SQUARES, "lsmr + jacobi", "cgls + jacobi"}
    assert all(row.converged for row in found.rows)
    x = np.linalg.lstsq(A.toarray(), b)[0]
    np.testing.assert_allclose(A @ found.solution.x, A @ x, rtol=1e-6, atol=1e-8)
    kept = LEAST_SQUARES["lsmr"].traffic.vectors
    assert rows["lsmr"].memory == 8 * (kept * shape[1] + 2 * shape[0])


def test_a_factorisation_that_may_not_fit_is_not_run(monkeypatch):
    monkeypatch.setattr(module, "MEMORY", 100.0)
    A = np.random.default_rng(1).standard_normal((9, 4))
    rows = by_name(rv.compare(A, np.ones(9), backend="numpy"))
    assert rows["lapack"].status is None
    assert "more than the 100 B" in rows["lapack"].reason
    assert "sparse" in rows["superlu"].reason
    assert rows["lsmr"].converged


def test_none_is_recommended_where_none_converged(problem):
    found = rv.compare(problem.A, problem.b, methods=["cg", "jacobi"], maxiter=2, **FEW)
    assert found.best is None
    assert found.solution is None
    assert found.call == ""
    assert found.ran[0].relative_residual == min(row.relative_residual for row in found.rows)
    assert found.ran[0].name in found.reason


class Interrupting:
    """A x whose product of a number is interrupted from the keyboard."""

    def __init__(self, A, at):
        self.matrix, self.at, self.calls = A, at, 0
        self.shape, self.dtype = A.shape, A.dtype

    def __call__(self, x):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.matrix @ x


@pytest.mark.parametrize("after", [3, 8, 20])
def test_an_interrupt_keeps_what_is_done(problem, after):
    names = ["cg", "minres", "bicgstab"]
    whole = Interrupting(problem.A, 0)
    rv.compare(whole, problem.b, methods=["cg"], **FEW)
    stopped = Interrupting(problem.A, whole.calls + after)
    found = rv.compare(stopped, problem.b, methods=names, **FEW)
    assert found.interrupted
    assert [row.method for row in found.rows] == names
    assert found.rows[0].converged
    assert found.best.method == "cg"
    assert found.rows[2].status is None
    assert not any(row.converged for row in found.rows[1:])
    assert "interrupted" in str(found)


def test_time_limits_are_for_each(problem):
    found = rv.compare(problem.A, problem.b, methods=["cg", "jacobi"], time_limit=1e-9, **FEW)
    assert {row.status for row in found.rows} == {rv.Status.TIME_LIMIT}


def test_nothing_of_the_callers_is_changed(problem):
    A, b = problem.A.copy(), problem.b.copy()
    rv.compare(A, b, methods=["cg", "sor", "gmres"], backend="numpy")
    np.testing.assert_array_equal(A.data, problem.A.data)
    np.testing.assert_array_equal(b, problem.b)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"methods": ["cgg"]}, "methods"),
        ({"preconditioners": ["ilu17"]}, "preconditioners"),
        ({"rtol": -1.0}, "rtol"),
        ({"maxiter": -1}, "maxiter"),
        ({"time_limit": 0.0}, "time_limit"),
        ({"b": np.ones(3)}, "b"),
        ({"b": np.ones((36, 2))}, "b"),
        ({"A": np.full((2, 2), np.nan), "b": np.ones(2)}, "A"),
        ({"A": np.ones((3, 2)), "b": np.ones(3), "methods": ["cg"]}, "methods"),
    ],
)
def test_refusals_name_the_argument(problem, changed, named):
    given = {"A": problem.A, "b": problem.b, **changed}
    with pytest.raises((ValueError, TypeError), match=rf"^{named}\b"):
        rv.compare(given.pop("A"), given.pop("b"), backend="numpy", **given)


def test_it_is_told_as_text_in_colours_and_as_html(found):
    text = str(found)
    assert all(len(line) <= 100 for line in text.splitlines())
    assert text.startswith(f"✓ {found.best.name}")
    html = found._repr_html_()
    for row in found.ran:
        assert row.name in text
        assert row.name in html
    assert "jacobi not run" in text
    assert found.__rich__().title.plain.startswith(f"✓ {found.best.name}")


def test_a_table_may_have_any_number_of_columns(found):
    one = dataclasses.replace(found, rows=(found.best,))
    lines = str(one).splitlines()
    heading = next(line for line in lines if "iterations" in line)
    below = lines[lines.index(heading) + 1]
    assert heading.index("status") + len("status") == below.index("CONVERGED") + len("CONVERGED")


def test_a_live_line_says_which_is_run(problem, monkeypatch):
    said = []

    class Line:
        def __init__(self, title):
            said.append(title)

        def say(self, share, text):
            said.append((share, text.split(",")[0]))

        def close(self):
            said.append("closed")

    monkeypatch.setattr(module, "LiveLine", Line)
    rv.compare(problem.A, problem.b, methods=["cg", "sor"], progress=True, **FEW)
    assert said == ["compare", (0.0, "cg"), (0.5, "sor"), "closed"]
