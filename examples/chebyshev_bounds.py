"""Chebyshev iteration knows in advance how long it takes; a wrong interval is found out, named and repaired."""

import resolvent as rv

problem = rv.gallery.poisson((40, 40))
A, b = problem.A, problem.b
low, high = problem.spectrum
print(f"The spectrum of A is [{low:.6f}, {high:.6f}].\n")

# With the right interval the bound ||r_k|| <= ||r_0|| / T_k holds, and the count follows from it.
right = rv.chebyshev(A, b, interval=(low, high), rtol=1e-8)
print(f"right interval:   {right.iterations} iterations, {right.predicted_iterations} predicted")

# Too wide costs a little, and stays safe.
wide = rv.chebyshev(A, b, interval=(low / 2, 1.1 * high), rtol=1e-8)
print(f"wider than right: {wide.iterations} iterations, {wide.predicted_iterations} predicted")

# An upper end below the spectrum makes the textbook iteration diverge. Here the bound, once exceeded, proves the
# interval wrong; the Rayleigh quotient of the residual tells which end it was.
wrong = rv.chebyshev(A, b, interval=(low, high / 2), rtol=1e-8)
print(f"wrong upper end:  {wrong.iterations} iterations, {wrong.status.value}\n")
print(wrong.reason)
