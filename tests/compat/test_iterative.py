"""SciPy's tests of its solvers of square systems, on ours."""

from .suite import Suite

SUITE = Suite(
    "test_iterative",
    others=("TestQMR", "test_show"),
    slow=("test_precond_inverse[poisson2d]",),  # a dense matrix of 1600 unknowns is factored at every product
)
globals().update(SUITE.tests)
