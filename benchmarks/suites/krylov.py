"""Krylov methods for nonsymmetric and rectangular systems: the ratios to SciPy's of the same name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sparse
import scipy.sparse.linalg as scipy_linalg

import resolvent as rv
from resolvent import gallery
from resolvent.solvers.driver.iterate import iterate
from resolvent.solvers.driver.stopping import Options
from resolvent.solvers.least_squares.lsmr import LSMR
from resolvent.solvers.least_squares.problem import LeastSquares

from . import comparisons, measure
from .measure import Loop, Times
from .problems import System

METHODS = ("bicgstab", "gmres", "lsmr")
RESTART = 30
# Two counts far from convergence, multiples of RESTART for gmres, of which SciPy counts whole bases.
STEPS = {"bicgstab": (8, 24), "gmres": (30, 60), "lsmr": (8, 24)}


def convection_diffusion(n: int) -> System:
    """Convection and diffusion on a square of n points, upwind, and a random b."""
    side = math.isqrt(n)
    matrix = sparse.csr_matrix(gallery.convection_diffusion((side, side)).A)
    return System(matrix, matrix, np.random.default_rng(7).standard_normal(n), (math.nan, math.nan))


def our_loop(method: str, system: System, few: int, many: int) -> Loop:
    """A method of Resolvent for exactly so many iterations."""
    if method != "lsmr":
        return comparisons.our_loop(method, system, few, many)
    problem, chosen = LeastSquares(system.A, system.b, atol=0.0, btol=0.0), LSMR()

    def run(count: int) -> None:
        comparisons.checked(iterate(problem, chosen, Options(rtol=0.0, maxiter=count)).iterations, count)

    return Loop(run, few, many)


def scipy_loop(method: str, system: System, few: int, many: int) -> Loop:
    """SciPy's method of that name for exactly so many iterations."""

    def run(count: int) -> None:
        made: list[Any] = []
        A, b = system.csr, system.b
        if method == "bicgstab":
            scipy_linalg.bicgstab(A, b, rtol=1e-300, maxiter=count, callback=lambda x: made.append(None))
        elif method == "gmres":
            options = {"restart": RESTART, "maxiter": count // RESTART, "callback_type": "pr_norm"}
            scipy_linalg.gmres(A, b, rtol=1e-300, callback=lambda norm: made.append(None), **options)
        else:
            made = [None] * scipy_linalg.lsmr(A, b, atol=0.0, btol=0.0, conlim=0.0, maxiter=count)[2]
        comparisons.checked(len(made), count)

    return Loop(run, few, many)


def iterations_against(method: str, n: int, seconds: float = 2.0) -> dict[str, Times]:
    """Seconds an iteration, Resolvent's and SciPy's in turns."""
    system, counts = convection_diffusion(n), STEPS[method]
    loops = {method: our_loop(method, system, *counts), "scipy": scipy_loop(method, system, *counts)}
    return measure.iteration_times(loops, seconds)


def calls(method: str, n: int) -> dict[str, Callable[[], Any]]:
    """Warm calls to 1e-8 of Resolvent and of SciPy."""
    system = convection_diffusion(n)
    A, b = system.csr, system.b
    tolerances = {"atol": 1e-8, "btol": 1e-8} if method == "lsmr" else {"rtol": 1e-8}
    restart = {"restart": RESTART} if method == "gmres" else {}
    solve, reference = getattr(rv, method), getattr(scipy_linalg, method)

    def ours() -> None:
        assert solve(A, b, **tolerances, **restart).converged

    def theirs() -> None:
        found = reference(A, b, **tolerances, **restart)
        assert found[1] in ((1, 2) if method == "lsmr" else (0,))

    for _ in range(20):  # those of a kind that come first are the driver's
        ours()
    return {method: ours, "scipy": theirs}


class Iteration:
    """The time of one iteration as a ratio, set-up excluded."""

    params = (METHODS, [1_000_000])
    param_names = ("method", "n")

    def track_against_scipy(self, method: str, n: int) -> float:
        """SciPy's over ours."""
        times = iterations_against(method, n)
        return measure.ratio(times["scipy"], times[method])[0]

    track_against_scipy.unit = "times faster"  # type: ignore[attr-defined]


class Whole:
    """To 1e-8."""

    params = (METHODS, [100])
    param_names = ("method", "n")

    def track_against_scipy(self, method: str, n: int) -> float:
        """SciPy's over ours."""
        times = measure.call_times(calls(method, n))
        return measure.ratio(times["scipy"], times[method])[0]

    track_against_scipy.unit = "times faster"  # type: ignore[attr-defined]
