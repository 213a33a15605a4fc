"""What a step of the methods for fixed points costs, as they declare it."""

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.fixed_point.problem import FixedPointProblem

from ..counting import Counting, vectors_in


def filled(name):
    """A method in full run: its history is full, and drops a column a step."""
    d, backend = np.linspace(-0.9, 0.9, 40), Counting()
    problem = FixedPointProblem(lambda x: d * x + 0.01 * np.sin(x) + 1, np.zeros(40), backend=backend)
    method = rv.FIXED_POINT_METHODS[name]()
    state = method.start(problem)
    for _ in range(12):
        method.step(problem, state)
    return backend, problem, method, state


@pytest.mark.parametrize("name", [name for name in rv.FIXED_POINT_METHODS if name != "auto"])
def test_a_step_costs_what_is_declared(name):
    backend, problem, method, state = filled(name)
    declared = method.traffic
    for _ in range(3):
        backend.counted[:], before = 0, problem.matvecs
        method.step(problem, state)
        passes, reductions, _ = backend.counted.tolist()
        assert (passes, reductions, problem.matvecs - before) == (declared.passes, declared.reductions, 1)
    assert len(vectors_in(state, 40, (FixedPointProblem,))) == declared.vectors
