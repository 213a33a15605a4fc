"""What a method is: how it starts, one step of the textbook, and what it says about itself."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from .problem import Problem, Vector
from .status import Breakdown, Ending

if TYPE_CHECKING:
    from ..spectra.ritz import SpectralEvidence
    from .solution import Bound, Solution

__all__ = ["Breakdown", "Cost", "Method", "Norm", "State", "Traffic", "named_parameters"]


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


@dataclass(frozen=True)
class Cost:
    """What some iterations cost, without preconditioner; the fields are those of ``Traffic``, summed."""

    passes: int
    reductions: int
    matvecs: int
    compiled_passes: int


class Norm(enum.Enum):
    """Which norm of the residual a method carries from step to step."""

    RECURRENCE = "the 2-norm of a residual updated by recurrence, known after every step"
    COMPUTED = "the 2-norm of a residual computed from the iterate, known when it is looked at"
    OTHER = "another norm, such as that of the preconditioned residual"


@dataclass
class State:
    """Where an iteration stands.

    Attributes
    ----------
    x : vector
        The iterate.
    work : vector
        May be overwritten by the driver between steps, which puts the true residual there before it calls ``renew``.
    residual_norm : float or None
        The norm that the method carries; None where knowing it would cost a reduction or a product.
    work_is_residual : bool
        ``work`` holds the residual of x after every step, so that its norm is one reduction away.
    target : float
        The residual norm that the driver steps towards.
    replace : bool
        The step asks to be reviewed before the next one.
    notes : list of str
        Sentences that end up in ``Solution.reason``.
    """

    x: Vector
    work: Vector
    residual_norm: float | None
    work_is_residual: bool = False
    target: float = 0.0
    replace: bool = False
    notes: list[str] = field(default_factory=list)


P = TypeVar("P", bound=Problem)
S = TypeVar("S", bound=State)


class Method(ABC, Generic[P, S]):
    """One iterative method with its parameters. Subclasses are frozen dataclasses, one a file.

    ``start`` and ``step`` are the textbook. What follows them is what the method says about itself: the driver, tables,
    the command line and the tuners' work units read it, and ask nothing else.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    purpose: ClassVar[str] = ""  # what it is for, in a few words
    traffic: ClassVar[Traffic]
    carries: ClassVar[Norm] = Norm.RECURRENCE
    monotone: ClassVar[bool] = False  # the carried norm never grows: the last iterate is the best, and no other is kept
    check_every: ClassVar[int] = 1  # iterations between two looks at the residual
    # Iterations without progress that it is given: a residual carried by recurrence is not monotone, and falls below
    # the true one rather than standing still.
    patience: ClassVar[int] = 1000
    when_diverging: ClassVar[str] = "Try rv.solve, which chooses a method by what A is."

    @abstractmethod
    def start(self, problem: P) -> S:
        """The state before the first iteration, residual norm included."""

    @abstractmethod
    def step(self, problem: P, state: S) -> None:
        """One iteration; raises ``Breakdown`` where the textbook divides by nothing."""

    def iterate(self, problem: P, state: S) -> Vector:
        """The current iterate; a method that keeps a basis forms it here, when it is asked for."""
        return state.x

    def renew(self, problem: P, state: S) -> None:
        """Begin anew from the current iterate, whose accurate residual is in state.work."""

    def review(self, problem: P, state: S, iteration: int, norm: float, best: Vector | None) -> None:
        """Look at a measured residual norm, and mend what it shows to be wrong; ``best`` is a kept iterate or None."""

    def cost(self, iterations: int) -> Cost:
        """What the first so many iterations cost."""
        t, k = self.traffic, iterations
        return Cost(k * t.passes, k * t.reductions, k * t.matvecs, k * t.compiled_passes)

    def vectors_memory(self, problem: P) -> float:
        """Bytes of the vectors that it keeps, b apart; 0 where that is not known."""
        return 0.0

    def predicted_iterations(self, state: S, reduction: float) -> int | None:
        """Iterations that theory promises for this reduction of the initial residual, counted from the start."""
        return None

    def bound(self, solution: Solution[Any]) -> Bound | None:
        """What theory promises of every iteration of a solve, for the figure of the report."""
        return None

    def describe(self, state: S) -> str:
        """The parameters in use, in words, for ``Solution.reason``."""
        return ""

    def evidence(self, state: S) -> SpectralEvidence | None:
        """What the iteration tells of the spectrum of A, or of M A."""
        return None

    def conclude(self, problem: P, state: S, ending: Ending) -> tuple[Ending, Mapping[str, Any]]:
        """The ending in the light of all steps, and fields of the Solution that only this kind of method can fill."""
        return ending, {}


@cache
def named_parameters(method: type[Method[Any, Any]]) -> tuple[str, ...]:
    """The names of a method's parameters."""
    return tuple(one.name for one in fields(method))  # type: ignore[arg-type]
