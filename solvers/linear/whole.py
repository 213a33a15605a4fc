"""Batches of small systems on a device whose backend has kernels that solve one whole each, as on the CPU."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ...backends.compiled.found import ALONE, CONVERGED, ZERO
from ..driver.batch import KEPT, Batch
from ..driver.solution import Solution
from ..driver.status import Ending
from ..driver.stopping import Options
from ..preconditioners.given import is_named
from .schemes import kernels
from .small import Found, Small, SmallCourse, dtype_of, met
from .stacked import vectors_of

__all__ = ["Whole", "solve_whole"]


def solve_whole(small: Small, backend: Any, batch: Batch, options: Options, M: Any = None) -> Whole | None:
    """The systems of a batch that take the ordinary course; None where no kernel of the backend solves them.

    M is the caller's, one for all systems.
    """
    began = time.perf_counter()
    count = len(batch)
    shared = batch.lead == batch.matrices or not batch.matrices  # each matrix has as many systems, side by side
    if not options.unobserved or not count or not shared or (is_named(M) and batch.matrices):
        return None
    A = backend.small_matrices(batch)
    if A is None:
        return None
    b = backend.vector(batch.b, "b")
    x0 = None if batch.x0 is None else backend.vector(batch.x0, "x0")
    dtype = dtype_of(A.values, b, x0)
    if dtype is None:
        return None
    course = small.limited(backend.name, options.rtol, options.atol, options.maxiter, dtype, batch.n, A.entries, False)
    if course is None or course.learning is not None:
        return None
    if not met(course.kind, dtype, (backend.name, A.storage), systems=count):
        return None
    kernel = A.kernel(course.kind[0], dtype)
    course = None if kernel is None else course.preconditioned(M, backend, batch.n, batch.A, dtype)
    if course is None:
        return None
    numbers, scheme = course.arguments
    rows = vectors_of(backend, batch, b, dtype).reshape(-1, batch.n)
    guess = None if x0 is None else vectors_of(backend, batch, x0, dtype).reshape(-1, batch.n)
    diagonal = scheme.inverse_diagonal if math.prod(scheme.inverse_diagonal.shape) else None
    limits = kernels().Limits(*np.asarray(numbers).tolist())
    x, codes, found, seen = A.solve(kernel, dtype, rows, guess, diagonal, limits, count <= KEPT)
    codes = backend.to_numpy(codes)
    return Whole(course, batch, backend, (x, found, seen), codes, time.perf_counter() - began)


class Whole:
    """The systems of a batch that were solved together on a device, where all but x and the statuses stays until it is
    asked for."""

    ending: Ending | None = None

    def __init__(
        self, course: SmallCourse, batch: Batch, backend: Any, arrays: Any, codes: np.ndarray, seconds: float
    ) -> None:
        self.x, self._found, self._numbers = arrays
        self.seconds, self._course, self._batch, self._backend = seconds, course, batch.without_arrays(), backend
        self.left = np.flatnonzero(codes == ALONE)
        self.settled = bool(((codes == CONVERGED) | (codes == ZERO)).all())

    @cached_property
    def found(self) -> Found:
        """On the host."""
        found, numbers = (self._backend.to_numpy(part) for part in (self._found, self._numbers))
        return Found(self._course, self._batch, self._backend, self.x, found, numbers, len(found), None, self.seconds)

    @property
    def fields(self) -> dict[str, np.ndarray]:
        """Those of ``found``."""
        return self.found.fields

    def solution(self, k: int) -> Solution:
        """That of one system."""
        return self.found.solution(k)

    def completed(self, alone: Mapping[int, Solution]) -> Any:
        """x of all systems, with those that were solved alone."""
        if not alone:
            return self._batch.joined(self.x, array_namespace(self.x))
        return self.found.completed(alone)
