"""Conjugate gradients."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Unpack

import numpy as np

from ...precision import times_power_of_two
from ..driver.method import Breakdown, State, Traffic
from ..driver.problem import Vector
from ..driver.solution import LARGEST_PERTURBATION, Bound, Solution
from ..driver.status import Cause
from ..linear.call import Preconditioned, solver
from ..linear.method import Candidate, LinearMethod, said_of_choice
from ..linear.run import solve_with
from ..linear.system import LinearSystem
from ..spectra.ritz import SpectralEvidence, energy_errors

__all__ = ["CG", "cg"]

WHY_JACOBI = "Jacobi-preconditioned, since A is Hermitian with a positive diagonal that varies"
WHY_POSITIVE = "A is Hermitian with a positive diagonal"
MULTIGRID_FROM = 20_000  # unknowns, below which conjugate gradients alone are done as soon
MOST_CYCLES = 100  # where multigrid fits A, some ten are enough
AMG_FROM = 50_000  # unknowns, below which a hierarchy is hardly set up before conjugate gradients are done
BEFORE_AMG = 100  # iterations that are tried first, and tell how many more there would be
AMG_IN_ITERATIONS = 260  # what setting up a hierarchy and its cycles cost at least


class Gap:
    """How far the residual carried by recurrence may have parted from b - A x (van der Vorst & Ye 2000, section 3).

    Every step may add u (|| |A| || ||x|| + ||r||). The carried residual is to be replaced by the true one as the bound
    of the sum passes sqrt(u) ||r||: later the recurrence would have lost its digits, earlier nothing is gained. Not
    before the sum has grown tenfold since the last time, and not where the tolerance is far above it anyway.

    Attributes
    ----------
    bound, renewed : float
        The bound, and what it was after the last replacement.
    per_solution, unit_roundoff : float
        u || |A| || and u.
    norm : float
        The last residual norm.
    """

    __slots__ = ("bound", "learns", "norm", "per_solution", "renewed", "unit_roundoff")

    def __init__(self, system: LinearSystem, norm: float) -> None:
        self.bound = self.renewed = 0.0
        self.unit_roundoff = system.unit_roundoff
        self.per_solution = self.unit_roundoff * (system.facts.row_sum if system.facts is not None else 0.0)
        self.learns = system.facts is None and system.preconditioner is None
        self.norm = norm

    def grow(self, solution: float, norm: float, step_length: float, target: float) -> bool:
        """Take note of ||x|| and ||r|| after a step; whether the residual is to be replaced.

        The compiled loop does the same.
        """
        u = self.unit_roundoff
        tolerance = math.sqrt(u)
        below = self.bound <= tolerance * self.norm
        if self.learns:  # no norm of A is known, but 1 / alpha is below it
            self.per_solution = max(self.per_solution, u / step_length)
        self.bound += self.per_solution * solution + u * norm
        self.norm = norm
        return below and self.bound > max(tolerance * norm, 10 * self.renewed, 0.1 * target)

    def replaced(self, solution: float, norm: float) -> None:
        """Begin anew: what is left is the rounding of the replacement itself."""
        self.bound = self.renewed = self.per_solution * solution + self.unit_roundoff * norm
        self.norm = norm


@dataclass(kw_only=True)
class CGState(State):
    """Iterate x, residual r, preconditioned residual z, direction p, and rho = r^H z; a step puts A p into ``work``.

    Attributes
    ----------
    gap : Gap
    replacements : int
        How often the carried residual was replaced by the true one.
    alphas, betas : list of float
        Step lengths and ratios since the recurrence was begun anew.
    longest : (list of float, list of float)
        The most of them that there were at a time before.
    steps_before : int
        Steps before those.
    perturbation, largest : float
        As in ``SpectralEvidence``.
    """

    r: Vector
    z: Vector = None
    p: Vector = None
    rho: float = 0.0
    gap: Gap
    begun: bool = False
    replacements: int = 0
    steps_before: int = 0
    perturbation: float = 0.0
    largest: float = math.inf
    alphas: list[float] = field(default_factory=list)
    betas: list[float] = field(default_factory=list)
    longest: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))


@dataclass(frozen=True)
class CG(LinearMethod[CGState]):
    """The method of conjugate gradients.

    ``flexible`` allows a preconditioner that changes between steps; ``residual_replacement`` keeps the carried residual
    near the true one.
    """

    flexible: bool = False
    residual_replacement: bool = True

    name: ClassVar[str] = "cg"
    title: ClassVar[str] = "Conjugate gradients"
    purpose: ClassVar[str] = "positive definite A: the first choice, best with a preconditioner"
    traffic: ClassVar[Traffic] = Traffic(vectors=4, passes=11, reductions=2, matvecs=1, compiled_passes=11)
    needs_hermitian: ClassVar[bool] = True

    def start(self, system: LinearSystem) -> CGState:
        x, r, norm = system.initial()
        state = CGState(x=x, work=system.unset(), residual_norm=norm, r=r, gap=Gap(system, norm))
        if system.preconditioner is None and system.facts is not None:
            state.largest = 1.01 * system.facts.row_sum
        if system.emulated is not None:
            state.perturbation = system.emulated.ritz_perturbation
        return state

    def renew(self, system: LinearSystem, state: CGState) -> None:
        state.r = system.backend.assign(state.work, state.r)
        state.residual_norm = system.backend.norm(state.r)
        state.longest = max(state.longest, (state.alphas, state.betas), key=lambda pair: len(pair[0]))
        state.steps_before += len(state.alphas)
        state.alphas, state.betas = [], []
        state.gap.replaced(system.backend.norm(state.x), state.residual_norm)
        state.replace = state.begun = False

    def begin(self, system: LinearSystem, state: CGState) -> None:
        """The first direction is the (preconditioned) residual. Left to the first step: a compiled loop may do it."""
        state.begun = True
        backend = system.backend
        if system.preconditioner is not None and state.z is None:
            state.z = system.vector()
        state.z = system.precondition(state.r, state.z)
        state.p = backend.copy(state.z) if state.p is None else backend.assign(state.z, state.p)
        state.rho = self._rho(system, state)

    def step(self, system: LinearSystem, state: CGState) -> None:
        backend, s = system.backend, state
        if not s.begun:
            self.begin(system, s)
        s.work, curvature = system.matvec_dot(s.p, s.work)
        if not 0 < curvature < math.inf:
            raise _no_curvature(system, s, curvature)
        alpha = s.rho / curvature
        if not alpha > 0:
            raise _underflow(system, s)
        s.x, s.r, solution, s.residual_norm = backend.cg_update(alpha, s.p, s.work, s.x, s.r)
        s.z = system.precondition(s.r, s.z)
        before, s.rho = s.rho, self._rho(system, s)
        # Polak-Ribiere: (z, r - r_before) = -alpha (z, q), which spares keeping the residual before.
        beta = -alpha * backend.dot(s.z, s.work).real / before if self.flexible else s.rho / before
        s.p = backend.axpby(1.0, s.z, beta, s.p)
        s.alphas.append(alpha)
        s.betas.append(beta)
        s.replace = s.gap.grow(solution, s.residual_norm, alpha, s.target) or s.replace

    def review(self, system: LinearSystem, state: CGState, iteration: int, norm: float, best: Any) -> None:
        """Replace the carried residual by the true one when the bound of the gap asks for it.

        The direction is kept, and the Lanczos matrix of the coefficients goes on, perturbed by as much as the two
        residuals differ; if that is more than sqrt(u), both begin anew.
        """
        asked, state.replace = state.replace, False
        if not (asked and self.residual_replacement):
            return
        backend = system.backend
        state.work, norm = system.certify(state.x, state.work)
        state.replacements += 1
        difference = backend.norm(backend.axpy(-1.0, state.work, state.r))
        if not difference <= math.sqrt(system.unit_roundoff) * norm:
            self.renew(system, state)
            return
        state.perturbation = max(state.perturbation, difference / norm if norm else 0.0)
        state.r, state.residual_norm = backend.assign(state.work, state.r), norm
        state.z = system.precondition(state.r, state.z)
        state.rho = self._rho(system, state)
        state.gap.replaced(backend.norm(state.x), norm)

    def describe(self, state: CGState) -> str:
        if state.replacements == 0:
            return ""
        times = "once" if state.replacements == 1 else f"{state.replacements} times"
        return f"The residual was replaced by the true one {times}."

    @classmethod
    def candidates(cls, system: LinearSystem) -> Iterator[Candidate]:
        if not system.looks_hermitian:
            return
        if system.facts is None:
            yield Candidate(1, cls(), "A only multiplies, looks Hermitian, and may be positive definite")
        elif system.negative_diagonal:
            why = "A is Hermitian with a negative diagonal, so (-A) x = -b is solved, the sign changed"
            yield Candidate(1, cls(), why, sign=-1)
        elif system.facts.diagonal_positive:
            yield from cls._by_multigrid(system)
            plain = Candidate(1, cls(), WHY_POSITIVE)
            jacobi = replace(plain, why=WHY_JACOBI, preconditioner="jacobi")
            varies = system.preconditioner is None and system.diagonal_varies
            if cls._coarsens(system):
                yield replace(jacobi if varies else plain, maxiter=BEFORE_AMG)
                why = "preconditioned by algebraic multigrid, since A is sparse, and its rows are next to zero in sum"
                yield replace(plain, why=why, preconditioner="amg", maxiter=MOST_CYCLES, instead_of=AMG_IN_ITERATIONS)
            if varies:
                yield jacobi
            yield plain

    @classmethod
    def _by_multigrid(cls, system: LinearSystem) -> Iterator[Candidate]:
        """With a multigrid cycle, where A lies on a grid that is large enough."""
        facts = system.facts
        if facts is None or system.preconditioner is not None or not system.on_host or system.n < MULTIGRID_FROM:
            return
        from ..preconditioners.multigrid import grid_that_pays

        grid = grid_that_pays(system.operator, facts, system.backend)
        if grid is not None:
            points = " x ".join(map(str, grid))
            why = f"preconditioned by multigrid, since A is definite as its rows tell, on a grid of {points} points"
            yield Candidate(1, cls(), why, preconditioner="multigrid", maxiter=MOST_CYCLES)

    @staticmethod
    def _coarsens(system: LinearSystem) -> bool:
        """Whether algebraic multigrid is at hand, and made for such an A: large, sparse, elliptic as its rows tell."""
        if system.preconditioner is not None or not system.on_host or system.n < AMG_FROM or system.dtype.kind == "c":
            return False
        from ..preconditioners.amg import is_elliptic, is_installed

        return is_installed() and is_elliptic(system.truth, system.facts)

    @staticmethod
    def why_chosen(jacobi: bool) -> str:
        """Of a small system with a positive diagonal: why it was solved so, with or without Jacobi's preconditioner."""
        return said_of_choice(CG.name, WHY_JACOBI if jacobi else WHY_POSITIVE)

    def bound(self, solution: Solution[Any]) -> Bound | None:
        """The error in the A-norm, where the coefficients tell it to a factor of two."""
        known, norms = solution.evidence, solution.residual_norms
        if known is None or norms.size < 2 or not known.complete or not known.perturbation < LARGEST_PERTURBATION:
            return None
        if not (norms[0] > 0 and norms[-1] > 0):
            return None
        sure = solution.smallest_eigenvalue > 0 and solution.converged
        if sure:
            smallest = solution.smallest_eigenvalue
        elif solution.ritz is not None and solution.ritz.settled is not None:
            smallest = times_power_of_two(solution.ritz.settled, -solution.spectral_exponent)
        else:
            return None
        gap = max(1.0, float(solution.residual_norm / norms[-1]))
        errors = energy_errors(*known.coefficients, smallest, gap)
        # Where the bound of the last one weighs little, the error is known to a factor of two; later it is not drawn.
        errors = errors[errors**2 > 4 / 3 * errors[-1] ** 2]
        if errors.size < 2:
            return None
        label = f"{'at most' if sure else 'about'} ‖x − x$_k$‖$_A$ / ‖x − x$_0$‖$_A$"
        return Bound(np.arange(errors.size), errors, label)

    def _rho(self, system: LinearSystem, state: CGState) -> float:
        if system.preconditioner is None:
            norm = float(state.residual_norm or 0.0)
            return norm * norm
        rho = system.backend.dot(state.r, state.z).real
        if not math.isfinite(rho):
            raise system.range_left("M returned NaN or infinity; check the preconditioner.")
        if not rho > 0 and state.residual_norm:
            if rho == 0 and state.residual_norm**2 < sys.float_info.min:
                raise _underflow(system, state)
            raise Breakdown(
                f"M is not positive definite: r^H M r = {rho:.2e} at iteration "
                f"{state.steps_before + len(state.alphas)}, but conjugate gradients need a Hermitian positive definite "
                "preconditioner. Use another M, or none.",
                Cause.PRECONDITIONER,
            )
        return rho

    def evidence(self, state: CGState) -> SpectralEvidence | None:
        alphas, betas = max(state.longest, (state.alphas, state.betas), key=lambda pair: len(pair[0]))
        if self.flexible:
            return None
        return SpectralEvidence(
            alphas,
            betas,
            perturbation=state.perturbation,
            largest=state.largest,
            complete=state.steps_before == 0 and len(alphas) > 0,
        )

    def evidence_left(self, numbers: np.ndarray, n: int, largest: float) -> SpectralEvidence | None:
        alphas, betas = numbers[1:, 1:].tolist()
        return SpectralEvidence(alphas, betas, largest=largest, complete=True)


