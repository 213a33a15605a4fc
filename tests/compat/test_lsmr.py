"""SciPy's tests of lsmr, on ours."""

from .suite import Suite

SUITE = Suite("test_lsmr")
globals().update(SUITE.tests)
