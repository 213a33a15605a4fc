"""The precision a system is worked in, and the powers of two that keep it within the range of that precision."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ...backends.rounded import Rounded
from ...errors import InputError
from ...precision import precision_facts, times_power_of_two
from ...precision.policy import as_precision
from ..driver.problem import Problem
from ..driver.status import Breakdown, Cause, Status

if TYPE_CHECKING:
    from ...operators import Operator

__all__ = ["Units", "exponent_of"]


class Units(Problem):
    """A problem that is iterated on in units of its own, in a precision that may be another than that of the data.

    Attributes
    ----------
    data_dtype, dtype, true_dtype : dtype
        Of what was given, of the iterates, of the truth: that of the data, or of the iteration if it is the wider one.
    emulated : Precision or None
        What is emulated, if anything.
    two_precisions : bool
        The iteration and the truth differ.
    scaled : bool
        Powers of two may be taken out.
    matrix_exponent, exponent : int
        Of A and of b.
    """

    matrix_exponent: int
    column: bool

    def _set_precision(self, data_dtype: np.dtype, asked: Any) -> None:
        """The types of iterates and truth, the unit roundoff, and the range that is worked in."""
        given = None if asked is None else as_precision(asked)
        self.emulated = None if given is None or given.native else given
        self.data_dtype = self.dtype = self.true_dtype = data_dtype
        if given is not None:
            self.dtype = given.carrier
            if data_dtype.kind == "c":
                self.dtype = np.dtype(np.complex64 if self.dtype == np.float32 else np.complex128)
            self.true_dtype = np.result_type(data_dtype, self.dtype)
        self.two_precisions = self.emulated is not None or self.true_dtype != self.dtype
        self.scaled = given is None or given.scale == "auto"
        self.precision = precision_facts(self.dtype)
        self.precision_name, self.unit_roundoff = self.precision.name, self.precision.unit_roundoff
        self.comfortable_exponent, self.rhs_level = self.precision.comfortable_exponent, 0
        if self.emulated is not None:
            p = self.emulated
            self.backend = Rounded(self.backend, p)
            self.precision_name, self.unit_roundoff = str(p.format), p.unit_roundoff
            self.comfortable_exponent, self.rhs_level = p.comfortable_exponent, p.rhs_level

    def _check_range(self, name: str, largest: float) -> None:
        """Data that must not be scaled have to lie well within the range that is worked in."""
        if self.scaled or largest == 0:
            return
        p = self.precision
        low, high = -p.comfortable_exponent, p.comfortable_exponent
        if self.emulated is not None:
            low = max(low, exponent_of(self.emulated.smallest)) if self.emulated.smallest else low
            high = min(high, exponent_of(self.emulated.largest))
        if not low <= exponent_of(largest) <= high:
            raise InputError(
                f"{name}: its largest entry, {largest:.3g}, cannot be worked with in {self.precision_name} unscaled; "
                f'wanted one between 2^{low} and 2^{high + 1}, or scale="auto"'
            )

    def _lossless(self, operator: Operator, exponent: int) -> int:
        """The exponent, or as much of it as leaves every nonzero entry of A a normal number."""
        sizes = np.abs(operator.tocsr().data)
        smallest = float(sizes[sizes > 0].min())
        room = exponent_of(smallest) - self.precision.smallest_exponent
        return max(0, min(exponent, room)) if exponent > 0 else exponent

    def _leaves_range(self, size: float, shift: int) -> bool:
        """Whether multiplying an x of this norm by 2**shift may overflow, or lose digits that matter to underflow."""
        if size == 0 or not math.isfinite(size):
            return False
        facts = precision_facts(self.true_dtype)
        exponent = math.frexp(size)[1] + shift
        digits = 2 * round(-math.log2(facts.unit_roundoff))
        return exponent > facts.largest_exponent - 1 or exponent - digits < facts.smallest_exponent

    def size(self, x: Any, norm: float) -> float:
        """The norm of a vector of the truth, which was computed as ``norm``, right where squares underflow as well."""
        facts, exact = precision_facts(self.true_dtype), self.backend.exact
        if not norm * facts.unit_roundoff <= 2.0 ** (facts.smallest_exponent / 2):
            return norm
        largest = exact.max_abs(x)
        if largest == 0:
            return 0.0
        exponent = exponent_of(largest)
        return times_power_of_two(exact.norm(exact.ldexp(exact.copy(x), -exponent)), exponent)

    def comfortable(self, largest: float) -> bool:
        """Whether products of numbers of this size, and inner products, stay within the range without scaling."""
        return math.isfinite(largest) and abs(exponent_of(largest)) <= self.comfortable_exponent

    @property
    def negligible(self) -> float:
        """Carried residual norms below this say nothing: far below rounding, or where a format runs out of digits."""
        rounding = self.precision.unit_roundoff**2 * self.reference
        return rounding if self.emulated is None else max(rounding, self.emulated.smallest * math.sqrt(self.n))

    def unscaled(self, x: Any, fresh: bool = True) -> Any:
        """x in the caller's units and shape, and of the caller's library."""
        exact = self.backend.exact
        x = exact.copy(x, self.true_dtype) if fresh or self.two_precisions else x
        x = exact.ldexp(x, self.exponent - self.matrix_exponent)
        return exact.returned(self.backend.reshape(x, (-1, 1)) if self.column else x)

    def rescaled(self, x: Any) -> Any:
        """The inverse of ``unscaled``."""
        exact = self.backend.exact
        x = exact.reshape(exact.vector(x, "x"), (-1,))
        return exact.ldexp(exact.copy(x), self.matrix_exponent - self.exponent)

    @property
    def remarks(self) -> str:
        """How the system was fitted into a narrow range, in words; empty for a wide one."""
        if self.emulated is None or not self.emulated.narrow or not self.scaled:
            return ""
        return (
            f"To fit the range of {self.precision_name}, b was multiplied by 2^{-self.exponent} and A by "
            f"2^{-self.matrix_exponent}, which changes no digit."
        )

    def range_left(self, blame: str) -> Breakdown:
        """NaN or infinity was met: a narrower range was left, or else ``blame`` says whose fault it is."""
        if not self.two_precisions:
            return Breakdown(blame, Cause.NOT_FINITE)
        what, name, largest = "An iterate", self.precision_name, float(np.finfo(self.dtype).max)
        if self.emulated is not None:
            largest = self.emulated.largest
            if self.emulated.scalars is not None and self.emulated.scalars.largest < largest:
                what, name, largest = "An inner product", str(self.emulated.scalars), self.emulated.scalars.largest
        advice = " It was asked not to be scaled; leave scale at auto." if not self.scaled else ""
        return Breakdown(
            f"{what} left the range of {name}, whose largest number is {largest:.6g}."
            f"{advice} bf16, tf32 and fp32 end at 3.4e38, fp64 at 1.8e308.",
            Cause.RANGE,
            Status.OVERFLOW,
        )


def exponent_of(size: float) -> int:
    """The e with 2**e <= size < 2**(e + 1); 0 for 0."""
    return math.frexp(size)[1] - 1 if size else 0
