"""SciPy's tests of its solvers of square systems, on ours."""

from .suite import Suite

SUITE = Suite(
    "test_iterative",
    others=("TestQMR", "test_show"),
    slow=("test_precond_inverse[poisson2d]",),  # a dense matrix of 1600 unknowns is factored at every product
    deviations={
        "test_defective_precond_breakdown": "an entry that vanishes has to be zero to the last bit, for it is compared "
        "with zero at no tolerance; rounding leaves 1e-15",
    },
)
globals().update(SUITE.tests)
