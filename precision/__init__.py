"""Floating-point facts that the solvers stand on: formats, unit roundoff, range, and when a system must be rescaled."""

from . import formats
from .formats import BlockFormat, FixedPoint, Format
from .policy import Precision
from .rounding import round
from .tensor_core import tensor_core_matmul
from .working import PrecisionFacts, precision_facts, supported_dtypes, times_power_of_two, working_dtype

__all__ = [
    "BlockFormat",
    "FixedPoint",
    "Format",
    "Precision",
    "PrecisionFacts",
    "formats",
    "precision_facts",
    "round",
    "supported_dtypes",
    "tensor_core_matmul",
    "times_power_of_two",
    "working_dtype",
]
