"""A first solve: a system with a known answer, solved, judged and read."""

import numpy as np

import resolvent as rv

# The five-point Laplacian on a 60 x 60 grid, with a right-hand side made of a solution that is known.
problem = rv.gallery.poisson((60, 60))
print(problem)

# No method is named: the entries of A decide. The report says what was chosen, and why the solve ended.
solution = rv.solve(problem.A, problem.b, rtol=1e-10)
print()
print(solution)

# What the solver says of itself can be held against the truth here.
error = np.linalg.norm(solution.x - problem.x) / np.linalg.norm(problem.x)
print(f"\nerror of x:                    {error:.2e}")
print(f"true condition of A:           {problem.condition:.6g}")
print(f"as conjugate gradients saw it: {solution.condition:.6g}, from inside")
