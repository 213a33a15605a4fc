"""Floating-point facts that the solvers stand on: unit roundoff, range, and when a system must be rescaled."""

from .working import PrecisionFacts, precision_facts, supported_dtypes, times_power_of_two, working_dtype

__all__ = ["PrecisionFacts", "precision_facts", "supported_dtypes", "times_power_of_two", "working_dtype"]
