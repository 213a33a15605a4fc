"""The names of methods that type checkers know are those of the tables."""

from typing import get_args

import pytest

import resolvent as rv
from resolvent.precision import equilibration, ridge
from resolvent.solvers.fixed_point.methods import FixedPointMethodName
from resolvent.solvers.gradient.methods import MomentumScheme
from resolvent.solvers.methods import MethodName
from resolvent.solvers.monotone.methods import FiniteSumMethodName, MonotoneMethodName
from resolvent.solvers.spectra import condition


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (MethodName, rv.METHODS),
        (FixedPointMethodName, rv.FIXED_POINT_METHODS),
        (MonotoneMethodName, rv.MONOTONE_METHODS),
        (FiniteSumMethodName, rv.FINITE_SUM_METHODS),
        (MomentumScheme, rv.MOMENTUM_SCHEMES),
        (condition.ConditionMethod, condition.METHODS),
        (equilibration.EquilibrationMethod, equilibration.METHODS),
        (ridge.RidgeMethod, ridge.METHODS),
    ],
)
def test_literals_are_the_tables(names, table):
    assert get_args(names) == tuple(table)
