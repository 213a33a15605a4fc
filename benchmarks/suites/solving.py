"""Solves: time by method, backend and size, and the ratios to other libraries."""

from __future__ import annotations

import warnings
from typing import Any

import resolvent as rv
from resolvent.backends import backend_named

from . import comparisons, measure
from .problems import System, poisson


def on_backend(system: System, backend: str) -> tuple[Any, Any]:
    """A and b in the arrays of a backend; skips the benchmark where its library is missing."""
    try:
        backend_named(backend)
    except rv.BackendError as error:
        raise NotImplementedError(str(error)) from error
    if backend == "torch":
        import torch

        csr = system.csr
        parts = (torch.from_numpy(part.copy()) for part in (csr.indptr, csr.indices, csr.data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that sparse tensors are in beta state
            return torch.sparse_csr_tensor(*parts, size=csr.shape), torch.from_numpy(system.b)
    return system.A, system.b


class Solve:
    """At most fifty iterations, set-up and certificate included."""

    params = (
        ["cg", "ssor_cg", "chebyshev", "richardson", "jacobi", "gauss_seidel", "ssor"],
        ["numpy", "numba", "torch"],
        [100, 10_000, 250_000],
    )
    param_names = ("method", "backend", "n")

    def setup(self, method: str, backend: str, n: int) -> None:
        """The system, and everything compiled."""
        system = poisson(n)
        self.A, self.b = on_backend(system, backend)
        given = {"chebyshev": {"interval": system.spectrum}, "ssor_cg": {"omega": 1.9}}
        self.options = given.get(method, {})
        self.backend, self.method = backend, method
        rv.solve(self.A, self.b, method=method, rtol=1e-12, maxiter=2, backend=backend, **self.options)

    def time_fifty_iterations(self, method: str, backend: str, n: int) -> None:
        """A warm call."""
        rv.solve(self.A, self.b, method=method, rtol=1e-12, maxiter=50, backend=backend, **self.options)


class Whole:
    """To convergence."""

    params = ([100, 10_000],)
    param_names = ("n",)

    def setup(self, n: int) -> None:
        """The system, and everything compiled."""
        self.system = poisson(n)
        self.time_cg_to_1e8(n)

    def time_cg_to_1e8(self, n: int) -> None:
        """A warm call."""
        rv.cg(self.system.A, self.system.b, rtol=1e-8)

    def track_cg_against_scipy(self, n: int) -> float:
        """How many times faster than SciPy's call."""
        times = comparisons.whole_calls(n)
        return measure.ratio(times["scipy"], times["cg"])[0]

    track_cg_against_scipy.unit = "times faster"  # type: ignore[attr-defined]


class Iteration:
    """The time of one iteration as a ratio, set-up excluded. SciPy and PyAMG always have the matrix as CSR."""

    params = (["csr", "irregular", "stencil"], [10_000, 1_000_000])
    param_names = ("storage", "n")

    def _ratio(self, storage: str, n: int, slow: str, fast: str) -> float:
        times = comparisons.iterations_against(n, storage, (slow, fast))
        return measure.ratio(times[slow], times[fast])[0]

    def track_cg_against_scipy(self, storage: str, n: int) -> float:
        """SciPy's over ours."""
        return self._ratio(storage, n, "scipy", "cg")

    def track_cg_against_pyamg(self, storage: str, n: int) -> float:
        """PyAMG's over ours."""
        return self._ratio(storage, n, "pyamg", "cg")

    def track_chebyshev_against_scipy_cg(self, storage: str, n: int) -> float:
        """SciPy's cg over our Chebyshev."""
        return self._ratio(storage, n, "scipy", "chebyshev")

    def track_chebyshev_over_cg(self, storage: str, n: int) -> float:
        """Our Chebyshev's time as a part of our cg's."""
        return self._ratio(storage, n, "chebyshev", "cg")

    for _function in (track_cg_against_scipy, track_cg_against_pyamg, track_chebyshev_against_scipy_cg):
        _function.unit = "times faster"  # type: ignore[attr-defined]
    track_chebyshev_over_cg.unit = "of cg's time"  # type: ignore[attr-defined]


def track_cg_against_scipy_64() -> float:
    """One iteration at n = 64: SciPy's over ours."""
    times = comparisons.iterations_against(64)
    return measure.ratio(times["scipy"], times["cg"])[0]


track_cg_against_scipy_64.unit = "times faster"  # type: ignore[attr-defined]


class Roofline:
    """Least bytes an iteration must move, over its time, as a part of the copy bandwidth measured in turns with it."""

    params = ([("cg", "csr"), ("cg", "irregular"), ("cg", "stencil"), ("chebyshev", "stencil")], [4_000_000])
    param_names = ("method and storage", "n")

    def track_part_of_copy_bandwidth(self, case: tuple[str, str], n: int) -> float:
        """1 is a copy's speed."""
        method, storage = case
        return comparisons.roofline(n, storage, method)[0][0]

    track_part_of_copy_bandwidth.unit = "of copy bandwidth"  # type: ignore[attr-defined]


class Outcome:
    """What must not change with speed; exact on any machine."""

    params = (["cg", "chebyshev", "gauss_seidel", "sor", "ssor"], ["numpy", "numba"])
    param_names = ("method", "backend")

    def setup(self, method: str, backend: str) -> None:
        """A small system solved nearly as well as it can be."""
        system = poisson(1024)
        self.solution = rv.solve(system.A, system.b, method=method, rtol=1e-12, maxiter=10_000, backend=backend)

    def track_iterations(self, method: str, backend: str) -> int:
        """To 1e-12."""
        return self.solution.iterations

    def track_backward_error(self, method: str, backend: str) -> float:
        """In units of the unit roundoff."""
        return float(self.solution.backward_error / self.solution.unit_roundoff)

    track_iterations.unit = "iterations"  # type: ignore[attr-defined]
    track_backward_error.unit = "u"  # type: ignore[attr-defined]
