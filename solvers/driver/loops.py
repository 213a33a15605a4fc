"""Compiled loops: rows of a problem's table, keyed by method, storage and preconditioner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...lazy import place_of
from .method import Method
from .problem import Problem

__all__ = ["Builder", "CompiledLoop", "Loops", "Stretch", "compiled_loop"]


class Stretch(NamedTuple):
    """What a compiled loop did in one call.

    Attributes
    ----------
    norms : sequence of float
        The residual norms seen: one an iteration, or that of the last iterate alone.
    taken : int
        Iterations.
    broke : bool
        The next step cannot be taken; the textbook step says why.
    matvecs : int
        Products with A, or what costs as much.
    """

    norms: Sequence[float]
    taken: int
    broke: bool
    matvecs: int


# Up to so many iterations on the method's state, stopping at the first residual norm that is at most the second.
CompiledLoop = Callable[[int, float], Stretch]

# From (arrays of A, rounding, method, problem, state) to the loop; None where these parameters have none.
Builder = Callable[[Any, Any, Any, Any, Any], CompiledLoop | None]

# By (place of the method's class, storage of A, preconditioner): methods need not be loaded to be in the table. The
# textbook step of that class is what a loop is held to.
Loops = Mapping[tuple[str, str, str], Builder]


def compiled_loop(method: Method[Any, Any], problem: Problem, state: Any) -> CompiledLoop | None:
    """The loop for this method on this problem, or None: then the textbook step is taken.

    A method that inherits its step inherits the loop with it; one that has a step of its own does not.
    """
    arrays, rounding = problem.compiled
    if arrays is None:
        return None
    storage, preconditioner = problem.storage, problem.preconditioner_kind
    for kind in type(method).__mro__:
        build = problem.loops.get((place_of(kind), storage, preconditioner))
        if build is not None:
            return build(arrays, rounding, method, problem, state)
        if "step" in vars(kind):
            break
    return None
