"""Adaptive SOR: omega is improved within a solve, from the rate at which its residual falls."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

from ...errors import InputError
from ..driver.method import Traffic
from ..linear.system import LinearSystem
from ..relaxation.sor import SOR, SORState
from .closed_forms import SORForm
from .evidence import Evidence
from .tuner import Tuner, check_omega

__all__ = ["AdaptiveSOR", "AdaptiveSORMethod"]

STRATEGY = 0.75  # F of ITPACK: a rate above (omega - 1)^F is worth a change
SETTLED = 5e-5  # a rate may fall by this and still count as settled
CAPS = (1.5, 1.8, 1.85, 1.9, 1.94, 1.96, 1.975, 1.985, 1.992)  # of the first, second, ... change


@dataclass
class AdaptiveState(SORState):
    """Where the last look was, where omega was last changed, and the rates seen since."""

    at: int = 0
    norm: float = 0.0
    changed: int = 0
    rate: float = 0.0
    settled: bool = False
    path: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class AdaptiveSORMethod(SOR):
    """SOR that starts with ``omega`` and raises it as ITPACK does.

    While omega is below the best one, the residual falls by a factor R an iteration in the long run, which gives the
    Jacobi radius and with it the best omega. It is changed where R is above (omega - 1)^0.75 and no longer rising, and
    enough iterations have passed since the last change for their memory to fade.
    """

    omega: float | None = 1.0

    name: ClassVar[str] = "adaptive_sor"
    title: ClassVar[str] = "Adaptive successive overrelaxation"
    traffic: ClassVar[Traffic] = Traffic(vectors=3, passes=3, reductions=0, matvecs=1, compiled_passes=3)
    check_every: ClassVar[int] = 4

    def start(self, system: LinearSystem) -> AdaptiveState:
        state = super().start(system)
        shared = {name: getattr(state, name) for name in SORState.__dataclass_fields__}
        return AdaptiveState(**shared, norm=state.residual_norm or 0.0, path=[state.omega])

    def review(self, system: LinearSystem, state: AdaptiveState, iteration: int, norm: float, best: Any) -> None:
        """Take the rate since the last look; change omega when it shows that a larger one is better."""
        steps = iteration - state.at
        if steps <= 0 or not 0 < norm < math.inf or not state.norm > 0:
            return
        rate = (norm / state.norm) ** (1 / steps)
        state.at, state.norm = iteration, norm
        before, state.rate = state.rate, rate
        omega = state.omega
        if rate <= omega - 1:
            state.settled = True  # omega is at least the best one
        since = iteration - state.changed
        rising = rate + SETTLED > before
        # At the best omega, a double eigenvalue makes the residual fall like k (omega - 1)^k only.
        double = (since / max(since - steps, 1)) ** (1 / steps) if omega > 1 else 1.0
        if state.settled or since < _fading(omega) or not rising or not (omega - 1) ** STRATEGY < rate / double < 1:
            return
        radius = SORForm().radius(rate, omega)
        if radius is None or not radius < 1:
            return
        better = min(SORForm().best(radius), CAPS[min(len(state.path) - 1, len(CAPS) - 1)])
        if better > omega:
            state.omega = better
            state.path.append(better)
            state.changed, state.rate, state.settled = iteration, 0.0, False

    def describe(self, state: SORState) -> str:
        path = ", ".join(f"{omega:.4g}" for omega in getattr(state, "path", ()))
        return " ".join(filter(None, [f"omega went through {path}.", super().describe(state)]))


def _fading(omega: float) -> int:
    """Iterations after which a change of omega no longer shows in the rate: p (omega - 1)^(p - 1) <= 1/2."""
    if omega <= 1:
        return 4
    p = 6
    while p < 940 and p * (omega - 1) ** (p - 1) > 0.5:
        p += 1
    return p


class AdaptiveSOR(Tuner):
    """The tuner that leaves omega to each solve: ``AdaptiveSORMethod`` from the same start every time.

    Parameters
    ----------
    start : float
        The first omega of each solve.

    Raises
    ------
    InputError
        For a start outside (0, 2), and where it serves another method than ``"sor"``.

    Notes
    -----
    Nothing is remembered from system to system. A look at the residual every 4 iterations costs about one matvec each.

    References
    ----------
    Hageman & Young (1981), "Applied iterative methods", chapter 9; Kincaid, Respess, Young & Grimes (1982), "Algorithm
    586: ITPACK 2C", whose constants these are. There the norms are those of the updates.

    Examples
    --------
    >>> import resolvent as rv
    >>> problem = rv.gallery.poisson((20, 20))
    >>> sequence = rv.Sequence("sor", tuner=rv.tuning.AdaptiveSOR(), rtol=1e-8)
    >>> plain = rv.gauss_seidel(problem.A, problem.b, rtol=1e-8)
    >>> sequence.solve(problem.A, problem.b).iterations < plain.iterations / 4
    True
    """

    kind = "AdaptiveSOR"

    def __init__(self, start: float = 1.0) -> None:
        super().__init__("omega")
        if isinstance(start, bool) or not isinstance(start, Real):
            raise InputError(f"start: found {start!r}; wanted a number in (0, 2)")
        self.start: float = float(start)
        check_omega(self.start, "omega", AdaptiveSORMethod.name)

    def bind(self, method: str) -> None:
        if method != SOR.name:
            raise InputError(f"tuner: AdaptiveSOR adapts the omega of sor, not of {method}")
        super().bind(method)

    def settings(self) -> dict[str, Any]:
        return {"start": self.start}

    def _choose(self, context: float | None) -> Any:
        return {"method": AdaptiveSORMethod.name, "omega": self.start}

    def _learn(self, value: Any, cost: float, context: float | None, evidence: Evidence | None) -> None:
        pass

    def _memory(self) -> dict[str, Any]:
        return {}

    def _recall(self, memory: dict[str, Any]) -> None:
        pass
