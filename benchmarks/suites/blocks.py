"""Several right-hand sides of one matrix: block conjugate gradients against the same columns solved one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import resolvent as rv

from .problems import linear_elements


def calls(n: int, columns: int, alone: int) -> dict[str, Callable[[], Any]]:
    """Calls to 1e-8, with Jacobi's preconditioner: all columns by blocks, and so many of them one by one."""
    A = linear_elements(n)
    B = np.random.default_rng(7).standard_normal((A.shape[0], columns))
    single = np.ascontiguousarray(B[:, :alone])

    def call(b: np.ndarray, block: bool) -> None:
        assert rv.cg(A, b, M="jacobi", rtol=1e-8, block=block).converged

    return {"block": lambda: call(B, True), "alone": lambda: call(single, False)}


def seconds(n: int, columns: int, alone: int) -> dict[str, float]:
    """Seconds of one call of each, which takes long enough; kernels were loaded by a small one before."""
    for call in calls(20_000, columns, 2).values():
        call()
    found = {}
    for name, call in calls(n, columns, alone).items():
        began = time.perf_counter()
        call()
        found[name] = time.perf_counter() - began
    return found


class Columns:
    """The time of all columns as a ratio; of those alone, four stand for all."""

    params = ([108_000], [16, 64])
    param_names = ("n", "columns")
    timeout = 600

    def track_against_single(self, n: int, columns: int) -> float:
        """One by one over block."""
        found = seconds(n, columns, 4)
        return columns / 4 * found["alone"] / found["block"]

    track_against_single.unit = "times faster"  # type: ignore[attr-defined]
