"""Recycling along a sequence: seconds and work of systems that change slowly, with a space that is kept and without."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sparse

import resolvent as rv

SYSTEMS = 100
# By method, what is kept, and the preconditioner.
RECYCLED: dict[str, tuple[int, str | None]] = {"gmres": (10, "ssor"), "minres": (10, None), "cg": (10, "ssor")}


def convection_diffusion(side: int, t: float, peclet: float) -> Any:
    """Steady convection and diffusion on a square, upwind, the wind at the angle 2 pi t and the diffusion with it."""
    h, one = 1 / (side + 1), np.ones(side)
    second = sparse.diags_array([-one[1:], 2 * one, -one[1:]], offsets=[-1, 0, 1])
    diffusion = 1 + 0.3 * np.sin(2 * np.pi * t)

    def along(speed: float) -> Any:
        forwards, backwards = ([one, -one[1:]], [0, -1]), ([-one, one[1:]], [0, 1])
        entries, offsets = forwards if speed > 0 else backwards
        return diffusion * second + speed * h * sparse.diags_array(entries, offsets=offsets)

    wind, same = peclet * np.array([np.cos(2 * np.pi * t), np.sin(2 * np.pi * t)]), sparse.eye_array(side)
    return sparse.csr_array(sparse.kron(same, along(wind[0])) + sparse.kron(along(wind[1]), same))


def systems(method: str, side: int, count: int) -> Iterator[tuple[Any, np.ndarray]]:
    """The wind turns by 0.72 degrees from one to the next; without wind for cg, and shifted besides for minres."""
    rng = np.random.default_rng(0)
    for i in range(count):
        t = 0.05 + 0.2 * i / SYSTEMS
        A = convection_diffusion(side, t, 10.0 if method == "gmres" else 0.0)
        if method == "minres":
            A = A - (100 + 20 * t) / (side + 1) ** 2 * sparse.eye_array(side**2)
        yield A, 1 + 0.1 * rng.standard_normal(side**2)


def sequences(method: str) -> dict[str, Any]:
    """With a space that is kept, and without, in the unit of work."""
    k, M = RECYCLED[method]
    return {
        "recycled": rv.Sequence(method, recycle=k, rtol=1e-8, M=M),
        "plain": rv.Sequence(method, rtol=1e-8, M=M, cost="work"),
    }


def solved(method: str, side: int, count: int) -> dict[str, dict[str, float]]:
    """Seconds, work and iterations of both, in turns system by system."""
    both = sequences(method)
    found = {name: {"seconds": 0.0} for name in both}
    for A, b in systems(method, side, count):
        for name, sequence in both.items():
            began = time.perf_counter()
            assert sequence.solve(A, b).converged
            found[name]["seconds"] += time.perf_counter() - began
    for name, sequence in both.items():
        found[name] |= {"work": sum(sequence.history.costs), "iterations": sum(sequence.history.iterations)}
    return found


class Drifting:
    """100 systems to 1e-8, compiled beforehand."""

    params = (list(RECYCLED), [200])
    param_names = ("method", "side")
    timeout = 1800

    def setup(self, method: str, side: int) -> None:
        """Compile."""
        solved(method, 20, 2)

    def track_seconds_saved(self, method: str, side: int) -> float:
        """The share of the time that is saved."""
        found = solved(method, side, SYSTEMS)
        return 1 - found["recycled"]["seconds"] / found["plain"]["seconds"]

    def track_work_saved(self, method: str, side: int) -> float:
        """The same of the work, which is the same on every machine."""
        found = solved(method, side, SYSTEMS)
        return 1 - found["recycled"]["work"] / found["plain"]["work"]

    track_seconds_saved.unit = track_work_saved.unit = "of that without"  # type: ignore[attr-defined]
