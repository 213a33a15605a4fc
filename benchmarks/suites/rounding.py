"""Rounding of a million numbers on one core, into an array at hand, against ml_dtypes and pychop."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from resolvent.precision import formats, round

from . import measure

__all__ = ["against_ml_dtypes", "against_pychop", "nanoseconds"]

MILLION = 1_000_000
NARROW = tuple(
    name for name in dict.fromkeys(format.name for format in formats.FORMATS.values()) if name[:2] in ("fp", "tf", "bf")
)


def numbers(n: int, dtype: Any) -> np.ndarray:
    """Of sizes from 1e-8 to 1e6: normal, subnormal, too small and too large for half precision."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal(n) * 10.0 ** rng.uniform(-8, 6, n)).astype(dtype)


def ours(
    x: np.ndarray, out: np.ndarray, format: Any, backend: str, rounding: str = "nearest-even"
) -> Callable[[], Any]:
    """A call of ``round`` with ``out``."""
    return lambda: round(x, format, rounding, out=out, backend=backend)


def against_ml_dtypes(n: int = MILLION, dtype: Any = np.float32, seconds: float = 2.0) -> dict[str, measure.Times]:
    """Seconds a call: ``ml_dtypes``, bf16 and back by ``astype``; ``numpy`` and ``numba``, ours; ``copy``."""
    bfloat16 = import_module("ml_dtypes").bfloat16
    x = numbers(n, dtype)
    out = np.empty_like(x)
    calls = {
        "ml_dtypes": lambda: x.astype(bfloat16).astype(dtype),
        "numpy": ours(x, out, "bf16", "numpy"),
        "numba": ours(x, out, "bf16", "numba"),
        "copy": lambda: np.copyto(out, x),
    }
    return measure.call_times(calls, seconds)


def against_pychop(n: int = MILLION, dtype: Any = np.float64, seconds: float = 2.0) -> dict[str, measure.Times]:
    """Seconds a call, to fp16: ``pychop``, its Chop; ``numba``, ours."""
    pychop = import_module("pychop")
    pychop.backend("numpy")
    chop, x = pychop.Chop(exp_bits=5, sig_bits=10), numbers(n, dtype)
    ready = ours(x, np.empty_like(x), "fp16", "numba")
    return measure.call_times({"pychop": lambda: chop(x), "numba": ready}, seconds)


def nanoseconds(
    format: Any, dtype: Any = np.float64, rounding: str = "nearest-even", backend: str = "numba", seconds: float = 0.5
) -> measure.Times:
    """Nanoseconds an element, a million at a time."""
    x = numbers(MILLION, dtype)
    ready = ours(x, np.empty_like(x), format, backend, rounding)
    times = measure.call_times({"round": ready}, seconds)["round"]
    return measure.Times(times.best * 1e9 / MILLION, times.rounds * 1e9 / MILLION, times.quiet)


class AgainstMlDtypes:
    """float32 to bf16: the round trip of ml_dtypes over ours."""

    params = (["numpy", "numba"], [10_000, 1_000_000, 10_000_000])
    param_names = ("backend", "n")

    def setup(self, backend: str, n: int) -> None:
        """Skips where ml_dtypes is missing."""
        installed("ml_dtypes")

    def track_bf16(self, backend: str, n: int) -> float:
        """By the best times."""
        times = against_ml_dtypes(n)
        return measure.ratio(times["ml_dtypes"], times[backend])[0]

    track_bf16.unit = "times faster"  # type: ignore[attr-defined]


class AgainstPychop:
    """fp16: pychop's Chop over ours."""

    params = (["float32", "float64"],)
    param_names = ("dtype",)

    def setup(self, dtype: str) -> None:
        """Skips where pychop is missing."""
        installed("pychop")

    def track_fp16(self, dtype: str) -> float:
        """By the best times."""
        times = against_pychop(dtype=dtype)
        return measure.ratio(times["pychop"], times["numba"])[0]

    track_fp16.unit = "times faster"  # type: ignore[attr-defined]


class Element:
    """Nanoseconds an element, compiled."""

    params = (["bf16", "fp16", "fp8_e4m3fn"], ["float32", "float64"], ["nearest-even", "toward-zero", "stochastic"])
    param_names = ("format", "dtype", "rounding")

    def track_round(self, format: str, dtype: str, rounding: str) -> float:
        """The best."""
        return nanoseconds(format, dtype, rounding).best

    track_round.unit = "ns"  # type: ignore[attr-defined]


def installed(name: str) -> None:
    """Skip the benchmark where a library is missing."""
    try:
        import_module(name)
    except ImportError as error:
        raise NotImplementedError(str(error)) from error
