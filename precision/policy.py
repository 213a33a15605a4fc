"""Which results of a solve are rounded, to what, and how: the emulation of arithmetic in a low precision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..naming import choice
from .formats import BlockFormat, FixedPoint, Format, dtype_name, format_named, fp32, fp64
from .rounding_rule import ROUNDINGS
from .tensor_core import block_fma
from .working import precision_facts

__all__ = ["POLICIES", "Precision", "as_precision"]

# name: what is rounded.
POLICIES: dict[str, str] = {
    "storage": "the matrix, and every vector when it is written; arithmetic in the carrier",
    "op": "every single addition and multiplication, sums one term after the other, inner products included",
    "matvec": "the matrix and the vector of each product, and its result once; sums and vector updates in the carrier",
    "tensor-core": "the matrix and the vector of each product, which a tensor core then multiplies bit for bit",
}


@dataclass(frozen=True)
class Precision:
    """Arithmetic in a format, carried in float32 or float64.

    Parameters
    ----------
    format : str or Format
        Of matrix and vectors: a name in ``resolvent.precision.formats.FORMATS``, or a format of your own.
    policy : {"storage", "op", "matvec", "tensor-core"}
        What is rounded. ``storage``: the matrix, and every vector when it is written, with arithmetic in the carrier.
        ``op``: every single operation, sums one term after the other. ``matvec``: matrix and vector of each product,
        exact products and sums in the carrier, one rounding of the result; vector updates in the carrier.
        ``tensor-core``: the same with the block FMA of a GPU, whose results are float32.
    scalars : str or Format, optional
        Of inner products, norms and step lengths. By default they are kept in double precision, for ``op`` in
        ``format``.
    rounding : str
        One of the roundings of ``resolvent.precision.round``.
    seed : int
        Of stochastic rounding.
    scale : {"auto", "none"}
        Whether right-hand side and matrix are multiplied by powers of two, which change no digit, to fit the range of
        the format.
    device : str
        For ``tensor-core``: a name that ``resolvent.precision.tensor_core_matmul`` knows.

    Raises
    ------
    ValueError
        For an unknown format, policy or rounding, and where no carrier is wide enough.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> bf16 = rv.precision.Precision("bf16", policy="op")
    >>> A = np.array([[4.0, 1.0], [1.0, 3.0]])
    >>> rv.cg(A, np.array([1.0, 2.0]), rtol=1e-2, precision=bf16).precision
    'bf16'
    """

    format: Any
    policy: str = "storage"
    scalars: Any = None
    rounding: str = "nearest-even"
    seed: int = 0
    scale: str = "auto"
    device: str = "H100"

    def __post_init__(self) -> None:
        found = format_named(self.format)
        object.__setattr__(self, "format", found)
        for name, choices in (("policy", POLICIES), ("rounding", ROUNDINGS), ("scale", ("auto", "none"))):
            given = getattr(self, name)
            object.__setattr__(self, name, choice(name, given, choices))
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            kind = ValueError if isinstance(self.seed, int) else TypeError
            raise kind(f"seed: found {self.seed!r}; wanted an integer of at least 0")
        if self.scalars is not None:
            object.__setattr__(self, "scalars", _scalar_format(self.scalars))
        elif self.policy == "op":
            object.__setattr__(self, "scalars", found)
        if self.policy == "op" and not self.rounding.startswith("nearest"):
            raise ValueError(
                f"rounding: {self.rounding} of a single operation cannot be had from its result in the carrier, only "
                "nearest-even and nearest-away can; wanted one of these for the policy op"
            )
        if self.policy in ("op", "tensor-core") and not isinstance(found, Format):
            raise ValueError(f"policy: {self.policy} needs a floating-point format; {found.name} is none")
        if self.policy == "tensor-core":
            block_fma(self.device, found)
        if self.rounding != "nearest-even" and found == fp64:
            raise ValueError(
                "format: fp64 has no wider carrier to round from; only nearest-even in float64 itself is offered"
            )

    @property
    def native(self) -> bool:
        """Whether the format is one that the machine computes in, so that there is nothing to emulate."""
        same = self.scalars is None or self.scalars == self.format
        plain = self.policy == "storage" and self.rounding == "nearest-even" and same
        return plain and self.format in (fp32, fp64)

    @property
    def carrier(self) -> np.dtype:
        """The type that holds the numbers: that of the format itself, or one that leaves room to round from."""
        if self.format == fp32 and self.rounding != "nearest-even":
            return np.dtype(np.float64)
        return np.dtype(self.format.carrier)

    @property
    def unit_roundoff(self) -> float:
        """u of the format, twice that for roundings not to nearest; of fixed point, relative to the largest of b."""
        u = float(self.format.unit_roundoff)
        if isinstance(self.format, FixedPoint):
            u = 2.0 ** -(self.format.fraction_bits + 1 + self.rhs_level)
        return u if self.rounding.startswith("nearest") else 2 * u

    @property
    def ritz_perturbation(self) -> float:
        """How far extreme Ritz values may leave the spectrum, relative to ||A||: measured up to 5 u, so 8 u."""
        scalars = 0.0 if self.scalars is None else float(self.scalars.unit_roundoff)
        wraps = any(getattr(held, "overflow", "") == "wrap" for held in (self.format, self.scalars))
        return math.inf if wraps else 8 * max(self.unit_roundoff, scalars)

    @property
    def comfortable_exponent(self) -> int:
        """Matrices whose largest entry lies within 2**±this are not rescaled."""
        if self.native:
            return precision_facts(self.carrier).comfortable_exponent
        return (_elements(self.format).max_exponent + 1) // 4

    @property
    def narrow(self) -> bool:
        """Whether the range of the format is so small that iterates can leave it."""
        return _elements(self.format).max_exponent < 64

    @property
    def largest(self) -> float:
        """The largest single number."""
        return float(_elements(self.format).largest)

    @property
    def smallest(self) -> float:
        """Numbers below this have fewer digits than the others, or none; zero where a block has its own scale."""
        if isinstance(self.format, BlockFormat):
            return 0.0
        return float(self.format.smallest if isinstance(self.format, FixedPoint) else self.format.smallest_normal)

    @property
    def rhs_level(self) -> int:
        """The exponent that the largest entry of the right-hand side is brought to.

        In a narrow format as low as leaves the residual, at the best accuracy there is, a normal number: the solution
        may be much larger than the right-hand side.
        """
        if not self.narrow:
            return 0
        if isinstance(self.format, FixedPoint):
            return max(0, self.format.max_exponent // 2)
        elements = _elements(self.format)
        return min(0, max(elements.min_exponent + elements.significand_bits, -(elements.max_exponent // 2)))


def _scalar_format(given: Any) -> Format | FixedPoint:
    found = format_named(given, "scalars")
    if isinstance(found, BlockFormat):
        raise ValueError(f"scalars: {found} rounds blocks; wanted a format of single numbers")
    return found


def _elements(given: Any) -> Any:
    """The format of the single numbers."""
    return given.element if isinstance(given, BlockFormat) else given


def as_precision(value: Any) -> Precision | None:
    """A ``Precision`` from one, a format or its name; None for None.

    Examples
    --------
    >>> from resolvent.precision.policy import as_precision
    >>> as_precision("bf16").unit_roundoff == 2.0**-8
    True
    """
    if value is None or isinstance(value, Precision):
        return value
    if isinstance(value, (Format, FixedPoint, BlockFormat)) or dtype_name(value) is not None:
        return Precision(format_named(value, "precision"))
    raise TypeError(f"precision: found {type(value).__name__}; wanted the name of a format, a Format or a Precision")