def _underflow(system: LinearSystem, state: CGState) -> Breakdown:
    iteration = state.steps_before + len(state.alphas)
    return Breakdown(
        f"r^H M r underflowed at iteration {iteration}: {system.precision_name} can do no better.", Cause.DIGITS
    )


def _no_curvature(system: LinearSystem, state: CGState, curvature: float) -> Breakdown:
    """Why p^H A p is not positive: NaN, a singular A (up to rounding), or an indefinite one."""
    if not math.isfinite(curvature):
        return system.range_left("A product with A was not finite: the operator returned NaN or infinity.")
    iteration = state.steps_before + len(state.alphas)
    norm = system.facts.row_norm if system.facts is not None else 1 / min(state.alphas, default=math.inf)
    # Where A is semidefinite, p^H A p = 0 means A p = 0: ||A p||^2 <= ||A|| p^H A p.
    rounding = 4 * math.sqrt(system.n * system.unit_roundoff)
    if system.backend.norm(state.work) <= rounding * norm * system.backend.norm(state.p):
        if system.emulated is not None:
            return Breakdown(
                f"p^H A p = {curvature:.2e} at iteration {iteration} is lost in the rounding of "
                f"{system.precision_name}: A is singular, or its condition is not far below "
                f"1/u = {1 / system.unit_roundoff:.0f}. Take a wider format, or rv.refine.",
                Cause.DIGITS,
            )
        return Breakdown(
            f"A is singular as far as rounding lets see: p^H A p vanishes at iteration {iteration}, so b has a part "
            "that A cannot reach. Regularise, remove that part from b, or solve the least-squares problem.",
            Cause.SINGULAR,
        )
    found = f"{system.matrix_name} is not positive definite: p^H A p = {curvature:.2e} at iteration {iteration}"
    if system.negative_diagonal:
        return Breakdown(
            f"{found}, and its diagonal is negative. If A is negative definite, solve (-A) x = -b.", Cause.INDEFINITE
        )
    return Breakdown(
        f"{found}, though A p is not zero: A is indefinite. Conjugate gradients need a positive definite matrix; use a "
        "method made for indefinite ones, such as MINRES.",
        Cause.INDEFINITE,
    )


