"""Solves in emulated formats: what the emulation costs, and what the formats attain."""

from __future__ import annotations

import resolvent as rv

from . import comparisons, measure
from .problems import poisson


class Emulation:
    """An iteration of cg in an emulated format over one in float32, set-up excluded; policy ``storage``."""

    params = (["csr", "irregular", "stencil"], ["bf16", "fp16"], [10_000, 1_000_000])
    param_names = ("storage", "format", "n")

    def track_cg_over_float32(self, storage: str, format: str, n: int) -> float:
        """1 is no cost at all."""
        times = comparisons.emulated_iterations(n, storage, (format,))
        return measure.ratio(times[format], times[None])[0]

    track_cg_over_float32.unit = "of float32's time"  # type: ignore[attr-defined]


class Policies:
    """The same in bf16 by what else is rounded; the policies that work row by row are no matter of speed."""

    params = (["storage", "op", "matvec", "tensor-core"],)
    param_names = ("policy",)

    def track_cg_over_float32(self, policy: str) -> float:
        """At 10 000 unknowns, CSR."""
        precision = rv.Precision("bf16", policy=policy)
        times = comparisons.emulated_iterations(10_000, "csr", (precision,))
        return measure.ratio(times[precision], times[None])[0]

    track_cg_over_float32.unit = "of float32's time"  # type: ignore[attr-defined]


class Refinement:
    """To double precision with corrections in a low one."""

    params = (["bf16", "tf32", "fp32"],)
    param_names = ("format",)

    def setup(self, format: str) -> None:
        """A system and its solution."""
        self.system = poisson(10_000)
        self.solution = rv.refine(self.system.A, self.system.b, inner_precision=format)

    def track_over_cg(self, format: str) -> float:
        """A whole call to 1e-12 over one of cg in float64."""
        times = comparisons.refinements(10_000, (format,))
        return measure.ratio(times[format], times[None])[0]

    def track_corrections(self, format: str) -> int:
        """Exact on any machine."""
        return self.solution.iterations

    def track_products(self, format: str) -> int:
        """Exact on any machine."""
        return self.solution.matvecs

    def track_backward_error(self, format: str) -> float:
        """In units of the unit roundoff of float64."""
        return float(self.solution.backward_error / self.solution.unit_roundoff)

    track_over_cg.unit = "of cg's time"  # type: ignore[attr-defined]
    track_corrections.unit = "corrections"  # type: ignore[attr-defined]
    track_products.unit = "products"  # type: ignore[attr-defined]
    track_backward_error.unit = "u"  # type: ignore[attr-defined]


class Attained:
    """What formats attain, exact on any machine."""

    params = (["cg", "chebyshev", "sor"], ["fp32", "tf32", "bf16", "fp16"])
    param_names = ("method", "format")

    def setup(self, method: str, format: str) -> None:
        """A small system, solved as well as the format can."""
        system = poisson(1024)
        self.solution = rv.solve(system.A, system.b, method=method, rtol=1e-12, precision=format, maxiter=10_000)

    def track_backward_error(self, method: str, format: str) -> float:
        """In units of the unit roundoff of the format."""
        return float(self.solution.backward_error / self.solution.unit_roundoff)

    def track_iterations(self, method: str, format: str) -> int:
        """Until it is found that no more can be had."""
        return self.solution.iterations

    track_backward_error.unit = "u"  # type: ignore[attr-defined]
    track_iterations.unit = "iterations"  # type: ignore[attr-defined]
