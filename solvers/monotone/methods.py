"""The table of methods for F(z) = 0, from which they are looked up by name."""

from __future__ import annotations

from typing import Literal

from .eag import ExtraAnchoredGradient, ExtraAnchoredGradientVarying
from .extragradient import Extragradient, TwoTimescale
from .feg import FastExtragradient
from .method import MonotoneMethod
from .optimistic import AcceleratedOptimistic, Optimistic
from .sampling import SamplingMethod
from .variance_reduced import VarianceReducedHalpern
from .variance_reduced_resolvent import VarianceReducedResolvent

__all__ = ["FINITE_SUM_METHODS", "MONOTONE_METHODS", "FiniteSumMethodName", "MonotoneMethodName"]

MonotoneMethodName = Literal[
    "feg", "eag_c", "eag_v", "accelerated_optimistic", "two_timescale", "extragradient", "optimistic"
]
FiniteSumMethodName = Literal["resolvent", "direct"]

MONOTONE_METHODS: dict[str, type[MonotoneMethod]] = {
    cls.name: cls
    for cls in (
        FastExtragradient,
        ExtraAnchoredGradient,
        ExtraAnchoredGradientVarying,
        AcceleratedOptimistic,
        TwoTimescale,
        Extragradient,
        Optimistic,
    )
}

FINITE_SUM_METHODS: dict[str, type[SamplingMethod]] = {
    cls.name: cls for cls in (VarianceReducedResolvent, VarianceReducedHalpern)
}
