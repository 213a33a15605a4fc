"""The table of methods for F(z) = 0, from which they are looked up by name."""

from __future__ import annotations

from .eag import ExtraAnchoredGradient, ExtraAnchoredGradientVarying
from .extragradient import Extragradient, TwoTimescale
from .feg import FastExtragradient
from .method import MonotoneMethod
from .optimistic import AcceleratedOptimistic, Optimistic

__all__ = ["MONOTONE_METHODS"]

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
