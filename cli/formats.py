"""``resolvent formats``: what can be emulated."""

from __future__ import annotations

import argparse
from typing import Any

from .console import CONVERGED, table

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "table of the formats that can be emulated"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command."""
    return None


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    from ..precision.formats import FORMATS, BlockFormat

    singles: list[tuple[Any, ...]] = [
        ("format", "p", "emin", "emax", "u", "largest", "smallest normal", "smallest", "beyond the largest")
    ]
    blocks: list[tuple[Any, ...]] = [("block format", "elements", "to a block", "scale of a block")]
    for name, format in FORMATS.items():
        if name != format.name:
            continue  # one of its other names
        if isinstance(format, BlockFormat):
            scale = "a power of two" if format.scale is None else f"{format.scale}, and one of the tensor in fp32"
            blocks.append((name, format.element, format.block, scale))
            continue
        sizes = (format.unit_roundoff, format.largest, format.smallest_normal, format.smallest)
        beyond = {"infinity": "infinity", "saturate": "stays the largest", "nan": "NaN"}[format.overflow]
        bits = (format.significand_bits, format.min_exponent, format.max_exponent)
        singles.append((name, *bits, *(f"{size:.5g}" for size in sizes), beyond))
    print(f"{table(singles)}\n\n{table(blocks)}\n")
    print("p: bits of the significand, the hidden one included. u = 2^-p: the largest relative error of rounding to")
    print("nearest between the smallest normal number and the largest.")
    return CONVERGED
