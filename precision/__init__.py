"""Floating-point facts that the solvers stand on: formats, unit roundoff, range, and when a system must be rescaled."""

from . import formats
from .equilibrate import Equilibration, equilibrate
from .formats import BlockFormat, FixedPoint, Format
from .policy import Precision
from .ridge import RidgeEffect, condition_limit, frobenius_ridge, ridge_effect, ridge_for_condition, wolkowicz_styan
from .rounding import round
from .tensor_core import tensor_core_matmul
from .working import PrecisionFacts, precision_facts, supported_dtypes, times_power_of_two, working_dtype

__all__ = [
    "BlockFormat",
    "Equilibration",
    "FixedPoint",
    "Format",
    "Precision",
    "PrecisionFacts",
    "RidgeEffect",
    "condition_limit",
    "equilibrate",
    "formats",
    "frobenius_ridge",
    "precision_facts",
    "ridge_effect",
    "ridge_for_condition",
    "round",
    "supported_dtypes",
    "tensor_core_matmul",
    "times_power_of_two",
    "wolkowicz_styan",
    "working_dtype",
]
