"""Many systems in one call: columns of right-hand sides, and a stack of matrices."""

import numpy as np

import resolvent as rv

rng = np.random.default_rng(0)
A = rv.gallery.poisson((40, 40)).A

# One matrix, eight columns: each has its own stopping, its own count, its own certified residual.
B = rng.standard_normal((A.shape[0], 8))
columns = rv.cg(A, B, rtol=1e-8)
print(columns)
print(f"\niterations: {columns.iterations}, x of shape {columns.x.shape}")

# A stack of small dense matrices, as torch.linalg.solve takes them: A (..., n, n), b (..., n).
factors = rng.standard_normal((3, 4, 20, 20))
stack = factors @ factors.mT + 5 * np.eye(20)
solutions = rv.cg(stack, np.ones((3, 4, 20)), rtol=1e-8)
print(f"\na 3 x 4 stack: x of shape {solutions.x.shape}, iterations")
print(solutions.iterations)
