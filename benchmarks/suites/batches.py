"""Small systems and batches of them: whole calls, as ratios to SciPy's calls for one system after the other."""

from __future__ import annotations

from . import comparisons, measure


class Small:
    """One small system a call."""

    params = (["poisson", "prepared", "dense"],)
    param_names = ("system",)

    def setup(self, system: str) -> None:
        """The system, and everything compiled."""
        self.call = comparisons.small_calls(system)["cg"]

    def time_call(self, system: str) -> None:
        """A warm call of cg."""
        self.call()

    def track_against_scipy(self, system: str) -> float:
        """How many times faster than SciPy's call."""
        times = measure.call_times(comparisons.small_calls(system), 1.0)
        return measure.ratio(times["scipy"], times["cg"])[0]

    track_against_scipy.unit = "times faster"  # type: ignore[attr-defined]


class Batch:
    """Many systems a call: 10^4 full matrices of size 32, and 10^5 tridiagonal ones of size 64 on one pattern."""

    params = (["dense", "tridiagonal"],)
    param_names = ("systems",)
    timeout = 300

    def setup(self, systems: str) -> None:
        """The systems, and everything compiled."""
        self.many = comparisons.many_systems(systems)
        self.time_all(systems)

    def time_all(self, systems: str) -> None:
        """A warm call of cg for all."""
        self.many.solve()

    def track_against_scipy(self, systems: str) -> float:
        """How many times faster a system than by SciPy's calls, one after the other over a sample."""
        times = measure.call_times({"cg": self.many.solve, "scipy": self.many.sample}, 1.0)
        share = self.many.sampled / self.many.count
        return measure.ratio(times["scipy"], times["cg"])[0] / share

    track_against_scipy.unit = "times faster"  # type: ignore[attr-defined]

    def track_iterations(self, systems: str) -> int:
        """Of all systems together: the same on any machine but for the last digit."""
        return int(self.many.solve().iterations.sum())

    track_iterations.unit = "iterations"  # type: ignore[attr-defined]
