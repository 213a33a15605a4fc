"""What the driver sees of what is to be solved: it never asks whether that is a linear system or a fixed point."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ...errors import InputError
from ...precision import times_power_of_two, working_dtype
from .status import Cause, Ending, Status

if TYPE_CHECKING:
    from ...backends import Backend
    from ..spectra.ritz import SpectralEvidence
    from .loops import Loops
    from .solution import Solution
    from .stopping import Deadline, Options

__all__ = ["Delivered", "Problem", "Vector", "Words", "first_bad", "given_vector"]

# An array of whatever library the backend works on.
Vector = Any


@dataclass(frozen=True)
class Words:
    """What reports call the parts of a problem.

    Attributes
    ----------
    residual : str
        The norm that measures how far an iterate is from solving it.
    reference : str
        What that norm is relative to.
    products : str
        What ``Problem.matvecs`` counts.
    relative : bool
        The residual is the largest of several norms, each over a reference of its own, which its words say.
    spectrum : str
        What the spectrum that is reported consists of.
    """

    residual: str
    reference: str
    products: str
    relative: bool = False
    spectrum: str = "spectrum"


class Delivered(NamedTuple):
    """What goes back to the caller.

    Attributes
    ----------
    x : vector
        In the caller's units and shape.
    residual : float
        Its residual norm, in internal units.
    ending : Ending
    fields : dict
        Fields of the Solution that only this kind of problem can fill.
    """

    x: Vector
    residual: float
    ending: Ending
    fields: Mapping[str, Any] = MappingProxyType({})


class Problem(ABC):
    """A problem on one backend, in units of its own.

    Attributes
    ----------
    backend : Backend
        On whose vectors it is iterated.
    n : int
        Unknowns; of a distributed problem all of them, while vectors hold the local ones.
    matvecs : int
        Applications of the operator so far.
    deadline : Deadline or None
        Of the solve under way: set by the driver, which looks at it after every step.
    unit_roundoff : float
        Of the iteration.
    precision_name : str
        Of the iteration.
    reference : float
        What a relative residual is relative to, in internal units.
    exponent : int
        A residual norm in the caller's units is 2**exponent times the internal one.
    repeatable : bool
        The same iterate has the same residual every time; an operator that only multiplies may break that.
    replayable : bool
        The same steps may be taken again to come by an earlier iterate.
    keeps_best : bool
        Of all iterates the one of the smallest residual is returned; a problem of many parts, of which each has its
        best iterate at another time, sees to that itself.
    coarse : bool
        Iterates may stand still above the rounding level, since each is rounded to a format of few digits.
    solution_kind : type or None
        The kind of Solution that tells of it, where more is to be told than of others.
    storage, preconditioner_kind : str
        How the coefficients are kept, and what preconditions: with the method, the key of a compiled loop.
    """

    words: ClassVar[Words]
    solution_kind: ClassVar[type[Solution[Any]] | None] = None
    backend: Backend
    n: int
    matvecs: int = 0
    deadline: Deadline | None = None
    unit_roundoff: float
    precision_name: str
    reference: float
    exponent: int = 0
    repeatable: bool = True
    replayable: bool = True
    keeps_best: bool = True
    coarse: bool = False
    storage: str = ""
    preconditioner_kind: str = "none"

    @property
    def compiled(self) -> tuple[Any, Any]:
        """The arrays that compiled loops take, and how those round; None and None where there are no such loops."""
        return None, None

    @property
    def loops(self) -> Loops:
        """The table of compiled loops for such problems."""
        return {}

    @property
    def out_of_time(self) -> bool:
        """Whether the time limit of the solve under way has passed."""
        return self.deadline is not None and self.deadline.passed

    def settled(self, target: float = 0.0) -> Ending | None:
        """The ending of a problem that needs no iteration, or that no x solves to ``target``, on the face of it."""
        return None

    def prepare(self) -> None:  # noqa: B027 - most problems need nothing
        """Whatever is to be done once before the first iteration."""

    @abstractmethod
    def initial(self) -> tuple[Vector, Vector, float]:
        """The first iterate, its residual, and the norm of that; new vectors."""

    def first_guess(self) -> tuple[Vector, Vector, float]:
        """The same with the true residual norm, for a solve that could not begin."""
        return self.initial()

    @abstractmethod
    def residual_norm(self, x: Vector, out: Vector) -> tuple[Vector, float]:
        """The residual of x in working precision, in place of out, and its norm."""

    def certify(self, x: Vector, out: Vector) -> tuple[Vector, float]:
        """The same in at least working precision: what CONVERGED is said of."""
        return self.residual_norm(x, out)

    @abstractmethod
    def rounding_floor(self, x: Vector) -> float:
        """The residual norm that rounding x alone may leave."""

    @property
    def negligible(self) -> float:
        """Carried residual norms below this say nothing."""
        return self.unit_roundoff**2 * self.reference

    def target(self, options: Options) -> float:
        """The residual norm at which the problem is solved, in internal units."""
        absolute = times_power_of_two(options.atol, -self.exponent) if options.atol else 0.0
        return max(options.rtol * self.reference, absolute)

    def target_at(self, x: Vector, target: float, options: Options) -> float:
        """The same where it depends on the iterate."""
        return target

    @property
    def work(self) -> int:
        """Coefficients and vector elements that a step touches."""
        return 10 * self.n

    def not_finite(self, first: bool) -> Ending:
        """NaN or infinity where a norm should be, of the first residual or of a later one: whose fault is it?"""
        return Ending(Status.DIVERGED, cause=Cause.NOT_FINITE)

    def unscaled(self, x: Vector, fresh: bool = True) -> Vector:
        """x in the caller's units and shape; a copy unless ``fresh`` is False."""
        return self.backend.returned(self.backend.copy(x) if fresh else x)

    def deliver(
        self, x: Vector, work: Vector, residual: float, ending: Ending, target: float, evidence: SpectralEvidence | None
    ) -> Delivered:
        """The iterate that is returned, x with this residual norm, in the caller's units; ``work`` is free for use.

        The ending may change with the units. ``x`` may be overwritten.
        """
        return Delivered(self.unscaled(x, fresh=False), residual, ending)

    def verdict(self, solution: Solution, ending: Ending) -> Ending:
        """The ending in the light of all that was found."""
        return ending

    @property
    def remarks(self) -> str:
        """Sentences that close every reason."""
        return ""

    def advice(self, solution: Solution) -> str:
        """What to do about a solve that ended as this one."""
        return ""


def given_vector(backend: Backend, given: Any, name: str, size: int, wanted: str) -> Vector:
    """What a caller gave as (size,) or (size, 1), as a vector; errors name what is of another size or no number."""
    vector = backend.vector(given, name)
    shape, local = tuple(vector.shape), backend.local_length(size)
    if shape not in ((local,), (local, 1)):
        raise InputError(f"{name}: found shape {shape}; wanted ({local},), {wanted}")
    try:
        working_dtype(backend.numpy_dtype(vector))
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    return backend.reshape(vector, (-1,)) if len(shape) == 2 else vector


def first_bad(backend: Backend, vector: Vector) -> str:
    """Where a vector is not finite, in words."""
    bad = np.flatnonzero(~np.isfinite(backend.to_numpy(vector)))
    return f"{bad[0]}" if bad.size else "of another process"
