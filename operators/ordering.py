"""In which order a relaxation visits the rows: natural order by levels, or colours.

Both are the same thing, a list of stages whose rows do not depend on each other. The levels of natural order give the
iterates of the sequential sweep exactly; the colours of the graph give those of the reordered matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import SingularError
from ..naming import choice
from .base import Operator

__all__ = ["ORDERS", "Ordering", "Stage", "check_diagonal"]

ORDERS = ("natural", "multicolor")


def check_diagonal(A: Operator, diagonal: np.ndarray, why: str) -> None:
    """Refuse a zero among the diagonal entries of A, which are given on the host, as such or as one that rounding made.

    Parameters
    ----------
    why : str
        What zero is not good for, the end of a sentence.
    """
    zero = np.flatnonzero(diagonal == 0)
    if not zero.size:
        return
    row = int(zero[0])
    if A.rounded_from is not None:
        given = np.abs(A.rounded_from[0].tocsr().diagonal())
        if given[row]:
            raise SingularError(
                f"A: the diagonal entry of row {row} is not zero, but {given[row] / given.max():.1e} of the largest "
                f"one, and rounds to zero in {A.rounded_from[1]}, where {why}; take a format of wider range"
            )
    raise SingularError(f"A: the diagonal entry of row {row} is zero, and {why}")


@dataclass
class Stage:
    """Some rows of A that may be relaxed together."""

    backend: Any
    rows: Any
    block: Any
    inverse_diagonal: Any

    def relax(self, x: Any, b: Any, omega: float) -> Any:
        """x_i + omega (b - A x)_i / a_ii in these rows."""
        change = omega * self.inverse_diagonal * (b[self.rows] - self.block @ x)
        return self.backend.put(x, self.rows, x[self.rows] + change)


class Ordering:
    """The stages of a relaxation of A.

    Parameters
    ----------
    A : Operator with entries
    order : {"natural", "multicolor"}
        Natural: row after row, as written in textbooks. Multicolor: greedy colouring of the graph of A in natural
        order, which is red-black on 5-point grids.
    nonzero : bool
        No diagonal entry is known to be zero: the diagonal is not looked at before it is needed.

    Raises
    ------
    InputError
        For another name, or an operator without entries.
    SingularError
        Where a diagonal entry is zero.
    """

    def __init__(self, A: Operator, order: str = "natural", *, nonzero: bool = False) -> None:
        self.operator, self.order = A, choice("order", order, ORDERS)
        self._stages: dict[Any, list[Stage]] = {}
        if not nonzero:
            _ = self.inverse_diagonal

    @cached_property
    def inverse_diagonal(self) -> np.ndarray:
        """1 / a_ii, on the host."""
        # Arrays of other libraries may lie on a device: their stages are cut from one copy on the host.
        A = self.operator
        diagonal = A.diagonal() if A.library == "numpy" else self.matrix.diagonal()
        check_diagonal(A, diagonal, "relaxation divides by it")
        return 1 / diagonal

    @cached_property
    def matrix(self) -> Any:
        """The entries on the host; natural sweeps of the compiled backend never ask for them."""
        return self.operator.tocsr()

    @cached_property
    def numbers(self) -> np.ndarray:
        """The stage of each row, (n,)."""
        from .graph_kernels import colors, levels

        number = levels if self.order == "natural" else colors
        pattern = self._symmetric_pattern()
        return number(pattern.indptr, pattern.indices)

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers by stage, and where each stage starts: (n,) and (stages + 1,)."""
        order = np.argsort(self.numbers, kind="stable")
        starts = np.searchsorted(self.numbers[order], np.arange(self.count + 1))
        return order, starts

    @property
    def count(self) -> int:
        """Number of stages: 2 for red-black, n where every row waits for the one before."""
        return int(self.numbers.max()) + 1 if self.numbers.size else 0

    def _symmetric_pattern(self) -> Any:
        ones = self.matrix.copy()
        ones.data = np.ones(ones.nnz, np.float32)
        pattern = (ones + ones.T).tocsr()
        pattern.sort_indices()
        return pattern

    def stages(self, backend: Any, reverse: bool) -> Iterator[Stage]:
        """The stages in order, their rows of A in the arrays of a backend."""
        key = backend.name
        if key not in self._stages:
            order, starts = self.rows
            self._stages[key] = []
            for low, high in pairwise(starts):
                rows = order[low:high]
                parts = backend.stage_arrays(rows, self.matrix[rows], self.inverse_diagonal[rows])
                self._stages[key].append(Stage(backend, *parts))
        return reversed(self._stages[key]) if reverse else iter(self._stages[key])
