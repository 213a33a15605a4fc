"""What a method is: how it starts, one step of the textbook, and what a step costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..linear.system import LinearSystem
from ..spectra.spectrum import SpectralEvidence
from .status import Breakdown

__all__ = ["Breakdown", "Method", "State", "Traffic"]


@dataclass(frozen=True)
class Traffic:
    """What one iteration moves, without preconditioner.

    Attributes
    ----------
    vectors : int
        Vectors of length n that the method keeps, the solution included, the right-hand side not.
    passes : int
        Vectors read plus vectors written by a textbook step on the reference backend, the matrix not counted.
    reductions : int
        Inner products and norms; those that are taken together count once.
    matvecs : int
        Products with A; a relaxation sweep counts as one.
    compiled_passes : int
        The same as ``passes`` in the compiled loop.
    """

    vectors: int
    passes: int
    reductions: int
    matvecs: int
    compiled_passes: int


@dataclass
class State:
    """Where an iteration stands.

    Attributes
    ----------
    x : vector
        The iterate.
    work : vector
        May be overwritten by the driver between steps, which puts b - A x there before it calls ``restart``.
    residual_norm : float or None
        Norm of the residual of x as the method carries it; None where knowing it would cost a reduction or a product.
    work_is_residual : bool
        ``work`` holds the residual of x after every step, so that its norm is one reduction away.
    target : float
        The residual norm that the driver steps towards.
    replace : bool
        The step asks to be reviewed before the next one.
    notes : list of str
        Sentences that end up in ``Solution.reason``.
    """

    x: Any
    work: Any
    residual_norm: float | None
    work_is_residual: bool = False
    target: float = 0.0
    replace: bool = False
    notes: list[str] = field(default_factory=list)


class Method(ABC):
    """One iterative method with its parameters. Subclasses are frozen dataclasses."""

    name: ClassVar[str]
    title: ClassVar[str]
    traffic: ClassVar[Traffic]
    needs_hermitian: ClassVar[bool] = False
    needs_entries: ClassVar[bool] = False
    takes_preconditioner: ClassVar[bool] = True
    check_every: ClassVar[int] = 1
    # Iterations without progress that it is given: a residual carried by recurrence is not monotone, and falls below
    # the true one rather than standing still.
    patience: ClassVar[int] = 1000
    when_diverging: ClassVar[str] = "Try rv.solve, which chooses a method by what A is."

    @abstractmethod
    def start(self, system: LinearSystem) -> Any:
        """The state before the first iteration, residual norm included."""

    @abstractmethod
    def step(self, system: LinearSystem, state: Any) -> None:
        """One iteration; raises ``Breakdown`` where the textbook divides by nothing."""

    def tuned(self, system: LinearSystem, state: Any) -> Method:
        """This method with the parameters that ``start`` found, for further right-hand sides."""
        return self

    def restart(self, system: LinearSystem, state: Any) -> None:  # noqa: B027 - most methods carry nothing to renew
        """Begin anew from state.x, whose accurate residual is in state.work."""

    def review(  # noqa: B027 - most methods have nothing to mend
        self, system: LinearSystem, state: Any, iteration: int, norm: float, best: Any
    ) -> None:
        """Look at a measured residual norm, and mend what it shows to be wrong; ``best`` is a kept iterate or None."""

    def predicted_iterations(self, state: Any, reduction: float) -> int | None:
        """Iterations that theory promises for this reduction of the initial residual, counted from the start."""
        return None

    def describe(self, state: Any) -> str:
        """The parameters in use, in words, for ``Solution.reason``."""
        return ""

    def evidence(self, state: Any) -> SpectralEvidence | None:
        """What the coefficients tell of the spectrum of A, or of M A."""
        return None
