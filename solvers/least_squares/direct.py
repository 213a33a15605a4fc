"""Least squares by factorisations, certified and refined like every other answer: LAPACK's SVD, and SuperLU.

A step solves for the correction of the residual that was recomputed: the first gives the answer, others refine it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
import scipy.sparse as sparse
import scipy.sparse.linalg

from ..driver.method import Breakdown, Norm, Traffic
from ..driver.problem import Vector
from ..driver.status import Cause, Ending
from ..spectra.ritz import SpectralEvidence
from .method import LeastSquaresMethod, LeastSquaresState
from .problem import LeastSquares
from .right import column_norms

__all__ = ["DirectMethod", "Lapack", "SuperLU"]

AUGMENTED = 1e-3  # what multiplies the residual in the augmented system of an A with columns of norm one


@dataclass
class DirectState(LeastSquaresState):
    """x is the iterate itself.

    Attributes
    ----------
    factor : object
        What the first step made of A.
    rank : int or None
        Of A, numerically.
    values : (float, float) or None
        The smallest singular value that counts, and the largest.
    """

    factor: Any = None
    rank: int | None = None
    values: tuple[float, float] | None = None


class DirectMethod(LeastSquaresMethod[DirectState]):
    """One that factors. On NumPy arrays, in the precision of the data."""

    carries: ClassVar[Norm] = Norm.COMPUTED
    patience: ClassVar[int] = 2
    traffic: ClassVar[Traffic] = Traffic(vectors=1, passes=3, reductions=1, matvecs=2, compiled_passes=3)

    @abstractmethod
    def correction(self, problem: LeastSquares, state: DirectState, r: Any, tail: Any) -> Any:
        """The d that makes ||r - A d||^2 + ||tail - damp d||^2 smallest."""

    def start(self, problem: LeastSquares) -> DirectState:
        x, r, _ = problem.initial()
        r, norm = problem.certify(x, r)
        return DirectState(x=x, work=r, residual_norm=norm)

    def step(self, problem: LeastSquares, state: DirectState) -> None:
        tail = problem.damping_residual(state.x) if problem.damp else None
        correction = self.correction(problem, state, state.work, tail)
        state.x = problem.backend.axpy(1.0, problem.backend.copy(correction), state.x)
        state.work, state.residual_norm = problem.certify(state.x, state.work)

    def iterate(self, problem: LeastSquares, state: DirectState) -> Vector:
        return state.x

    def evidence(self, state: DirectState) -> SpectralEvidence | None:
        return None if state.values is None else SpectralEvidence(interval=state.values)

    def conclude(self, problem: LeastSquares, state: DirectState, ending: Ending) -> tuple[Ending, Mapping[str, Any]]:
        return ending, {"rank": state.rank}


@dataclass(frozen=True)
class Lapack(DirectMethod):
    """The singular value decomposition, which tells rank from rounding and finds the shortest solution."""

    name: ClassVar[str] = "lapack"
    title: ClassVar[str] = "SVD"
    purpose: ClassVar[str] = "small problems, and those that lack rank"

    @classmethod
    def memory(cls, problem: LeastSquares) -> float:
        rows = problem.m + (problem.n if problem.damp else 0)
        usable = problem.on_host and not problem.two_precisions
        return 3.0 * problem.true_dtype.itemsize * rows * problem.n if usable else math.inf

    def correction(self, problem: LeastSquares, state: DirectState, r: Any, tail: Any) -> Any:
        A: Any = problem.truth
        full = A.matrix if A.kind == "dense" else A.tocsr().toarray()
        # Values below this are the rounding of the largest one.
        cut = max(full.shape) * float(np.finfo(full.dtype).eps)
        try:
            if tail is None:
                d, _, rank, values = scipy.linalg.lstsq(full, r, cond=cut, lapack_driver="gelsd", check_finite=False)
            else:
                d, rank, values = _damped(full, problem.damp, r, tail, cut)
        except np.linalg.LinAlgError as error:
            raise Breakdown(f"LAPACK found no singular values ({error}).") from None
        state.rank = int(rank)
        if rank or problem.damp:
            smallest = values[-1] if problem.damp else values[rank - 1]
            low, high = np.hypot([smallest if problem.m >= problem.n else 0.0, values[0]], problem.damp)
            state.values = (float(low if problem.damp else smallest), float(high))
            problem.norm_at_least(state.values[1])
        return d

    def describe(self, state: DirectState) -> str:
        if state.rank is None:
            return ""
        return f"A has rank {state.rank} to rounding, and x is the shortest of all solutions."


def _damped(A: Any, damp: float, r: Any, tail: Any, cut: float) -> tuple[Any, int, Any]:
    """The damped correction by the singular value decomposition of A, its rank, and its singular values."""
    U, values, Vh = scipy.linalg.svd(A, full_matrices=False, check_finite=False)
    along = Vh @ tail
    d = Vh.conj().T @ ((values * (U.conj().T @ r) + damp * along) / (values**2 + damp**2) - along / damp) + tail / damp
    return d, int(np.count_nonzero(values > cut * values.max(initial=0.0))), values


@dataclass(frozen=True)
class SuperLU(DirectMethod):
    """The augmented system [a I, A; A^H, -damp^2/a I] of an A with scaled columns, factored and refined.

    Its condition number is that of A, not its square, if a is about the smallest singular value (Björck 1967). Where A
    has more columns than rows and there is no damping, A^H takes its place, and x is the shortest solution.
    """

    name: ClassVar[str] = "superlu"
    title: ClassVar[str] = "augmented system"
    purpose: ClassVar[str] = "sparse problems of full rank that no iteration solves"

    @classmethod
    def memory(cls, problem: LeastSquares) -> float:
        if problem.two_precisions or not problem.on_host or problem.truth.kind == "dense":
            return math.inf
        filled = 2 * problem.truth.entries + problem.m + problem.n + min(problem.m, problem.n) ** 2
        return 2.0 * (problem.true_dtype.itemsize + 4) * filled

    def correction(self, problem: LeastSquares, state: DirectState, r: Any, tail: Any) -> Any:
        if state.factor is None:
            state.factor = self._factored(problem)
        lu, scale, wide = state.factor
        rows, columns = (problem.n, problem.m) if wide else (problem.m, problem.n)
        f = np.zeros(rows + columns, problem.true_dtype)
        if wide:
            f[rows:] = r * scale
            return lu.solve(f)[:rows]
        f[:rows] = r
        if tail is not None:
            f[rows:] = -(problem.damp / AUGMENTED) * scale * tail
        return lu.solve(f)[rows:] * scale

    def _factored(self, problem: LeastSquares) -> tuple[Any, np.ndarray, bool]:
        wide = problem.m < problem.n and not problem.damp
        tall, adjoint = (problem.true_adjoint, problem.truth) if wide else (problem.truth, problem.true_adjoint)
        norms = np.hypot(column_norms(adjoint, problem.backend.exact), problem.damp)
        scale = 1 / np.where(norms > 0, norms, 1.0)
        problem.norm_at_least(float(norms.max()))
        A = sparse.csc_array(tall.tocsr()) @ sparse.diags_array(scale)
        damped = sparse.diags_array(-(problem.damp**2 / AUGMENTED) * scale**2) if problem.damp else None
        system = sparse.block_array([[AUGMENTED * sparse.eye_array(A.shape[0]), A], [A.conj().T, damped]], format="csc")
        try:
            lu = scipy.sparse.linalg.splu(
                system.astype(problem.true_dtype), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.1
            )
        except RuntimeError:
            raise Breakdown(
                "A lacks rank to rounding: SuperLU met a pivot that is zero. Damp, or remove the columns that depend "
                "on others.",
                Cause.SINGULAR,
            ) from None
        except MemoryError:
            raise Breakdown("The factors of SuperLU do not fit into memory.", Cause.SINGULAR) from None
        return lu, scale.astype(problem.true_dtype), wide
