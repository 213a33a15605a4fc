"""Iterative refinement: the answer of the working precision from solves in a lower one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ...errors import InputError, SingularError
from ...naming import named_in
from ...precision.formats import format_named
from ...precision.policy import Precision, as_precision
from ..driver.iterate import iterate
from ..driver.method import Breakdown, Norm, State, Traffic
from ..driver.solution import LARGEST_PERTURBATION, Solution
from ..driver.status import Cause, Status
from ..driver.stopping import Options
from ..methods import MethodName, method_named
from ..spectra.ritz import SpectralEvidence
from .call import solver
from .method import LinearMethod
from .run import check_fits, solve_with
from .system import LinearSystem

__all__ = ["Refinement", "refine"]

# Where to go when a precision is too low for the condition: the formats of the same range, each with fewer bits of u.
LADDER = ("bf16", "tf32", "fp32")
SLOWEST = 0.5  # the contraction of a step that is worth another one in the same precision, if there is a wider one
HOPELESS = 0.95  # the same if there is none
AT_FLOOR = 10.0  # rounding floors; below, a step that does not contract is no fault of the inner precision


@dataclass
class RefinementState(State):
    """Iterate x, its residual in ``work``, and the system of the corrections in the inner precision of the moment."""

    precisions: list[Precision] = field(default_factory=list)
    inner: LinearSystem = field(init=False)
    method: LinearMethod[Any] = field(init=False)
    iterations: int = 0
    evidence: SpectralEvidence | None = None
    used: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Refinement(LinearMethod[RefinementState]):
    """x <- x + d, where A d = b - A x is solved in a low precision; ``residual`` is the precision of b - A x."""

    inner: str = "cg"
    inner_precision: Any = "bf16"
    residual: str = "fp64"
    escalate: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)

    name: ClassVar[str] = "refine"
    title: ClassVar[str] = "Iterative refinement"
    traffic: ClassVar[Traffic] = Traffic(vectors=3, passes=6, reductions=1, matvecs=1, compiled_passes=6)
    carries: ClassVar[Norm] = Norm.COMPUTED
    patience: ClassVar[int] = 3

    def __post_init__(self) -> None:
        method_named(self.inner, dict(self.parameters))

    @property
    def digits(self) -> int:
        """Bits of the precision that residuals are computed in."""
        if named_in(self.residual, ("fp128",)):
            return 106
        return int(format_named(self.residual, "residual").significand_bits)

    def start(self, system: LinearSystem) -> RefinementState:
        first = as_precision(self.inner_precision, "inner_precision")
        if first is None:
            raise TypeError("inner_precision: found None; wanted the name of a format, a Format or a Precision")
        if 2.0**-self.digits > system.unit_roundoff:
            raise InputError(
                f"residual: {self.residual} has fewer digits than {system.precision_name}, the precision of x; wanted "
                "at least as many"
            )
        if first.unit_roundoff < system.unit_roundoff:
            raise InputError(
                f"inner_precision: {first.format.name} has more digits than {system.precision_name}, the precision "
                "that is worked in; wanted a lower one"
            )
        wider = [as_precision(name) for name in LADDER] if self.escalate else []
        precisions = [first, *(p for p in wider if p is not None and p.unit_roundoff < first.unit_roundoff)]
        x, r, norm = system.initial()
        state = RefinementState(x=x, work=r, residual_norm=norm, precisions=precisions)
        self._build(system, state)
        return state

    def _build(self, system: LinearSystem, state: RefinementState) -> None:
        """A in the inner precision, and the parameters of the inner method, once for all corrections."""
        try:
            self._build_in(system, state)
        except SingularError as error:
            if len(state.precisions) == 1:
                raise
            state.notes.append(f"{state.precisions.pop(0).format} was given up: {error}.")
            self._build(system, state)

    def _build_in(self, system: LinearSystem, state: RefinementState) -> None:
        state.inner = LinearSystem(
            system.truth, state.work, M=system.M, backend=system.backend.exact, precision=state.precisions[0]
        )
        state.inner.deadline = system.deadline
        method = method_named(self.inner, dict(self.parameters))
        check_fits(method, state.inner)
        state.inner.prepare()
        state.method = method.tuned(state.inner, method.start(state.inner))
        system.matvecs += state.inner.matvecs
        state.used.append(state.inner.precision_name)

    def renew(self, system: LinearSystem, state: RefinementState) -> None:
        state.residual_norm = system.backend.norm(state.work)

    def step(self, system: LinearSystem, state: RefinementState) -> None:
        s = state
        u = s.inner.unit_roundoff
        s.inner = s.inner.with_rhs(s.work)
        correction = iterate(s.inner, s.method, Options(rtol=min(0.1, 4 * u), maxiter=max(1000, 2 * system.n)))
        system.matvecs += s.inner.matvecs
        if correction.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        s.iterations += correction.iterations
        self._learn(system, s, correction)
        before = s.residual_norm or 0.0
        d = system.backend.copy(system.backend.vector(correction.x, "d"), system.dtype)
        s.x = system.backend.axpy(1.0, d, s.x)
        self._measure(system, s)
        norm = s.residual_norm or 0.0
        if norm <= AT_FLOOR * system.rounding_floor(s.x):
            return
        condition = correction.condition or 0.0
        if norm <= SLOWEST * before and condition * u <= 1:
            return
        found = []
        if norm > SLOWEST * before:
            found.append(f"a step changed the residual by the factor {norm / before:.2g}")
        if condition * u > 1:
            found.append(
                f"the condition found, {condition:.2g}, is {condition * u:.2g} times 1 / u, the most it is good for"
            )
        if not norm <= before:
            s.x = system.backend.axpy(-1.0, d, s.x)
            self._measure(system, s)
        self._escalate(system, s, "; ".join(found), failed=norm > HOPELESS * before)

    def _measure(self, system: LinearSystem, state: RefinementState) -> None:
        """b - A x and its norm, in the precision asked for."""
        twice = 2.0**-self.digits < system.unit_roundoff
        measure = system.certify if twice else system.residual_norm
        state.work, state.residual_norm = measure(state.x, state.work)

    def _escalate(self, system: LinearSystem, state: RefinementState, found: str, failed: bool) -> None:
        """Go on in the next precision; where there is none, only while the steps still contract."""
        name = state.inner.precision_name
        if len(state.precisions) > 1:
            state.precisions.pop(0)
            self._build(system, state)
            state.notes.append(f"{name} was given up for {state.inner.precision_name}: {found}.")
        elif failed:
            advice = "Allow it to escalate, or take a wider inner precision." if not self.escalate else "Solve in fp64."
            raise Breakdown(
                f"Refinement does not converge with {self.inner} in {name}: {found}. {advice}", Cause.DIGITS
            )

    def _learn(self, system: LinearSystem, state: RefinementState, correction: Solution) -> None:
        """Keep the Lanczos matrix of the best and longest correction, in the units of the outer system."""
        seen, ritz = correction.evidence, correction.ritz
        if seen is None or ritz is None or correction.preconditioned:
            return
        if system.facts is None and (correction.converged or seen.perturbation < LARGEST_PERTURBATION):
            # No norm of A is known; Ritz values are below it, since this correction did not run into rounding.
            system.matrix_norm = max(system.matrix_norm, (1 - seen.perturbation) * ritz.largest)
        kept = state.evidence
        if kept is None or (-seen.perturbation, len(seen)) > (-kept.perturbation, len(kept)):
            state.evidence = seen.scaled(correction.spectral_exponent)

    def describe(self, state: RefinementState) -> str:
        return f"Corrections by {self.inner} in {' and '.join(state.used)} took {state.iterations} iterations in all."

    def evidence(self, state: RefinementState) -> SpectralEvidence | None:
        return state.evidence


@solver
def refine(
    A: Any,
    b: Any,
    *,
    inner: MethodName = "cg",
    inner_precision: Any = "bf16",
    working: Any = "fp64",
    residual: str = "fp64",
    escalate: bool = True,
    x0: Any = None,
    M: Any = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    backward_error: float | None = None,
    maxiter: int = 100,
    callback: Any = None,
    progress: bool = False,
    time_limit: float | None = None,
    backend: Any = None,
    errors: str = "raise",
    **parameters: Any,
) -> Solution[Any]:
    r"""Solve A x = b in the working precision by corrections that are solved in a lower one.

    Each step solves A d = b - A x in the inner precision and adds d. A step contracts the error by about
    :math:`0.06\,\kappa u` of the inner precision as long as :math:`\kappa u \le 1`: up to a condition of 256 in bf16,
    2048 in tf32 and fp16, 1.7e7 in fp32. Where the gate fails, or a step does not halve the residual, the next wider
    precision takes over (bf16, tf32, fp32), and the reason of the solution says so.

    Parameters
    ----------
    A, b, x0, M, callback, progress, time_limit, backend, errors :
        As in ``resolvent.cg``. M preconditions the inner method.
    inner : str
        A method of ``resolvent.METHODS`` that fits A.
    inner_precision : str, Format or Precision
        Of the corrections.
    working : str, Format or Precision
        Of x.
    residual : str
        Precision that b - A x is computed in: a format, or "fp128" for twice double precision. More digits than
        ``working`` give a smaller forward error, not a smaller backward one.
    escalate : bool
        Whether to change to a wider inner precision; otherwise the solve ends where the gate fails.
    rtol, atol : float
        Stop when the true residual satisfies ||b - A x|| <= max(rtol ||b||, atol).
    backward_error : float, optional
        Stop as well when ||b - A x|| <= backward_error (||A|| ||x|| + ||b||); by default 3 u of the working precision.
    maxiter : int
        Largest number of corrections.
    **parameters
        Of the inner method.

    Returns
    -------
    Solution
        ``iterations`` counts corrections, ``matvecs`` all products.

    Raises
    ------
    InputError
        As in ``resolvent.cg``; for an unknown method or parameter, and an inner precision above the working one.

    Notes
    -----
    Per correction: one inner solve to a relative residual of 4 u, 1 matvec, 6 vector passes, 1 reduction in the
    working precision; 3 vectors kept, and a copy of A in the inner precision.

    References
    ----------
    Wilkinson (1963), "Rounding errors in algebraic processes"; Carson & Higham (2018), "Accelerating the solution of
    linear systems by iterative refinement in three precisions", SIAM J. Sci. Comput. 40, algorithm 1.1.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.array([[4.0, 1.0], [1.0, 3.0]])
    >>> solution = rv.refine(A, np.array([1.0, 2.0]), inner_precision="bf16")
    >>> solution.converged, bool(solution.backward_error < 4e-16)
    (True, True)
    """
    precision = as_precision(working, "working")
    if precision is None:
        raise TypeError("working: found None; wanted the name of a format, a Format or a Precision")
    eta = 3 * precision.unit_roundoff if backward_error is None else backward_error
    method = Refinement(inner, inner_precision, residual, escalate, parameters)
    return solve_with(
        method,
        A,
        b,
        x0=x0,
        M=M,
        backend=backend,
        precision=precision,
        rtol=rtol,
        atol=atol,
        maxiter=maxiter,
        callback=callback,
        progress=progress,
        time_limit=time_limit,
        backward_error=eta,
        errors=errors,
    )
