"""SciPy's own tests of its iterative solvers, on ours.

A module of tests that the installed SciPy carries is executed while the names in it mean the functions of
``resolvent.compat.scipy``; afterwards SciPy is as it was. Nothing is copied.
"""

import importlib.util
from contextlib import contextmanager

import pytest
import scipy.sparse.linalg
import scipy.sparse.linalg._isolve

import resolvent.compat.scipy as drop_in

NAMES = ("bicgstab", "cg", "gmres", "lsmr", "minres")
HOMES = (scipy.sparse.linalg, scipy.sparse.linalg._isolve)
TESTS = "scipy.sparse.linalg._isolve.tests"


@contextmanager
def in_place_of_scipys(replacements):
    """Functions by name, where SciPy's tests look for its own."""
    with pytest.MonkeyPatch.context() as patch:
        for home in HOMES:
            for name, function in replacements.items():
                patch.setattr(home, name, function)
        yield


def module_of_tests(name, replacements):
    """A module of SciPy's tests, executed anew; the tests are skipped where SciPy was installed without them."""
    spec = importlib.util.find_spec(f"{TESTS}.{name}") if importlib.util.find_spec(TESTS) else None
    if spec is None:
        pytest.skip("this SciPy was installed without its tests", allow_module_level=True)
    module = importlib.util.module_from_spec(spec)
    with in_place_of_scipys(replacements):
        spec.loader.exec_module(module)
    return module


# Tests of SciPy's that ours fail, by name, and why they should. One that passes is an error.
DEVIATIONS = {
    "test_defective_precond_breakdown": "an entry that vanishes has to be zero to the last bit, for it is compared "
    "with zero at no tolerance; rounding leaves 1e-15",
}


class Suite:
    """One of SciPy's modules of tests.

    Parameters
    ----------
    name : str
    others : iterable of str
        Functions and classes in it that are about solvers which are SciPy's own.
    slow : iterable of str
        Tests that take seconds.

    Attributes
    ----------
    tests : dict
        What a module of ours takes over to have them collected.
    """

    def __init__(self, name, others=(), slow=()):
        module = module_of_tests(name, {name: getattr(drop_in, name) for name in NAMES})
        self.slow = slow
        names = [name for name in vars(module) if not name.startswith("_") and name not in others]
        self.tests = {name: getattr(module, name) for name in names}
        for test in self.tests.values():  # what SciPy's own solvers are known to fail is asked of ours
            if marks := getattr(test, "pytestmark", None):
                test.pytestmark = [mark for mark in marks if mark.name != "xfail"]

    def concerns_us(self, item):
        """Whether the solver that a test was made for is one of ours."""
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        solvers = [getattr(value, "solver", value) for value in values]
        named = [getattr(solver, "__name__", "") for solver in solvers if callable(solver)]
        return all(name in NAMES for name in named)
