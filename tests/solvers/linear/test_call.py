"""What all solvers take is declared once: full signatures, names refused, and arrays out as they came in."""

import inspect
import pathlib
import runpy

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.linear.call import DEFAULTS, Common, Preconditioned

SCRIPT = pathlib.Path(__file__).parents[2] / "typing" / "user_script.py"
FUNCTIONS = [*rv.METHODS, "solve", "refine"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures_are_written_out(name):
    parameters = inspect.signature(getattr(rv, name)).parameters
    common = set(DEFAULTS) - {"precision"} if name == "refine" else set(DEFAULTS)
    takes_M = name not in rv.METHODS or rv.METHODS[name].takes_preconditioner
    assert common - {"M"} <= set(parameters)
    assert ("M" in parameters) is takes_M
    if name != "refine":  # which has defaults of its own
        assert all(parameters[one].default == DEFAULTS[one] for one in common & set(parameters))
    kinds = {one.kind for one in list(parameters.values())[2:]}
    assert kinds <= {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
    assert "common" not in parameters


def test_each_common_parameter_has_a_default_and_a_line_in_the_docstring():
    declared = {**Common.__annotations__, **Preconditioned.__annotations__}
    assert set(declared) == set(DEFAULTS)
    text = inspect.getdoc(rv.cg)  # the same with and without the indentation, which Python 3.13 takes off
    for name in declared:
        assert f"\n{name} : " in text or f"{name}, " in text or f", {name} :" in text


@pytest.mark.parametrize("name", rv.METHODS)
def test_unknown_names_are_refused_with_the_nearest(name):
    function = getattr(rv, name)
    with pytest.raises(TypeError, match=rf"^{name}\(\) has no parameter 'rtoll'; did you mean 'rtol'\?$"):
        function(np.eye(2), np.ones(2), rtoll=1e-3)
    with pytest.raises(TypeError, match=rf"^{name}\(\) has no parameter 'zzz'$"):
        function(np.eye(2), np.ones(2), zzz=1)


def test_relaxations_take_no_preconditioner():
    with pytest.raises(TypeError, match=r"sor\(\) has no parameter 'M'"):
        rv.sor(np.eye(2), np.ones(2), M=np.eye(2))


def test_positions_are_for_the_system_alone():
    with pytest.raises(TypeError):
        rv.cg(np.eye(2), np.ones(2), np.ones(2))
    with pytest.raises(TypeError):
        rv.cg(np.eye(2))
    assert rv.cg(A=np.eye(2), b=np.ones(2)).converged


def test_the_typed_script_runs():
    found = runpy.run_path(str(SCRIPT))
    assert found["converged"] is True
