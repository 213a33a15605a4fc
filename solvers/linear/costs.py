"""What a factorisation costs, in iterations: the model by which rv.solve weighs one against the other.

An iteration touches the entries of A and ten vectors; the unit is one number touched, about 0.4 ns of one thread.
SuperLU takes 60 ns for an entry of the factors, and 0.2 ns for a multiplication and addition; LAPACK 0.07 ns, and in a
band 60 ns a row, 15 ns an entry, 0.1 ns a multiplication and addition, 30 ns a row where there are three diagonals; to
begin with another method takes 0.8 ms. Fitted to times of systems of 100 to 10 000 unknowns on grids of one to three
dimensions, and of full ones; between them it is right within a factor of two or three, which is what the choice needs.
"""

from __future__ import annotations

import math

from ...operators import Operator

__all__ = ["factoring", "is_band", "is_narrow_band", "iterations_worth", "patience"]

AN_ENTRY = 150.0  # of the factors of a sparse matrix
AN_OPERATION = 0.5
A_DENSE_OPERATION = 1 / 6
A_ROW_OF_THREE = 75.0  # of a tridiagonal matrix
A_ROW = 150.0  # of a band
AN_ENTRY_OF_A_BAND = 38.0
A_BAND_OPERATION = 0.3
A_METHOD = 2e6
FEWEST = 20  # iterations that are tried before a factorisation, however cheap that is
FILL = 8.0  # entries of the factors over n log2 n, on grids of two dimensions


def factoring(A: Operator) -> float:
    """Units that a factorisation of A takes."""
    n = A.shape[0]
    if A.kind == "dense":
        return A_DENSE_OPERATION * float(n) ** 3
    entries = min(n * (2.0 * A.bandwidth + 1), FILL * n * math.log2(max(2, n)))
    return min(_factoring_band(A), AN_ENTRY * entries + AN_OPERATION * entries * entries / max(1, n))


def is_band(A: Operator) -> bool:
    """Whether A is best factored as a band."""
    return A.kind != "dense" and _factoring_band(A) <= factoring(A)


def is_narrow_band(A: Operator) -> bool:
    """Whether A has so few diagonals that nothing is quicker than to factor it."""
    few = A.entries <= 3 * A.shape[0]  # at more, a row costs more than these iterations
    return few and is_band(A) and iterations_worth(A) <= FEWEST


def iterations_worth(A: Operator) -> int:
    """Iterations that take as long as to factor A."""
    return int(factoring(A) / _iteration(A))


def patience(A: Operator) -> int:
    """Iterations that a method is given where A may be factored instead: no more is lost than a factorisation takes."""
    return max(FEWEST, iterations_worth(A) + int(A_METHOD / _iteration(A)))


def _iteration(A: Operator) -> float:
    return max(1, A.entries + 10 * A.shape[0])


def _factoring_band(A: Operator) -> float:
    """Units as a band, with what pivoting fills in."""
    n, w = A.shape[0], float(A.bandwidth)
    return n * (A_ROW_OF_THREE if w <= 1 else A_ROW + AN_ENTRY_OF_A_BAND * (3 * w + 1) + A_BAND_OPERATION * 2 * w * w)
