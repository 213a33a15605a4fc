"""Conjugate gradients in bfloat16: what they attain, what the solution says of itself, and all digits by refinement."""

import warnings

import numpy as np

import resolvent as rv

problem = rv.gallery.poisson((16, 16))
A, b, exact = problem.A, problem.b, problem.x

# As much as bf16 can do. The certificate refers to A and b as given, not to rounded ones.
solution = rv.cg(A, b, rtol=1e-2, precision="bf16")
print(solution)

# More than bf16 can do: the solve ends near the accuracy that was predicted, and says so.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", rv.ConvergenceWarning)  # what it would say is printed below
    short = rv.cg(A, b, rtol=1e-6, precision="bf16")
error = np.linalg.norm(short.x - exact) / np.linalg.norm(exact)
print(f"\nasked for 1e-6: {short.status.value}")
print(f"  relative residual  {short.relative_residual:.1e}, {short.attainable_residual:.1e} predicted")
print(f"  backward error     {short.backward_error / short.unit_roundoff:.1f} u")
print(f"  error of x         {error:.1e}, at most {short.attainable_error:.1e} predicted")

# The same format, rounded after other operations. Where vectors are kept in float32, more can be had.
print("\nto 1e-6 in bf16, by policy:")
for policy in ("storage", "op", "matvec", "tensor-core"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        found = rv.cg(A, b, rtol=1e-6, precision=rv.Precision("bf16", policy=policy))
    print(f"  {policy:12} {found.relative_residual:.1e} after {found.iterations} iterations: {found.status.value}")

# The rule, applied: the condition number times the unit roundoff.
print(f"\nprecision for this matrix and six digits:\n{rv.precision_for(A, 1e-6)}")

# All of double precision out of solves in bf16. Where the condition is too high for that, a wider format takes over.
for name, system in (("condition 116", problem), ("condition 1e5", rv.gallery.randsvd(100, 1e5))):
    refined = rv.refine(system.A, system.b, inner_precision="bf16")
    print(f"\n{name}, refined: backward error {refined.backward_error:.1e}\n  {refined.reason}")
