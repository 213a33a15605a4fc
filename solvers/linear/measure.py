"""What products tell of an A that only multiplies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .units import exponent_of

if TYPE_CHECKING:
    from .system import LinearSystem

__all__ = ["looks_hermitian"]


def looks_hermitian(system: LinearSystem) -> bool:
    """Whether (A b, A b) is (A A b, b) to rounding, as it is for a Hermitian A; True where there is no time to measure.

    Two products. Of another A the two differ but for special b: an eigenvector, say, for which any method will do.
    """
    backend, b = system.backend, system.rhs
    began = backend.clock()
    image = system.matvec(b, system.vector())
    if system.deadline is not None and system.deadline.left < 4 * (backend.clock() - began):
        return True
    size = backend.max_abs(image)
    if not (math.isfinite(size) and size):
        return True  # nothing can be told; the first method to be tried says so
    exponent = exponent_of(size)
    image = backend.copy(backend.ldexp(image, -exponent))
    again = backend.ldexp(system.matvec(image, system.vector()), -exponent)
    difference = abs(backend.dot(image, image) - backend.dot(again, b))
    scale = backend.norm(image) ** 2 + backend.norm(again) * backend.norm(b)
    return bool(not difference > 1e3 * system.unit_roundoff * scale)
