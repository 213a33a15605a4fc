"""Gauss-Seidel sweeps against PyAMG's compiled one, and SSOR-CG on two threads against one, at a million unknowns."""

from __future__ import annotations

from . import comparisons, measure


class Sweep:
    """The sweep alone, and with ``_method`` an iteration of ``rv.gauss_seidel`` that looks at the residual at times."""

    params = (["natural", "multicolor"], ["", "_method"])
    param_names = ("order", "what")

    def track_against_pyamg(self, order: str, what: str) -> float:
        """PyAMG's sweep over ours."""
        name = f"{order}{what}"
        times = comparisons.sweeps(1_000_000, which=("pyamg", name))
        return measure.ratio(times["pyamg"], times[name])[0]

    track_against_pyamg.unit = "times faster"  # type: ignore[attr-defined]


class Threads:
    """Natural-order SSOR-CG, whose two substitutions an iteration are shared without leaving the order."""

    params = (["csr", "stencil"],)
    param_names = ("storage",)

    def track_two_against_one(self, storage: str) -> float:
        """An iteration on one thread over one on two."""
        times = comparisons.threads(1_000_000, storage)
        return measure.ratio(times[1], times[2])[0]

    track_two_against_one.unit = "times faster"  # type: ignore[attr-defined]
