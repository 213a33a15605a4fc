"""What a solve of a small system finds: numbers in this order, which need no Numba to be read."""

from __future__ import annotations

__all__ = ["ALONE", "CONVERGED", "FOUND", "MAX_ITERATIONS", "ZERO"]

# Statuses; ALONE says that the system is the driver's, ZERO that b is zero.
ALONE, CONVERGED, MAX_ITERATIONS, ZERO = 0, 1, 2, 3

# What is found of a system, one number each. From ``reference`` to ``last`` in the units it is iterated in, the norms
# after ``jacobi`` in the caller's. ``low`` and ``high`` are the ends of the spectrum that the method reckons with,
# found by as many steps of the Lanczos process as ``learned`` says. The facts are those of ``csr_facts``.
FOUND = (
    "status",
    "iterations",
    "products",
    "looks",
    "exponent",
    "reference",
    "residual",
    "size",
    "first",
    "last",
    "jacobi",
    "relative_residual",
    "residual_norm",
    "rhs_norm",
    "tolerance",
    "low",
    "high",
    "learned",
    "max_abs",
    "row_norm",
    "row_sum",
    "asymmetry",
    "lower",
    "upper",
    "diagonal_positive",
    "dominant",
    "empty_row",
    "zero_diagonal",
    "margin",
)
