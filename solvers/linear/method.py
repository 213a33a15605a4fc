"""What a method for linear systems says besides: for which A its theory holds, and how it solves with the adjoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import InputError, NotHermitianError
from ..driver.method import Method, S

if TYPE_CHECKING:
    import numpy as np

    from ..spectra.ritz import RitzValues, SpectralEvidence
    from .system import LinearSystem

__all__ = ["NOTHING", "Candidate", "Fit", "LinearMethod", "Search", "said_of_choice"]


NOTHING = "there is nothing to iterate on"  # what recommends the first method for a right-hand side of zeros


@dataclass(frozen=True)
class Fit:
    """Whether a method's theory holds for a problem, and if not, why.

    Attributes
    ----------
    suits : bool
    reason : str
        A sentence; empty where it suits.
    error : type of exception
        Under which it is refused.
    """

    suits: bool
    reason: str = ""
    error: type[InputError] = InputError


@dataclass(frozen=True)
class Candidate:
    """A way to solve a problem that its entries recommend.

    Attributes
    ----------
    rank : int
        Smaller is better, among methods that are asked together: 0 for what is exact in one step.
    method : LinearMethod
    why : str
        What recommends it.
    preconditioner : str or None
        One to make for it: "jacobi".
    sign : int
        -1 where the problem is to be solved with the sign of A and b changed.
    maxiter : int or None
        Iterations that it is given at most.
    instead_of : int
        What it costs to begin, in iterations of the method that was tried before: where that promises to need no more,
        this one is left out.
    """

    rank: int
    method: LinearMethod[Any]
    why: str
    preconditioner: str | None = None
    sign: int = 1
    maxiter: int | None = None
    instead_of: int = 0


@dataclass(frozen=True)
class Search:
    """The Lanczos process by which a method finds its parameter before the first iteration.

    Attributes
    ----------
    steps : int
        At most.
    scaled : bool
        On D^-1 A, where A is Hermitian with a positive diagonal; elsewhere nothing is to be found.
    """

    steps: int
    scaled: bool = False


class LinearMethod(Method["LinearSystem", S]):
    """A method for A x = b. ``rv.solve``, the command line, the tables and the layers read what it says of A."""

    needs_hermitian: ClassVar[bool] = False
    needs_entries: ClassVar[bool] = False
    takes_preconditioner: ClassVar[bool] = True
    finds_least_squares: ClassVar[bool] = False  # where no solution exists
    factors: ClassVar[bool] = False  # A, in place of multiplying with it

    @classmethod
    def fits(cls, system: LinearSystem) -> Fit:
        """Whether the theory holds for what is known of A; what is unknown is taken on trust."""
        if cls.needs_hermitian and system.hermitian is False and system.facts is not None:
            ratio = system.facts.asymmetry / system.facts.max_abs
            return Fit(
                False,
                f"A: {cls.name} needs a symmetric (complex: Hermitian) matrix, but A and its transpose differ by "
                f"{ratio:.1e} of the largest entry; rv.solve chooses a method that fits",
                NotHermitianError,
            )
        if system.preconditioner is not None and not cls.takes_preconditioner:
            return Fit(False, f"M: {cls.name} is itself a relaxation and takes no preconditioner")
        return Fit(True)

    @classmethod
    def needs(cls) -> str:
        """What A has to be, in words, for tables."""
        if cls.needs_hermitian:
            return "Hermitian A"
        return "entries of A" if cls.needs_entries else "products with A"

    @classmethod
    def candidates(cls, system: LinearSystem) -> Iterator[Candidate]:
        """The ways in which this method recommends itself for what is known of A."""
        return iter(())

    def tuned(self, system: LinearSystem, state: S) -> LinearMethod[S]:
        """This method with the parameters that ``start`` found, for further right-hand sides."""
        return self

    def vectors_memory(self, system: LinearSystem) -> float:
        return float(self.traffic.vectors) * system.local * system.dtype.itemsize

    def memory(self, system: LinearSystem) -> float:
        """Bytes of all that it keeps, b apart."""
        return self.vectors_memory(system)

    def applications(self, iterations: int) -> int:
        """How often M is applied in so many iterations."""
        return iterations

    @property
    def search(self) -> Search | None:
        """How the parameter is found; None where it is given, or there is none."""
        return None

    def ends(self, ritz: RitzValues, row_sum: float, unit_roundoff: float) -> tuple[float, float] | None:
        """The ends of the spectrum to reckon with, of which its search has found Ritz values.

        Parameters
        ----------
        ritz : RitzValues
        row_sum : float
            What no eigenvalue exceeds.
        unit_roundoff : float

        Returns
        -------
        (float, float), or None where A is not positive definite.
        """
        return None

    def state_without_vectors(self, first_norm: float, hermitian: bool, ends: tuple[float, float] | None = None) -> Any:
        """A state after ``start``, of a system with that first residual norm, as far as the parameters alone tell it.

        It serves to ask what the method says of a solve. None where there is nothing to be said, or a parameter is to
        be found and what is known of the ends of the spectrum does not tell it.
        """
        return None

    def evidence_left(self, numbers: np.ndarray, n: int, largest: float) -> SpectralEvidence | None:
        """What the method learnt of the spectrum, by the numbers that its compiled solve of n unknowns left.

        Their columns but the first belong to iterations, and no eigenvalue exceeds ``largest``.
        """
        return None

    def described_after(self, iterations: int, n: int) -> str:
        """What ``describe`` says after so many iterations that took the ordinary course, without any state."""
        return ""

    @classmethod
    def adjoint_parameters(cls, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters with which it solves with the adjoint of A as it does with A."""
        return dict(parameters)

    def adjoint(self) -> LinearMethod[S]:
        """The method for the adjoint of A."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]
        return replace(self, **self.adjoint_parameters(own))  # type: ignore[type-var]


def said_of_choice(name: str, why: str, unused: bool = False) -> str:
    """A sentence on the choice of a method; ``unused`` that the caller's preconditioner had no part in it."""
    return f"{name} was chosen: {why}{'; M was not needed' if unused else ''}."
