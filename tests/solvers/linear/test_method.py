"""What methods for linear systems say of themselves: their adjoints, what they need, and what some iterations cost."""

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.linear.run import solve_with
from resolvent.solvers.methods import method_named


@pytest.mark.parametrize("name", rv.METHODS)
def test_the_adjoint_of_the_adjoint_is_the_method(name):
    method = method_named(name, {})
    assert method.adjoint().adjoint() == method
    assert type(method.adjoint()) is type(method)


@pytest.mark.parametrize(
    ("name", "sweep", "other"), [("sor", "forward", "backward"), ("gauss_seidel", "backward", "forward")]
)
def test_sweeps_of_the_adjoint_run_the_other_way(name, sweep, other):
    method = method_named(name, {"sweep": sweep})
    assert method.adjoint().sweep == other
    # A triangular matrix is solved in one sweep in the right direction, its transpose in the other one.
    A = np.tril(np.arange(1.0, 17).reshape(4, 4))
    A = A if sweep == "forward" else A.T
    plain = method_named(name, {"sweep": sweep, **({"omega": 1.0} if name == "sor" else {})})
    assert solve_with(plain, A, np.ones(4), rtol=1e-12).iterations == 1
    assert solve_with(plain.adjoint(), A.T, np.ones(4), rtol=1e-12).iterations == 1


@pytest.mark.parametrize("name", rv.METHODS)
def test_iterations_cost_what_one_costs_so_many_times(name):
    """Where iterations are not alike, on average over many."""
    method, one = rv.METHODS[name], rv.METHODS[name].traffic
    many = 6000
    cost = method_named(name, {}).cost(many)
    means = np.array([cost.matvecs, cost.passes, cost.reductions, cost.compiled_passes]) / many
    assert np.floor(means).tolist() == [one.matvecs, one.passes, one.reductions, one.compiled_passes]
    assert method.needs() in ("Hermitian A", "entries of A", "products with A")
