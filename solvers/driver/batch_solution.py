"""The result of a batch: arrays over its systems, each of which is a Solution when it is asked for."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import numpy as np

from ...errors import ConvergenceError
from .solution import Solution
from .status import Status

__all__ = ["BatchSolution", "Systems"]

V = TypeVar("V")


class Systems(Sequence[Solution[V]]):
    """The systems of a batch, in the order of its axes; by number or by index.

    Parameters
    ----------
    shape : tuple of int
        Lengths of the axes of the batch.
    held : dict of int to Solution
        Those that were made already.
    make : callable, optional
        Makes the Solution of a system of which there is none yet.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        held: dict[int, Solution[V]],
        make: Callable[[int], Solution[V]] | None = None,
    ) -> None:
        self.shape, self._held, self._make = shape, held, make

    def __len__(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if isinstance(index, tuple):
            if len(index) != len(self.shape):
                raise IndexError(f"found the index {index} of a batch of shape {self.shape}")
            k = int(
                np.ravel_multi_index([self._wrapped(*pair) for pair in zip(index, self.shape, strict=True)], self.shape)
            )
        else:
            k = self._wrapped(index, len(self))
        solution = self._held.get(k)
        if solution is None:
            assert self._make is not None
            solution = self._held[k] = self._make(k)
        return solution

    @staticmethod
    def _wrapped(index: Any, size: int) -> int:
        index = operator.index(index)
        if not -size <= index < size:
            raise IndexError(f"found the index {index} along an axis of {size} systems")
        return index % size

    def index_of(self, k: int) -> tuple[int, ...]:
        """Where system k stands."""
        return tuple(int(part) for part in np.unravel_index(k, self.shape))


@dataclass(eq=False)
class BatchSolution(Solution[V]):
    """What a solve of a batch returns: the fields of a Solution, as arrays over the systems.

    Attributes
    ----------
    x : array
        In b's shape, or in x0's.
    status : array of Status
    iterations, matvecs : array of int
    relative_residual, residual_norm, tolerance : array of float
    reason : str
        How many converged, and why the first that did not, did not.
    seconds : float
        Of the whole batch.
    systems : Systems
        ``systems[i]``, or ``systems[i, j]`` in a batch of two axes, is the Solution of one system. In batches of more
        than 256 systems that were iterated together, histories hold the first and the last residual norm alone, and
        there is no evidence of the spectrum.
    """

    status: Any
    members: Systems[V] = field(default_factory=lambda: Systems((0,), {}), repr=False)

    is_batch: ClassVar[bool] = True

    _fields_said: ClassVar[str] = ".systems[i] is the Solution of one system"

    @property
    def systems(self) -> Systems[V]:
        """One Solution a system, made when it is asked for."""
        return self.members

    @property
    def converged_each(self) -> Any:
        """Of each system, whether it converged."""
        return np.asarray(self.status == Status.CONVERGED)

    @cached_property
    def converged(self) -> bool:
        """Whether every system did."""
        return bool(np.all(self.converged_each))

    @property
    def overall_status(self) -> Status:
        """CONVERGED, or the status of the first system that did not."""
        failed = np.flatnonzero(~np.ravel(self.converged_each))
        return self.status.reshape(-1)[failed[0]] if failed.size else Status.CONVERGED

    def raise_for_status(self) -> BatchSolution[V]:
        """Itself when all converged, otherwise a ``ConvergenceError`` with the reason."""
        if not self.converged:
            raise ConvergenceError(self.reason)
        return self

    @cached_property
    def backward_error(self) -> Any:
        """That of each system."""
        return self._each("backward_error")

    @property
    def attainable_residual(self) -> Any:
        """That of each system."""
        return self._each("attainable_residual")

    def _each(self, name: str) -> np.ndarray:
        return np.array([getattr(one, name) for one in self.members], dtype=float).reshape(self.members.shape)

    def __repr__(self) -> str:
        return f"<BatchSolution of {len(self.members)} systems by {self.method}: {self.reason}>"


def summary(solution: BatchSolution[Any]) -> str:
    """How many converged, and what befell the first that did not."""
    systems = solution.systems
    if not len(systems):
        return "The batch is empty."
    failed = np.flatnonzero(~np.ravel(solution.converged_each))
    if not failed.size:
        return f"All {len(systems)} systems converged."
    first = systems[int(failed[0])]
    return (
        f"{failed.size} of {len(systems)} systems did not converge; the first, {systems.index_of(int(failed[0]))}: "
        f"{first.status.value}: {first.reason}"
    )
