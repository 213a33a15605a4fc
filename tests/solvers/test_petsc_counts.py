"""Iterations are those that PETSc takes, within one: its counts were recorded by benchmarks/petsc_counts.py."""

import functools
import importlib.util
import json
import pathlib
import warnings

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv

HERE = pathlib.Path(__file__).parent
RECORDED = json.loads((HERE / "petsc_counts.json").read_text(encoding="utf-8"))
MADE_OF = {"none": None, "jacobi": rv.precondition.jacobi, "ssor": rv.precondition.ssor}


@functools.cache
def problems():
    file = HERE.parents[1] / "benchmarks" / "petsc_counts.py"
    spec = importlib.util.spec_from_file_location("petsc_counts", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: module.parts(problem) for name, problem in module.problems().items()}


def named(row):
    return f"{row['method']}-{row['preconditioner']}-{row['problem']}-{row['rtol']:.0e}"


@pytest.mark.whole_grid
@pytest.mark.parametrize("row", RECORDED["rows"], ids=named)
def test_iterations_are_those_of_petsc(row):
    """Within one; of its span, where PETSc's own count changes by more when the data change by a roundoff."""
    A, b = problems()[row["problem"]]
    sizes = np.linalg.norm(sparse.csr_array(A).data), np.linalg.norm(b)
    np.testing.assert_allclose(sizes, RECORDED["problems"][row["problem"]], rtol=1e-12)
    make = MADE_OF[row["preconditioner"]]
    given = {} if make is None else {"M": make(A)}
    given |= {name: tuple(v) if isinstance(v, list) else v for name, v in row["parameters"].items()}
    # A callback has every residual looked at: without, methods that compute theirs look at some.
    given |= {"rtol": row["rtol"], "maxiter": RECORDED["maxiter"], "callback": lambda at: None, "backend": "numpy"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        solution = rv.solve(A, b, method=row["method"], **given)
    assert solution.converged == (row["reason"] > 0)
    least, most = row["span"]
    if most - least <= 1:
        least = most = row["iterations"]
    assert least - 1 <= solution.iterations <= most + 1


def test_nearly_all_counts_are_defined_within_one():
    spans = [most - least for least, most in (row["span"] for row in RECORDED["rows"])]
    assert sum(span > 1 for span in spans) <= len(spans) / 10
    assert {row["method"] for row in RECORDED["rows"]} == {"cg", "minres", "gmres", "bicgstab", "chebyshev", "sor"}
