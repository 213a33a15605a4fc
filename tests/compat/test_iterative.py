"""SciPy's tests of its solvers of square systems, on ours."""

from .suite import Suite

SUITE = Suite("test_iterative", others=("TestQMR", "test_show"))
globals().update(SUITE.tests)
