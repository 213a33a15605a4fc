"""SciPy's tests of minres, on ours."""

from .suite import Suite

SUITE = Suite("test_minres")
globals().update(SUITE.tests)
