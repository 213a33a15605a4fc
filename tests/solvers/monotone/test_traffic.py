"""What the methods for F(z) = 0 and for gradients say a step costs is what a step costs, primitive by primitive."""

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.gradient.problem import GradientProblem
from resolvent.solvers.monotone.problem import MonotoneProblem

from ..counting import Counting

METHODS = {**rv.MONOTONE_METHODS, **rv.MOMENTUM_SCHEMES}


def started(name):
    d, backend = np.linspace(1, 2, 30), Counting()
    if name in rv.MONOTONE_METHODS:
        problem = MonotoneProblem(lambda z: d * z - 1, np.zeros(30), lipschitz=2.0, backend=backend)
    else:
        problem = GradientProblem(
            lambda x: d * x - 1, np.zeros(30), smoothness=2.0, strong_convexity=1.0, backend=backend
        )
    method = METHODS[name]()
    return backend, problem, method, method.start(problem)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_costs_what_is_declared(name):
    backend, problem, method, state = started(name)
    method.step(problem, state)  # the first may need one evaluation less
    for _ in range(3):
        backend.counted[:] = 0
        before = problem.matvecs
        method.step(problem, state)
        declared = method.traffic
        assert [*backend.counted[:2], problem.matvecs - before] == [
            declared.passes,
            declared.reductions,
            declared.matvecs,
        ]


@pytest.mark.parametrize("name", METHODS)
def test_vectors_kept_are_those_declared(name):
    _, problem, method, state = started(name)
    for _ in range(2):
        method.step(problem, state)
    kept = {value.ctypes.data for value in vars(state).values() if isinstance(value, np.ndarray)}
    assert len(kept) == method.traffic.vectors


@pytest.mark.parametrize("name", METHODS)
def test_docstring_says_what_is_declared(name):
    text = " ".join(METHODS[name].__doc__.split())
    declared = METHODS[name].traffic
    assert f"{declared.passes} vector passes, {declared.reductions} reduction" in text
    assert f"{declared.vectors} vectors kept" in text
