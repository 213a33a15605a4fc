"""A solver should not care whether a length is in metres or in nanometres, and this one does not.

A system in other units takes the same iterations; where the units differ by a power of two, the iterates are the same
to the last bit. Nothing overflows on the way, since systems are solved in units of their own.
"""

import warnings

import numpy as np

import resolvent as rv

problem = rv.gallery.poisson((30, 30))
A, b = problem.A, problem.b
reference = rv.cg(A, b, rtol=1e-10)

print(f"{'A in units of':>14}{'b in units of':>15}{'iterations':>12}{'residual':>11}   the same bits")
for power_a, power_b in ((0, 0), (10, -20), (-300, 300), (500, -400), (-900, 10)):
    solution = rv.cg(A * 2.0**power_a, b * 2.0**power_b, rtol=1e-10)
    x = np.ldexp(solution.x, power_a - power_b)
    same = np.array_equal(x, reference.x)
    units = f"{f'2^{power_a}':>14}{f'2^{power_b}':>15}"
    print(f"{units}{solution.iterations:>12}{solution.relative_residual:>11.2e}   {same}")
    assert same

# Where x itself leaves the range of float64, that is said, rather than infinity returned as an answer.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", rv.ConvergenceWarning)  # what it would say is printed below
    beyond = rv.cg(np.eye(3) * 1e-200, np.full(3, 1e200), rtol=1e-10)
print(f"\n1e200 / 1e-200: {beyond.status.value}. {beyond.reason}")
