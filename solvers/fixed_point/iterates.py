"""What the methods for fixed points share when many iterates are stepped side by side.

What is a vector to a method is a stack here, and what is a number is an array on the host, one for each member. A
member's numbers follow from its own alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...backends import Backend
from ...lazy import Rows, place_of
from .method import FixedPointMethod, FixedPointState
from .problem import FixedPointProblem

__all__ = ["STEPS", "Iterates", "Steps", "steps_for"]


@dataclass
class Iterates:
    """Where the members of a stack are: stacks (members, n), and numbers on the host, (members,).

    Attributes
    ----------
    guess, x, f : array
        The first guesses, the iterates and their residuals.
    next_x : array
        What is to be evaluated next.
    previous_x, previous_f : array
        Before the last step.
    norm, reference : ndarray
        Of f, and what it is relative to.
    iterations : ndarray of int
    unit_roundoff : float
    """

    backend: Backend
    guess: Any
    x: Any
    f: Any
    next_x: Any
    previous_x: Any
    previous_f: Any
    norm: np.ndarray
    reference: np.ndarray
    iterations: np.ndarray
    unit_roundoff: float

    @property
    def dtype(self) -> np.dtype:
        """Of the entries."""
        return np.dtype(self.backend.numpy_dtype(self.guess))

    def column(self, numbers: Any) -> Any:
        """One number for each member as (members, 1), beside the vectors."""
        return self.backend.from_numpy(np.asarray(numbers, float)[:, None], np.empty(0, self.dtype).real.dtype)

    def choose(self, which: np.ndarray, x: Any, otherwise: Any) -> Any:
        """The rows of one stack for these members, of the other one for the others."""
        if which.all():
            return x
        return self.backend.namespace(x).where(self.column(which) > 0, x, otherwise) if which.any() else otherwise

    def norms(self, x: Any) -> np.ndarray:
        """Of each member's vector."""
        return np.asarray(self.backend.to_numpy(self.backend.norms_each(x)), float)[..., 0]

    def dots(self, x: Any, y: Any) -> np.ndarray:
        """Real part of x^H y of each member."""
        return np.asarray(self.backend.to_numpy(self.backend.dots_each(x, y)), float)[..., 0]


class Steps(ABC):
    """The steps of one method.

    Attributes
    ----------
    expected : ndarray, (members,)
        The residual norms that earlier evaluations make one expect at ``next_x``.
    """

    def __init__(self, method: Any, iterates: Iterates) -> None:
        self.method, self.it = method, iterates
        self.count = iterates.norm.size
        self.expected = np.full(self.count, math.inf)

    @classmethod
    def fits(cls, method: Any) -> bool:
        """Whether the method is taken so with these parameters."""
        return True

    def stands(self, norms: np.ndarray, lost: np.ndarray) -> np.ndarray:
        """Which values at ``next_x`` let it become the iterate; ``lost`` are those so large that they say nothing."""
        return np.isfinite(norms)

    def take_back(self, which: np.ndarray) -> np.ndarray:
        """Put something else into ``next_x``, where these members know of something; which of them do."""
        return np.zeros_like(which)

    @abstractmethod
    def go_on(self, which: np.ndarray) -> None:
        """Of these members ``next_x`` has become x: put what comes next into ``next_x``."""

    def begin(self) -> None:
        """The same of the first guesses."""
        self.go_on(np.ones(self.count, bool))

    def infeasible(self, which: np.ndarray, at_end: np.ndarray) -> np.ndarray:
        """Which of these members seem to have no fixed point, the more easily where they have come to an end."""
        return np.zeros_like(which)

    def beyond(self, which: np.ndarray) -> np.ndarray:
        """Which of these members need what is done for one member alone."""
        return np.zeros_like(which)

    @abstractmethod
    def state(self, problem: FixedPointProblem, k: int) -> FixedPointState:
        """What the method would have kept of one member, without history, for its conclusions."""

    def finish(self) -> None:
        """Let go of what only another step would need."""
        it = self.it
        it.next_x = it.previous_x = it.previous_f = it.x

    def vectors(self, k: int) -> tuple[Any, Any, float]:
        """Iterate, residual and norm of one member."""
        copy = self.it.backend.copy
        return copy(self.it.x[k, :]), copy(self.it.f[k, :]), float(self.it.norm[k])


# By the place of the method's class, loaded when steps are taken.
STEPS: Rows[str, type[Steps]] = Rows(
    __package__,
    {
        f"{__package__}.picard:Picard": "stacked_steps:PicardSteps",
        f"{__package__}.halpern:Halpern": "stacked_steps:HalpernSteps",
        f"{__package__}.restarted_halpern:RestartedHalpern": "stacked_steps:RestartedSteps",
        f"{__package__}.anderson:Anderson": "stacked_steps:AndersonSteps",
        f"{__package__}.auto:Auto": "stacked_steps:AutoSteps",
    },
)


def steps_for(method: FixedPointMethod) -> type[Steps] | None:
    """Those of a method; None where it has to be taken one member after the other."""
    steps = STEPS.get(place_of(type(method)))
    return steps if steps is not None and steps.fits(method) else None
