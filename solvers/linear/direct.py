"""A factorisation, certified and refined like every other answer: LAPACK's, of full matrices and bands, or SuperLU's.

A step solves for the correction of the residual that was recomputed: the first gives the answer, others refine it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sparse

from ...operators.fill import column_order, factor_entries
from ..driver.method import Breakdown
from ..driver.status import Cause, Status
from .correcting import Correcting, CorrectingState
from .costs import is_band, is_narrow_band, iterations_worth
from .method import Candidate
from .system import LinearSystem

__all__ = ["LU", "MEMORY", "BandLU", "LastResort"]

MEMORY = 2.0**31  # bytes that a factorisation may take, foreseen from the entries of A
PADDING = 32  # entries a column that SuperLU may add, to have columns alike
FEW = 60  # iterations at whose cost a factorisation is taken for cheap
FEW_INDEFINITE = 250  # the same where A is Hermitian and conjugate gradients have failed: minres takes hundreds


@dataclass
class DirectState(CorrectingState):
    """The same, and what solves for a correction: from a residual, (n,); made by the first step."""

    solve: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class LU(Correcting[DirectState]):
    """Factors in double precision, whatever that of A is, and steps of iterative refinement (Wilkinson 1963)."""

    name: ClassVar[str] = "lu"
    title: ClassVar[str] = "LU factorisation"
    purpose: ClassVar[str] = "what no iteration solves"
    needs_entries: ClassVar[bool] = True
    state_kind: ClassVar[type[Any]] = DirectState

    @classmethod
    def memory(cls, system: LinearSystem) -> float:
        """Bytes that the factors take at most, foreseen from the entries of A; infinity where they are not at hand."""
        if not system.on_host:
            return math.inf
        n, itemsize = system.n, 16 if system.dtype.kind == "c" else 8
        if system.truth.kind == "dense":
            return 2.0 * n * n * itemsize
        if is_band(system.truth):
            return float(n) * (3 * system.truth.bandwidth + 1) * itemsize
        full = float(n + PADDING) * n * (itemsize + 4)
        if full <= MEMORY:  # whatever the pattern
            return full
        if "factor entries" not in system.kept:
            system.kept["factor entries"] = factor_entries(system.truth.tocsr(), _order(system))
        entries = min(system.kept["factor entries"], n * n) + PADDING * n
        return float(entries) * (itemsize + 4)

    @classmethod
    def candidates(cls, system: LinearSystem) -> Iterator[Candidate]:
        if not system.on_host:
            return
        # Of a Hermitian A that is singular, minres may still find a solution.
        rank, few, kind = (1, FEW_INDEFINITE, "indefinite") if system.looks_hermitian else (0, FEW, "not Hermitian")
        if iterations_worth(system.truth) <= few and cls.memory(system) <= MEMORY:
            yield Candidate(rank, cls(), f"A is {kind}, and factored at the cost of some iterations")

    @classmethod
    def refused(cls, system: LinearSystem) -> str:
        """Why it is no candidate, where that is because of its size."""
        bytes_ = cls.memory(system)
        if not MEMORY < bytes_ < math.inf:
            return ""
        return (
            f"A factorisation may take {bytes_ / 2**30:.1f} GiB, more than the {MEMORY / 2**30:.0f} that are allowed."
        )

    def correction(self, system: LinearSystem, state: DirectState) -> Any:
        if state.solve is None:
            if "lu" not in system.kept:
                system.kept["lu"] = _factored(system)
            state.solve, state.said = system.kept["lu"]
        return state.solve(state.work)

    def ending(self, system: LinearSystem, state: DirectState, before: float) -> Breakdown | None:
        refined = state.corrections > 1
        lost = refined and not (state.residual_norm or 0.0) <= 0.5 * before
        return Breakdown("", Cause.DIGITS, Status.STAGNATED) if lost else None


@dataclass(frozen=True)
class BandLU(LU):
    """The same before anything is iterated, where A has so few diagonals that nothing is quicker."""

    @classmethod
    def candidates(cls, system: LinearSystem) -> Iterator[Candidate]:
        if system.on_host and is_narrow_band(system.truth) and cls.memory(system) <= MEMORY:
            yield Candidate(0, cls(), "A is a narrow band, factored at the cost of some iterations")


@dataclass(frozen=True)
class LastResort(LU):
    """The same where nothing cheaper has solved the system."""

    @classmethod
    def candidates(cls, system: LinearSystem) -> Iterator[Candidate]:
        if cls.memory(system) <= MEMORY:
            yield Candidate(1, cls(), "A can be factored")


def _order(system: LinearSystem) -> np.ndarray:
    if "column order" not in system.kept:
        system.kept["column order"] = column_order(system.truth.tocsr())
    return system.kept["column order"]


def _wide(dtype: np.dtype) -> type:
    return np.complex128 if dtype.kind == "c" else np.float64


def _factored(system: LinearSystem) -> tuple[Callable[[Any], Any], str]:
    """What solves with the factors, and a sentence on them."""
    if system.truth.kind == "dense":
        return _by_lapack(system)
    return _by_bands(system) if is_band(system.truth) else _by_superlu(system)


def _by_lapack(system: LinearSystem) -> tuple[Callable[[Any], Any], str]:
    from scipy.linalg import get_lapack_funcs, lu_solve

    A: Any = system.truth
    factors, pivots, info = get_lapack_funcs("getrf", dtype=_wide(system.dtype))(A.matrix.astype(_wide(system.dtype)))
    if info > 0:
        raise _singular()
    return lambda r: lu_solve((factors, pivots), r, check_finite=False), "A was factored by LAPACK."


def _by_bands(system: LinearSystem) -> tuple[Callable[[Any], Any], str]:
    from scipy.linalg import get_lapack_funcs

    A, dtype, n = system.truth.tocsr(), _wide(system.dtype), system.n
    w = min(system.truth.bandwidth, n - 1)
    names = ("gttrf", "gttrs") if w == 1 < n - 1 else ("gbtrf", "gbtrs")  # whose wrapper wants three rows
    factor, solve = get_lapack_funcs(names, dtype=dtype)
    if names[0] == "gttrf":
        lower, diagonal, upper, second, pivots, info = factor(*(A.diagonal(k).astype(dtype) for k in (-1, 0, 1)))
        if info > 0:
            raise _singular()
        return lambda r: solve(lower, diagonal, upper, second, pivots, r)[0], "A was factored by LAPACK, as a band."
    band: np.ndarray = np.zeros((3 * w + 1, n), dtype, order="F")
    rows = np.repeat(np.arange(n), np.diff(A.indptr))
    band[2 * w + rows - A.indices, A.indices] = A.data
    factors, pivots, info = factor(band, w, w, overwrite_ab=True)
    if info > 0:
        raise _singular()
    return lambda r: solve(factors, w, w, r, pivots)[0], "A was factored by LAPACK, as a band."


def _by_superlu(system: LinearSystem) -> tuple[Callable[[Any], Any], str]:
    from scipy.sparse.linalg import splu

    # By the order in which memory was foreseen, where it was.
    order, dtype = system.kept.get("column order"), _wide(system.dtype)
    A = sparse.csc_array(system.truth.tocsr(), dtype=dtype)
    A = A if order is None else A[:, order]
    A.indices, A.indptr = A.indices.astype(np.intc), A.indptr.astype(np.intc)
    try:
        lu = splu(A, permc_spec="COLAMD" if order is None else "NATURAL")
    except RuntimeError:
        raise _singular() from None
    except MemoryError:
        raise Breakdown("The factors of SuperLU do not fit into memory.") from None

    def solve(r: Any) -> Any:
        solved = lu.solve(np.asarray(r, dtype))
        if order is None:
            return solved
        x = np.empty(r.shape, dtype)
        x[order] = solved
        return x

    return solve, f"A was factored by SuperLU, with {lu.nnz} entries in the factors."


def _singular() -> Breakdown:
    return Breakdown("A is singular to rounding: elimination met a pivot that is zero.", Cause.SINGULAR)
