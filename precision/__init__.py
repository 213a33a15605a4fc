"""Floating-point facts that the solvers stand on: formats, unit roundoff, range, and when a system must be rescaled."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from . import formats
    from .equilibration import Equilibration, equilibrate
    from .formats import BlockFormat, FixedPoint, Format
    from .policy import Precision
    from .ridge import RidgeEffect, condition_limit, frobenius_ridge, ridge_effect, ridge_for_condition, wolkowicz_styan
    from .rounding import round
    from .tensor_core import tensor_core_matmul
    from .working import PrecisionFacts, precision_facts, supported_dtypes, times_power_of_two, working_dtype

PLACES = {
    "formats": "formats",
    "Equilibration": "equilibration:Equilibration",
    "equilibrate": "equilibration:equilibrate",
    "BlockFormat": "formats:BlockFormat",
    "FixedPoint": "formats:FixedPoint",
    "Format": "formats:Format",
    "Precision": "policy:Precision",
    "RidgeEffect": "ridge:RidgeEffect",
    "condition_limit": "ridge:condition_limit",
    "frobenius_ridge": "ridge:frobenius_ridge",
    "ridge_effect": "ridge:ridge_effect",
    "ridge_for_condition": "ridge:ridge_for_condition",
    "wolkowicz_styan": "ridge:wolkowicz_styan",
    "round": "rounding:round",
    "tensor_core_matmul": "tensor_core:tensor_core_matmul",
    "PrecisionFacts": "working:PrecisionFacts",
    "precision_facts": "working:precision_facts",
    "supported_dtypes": "working:supported_dtypes",
    "times_power_of_two": "working:times_power_of_two",
    "working_dtype": "working:working_dtype",
}

if not TYPE_CHECKING:  # a type checker would take any name for one of this module
    __getattr__, __dir__ = lazy_names(__name__, PLACES)

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