@solver
def cg(
    A: Any,
    b: Any,
    *,
    flexible: bool = False,
    residual_replacement: bool = True,
    block: bool | Literal["auto"] = "auto",
    **common: Unpack[Preconditioned],
) -> Solution[Any]:
    r"""Solve A x = b, A Hermitian positive definite, by conjugate gradients.

    The error in the A-norm is smallest over the Krylov space; it falls at least like
    :math:`2((\sqrt\kappa-1)/(\sqrt\kappa+1))^k`.

    Parameters
    ----------
    A : array_like, sparse matrix, LinearOperator, Operator or callable, (n, n) or a batch (..., n, n)
        Hermitian positive definite. A callable has ``shape`` and ``dtype``; the vectors it is handed are read-only
        views where the library has such (NumPy), otherwise copies, and so are those of M.
    b : array_like, (n,), (n, 1), or for several systems (..., n) or (..., n, k) as in ``torch.linalg.solve``
        In any units.
    x0 : array_like like b, optional
        First guess.
    M : str, preconditioner, SuperLU, matrix, LinearOperator or callable, optional
        Approximates the inverse of A; Hermitian positive definite. "jacobi", "ssor", "polynomial", "neumann" and
        "multigrid" are made of A; with other parameters, see ``rv.precondition``.
    rtol, atol : float
        Stop when the true residual satisfies ||b - A x|| <= max(rtol ||b||, atol); atol in the units of b.
    maxiter : int, optional
        By default 10 n, and at least 1000.
    flexible : bool
        M may change from one application to the next (Polak-Ribiere beta; one more reduction).
    residual_replacement : bool
        Replace the carried residual by b - A x when rounding may have set them sqrt(u) apart: one more product each
        time, and an answer as accurate as the precision allows.
    block : bool or "auto"
        Of several right-hand sides of one matrix: whether they share a Krylov space, by block conjugate gradients, or
        each has its own. "auto" decides by what was measured to take less time.
    callback : callable, optional
        Called with a ``Progress`` after every iteration, which is no array: the iterate is its ``x``. A true result
        stops the solve.
    progress : bool
        Show a live line in the terminal.
    time_limit : float, optional
        Seconds; those of a batch are for all of its systems.
    backend : str, optional
        "numpy", "numba" (the default for NumPy arrays, and for torch tensors on the CPU), "torch" or "cupy".
    precision : str, Format or Precision, optional
        To iterate in: a format such as "bf16", emulated, or "fp32"; by default that of the data. Whatever it is, the
        certificate refers to A and b as given. See ``resolvent.precision.Precision``.
    errors : {"raise", "collect"}
        Of a batch: "raise" raises the error of a system that is refused, naming it; with "collect" it comes back with
        the status REFUSED and NaN, and the others are solved.

    Returns
    -------
    Solution

    Raises
    ------
    InputError
        For shapes that do not fit, NaN or infinite entries, a tolerance out of range.
    NotHermitianError
        Where the entries show that A is not Hermitian.
    BackendError
        For arrays of different libraries.

    Warns
    -----
    ConvergenceWarning
        When the tolerance is not met; the message says why and what to do.

    Notes
    -----
    Per iteration: 1 matvec, 2 reductions, 11 vector passes; 4 vectors kept, and one more with a preconditioner.

    References
    ----------
    Hestenes & Stiefel (1952), "Methods of conjugate gradients for solving linear systems", section 3; Notay (2000),
    "Flexible conjugate gradients", for ``flexible``; van der Vorst & Ye (2000), "Residual replacement strategies for
    Krylov subspace iterative methods for the convergence of true residuals", section 3.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> solution = rv.cg(np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0]), rtol=1e-12)
    >>> solution.converged, solution.iterations
    (True, 2)
    >>> np.allclose(solution.x, [1 / 11, 7 / 11])
    True
    """
    return solve_with(CG(flexible, residual_replacement), A, b, block=block, **common)
