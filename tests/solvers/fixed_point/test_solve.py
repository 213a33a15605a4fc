"""The one door to all methods for fixed points."""

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.fixed_point.picard import Picard


def test_methods_by_name_and_as_objects():
    by_name = rv.fixed_point(np.cos, np.ones(2), method="picard", damping=0.7)
    by_object = rv.fixed_point(np.cos, np.ones(2), method=Picard(damping=0.7))
    direct = rv.picard(np.cos, np.ones(2), damping=0.7)
    assert by_name.iterations == by_object.iterations == direct.iterations
    np.testing.assert_array_equal(by_name.x, direct.x)
    np.testing.assert_array_equal(by_object.x, direct.x)
    assert by_name.method == "picard"


def test_a_solution_is_a_warm_start():
    rough = rv.fixed_point(np.cos, np.ones(2), method="picard", rtol=1e-4)
    fine = rv.fixed_point(np.cos, rough.x, method="picard", rtol=1e-10)
    cold = rv.fixed_point(np.cos, np.ones(2), method="picard", rtol=1e-10)
    assert fine.iterations < cold.iterations


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"method": "newton"}, "method: found 'newton'; wanted .*picard"),
        ({"method": 3}, "method: found 3"),
        ({"method": "picard", "depth": 3}, "depth: picard has no such parameter; it has damping"),
        ({"method": Picard(), "damping": 1.0}, "damping: is a parameter of a method named"),
        ({"rtol": -1}, "rtol: found -1"),
    ],
)
def test_what_is_refused(keywords, said):
    with pytest.raises(rv.InputError, match=said):
        rv.fixed_point(np.cos, 1.0, **keywords)


# What a method has to be told to get as far as others in a thousand iterations.
TOLD = {"halpern": {"contraction": np.sin(1.0)}}


@pytest.mark.parametrize("name", rv.FIXED_POINT_METHODS)
def test_every_method_solves_and_says_what_it_is(name):
    kind = rv.FIXED_POINT_METHODS[name]
    assert kind.name == name
    assert kind.title
    assert kind.purpose
    solution = rv.fixed_point(np.cos, np.linspace(0, 1, 7), method=name, rtol=1e-9, **TOLD.get(name, {}))
    assert solution.converged
    assert solution.method == name
    np.testing.assert_allclose(solution.x, 0.7390851332151607, atol=1e-8)
    assert solution.evaluations == solution.iterations + 1
