"""What each method says a step costs is what a step costs: counted primitive by primitive."""

import numpy as np
import pytest

import resolvent as rv
from resolvent.backends.block import Block
from resolvent.solvers.linear.system import LinearSystem
from resolvent.solvers.methods import method_named

from .counting import Counting


def started(method, backend, **parameters):
    A = rv.Stencil((6, 5), 4.0, ((-1.0, -1.0),) * 2)
    system = LinearSystem(A, np.arange(30.0) + 1, backend=backend)
    chosen = method_named(method, parameters)
    return system, chosen, chosen.start(system)


@pytest.mark.parametrize("method", rv.METHODS)
def test_a_step_costs_what_is_declared(method):
    backend = Counting()
    system, chosen, state = started(method, backend)
    chosen.step(system, state)  # the first may have to make the first direction
    for k in range(1, 5):
        backend.counted[:] = 0
        before = system.matvecs
        chosen.step(system, state)
        declared, so_far = chosen.cost(k + 1), chosen.cost(k)
        costs = [getattr(declared, of) - getattr(so_far, of) for of in ("passes", "reductions", "matvecs")]
        assert backend.counted.tolist() == costs
        assert system.matvecs - before == costs[-1]


@pytest.mark.parametrize("method", rv.METHODS)
def test_vectors_kept_are_those_declared(method):
    """All distinct vectors of the system's type that can be reached from the state; the driver's own are not in it."""
    system, chosen, state = started(method, Counting())
    for _ in range(2):
        chosen.step(system, state)
    kept = set()
    for holder in (state, getattr(state, "ordering", None)):
        for value in vars(holder).values() if holder is not None else ():
            for vector in value if isinstance(value, Block) else (value,):
                if isinstance(vector, np.ndarray) and vector.shape == (system.n,) and vector.dtype == system.dtype:
                    kept.add(vector.ctypes.data)
    assert len(kept) == chosen.traffic.vectors


@pytest.mark.parametrize("method", rv.METHODS)
def test_docstring_says_what_is_declared(method):
    text = " ".join(getattr(rv, method).__doc__.split())
    declared = rv.METHODS[method].traffic
    assert f"{declared.passes} vector passes" in text
    assert f"{declared.vectors} vectors kept" in text
    if declared.compiled_passes != declared.passes:
        assert f"({declared.compiled_passes} compiled)" in text
